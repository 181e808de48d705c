//! The scenarios of tests/scenarios, on real services; `noctus demo` plays the same on embedded ones.

use std::process::Command;

use crate::stack::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_holds_on_real_services() {
    let stack = Stack::get();
    let out = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_noctus"))
            .args(["demo", "--real", "--brokers", &stack.brokers, "--registry", &stack.registry])
            .args(["--database", &stack.database, "--dev"])
            .output()
    });
    let out = out.await.expect("it did not panic").expect("noctus can be started");
    let told = String::from_utf8_lossy(&out.stdout);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{told}\n{err}");
    let played = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios"));
    for entry in played.expect("the folder is there").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "yml") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            assert!(told.contains(&format!(" {name} ")), "{name} was not played\n{told}");
        }
    }
}
