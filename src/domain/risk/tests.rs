//! One table per rule: what it acts on, what it leaves, and whether it fires.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::*;
use crate::domain::judge::{Judgement, judge};
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::OrderDraft;
use crate::domain::text::{Account, Symbol};

const NOW: &str = "2026-11-23T10:00:00Z";

/// An order of 1000 GBPJPY at a price of 100, whatever is changed of it.
fn order(change: Value) -> Intake {
    let mut order = json!({"trace_id": "t", "symbol": "GBPJPY", "side": "BUY", "qty": "1000",
        "requested_at": NOW, "quality": {"missing_ratio": 0.0, "data_lag_min": 0.0}});
    order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    Intake::Order(serde_json::from_value::<OrderDraft>(order).unwrap().check().unwrap())
}

fn facts(change: Value) -> Facts {
    let mut facts = json!({"quote": {"bid": "100", "ask": "100", "at": NOW}});
    facts.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(facts).unwrap()
}

fn policies(risk: Value) -> Policies {
    let text = json!({"default": risk}).to_string();
    let sources =
        Sources { risk: Some(Source { file: "risk", text: &text }), ..Sources::default() };
    Policies::parse(sources, &utc_only).unwrap_or_else(|bad| panic!("{bad}"))
}

fn judged(risk: Value, order_change: Value, facts_change: Value) -> Judgement {
    judge(&order(order_change), &facts(facts_change), &policies(risk), NOW.parse().unwrap())
}

/// Judges and compares the quantity and the names of the fired rules.
#[track_caller]
fn check(risk: Value, order: Value, facts: Value, qty: &str, fired: &[&str]) {
    let told = format!("{risk} {order} {facts}");
    let j = judged(risk, order, facts);
    let names: Vec<&str> = j.alerts.iter().map(|a| a.policy_name.as_str()).collect();
    assert_eq!(
        (j.decided_qty, names.as_slice()),
        (qty.parse().unwrap(), fired),
        "{told}\n{}",
        j.reason
    );
}

#[test]
fn rule_1_halted_stops_all_and_reduce_only_what_opens() {
    let off = || json!({});
    check(off(), json!({}), json!({"halt": "halted", "position": "-400"}), "0", &["risk.halted"]);
    check(
        off(),
        json!({}),
        json!({"halt": "reduce_only", "position": "-400"}),
        "400",
        &["risk.halted"],
    );
    check(off(), json!({}), json!({"halt": "reduce_only", "position": "-1000"}), "1000", &[]);
    check(off(), json!({}), json!({"halt": "reduce_only"}), "0", &["risk.halted"]);
}

#[test]
fn rule_1_a_direct_requests_own_strategy_may_be_halted() {
    let halts =
        |of: Value, all: Value| json!({"strategy_halts": of, "halt": all, "position": "-400"});
    let own = || json!({"strategy": "Aurus"});
    let fired: &[&str] = &["risk.halted"];
    check(json!({}), own(), halts(json!({"Aurus": "halted"}), json!(null)), "0", fired);
    check(json!({}), own(), halts(json!({"Aurus": "reduce_only"}), json!(null)), "400", fired);
    check(json!({}), own(), halts(json!({"Levia": "halted"}), json!(null)), "1000", &[]);
    check(json!({}), json!({}), halts(json!({"Aurus": "halted"}), json!(null)), "1000", &[]);
    let stricter = halts(json!({"Aurus": "reduce_only"}), json!("halted"));
    check(json!({}), own(), stricter, "0", fired);
}

#[test]
fn what_is_left_is_rounded_down_and_never_to_the_nearest() {
    // 10^12 reduce and 1 opens; 0.999999999999999980 of it, which a sum of 28 digits would make 1.
    let order = json!({"qty": "1000000000001",
        "quality": {"missing_ratio": 0.05000000000000001, "data_lag_min": 0.0}});
    let j = judged(json!({}), order, json!({"position": "-1000000000000"}));
    assert_eq!(j.decided_qty, "1000000000000.999999".parse().unwrap(), "{}", j.reason);
    let risk =
        json!({"max_consecutive_losses": 1, "shrink_after_losses_pct": "0.00000000000000001"});
    let lost = json!({"consecutive_losses": 1, "position": "-1000000000000"});
    let j = judged(risk, json!({"qty": "1000000000001"}), lost);
    assert_eq!(j.decided_qty, "1000000000000.999999".parse().unwrap(), "{}", j.reason);
}

#[test]
fn a_position_finer_than_the_wire_reduces_less_and_facts_are_read_exactly() {
    let j = judged(json!({}), json!({}), json!({"position": "-400.0000000009"}));
    assert_eq!((j.decided_qty, j.opening_qty), (1000.into(), 600.into()));
    for position in ["\"1.00000000000000000000000000001\"", "1e-29", "\"NaN\"", "\"\"", "null"] {
        let text = format!(r#"{{"position": {position}}}"#);
        assert!(serde_json::from_str::<Facts>(&text).is_err(), "{text}");
    }
    let facts: Facts = serde_json::from_value(json!({"position": -400, "rate": null})).unwrap();
    assert_eq!((facts.position, facts.rate), (Decimal::from(-400), None));
}

#[test]
fn rules_2_and_3_stop_reductions_too() {
    let held = || json!({"position": "-1000"});
    check(
        json!({"forbidden_symbols": ["GBPJPY"]}),
        json!({}),
        held(),
        "0",
        &["risk.forbidden_symbol"],
    );
    check(json!({"forbidden_symbols": ["EURUSD"]}), json!({}), held(), "1000", &[]);
    check(
        json!({"trading_hours_utc": ["11:00-12:00"]}),
        json!({}),
        held(),
        "0",
        &["risk.trading_window"],
    );
    check(
        json!({"trading_hours_utc": ["11:00-12:00", "10:00-10:01"]}),
        json!({}),
        held(),
        "1000",
        &[],
    );
    let zone = json!({"trading_hours": {"zone": "UTC", "holidays": ["2026-11-23"]}});
    check(zone, json!({}), held(), "0", &["risk.trading_window"]);
}

#[test]
fn rule_4_without_a_price_nothing_opens_while_a_notional_rule_is_on() {
    let none = || json!({"quote": null, "position": "-400"});
    let fired: &[&str] = &["risk.price_unavailable"];
    check(json!({}), json!({}), none(), "1000", &[]);
    check(json!({"max_position_notional": 1e9}), json!({}), none(), "400", fired);
    check(json!({"max_trace_notional": 1e9}), json!({}), none(), "400", fired);
    check(
        json!({"max_position_notional": 1e9, "notional_basis": "qty"}),
        json!({}),
        none(),
        "1000",
        &[],
    );
    check(json!({"max_position_notional": 1e9}), json!({}), json!({"rate": null}), "0", fired);
    check(json!({"max_position_notional": 1e9}), json!({}), json!({"rate": "0"}), "0", fired);
    let limit = json!({"order_type": "LIMIT", "limit_price": "100"});
    check(json!({"price_collar_pct": 5}), limit, none(), "400", fired);
    let stop = json!({"order_type": "STOP", "stop_price": "100"});
    check(json!({"price_collar_pct": 5}), stop, none(), "1000", &[]);
}

#[test]
fn rule_4_the_collar_is_two_sided_inclusive_and_stops_all() {
    let limit = |price: &str| json!({"order_type": "LIMIT", "limit_price": price});
    let held = || json!({"position": "-1000"});
    for (price, qty) in [("105", "1000"), ("105.000001", "0"), ("95", "1000"), ("94.999999", "0")] {
        let fired: &[&str] = if qty == "0" { &["risk.price_collar"] } else { &[] };
        check(json!({"price_collar_pct": 5}), limit(price), held(), qty, fired);
    }
    check(json!({"price_collar_pct": 0}), limit("100"), held(), "1000", &[]);
    check(json!({"price_collar_pct": 5}), json!({}), held(), "1000", &[]);
}

#[test]
fn rule_5_losses_shrink_what_opens_by_a_share() {
    let risk =
        |n: u32, pct: f64| json!({"max_consecutive_losses": n, "shrink_after_losses_pct": pct});
    let lost = |n: u32, position: &str| json!({"consecutive_losses": n, "position": position});
    let fired: &[&str] = &["risk.consecutive_losses"];
    check(risk(3, 30.0), json!({}), lost(2, "0"), "1000", &[]);
    check(risk(3, 30.0), json!({}), lost(3, "0"), "700", fired);
    check(risk(3, 30.0), json!({}), lost(9, "-400"), "820", fired);
    check(risk(0, 30.0), json!({}), lost(9, "0"), "1000", &[]);
    check(risk(3, 0.0), json!({}), lost(3, "0"), "1000", &[]);
    check(risk(3, 33.3), json!({"qty": "0.000001"}), lost(3, "0"), "0", fired);
}

#[test]
fn rule_6_cuts_the_opening_part_first() {
    let risk = || json!({"max_order_qty": 600});
    let j = judged(risk(), json!({}), json!({"position": "-500"}));
    assert_eq!((j.decided_qty, j.opening_qty), (600.into(), 100.into()));
    let j = judged(risk(), json!({}), json!({"position": "-900"}));
    assert_eq!((j.decided_qty, j.opening_qty), (600.into(), 0.into()));
    check(json!({"max_order_qty": 1000}), json!({}), json!({}), "1000", &[]);
    check(json!({"max_order_qty": 0}), json!({}), json!({}), "0", &["risk.max_order_qty"]);
}

#[test]
fn rule_7_the_rate_stops_all_and_the_daily_loss_what_opens() {
    let rate = |n: u32| json!({"orders_last_minute": n, "position": "-1000"});
    check(json!({"max_orders_per_minute": 3}), json!({}), rate(2), "1000", &[]);
    check(json!({"max_orders_per_minute": 3}), json!({}), rate(3), "0", &["risk.rate"]);
    check(json!({"max_orders_per_minute": 0}), json!({}), rate(0), "0", &["risk.rate"]);
    let lost = |pnl: &str| json!({"daily_pnl": pnl, "position": "-400"});
    let fired: &[&str] = &["risk.daily_loss"];
    check(json!({"max_daily_loss": 500}), json!({}), lost("-499.99"), "1000", &[]);
    check(json!({"max_daily_loss": 500}), json!({}), lost("-500"), "400", fired);
    check(json!({"max_daily_loss": 0}), json!({}), lost("0"), "400", fired);
    check(json!({"max_daily_loss": 0}), json!({}), lost("1"), "1000", &[]);
}

#[test]
fn rule_8_a_trace_has_one_budget_for_what_it_opens() {
    let risk = || json!({"max_trace_notional": 50000});
    let fired: &[&str] = &["risk.max_trace_notional"];
    check(risk(), json!({}), json!({}), "500", fired);
    check(risk(), json!({}), json!({"trace_notional": "49950"}), "0.5", fired);
    check(risk(), json!({}), json!({"trace_notional": "50000"}), "0", fired);
    check(risk(), json!({}), json!({"trace_notional": "60000", "position": "-400"}), "400", fired);
    check(risk(), json!({}), json!({"position": "-500"}), "1000", &[]);
}

#[test]
fn rule_9_the_position_that_counts_is_the_worst_case_in_the_orders_direction() {
    let risk = || json!({"max_position_notional": 100000});
    let fired: &[&str] = &["risk.max_position_notional"];
    check(risk(), json!({}), json!({}), "1000", &[]);
    check(risk(), json!({"qty": "1000.000001"}), json!({}), "1000", fired);
    check(risk(), json!({}), json!({"position": "300", "working_buy": "200"}), "500", fired);
    check(risk(), json!({}), json!({"position": "2000"}), "0", fired);
    check(risk(), json!({}), json!({"position": "300", "working_sell": "999"}), "700", fired);
    let sell = || json!({"side": "SELL"});
    check(risk(), sell(), json!({"position": "300", "working_sell": "100"}), "1000", &[]);
    check(
        risk(),
        json!({"side": "SELL", "qty": "1500"}),
        json!({"position": "300"}),
        "1300",
        fired,
    );
    check(risk(), sell(), json!({"position": "-900"}), "100", fired);
}

#[test]
fn rule_10_rounding_down_fires_nothing_but_nothing_left_does() {
    let usdjpy = |qty: &str| json!({"symbol": "USDJPY", "qty": qty});
    let j = judged(json!({}), usdjpy("990.9"), json!({}));
    assert_eq!((j.decided_qty, j.alerts.len()), (990.into(), 0));
    assert_eq!(j.steps[0].rule, "risk.qty_step");
    check(json!({}), usdjpy("0.999999"), json!({}), "0", &["risk.below_min_qty"]);
    check(json!({}), usdjpy("1"), json!({}), "1", &[]);
    check(json!({"max_order_qty": 0}), usdjpy("5"), json!({}), "0", &["risk.max_order_qty"]);
}

#[test]
fn f07_what_does_not_fit_exact_arithmetic_is_flat_with_a_critical_alert() {
    let huge = "9999999999999999999";
    let order = || json!({"qty": huge, "order_type": "LIMIT", "limit_price": huge});
    let j = judged(json!({"max_position_notional": 1}), order(), json!({}));
    let last = j.alerts.last().unwrap();
    assert_eq!((last.policy_name.as_str(), last.severity), ("risk.gate_error", Severity::Critical));
    assert_eq!((j.decided_qty, j.opening_notional), (Decimal::ZERO, Decimal::ZERO));
    assert_eq!(j.action.as_str(), "FLAT");
    assert!(j.reason.contains("risk.gate_error"), "{}", j.reason);
    assert!(j.quality.is_some());
}

#[test]
fn a_fired_rule_tells_its_numbers_and_the_reason_reads_on_one_line() {
    let j = judged(
        json!({"max_position_notional": 100000}),
        json!({"qty": "10000", "quality": {"missing_ratio": 0.12, "data_lag_min": 0.0}}),
        json!({"quote": {"bid": "101", "ask": "101", "at": NOW}}),
    );
    assert_eq!(
        j.reason,
        "quality=SCALE(0.86) missing_ratio=0.12 > 0.05; risk.max_position_notional 8600 → 990.099009"
    );
    let alert = j.alerts.last().unwrap();
    assert_eq!(alert.reason, "position notional 868600 > 100000");
    assert_eq!(
        alert.details,
        json!({"before": "8600", "after": "990.099009", "reached": "868600", "limit": "100000", "price": "101"})
    );
    assert_eq!(j.opening_notional, "99999.999909".parse().unwrap());
    assert_eq!(j.steps.len(), 2);
}

#[test]
fn note_3_the_price_of_a_notional_is_never_shrunk_by_the_orders_own_price() {
    let quote = json!({"bid": "99", "ask": "101", "at": NOW});
    let stale = json!({"bid": "99", "ask": "101", "at": "2026-11-23T09:58:59Z"});
    let order =
        |side: &str, kind: &str, limit: Option<&str>, stop: Option<&str>, reference: bool| {
            let reference = reference.then_some("120");
            json!({"side": side, "order_type": kind, "limit_price": limit, "stop_price": stop,
            "reference_price": reference})
        };
    let cases = [
        (order("BUY", "MARKET", None, None, true), &quote, Some("101")),
        (order("SELL", "MARKET", None, None, true), &quote, Some("99")),
        (order("BUY", "MARKET", None, None, true), &stale, Some("120")),
        (order("BUY", "MARKET", None, None, false), &stale, None),
        (order("BUY", "LIMIT", Some("90"), None, true), &quote, Some("101")),
        (order("SELL", "LIMIT", Some("150"), None, true), &quote, Some("150")),
        (order("BUY", "LIMIT", Some("90"), None, true), &stale, Some("120")),
        (order("BUY", "LIMIT", Some("90"), None, false), &stale, Some("90")),
        (order("SELL", "LIMIT", Some("90"), None, false), &stale, None),
        (order("BUY", "STOP", None, Some("130"), false), &stale, None),
        (order("BUY", "STOP", None, Some("130"), false), &quote, Some("130")),
        (order("BUY", "STOP_LIMIT", Some("95"), Some("200"), false), &quote, Some("101")),
        (order("BUY", "STOP_LIMIT", Some("95"), Some("200"), false), &stale, Some("95")),
    ];
    for (order, quote, price) in cases {
        let j = judged(json!({}), order.clone(), json!({"quote": quote}));
        assert_eq!(j.price, price.map(|p| p.parse().unwrap()), "{order}");
    }
}

#[test]
fn f45_a_quote_is_usable_only_fresh_positive_and_uncrossed() {
    let now = NOW.parse().unwrap();
    for (bid, ask, at, usable) in [
        ("1", "1", "2026-11-23T09:59:00Z", true),
        ("1", "1", "2026-11-23T09:58:59.999999Z", false),
        ("1", "1", "2026-11-23T10:00:05Z", true),
        ("1", "1", "2026-11-23T10:00:05.000001Z", false),
        ("2", "1", NOW, false),
        ("0", "1", NOW, false),
        ("-1", "1", NOW, false),
    ] {
        let quote =
            Quote { bid: bid.parse().unwrap(), ask: ask.parse().unwrap(), at: at.parse().unwrap() };
        assert_eq!(is_usable(&quote, 60, now), usable, "{quote:?}");
    }
}

#[test]
fn note_3_a_rate_is_the_dearer_side_of_a_usable_quote_either_way_round() {
    let text = "account_currency: JPY\naccounts: {us: USD}";
    let instruments = Some(Source { file: "i", text });
    let policies =
        Policies::parse(Sources { instruments, ..Sources::default() }, &utc_only).unwrap();
    let now: Timestamp = NOW.parse().unwrap();
    let rate_of = |account: &str, symbol: &str, age_s: i64| {
        let at = now - jiff::SignedDuration::from_secs(age_s);
        let quote = |pair: &Symbol| {
            let (bid, ask) = (Decimal::new(1512, 1), Decimal::new(1514, 1));
            (pair.as_str() == "USDJPY").then_some(Quote { bid, ask, at })
        };
        rate(&policies, &Account::new(account).unwrap(), &Symbol::new(symbol).unwrap(), now, quote)
    };
    assert_eq!(rate_of("main", "GBPJPY", 0), Some(Decimal::ONE));
    assert_eq!(rate_of("main", "EURUSD", 0), Some("151.4".parse().unwrap()));
    assert_eq!(
        rate_of("us", "GBPJPY", 0),
        Some("0.006613756614".parse().unwrap()),
        "1/151.2, raised"
    );
    assert_eq!(rate_of("main", "EURUSD", 61), None);
    assert_eq!(rate_of("main", "EURGBP", 0), None);
    assert_eq!(rate_of("main", "BTC-PERP", 0), None);
}
