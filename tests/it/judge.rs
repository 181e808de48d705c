//! `noctus judge` as a user runs it: what is printed, in which order, and the exit code.

use assert_cmd::Command;

/// Runs the binary: its exit code, and what it printed.
pub fn noctus(args: &[&str], input: &str) -> (i32, String) {
    let mut command = Command::cargo_bin("noctus").expect("the binary is built with the tests");
    let output = command.args(args).write_stdin(input).output().expect("it runs");
    let out = String::from_utf8(output.stdout).expect("it writes UTF-8");
    (output.status.code().expect("it exits"), out)
}

#[test]
fn the_cases_of_the_contract_are_checked_from_a_file_and_from_standard_input() {
    let random = include_str!("../vectors/judge-random.jsonl");
    let (code, out) = noctus(&["judge", "tests/vectors/judge.jsonl", "--check"], "");
    assert_eq!((code, out.as_str()), (0, "121 cases, 0 differ, 0 are no cases\n"));
    let (code, out) = noctus(&["judge", "--check"], random);
    assert_eq!((code, out.as_str()), (0, "200 cases, 0 differ, 0 are no cases\n"));
}

#[test]
fn results_come_one_a_line_in_order_and_keep_their_names() {
    let cases = include_str!("../vectors/judge-random.jsonl");
    let (code, out) = noctus(&["judge"], cases);
    assert_eq!(code, 0);
    let name =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].clone();
    let (asked, told): (Vec<_>, Vec<_>) =
        (cases.lines().map(name).collect(), out.lines().map(name).collect());
    assert_eq!(asked, told);
}

#[test]
fn a_bad_line_is_told_in_its_place_and_makes_the_exit_code_1() {
    let good = include_str!("../vectors/judge.jsonl").lines().next().unwrap();
    let refused = good.replace("\"500\"", "\"-500\"");
    let (code, out) = noctus(&["judge"], &format!("{refused}\n"));
    assert_eq!((code, out.contains("\"error\":\"invalid_qty\"")), (0, true), "{out}");
    let (code, out) =
        noctus(&["judge"], &format!("{good}\n\n{{\"name\":\"b\"}}\n\u{fffd}\n{good}"));
    assert_eq!(code, 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert_eq!(lines[1], "{\"name\":\"b\",\"error\":\"now is needed\"}");
    assert!(lines[2].starts_with("{\"name\":null,\"error\":"), "{out}");
    assert_eq!(lines[0], lines[3]);
    let (code, out) =
        noctus(&["judge", "--check"], &good.replace("\"500\", \"alerts\"", "\"501\", \"alerts\""));
    assert_eq!(code, 1);
    assert!(out.contains("decided_qty: expected \"501\", got \"500\""), "{out}");
}

#[test]
fn one_order_is_judged_by_hand_under_a_risk_file() {
    let args = [
        "judge",
        "--request",
        "examples/order.json",
        "--policy",
        "configs/risk_policy.yml",
        "--trace-id",
        "t-1",
        "--now",
        "2026-11-23T22:00:00Z",
    ];
    let (code, out) = noctus(&args, "");
    assert_eq!(code, 0);
    assert!(
        out.starts_with(
            "decision  FLAT 0 of 1000\nreason    quality=OK; risk.trading_window 1000 → 0\n"
        ),
        "{out}"
    );
    assert!(out.ends_with("order     none\n"), "{out}");
    let (_, out) = noctus(&[&args[..8], &["2026-11-23T21:59:59Z", "--json"]].concat(), "");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["order"]["qty"], &told["order"]["trace_id"]),
        (&"1000".into(), &"t-1".into())
    );
}

/// Another value of the same kind.
fn other(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Value, json};
    match value {
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => json!((number + 1.0).to_string()),
            Err(_) => json!(format!("{text}x")),
        },
        Value::Array(items) if items.is_empty() => json!([{}]),
        Value::Array(items) => {
            let mut items = items.clone();
            let last = items.pop().map(|item| other(&item));
            items.extend(last);
            json!(items)
        }
        Value::Object(fields) => {
            let mut fields = fields.clone();
            if let Some(value) = fields.values_mut().next_back() {
                *value = other(value);
            }
            Value::Object(fields)
        }
        Value::Null => json!(1),
        _ => Value::Null,
    }
}

#[test]
fn every_member_that_a_case_expects_is_compared() {
    let files =
        [include_str!("../vectors/judge.jsonl"), include_str!("../vectors/judge-random.jsonl")];
    let mut members = std::collections::BTreeMap::new();
    let mut lines = String::new();
    for line in files.iter().flat_map(|file| file.lines()) {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        for (member, value) in case["expect"].as_object().expect("every case expects something") {
            let mut wrong = case.clone();
            wrong["expect"][member] = other(value);
            wrong["name"] = serde_json::json!(format!("{member} of {}", case["name"]));
            lines.push_str(&format!("{wrong}\n"));
            *members.entry(member.clone()).or_insert(0) += 1;
        }
    }
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "action",
            "alerts",
            "decided_qty",
            "error",
            "next_quality_state",
            "quality",
            "score",
            "strategy_name",
            "top_candidates"
        ]
    );
    let all: usize = members.values().sum();
    let (code, out) = noctus(&["judge", "--check"], &lines);
    let last = out.lines().last().unwrap();
    assert_eq!((code, last), (1, format!("{all} cases, {all} differ, 0 are no cases").as_str()));
}
