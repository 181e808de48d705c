//! How what came out is compared with what should: as JSON, numbers as decimals of the wire.

use rust_decimal::Decimal;
use serde_json::Value;

/// Decimals of a number on the wire.
const WIRE_DECIMALS: u32 = 9;

/// `name: who says …, it is …` for every member that is said and is not so; lists are as long as said.
pub fn differences(name: &str, who: &str, says: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", says, got, &mut |path, says, got| {
        found.push(format!("{name}: {path}: {who}: {says}, and it is {got}"));
    });
    found
}

fn compare(path: &str, says: &Value, got: &Value, differ: &mut impl FnMut(&str, &Value, &Value)) {
    match (says, got) {
        (Value::Object(says), Value::Object(members)) => {
            for (key, says) in says {
                let got = members.get(key).unwrap_or(&Value::Null);
                compare(&format!("{path}.{key}"), says, got, differ);
            }
        }
        (Value::Array(says), Value::Array(got)) if says.len() == got.len() => {
            for (at, (says, got)) in says.iter().zip(got).enumerate() {
                compare(&format!("{path}[{at}]"), says, got, differ);
            }
        }
        _ if says == got => {}
        _ => match (decimal(says), decimal(got)) {
            (Some(says), Some(got)) if on_the_wire(says, got) => {}
            _ => differ(path, says, got),
        },
    }
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Quantities are cut to the wire's decimals, ratios are rounded.
fn on_the_wire(number: Decimal, got: Decimal) -> bool {
    number.trunc_with_scale(WIRE_DECIMALS) == got || number.round_dp(WIRE_DECIMALS) == got
}

#[test]
fn what_differs_is_found_wherever_it_is() {
    use serde_json::json;
    let says = json!({"a": "1.50", "b": [{"c": "0.1234567895"}], "d": null});
    let same = json!({"a": "1.5", "b": [{"c": "0.123456789", "more": 1}], "d": null, "e": 1});
    assert_eq!(differences("n", "w", &says, &same), Vec::<String>::new());
    for other in [
        json!({"a": "1.6", "b": [{"c": "0.123456789"}], "d": null}),
        json!({"a": "1.5", "b": [], "d": null}),
        json!({"a": "1.5", "b": [{"c": "0.123456787"}], "d": null}),
        json!({"a": "1.5", "b": [{"c": "0.123456789"}], "d": 1}),
        json!({"b": [{"c": "0.123456789"}], "d": null}),
    ] {
        assert_eq!(differences("n", "w", &says, &other).len(), 1, "{other}");
    }
}
