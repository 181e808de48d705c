//! The judge against an independent reading of the contract: tests/oracle (Python, exact fractions, none of our code).

use std::process::Command;

use crate::stack::Stack;

fn compare(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/compare.py");
    let mut python = Command::new(&Stack::get().python);
    python.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args(arguments);
    let out = python.args(["--noctus", env!("CARGO_BIN_EXE_noctus")]).output();
    let out = out.expect("python can be started");
    let told = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{arguments:?}\n{told}\n{errors}");
    assert!(told.ends_with(" differ\n") && !told.starts_with("0 cases"), "{told}");
}

#[test]
fn three_thousand_nasty_cases_are_judged_as_the_oracle_says() {
    compare(&["--cases", "3000", "--seed", "1"]);
}

#[test]
fn numbers_beyond_28_digits_are_refused_or_rounded_against_the_order() {
    compare(&["--cases", "1000", "--seed", "2", "--extreme"]);
}

#[test]
fn the_oracle_says_what_the_samples_of_the_contract_expect() {
    let samples = |name: &str| format!("{}/tests/vectors/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    for name in ["judge", "judge-random"] {
        compare(&["--expect", "--file", &samples(name)]);
    }
}
