//! `noctus policy` as a user runs it: what is printed, and the exit code.

use std::path::PathBuf;

use crate::judge::noctus;

/// A folder of its own, gone when it goes out of scope.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("noctus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn f43_the_shipped_policies_are_good_and_a_bad_one_exits_1() {
    let files = ["quality_policy.yml", "profiles.yaml", "risk_policy.yml", "instruments.yml"];
    let files: Vec<String> = files.iter().map(|f| format!("configs/{f}")).collect();
    let args: Vec<&str> =
        ["policy", "check"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let (code, out) = noctus(&args, "");
    assert_eq!((code, out.lines().count()), (0, 4), "{out}");
    let (code, out) = noctus(&["policy", "check", "--kind", "risk", "configs/profiles.yaml"], "");
    assert_eq!(code, 1);
    assert!(
        out.ends_with("5 violation(s)\n")
            && out.contains("configs/profiles.yaml:3:3: default.rollout_percent: unknown key"),
        "{out}"
    );
}

#[test]
fn f43_forty_mistakes_are_told_in_one_go() {
    let file = "tests/policies/forty-mistakes.yml";
    let (code, out) = noctus(&["policy", "check", "--kind", "risk", file], "");
    assert_eq!(code, 1);
    assert!(out.ends_with("40 violation(s)\n"), "{out}");
    let carets = out.lines().filter(|line| line.trim_start_matches([' ', '|']).starts_with('^'));
    assert_eq!(carets.count(), 40, "{out}");
}

#[test]
fn a_diff_tells_what_is_in_force_for_each_symbol_and_whether_it_tightens() {
    let folder = Folder::new("diff");
    let shipped = std::fs::read_to_string("configs/risk_policy.yml").expect("it is there");
    let tighter =
        folder.file("a.yml", &shipped.replace("max_order_qty: 20000", "max_order_qty: 100"));
    let looser = folder.file("b.yml", &shipped.replace("150000", "~"));
    let args = |new: &str, more: &[&str]| {
        let mut args = vec!["policy", "diff", "configs/risk_policy.yml", new];
        args.extend(more);
        noctus(&args, "")
    };
    let (code, out) = args(&tighter, &["--only-tighter"]);
    assert_eq!(code, 0, "{out}");
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(
        lines[1..6],
        [
            "* (every other)",
            "max_order_qty  20000 → 100  tightens",
            "USDJPY",
            "max_order_qty  20000 → 100  tightens",
            "2 change(s): 2 tighten, 0 loosen, 0 neither",
        ]
    );
    let (code, out) = args(&looser, &["--only-tighter", "--json"]);
    assert_eq!(code, 1, "{out}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!(
        told["changes"],
        serde_json::json!([{"scope": "USDJPY", "key": "max_position_notional",
            "before": "150000", "after": "off", "direction": "loosens"}])
    );
    assert_ne!(told["digests"][0], told["digests"][1]);
    let (code, out) = args("configs/risk_policy.yml", &["--only-tighter"]);
    assert_eq!((code, out.contains("nothing that is in force changes")), (0, true), "{out}");
    let (code, _) = args(&folder.file("c.yml", "default: {max_order_qty: -1}"), &[]);
    assert_eq!(code, 78, "a bad policy is bad configuration");
}

#[test]
fn a_test_file_beside_a_policy_is_tried_and_a_failing_case_exits_1() {
    let (code, out) = noctus(&["policy", "test", "configs/risk_policy.test.yml"], "");
    assert_eq!((code, out.ends_with("12 case(s), 0 failed\n")), (0, true), "{out}");
    let folder = Folder::new("test");
    folder.file("risk.yml", "default: {max_order_qty: 10}\n");
    let test = folder.file(
        "risk.test.yml",
        "policies: {risk: risk.yml}\n\
         given: {now: 2026-11-23T10:00:00Z, request: {symbol: GBPJPY, side: BUY, qty: 20}}\n\
         cases:\n- {name: it is cut, expect: {decided_qty: 10}}\n- {name: it is not, expect: {decided_qty: 20}}\n",
    );
    let report = folder.0.join("junit.xml").display().to_string();
    let (code, out) = noctus(&["policy", "test", &test, "--junit", &report], "");
    assert_eq!(code, 1);
    assert!(out.contains("  ok    it is cut\n  FAIL  it is not\n"), "{out}");
    assert!(out.contains("        decided_qty: expected 20, got \"10\"\n"), "{out}");
    assert!(out.ends_with("2 case(s), 1 failed\n"), "{out}");
    let xml = std::fs::read_to_string(report).expect("the report is written");
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{xml}");
    let (code, out) = noctus(&["policy", "test", "configs/no-such-file.yml"], "");
    assert_eq!((code, out.contains("1 error(s)")), (1, true), "{out}");
}

#[test]
fn the_schema_of_a_kind_is_printed_as_it_is_committed() {
    for kind in ["quality", "profiles", "risk", "instruments"] {
        let (code, out) = noctus(&["policy", "schema", kind], "");
        let committed = std::fs::read_to_string(format!("configs/schema/{kind}.json"));
        assert_eq!((code, out), (0, committed.expect("it is committed")), "{kind}");
    }
}

#[test]
fn output_that_nobody_reads_or_no_disk_takes_ends_the_command_without_a_panic() {
    let check = format!(
        "{} policy check tests/policies/forty-mistakes.yml --kind risk",
        env!("CARGO_BIN_EXE_noctus")
    );
    // More than a pipe holds, to a reader that is gone.
    let many = format!(
        "set -o pipefail; {check}{} | head -n 1",
        " tests/policies/forty-mistakes.yml".repeat(40)
    );
    for (command, code, told) in [
        (many, 141, ""),
        (format!("{check} > /dev/full"), 69, "noctus: standard output cannot be written"),
    ] {
        let mut bash = std::process::Command::new("bash");
        bash.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-c", &command]);
        let out = bash.output().expect("bash can be run");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{errors}");
        assert!(errors.starts_with(told) && !errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn a_file_of_the_user_that_cannot_be_read_is_wrong_usage_and_no_bug() {
    for (arguments, told) in [
        ("judge no-such-file.jsonl", "cannot read no-such-file.jsonl"),
        ("judge --request no-such-file.json", "cannot read no-such-file.json"),
        (
            "judge --request configs/risk_policy.yml",
            "configs/risk_policy.yml is not what is wanted",
        ),
        (
            "judge --request examples/order.json --facts examples/orders.jsonl",
            "is not what is wanted",
        ),
    ] {
        let mut noctus = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"));
        noctus.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments.split(' '));
        let out = noctus.output().expect("it can be run");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{arguments}: {errors}");
        assert!(errors.contains(told), "{arguments}: {errors}");
    }
}

/// `noctus policy what-if` with this standard input: the exit code, standard output, standard error.
fn what_if(args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = assert_cmd::Command::cargo_bin("noctus").expect("it is built with the tests");
    let output = command.args(["policy", "what-if"]).args(args).write_stdin(input).output();
    let output = output.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

#[test]
fn what_if_says_what_is_wrong_with_what_is_asked() {
    let folder = Folder::new("what-if-usage");
    let risk = folder.file("risk.yml", "default: {max_order_qty: 10}");
    let other = folder.file("risk-2.yml", "default: {max_order_qty: 9}");
    let nameless = folder.file("new.yml", "default: {max_order_qty: 8}");
    let nowhere = folder.0.join("no/such/folder.html").display().to_string();
    for (args, told) in [
        (vec!["--dump", "-"], "--policy"),
        (vec!["--policy", &risk, "--policy", &other, "--dump", "-"], "are both risk policies"),
        (
            vec!["--policy", &risk, &nameless, "--dump", "-"],
            "what kind of policy is this? Say --kind",
        ),
        (
            vec!["--policy", &risk, &nameless, "--kind", "risk", "--dump", "-"],
            "--kind is for one policy",
        ),
        (
            vec!["--policy", &risk, "--from", "2026-11-02", "--to", "2026-11-01", "--dump", "-"],
            "is not before",
        ),
        (vec!["--policy", &risk, "--from", "soon", "--dump", "-"], "neither a time such as"),
        (vec!["--policy", &risk, "--dump", "-", "--html", &nowhere], "cannot be written"),
    ] {
        let (code, out, err) = what_if(&args, "");
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(told), "{args:?}: {err}");
    }
    let (code, _, err) = what_if(&["--policy", &nameless, "--kind", "risk", "--dump", "-"], "");
    assert_eq!(
        (code, err.trim_end()),
        (1, "noctus: there is no decision in the dump -: nothing was judged")
    );
    let (code, _, _) = what_if(&["--policy", &risk, "--dump", "/no/such/dump"], "");
    assert_eq!(code, 69);
}

#[test]
fn what_if_tells_every_violation_of_every_policy_given() {
    let folder = Folder::new("what-if-bad");
    let risk = folder.file("risk.yml", "default: {max_order_qty: -10, max_ordr_qty: 3}");
    let quality = folder.file("quality.yml", "slope: steep");
    let (code, out, err) = what_if(&["--policy", &risk, "--policy", &quality, "--dump", "-"], "");
    assert_eq!((code, out.as_str()), (78, ""), "{err}");
    for told in
        ["3 violation(s)", "risk.yml:1:", "max_ordr_qty: unknown key", "quality.yml:1:", "^"]
    {
        assert!(err.contains(told), "{told}: {err}");
    }
    let (code, _, err) = what_if(&["--policy", "configs/no-risk.yml", "--dump", "-"], "");
    assert_eq!(code, 78, "{err}");
}

#[test]
fn what_if_without_a_service_tells_what_it_cannot_judge() {
    let lines = "{\"topic\":\"decisions\",\"partition\":1,\"offset\":5,\"value\":{}}\nhello\n";
    let args = ["--policy", "configs/risk_policy.yml", "--dump", "-"];
    let (code, out, _) = what_if(&[&args[..], &["--exit-zero"]].concat(), lines);
    assert_eq!(code, 1, "what cannot be judged is a finding all the same");
    assert!(out.contains("2 decision(s) cannot be judged again"), "{out}");
    assert!(out.contains("  decisions/1/5: no decision: missing field"), "{out}");
    assert!(out.contains("  line 2: no JSON: "), "{out}");
    let (code, out, _) = what_if(&[&args[..], &["--json"]].concat(), lines);
    let told: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((code, &told["not_judged"]), (1, &serde_json::json!(2)));
}
