//! The sample cases of the contract, and how lines that are no cases are answered.

use super::case::Cases;

fn differing(cases: &str) -> (usize, Vec<String>) {
    let mut judge = Cases::default();
    let answers: Vec<_> = cases.lines().map(|line| judge.answer(line)).collect();
    let told = answers.iter().flat_map(|a| {
        a.differences().into_iter().map(|d| format!("{}: {d}", a.name)).collect::<Vec<_>>()
    });
    (answers.len(), told.collect())
}

#[test]
fn the_named_cases_of_the_contract_are_judged_as_it_says() {
    let (cases, differences) = differing(include_str!("../../../tests/vectors/judge.jsonl"));
    assert_eq!(cases, 121);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_random_cases_of_the_contract_are_judged_as_it_says() {
    let cases = include_str!("../../../tests/vectors/judge-random.jsonl");
    let (cases, differences) = differing(cases);
    assert_eq!(cases, 200);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The answer to a line, as it is written.
fn told(line: &str) -> serde_json::Value {
    let mut out = Vec::new();
    Cases::default().answer(line).write(&mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn case(members: &str) -> String {
    format!(r#"{{"name": "n", "now": "2026-11-23T10:00:00Z", {members}}}"#)
}

fn request(qty: &str) -> String {
    format!(
        r#""request": {{"trace_id": "t", "symbol": "USDJPY", "side": "BUY", "qty": {qty},
        "requested_at": "2026-11-23T10:00:00Z", "reference_price": "150",
        "quality": {{"missing_ratio": 0, "data_lag_min": 0}}}}"#
    )
}

#[test]
fn a_line_that_is_no_case_is_told_in_its_place_under_its_name() {
    for (line, error) in [
        ("hello".to_string(), "not a JSON object: column 1 should be {"),
        (case(r#""facts": {}"#), "one of request and proposal_set is needed"),
        (case(r#""polices": {}"#), "\"polices\" is not a member of a case"),
        (
            case(&format!(r#"{}, "policies": {{"rsk": {{}}}}"#, request("1"))),
            "policies: \"rsk\" is not a policy",
        ),
        (
            case(&format!(
                r#"{}, "policies": {{"risk": {{"default": {{"max_order_qty": -1}}}}}}"#,
                request("1")
            )),
            "policies: risk: default.max_order_qty: must be a number, 0 or more, found \"-1\"",
        ),
    ] {
        let told = told(&line);
        assert_eq!(told["error"], error, "{line}");
        assert_eq!(
            told["name"],
            if line == "hello" { serde_json::Value::Null } else { "n".into() }
        );
    }
    assert!(
        told(&case(&format!(r#"{}, "facts": {{"positon": "1"}}"#, request("1"))))["error"]
            .as_str()
            .is_some_and(|e| e.starts_with("facts: unknown field `positon`"))
    );
}

#[test]
fn f07_a_quantity_that_is_no_decimal_is_a_refused_shape() {
    for qty in [
        "\"NaN\"",
        "\"1e400\"",
        "\"\"",
        "null",
        "{}",
        "1e40",
        "\"1_0\"",
        "\"1.00000000000000000000000000001\"",
        "\"-0.5\"",
        "0",
    ] {
        assert_eq!(told(&case(&request(qty)))["error"], "invalid_qty", "{qty}");
    }
    assert_eq!(told(&case(&request("\"5\"")))["decided_qty"], "5");
}

#[test]
fn a_difference_from_what_is_expected_is_told_with_its_path() {
    let line = case(&format!(
        r#"{}, "expect": {{"action": "SELL", "decided_qty": "5.0", "alerts": [], "quality": {{"multiplier": 1}}}}"#,
        request("\"5\"")
    ));
    let answer = Cases::default().answer(&line);
    assert_eq!(answer.differences(), ["action: expected \"SELL\", got \"BUY\""]);
}
