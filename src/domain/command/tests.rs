//! Shape, digest and decision of commands.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::rule::{Effect, Target, Verdict, decide};
use super::*;
use crate::domain::catalogue::{Kind, find};
use crate::domain::event::OrderStatus;

fn json_of(action: &str) -> Value {
    json!({
        "trace_id": "t-1", "symbol": "USDJPY", "action": action, "target_key": "order-0001",
        "requested_at": "2026-11-23T12:00:00Z", "idempotency_key": "command-0001",
    })
}

fn with(action: &str, change: impl FnOnce(&mut Value)) -> Result<OrderCommand, String> {
    let mut draft = json_of(action);
    change(&mut draft);
    let draft: CommandDraft = serde_json::from_value(draft).expect("a draft");
    draft.check().map_err(|e| e.code())
}

fn cancel() -> OrderCommand {
    with("CANCEL", |_| ()).expect("a command")
}

fn replace(qty: &str) -> OrderCommand {
    with("REPLACE", |d| d["qty"] = json!(qty)).expect("a command")
}

#[test]
fn a_field_that_is_not_what_it_may_be_is_named() {
    let cases: [(&str, &str, Value, &str); 13] = [
        ("CANCEL", "trace_id", json!("a b"), "invalid_trace_id"),
        ("CANCEL", "account", json!("a|b"), "invalid_account"),
        ("CANCEL", "symbol", json!("usdjpy"), "invalid_symbol"),
        ("CANCEL", "target_key", json!("short"), "invalid_target_key"),
        ("CANCEL", "idempotency_key", json!("sh ort-0001"), "invalid_idempotency_key"),
        ("CANCEL", "idempotency_key", json!("order-0001"), "invalid_idempotency_key"),
        ("CANCEL", "reason", json!("x".repeat(201)), "invalid_reason"),
        ("CANCEL", "qty", json!("1"), "invalid_qty"),
        ("CANCEL", "limit_price", json!("1"), "invalid_limit_price"),
        ("REPLACE", "reason", json!("without terms"), "invalid_qty"),
        ("REPLACE", "qty", json!("0"), "invalid_qty"),
        ("REPLACE", "qty", json!("0.0000001"), "invalid_qty"),
        ("REPLACE", "limit_price", json!("-1"), "invalid_limit_price"),
    ];
    for (action, field, value, code) in cases {
        let shown = format!("{action} {field} {value}");
        assert_eq!(with(action, |d| d[field] = value), Err(code.into()), "{shown}");
    }
    let reason = "注".repeat(REASON_MAX);
    assert_eq!(with("CANCEL", |d| d["reason"] = json!(reason)).expect("fits").reason, Some(reason));
    assert_eq!(cancel().terms(), (None, None));
    assert_eq!(replace("1.50").terms().0, Some("1.5".parse().expect("a number")));
}

#[test]
fn the_digest_tells_what_is_asked_and_nothing_else() {
    let digest = |change: fn(&mut Value)| {
        with("REPLACE", |d| {
            d["qty"] = json!("2");
            change(d);
        })
        .expect("a command")
        .digest()
    };
    let plain = digest(|_| ());
    for same in [
        digest(|d| d["qty"] = json!("2.000")),
        digest(|d| d["requested_at"] = json!("2026-11-24T12:00:00Z")),
        digest(|d| d["trace_id"] = json!("t-2")),
        digest(|d| d["reason"] = json!("another")),
        digest(|d| d["idempotency_key"] = json!("command-0002")),
        digest(|d| d["meta"] = json!({"a": "b"})),
        digest(|d| d["valid_until"] = json!("2026-11-24T12:00:00Z")),
    ] {
        assert_eq!(plain, same);
    }
    let others = [
        digest(|d| d["qty"] = json!("2.1")),
        digest(|d| d["limit_price"] = json!("2")),
        digest(|d| d["account"] = json!("other")),
        digest(|d| d["symbol"] = json!("EURJPY")),
        digest(|d| d["target_key"] = json!("order-0002")),
        cancel().digest(),
        plain,
    ];
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
}

/// What is decided about a replacement is asked for elsewhere.
fn replaced() -> Verdict {
    Verdict::refused("nothing_changes", "asked")
}

/// How long after it was requested the command is decided, seconds.
fn decided(command: &OrderCommand, target: Target, after_s: i64) -> (&'static str, Effect) {
    let now = command.requested_at + SignedDuration::from_secs(after_s);
    let verdict = decide(command, target, now, replaced);
    assert_eq!(verdict.status == CommandStatus::Refused, verdict.effect == Effect::None);
    (verdict.code.unwrap_or("-"), verdict.effect)
}

#[test]
fn f16_a_cancel_is_decided_by_where_its_order_is() {
    use OrderStatus::*;
    for status in OrderStatus::ALL {
        let wanted = match status {
            Filled | Rejected | Cancelled | Expired => ("too_late", Effect::None),
            New | Sent | Accepted | PartiallyFilled | Unknown | Parked => ("-", Effect::Cancel),
        };
        assert_eq!(decided(&cancel(), Target::Order(status), 0), wanted, "{status:?}");
    }
    let before = ("before_its_order", Effect::Tombstone);
    assert_eq!(decided(&cancel(), Target::Unknown, 0), before);
    assert_eq!(decided(&cancel(), Target::OtherLane, 0), ("other_lane", Effect::None));
    assert_eq!(decided(&cancel(), Target::NotSent, 0), ("never_sent", Effect::None));
}

#[test]
fn a_command_that_comes_too_late_or_too_early_is_refused_and_the_limits_still_pass() {
    let on = Target::Order(OrderStatus::Accepted);
    let day = 24 * 60 * 60;
    assert_eq!(decided(&cancel(), on, day), ("-", Effect::Cancel));
    assert_eq!(decided(&cancel(), on, day + 1), ("expired", Effect::None));
    assert_eq!(decided(&cancel(), on, -5), ("-", Effect::Cancel));
    assert_eq!(decided(&cancel(), on, -6), ("from_the_future", Effect::None));
    assert_eq!(decided(&replace("1"), on, 301), ("expired", Effect::None));
    assert_eq!(decided(&replace("1"), on, 300).0, "nothing_changes", "it is in time");
    assert_eq!(decided(&replace("1"), Target::Unknown, 0).0, "unknown_order");
    assert_eq!(decided(&replace("1"), Target::Order(OrderStatus::Filled), 0).0, "too_late");
    let until: Timestamp = "2026-11-23T12:00:10Z".parse().expect("a time");
    let short = OrderCommand { valid_until: Some(until), ..cancel() };
    assert_eq!(decided(&short, on, 10), ("-", Effect::Cancel));
    assert_eq!(decided(&short, on, 11), ("expired", Effect::None));
    // It says nothing of an order either, so that a late one leaves no tombstone.
    assert_eq!(decided(&short, Target::Unknown, 11), ("expired", Effect::None));
}

fn targets() -> impl Strategy<Value = Target> {
    let orders = OrderStatus::ALL.map(Target::Order);
    let others = [Target::Unknown, Target::OtherLane, Target::NotSent];
    select(others.into_iter().chain(orders).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn every_decision_has_a_reason_and_a_code_that_is_told_of(
        target in targets(), is_cancel in any::<bool>(), after_s in -20..200_000_i64,
    ) {
        let command = if is_cancel { cancel() } else { replace("1") };
        let now = command.requested_at + SignedDuration::from_secs(after_s);
        let verdict = decide(&command, target, now, replaced);
        prop_assert!(!verdict.reason.is_empty());
        match verdict.code {
            Some(code) => prop_assert!(find(Kind::Command, code).is_some(), "{}", code),
            None => prop_assert_eq!(verdict.status, CommandStatus::Accepted),
        }
        // Nothing is wanted of an order that is not the command's own.
        if target == Target::OtherLane || target == Target::NotSent {
            prop_assert_eq!(&verdict.effect, &Effect::None);
        }
        prop_assert!(is_cancel || verdict.effect != Effect::Cancel);
    }
}
