//! The sample cases of the contract, and how lines that are no cases are answered.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::by_hand::allowed;
use super::case::{Cases, Outcome};
use crate::domain::judge::judge;
use crate::domain::policy::Policies;

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

/// Values that do not belong where they are put.
fn odd() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "NaN",
        "-0",
        "1e400",
        "1e-29",
        "0x10",
        "1_0",
        "９",
        "-1",
        "79228162514264337593543950336",
        "0.0000000000000000000000000001",
        "main|USDJPY",
        "\u{202e}USD",
        "USD\u{200b}JPY",
        "\n",
        "\0",
        "BUY",
        "MARKET",
        "2026-11-23T10:00:00Z",
        "-009999-01-02T01:59:59Z",
        "9999-12-31T23:59:59Z",
        "halted",
    ];
    let numbers = [
        json!(0),
        json!(-1),
        json!(1e308),
        json!(5e-324),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.1),
    ];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(|text| json!(text)),
        prop::sample::select(numbers.to_vec()),
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["A", {"a": [1]}])),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,40}".prop_map(|text| json!(text)),
        (100usize..2_000).prop_map(|n| json!("9".repeat(n))),
    ]
}

/// Every place in a value.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(k, v)| places(v, format!("{at}/{k}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| places(v, format!("{at}/{i}"), found));
        }
        _ => {}
    }
    found.push(at);
}

fn vectors() -> Vec<Value> {
    let files = [
        include_str!("../../../tests/vectors/judge.jsonl"),
        include_str!("../../../tests/vectors/judge-random.jsonl"),
    ];
    files.iter().flat_map(|f| f.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

proptest! {
    #![proptest_config(crate::domain::laws::cases())]

    #[test]
    fn f07_a_case_with_anything_anywhere_is_judged_soundly_refused_or_no_case(
        which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<prop::sample::Index>(), odd()), 1..4)
    ) {
        thread_local! { static ALL: Vec<Value> = vectors(); }
        let mut case = ALL.with(|all| which.get(all).clone());
        for (at, odd) in changes {
            let mut all = Vec::new();
            places(&case, String::new(), &mut all);
            if let Some(slot) = case.pointer_mut(at.get::<String>(&all)) {
                *slot = odd;
            }
        }
        let answer = Cases::default().answer(&case.to_string());
        let mut out = Vec::new();
        answer.write(&mut out).unwrap();
        let told: Value = serde_json::from_slice(&out).unwrap();
        match &answer.outcome {
            Outcome::Judged { judgement, .. } => {
                let j = judgement;
                prop_assert!(j.decided_qty <= j.requested_qty && j.decided_qty.is_sign_positive());
                prop_assert_eq!(j.action.sends(), !j.decided_qty.is_zero());
                prop_assert!(!j.action.sends() || told["quality"]["verdict"].is_string(), "{}", told);
            }
            Outcome::Refused(code) => prop_assert!(code.starts_with("invalid_")),
            Outcome::Bad(why) => prop_assert!(!why.is_empty()),
        }
    }

    #[test]
    fn no_line_makes_it_panic(line in prop_oneof![".{0,60}", "[{}\\[\\]:,\"\\\\a-z0-9 ]{0,60}"]) {
        let mut out = Vec::new();
        Cases::default().answer(&line).write(&mut out).unwrap();
        prop_assert!(serde_json::from_slice::<Value>(&out).unwrap()["error"].is_string());
    }

    #[test]
    fn only_the_quantity_of_an_order_changes(
        qty in 1u64..100_000, buy in any::<bool>(), limit in prop::option::of(1u32..400), note in ".{0,20}"
    ) {
        let now = "2026-11-23T10:00:00Z";
        let mut request = json!({"trace_id": "t", "symbol": "USDJPY", "qty": qty.to_string(),
            "side": if buy { "BUY" } else { "SELL" }, "requested_at": now, "reference_price": "150.5",
            "stop_loss": "1.50", "meta": {"note": note}, "quality": {"missing_ratio": 0.06, "data_lag_min": 1}});
        if let Some(limit) = limit {
            request["order_type"] = json!("LIMIT");
            request["limit_price"] = json!(limit.to_string());
        }
        let intake = super::case::order(&request.to_string()).unwrap();
        let facts = serde_json::from_value(json!({"consecutive_losses": 5})).unwrap();
        let j = judge(&intake, &facts, &Policies::default(), now.parse().unwrap());
        let order = allowed(request.as_object().unwrap().clone(), &j);
        prop_assert_eq!(order.is_some(), j.action.sends());
        if let Some(mut order) = order {
            prop_assert_eq!(&order["qty"], &json!(j.decided_qty.to_string()));
            order["qty"] = request["qty"].clone();
            prop_assert_eq!(order, request);
        }
    }
}
