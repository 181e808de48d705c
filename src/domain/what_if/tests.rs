//! Known decisions with known numbers, and what is no decision.

use serde_json::{Value, json};

use super::given::{IS, WAS, order, quoted, recorded, risk, two_days};
use super::*;
use crate::domain::policy::{Source, Sources, risk::utc_only};

const NOW: &str = "2026-11-23T10:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn yen(amount: &str) -> Notional {
    Notional([(Currency::new("JPY").unwrap(), number(amount))].into())
}

/// A decision about an order of 150 to 150 a unit.
fn decided(key: &str, given: Value, policies: &Policies) -> Value {
    recorded(key, &order(given), &quoted("149", "150", now()), policies, now())
}

fn report(was: &Policies, is: &Policies, decisions: impl IntoIterator<Item = Value>) -> Report {
    let mut what_if = WhatIf::new(was, is, usize::MAX);
    for (nth, decision) in decisions.into_iter().enumerate() {
        what_if.take(&format!("line {nth}"), decision);
    }
    what_if.finish()
}

fn cell(report: &Report, recorded: Outcome, new: Outcome) -> u64 {
    let found = report.outcomes.iter().find(|c| (c.recorded, c.new) == (recorded, new));
    found.expect("every cell is there").orders
}

#[test]
fn known_orders_under_a_tighter_policy_give_known_numbers() {
    let was = risk("default: {max_order_qty: 500}");
    let is =
        risk("default: {max_order_qty: 200}\noverrides: {EURJPY: {forbidden_symbols: [EURJPY]}}");
    let report = report(
        &was,
        &is,
        [
            decided("whole-0001", json!({"qty": "100"}), &was),
            decided("smaller-0001", json!({"qty": "300", "side": "SELL"}), &was),
            decided("smaller-0002", json!({"qty": "900"}), &was),
            decided("blocked-0001", json!({"qty": "400", "symbol": "EURJPY"}), &was),
            decided("flat-00001", json!({"qty": "0", "side": "FLAT"}), &was),
            decided("late-00001", json!({"requested_at": "2026-11-23T09:00:00Z"}), &was),
        ],
    );
    use Outcome::*;
    assert_eq!((report.decisions, report.rejected, report.unjudged, report.changed), (6, 1, 0, 3));
    assert_eq!(cell(&report, Whole, Whole), 1);
    assert_eq!(cell(&report, Whole, Clamped), 1);
    assert_eq!(cell(&report, Clamped, Clamped), 1);
    assert_eq!(cell(&report, Whole, Blocked), 1);
    assert_eq!(cell(&report, Nothing, Nothing), 1);
    let orders = Effects { same: 2, blocked: 1, smaller: 2, ..Effects::default() };
    assert_eq!(report.total.orders, orders);
    // Bought at 150, sold at 149: 100 + 500 bought, 300 sold, 400 bought.
    assert_eq!(report.total.recorded.notional, yen("194700"));
    assert_eq!(report.total.recorded.units, number("1300"));
    assert_eq!(report.total.new.notional, yen("74800"));
    assert_eq!(report.total.new.units, number("500"));

    let rule = |name: &str| report.rules.iter().find(|r| r.rule == name).unwrap();
    let size = rule("risk.max_order_qty");
    assert_eq!((size.recorded.orders, size.recorded.removed.units), (1, number("400")));
    assert_eq!((size.new.orders, size.new.stopped, size.new.removed.units), (2, 0, number("800")));
    assert_eq!(size.new.removed.notional, yen("119900"));
    let forbidden = rule("risk.forbidden_symbol");
    assert_eq!((forbidden.recorded.orders, forbidden.new.orders), (0, 1));
    assert_eq!((forbidden.new.stopped, &forbidden.new.removed.notional), (1, &yen("60000")));

    let keys: Vec<&str> = report.changes.iter().map(|c| &*c.idempotency_key).collect();
    assert_eq!(keys, ["blocked-0001", "smaller-0002", "smaller-0001"], "the worst first");
    let worst = &report.changes[0];
    assert_eq!((worst.effect, worst.units), (Effect::Blocked, number("400")));
    assert_eq!(worst.notional, Some(number("60000")));
    assert_eq!(worst.rules, ["risk.forbidden_symbol"]);
    assert_eq!(report.changes[2].notional, Some(number("14900")));
    let symbols: Vec<_> =
        report.symbols.iter().map(|s| (s.symbol.as_str(), s.group.orders.changed())).collect();
    assert_eq!(symbols, [("EURJPY", 1), ("USDJPY", 2)]);
    // A late one must come out the same under any policy; the others were made under another.
    assert_eq!(report.reproduced, Reproduced { comparable: 1, reproduced: 1 });
}

#[test]
fn a_looser_policy_lets_through_and_enlarges() {
    let was =
        risk("default: {max_order_qty: 100}\noverrides: {EURJPY: {forbidden_symbols: [EURJPY]}}");
    let is = risk("default: {max_order_qty: 250}");
    let report = report(
        &was,
        &is,
        [
            decided("larger-0001", json!({"qty": "900"}), &was),
            decided("through-001", json!({"qty": "50", "symbol": "EURJPY"}), &was),
        ],
    );
    let orders = Effects { larger: 1, let_through: 1, ..Effects::default() };
    assert_eq!(report.total.orders, orders);
    assert_eq!(report.total.recorded.notional, yen("15000"));
    assert_eq!(report.total.new.notional, yen("45000"));
    assert_eq!(report.changes[0].rules, ["risk.max_order_qty"]);
    assert_eq!(report.changes[1].rules, ["risk.forbidden_symbol"]);
}

#[test]
fn two_days_under_their_own_policies_are_all_reproduced_and_nothing_changes() {
    let was = risk(WAS);
    let report = report(&was, &was, two_days(600, &was));
    assert_eq!((report.decisions, report.unjudged, report.changed), (600, 0, 0));
    assert_eq!(report.reproduced, Reproduced { comparable: 600, reproduced: 600 });
    assert!(report.rejected > 0 && report.rules.len() > 5, "{:?}", report.rules);
    assert!(report.rules.iter().all(|r| r.recorded == r.new));
    assert_eq!(report.total.recorded, report.total.new);
    assert_eq!(
        report.recorded_under,
        Under { quality: 600, profiles: 600, risk: 600, instruments: 600 }
    );
}

#[test]
fn a_report_does_not_depend_on_the_order_in_which_decisions_come() {
    let (was, is) = (risk(WAS), risk(IS));
    let mut decisions = two_days(300, &was);
    decisions.push(json!({"idempotency_key": "unread-001"}));
    decisions.push(json!({"idempotency_key": "unread-000"}));
    let forth = report(&was, &is, decisions.clone());
    assert!(forth.changed > 50, "{}", forth.changed);
    decisions.reverse();
    assert_eq!(forth, report(&was, &is, decisions.clone()));
    // Nor do those that are kept when there is no room for all.
    let few = |decisions: Vec<Value>| {
        let mut what_if = WhatIf::new(&was, &is, 7);
        decisions.into_iter().for_each(|decision| what_if.take("-", decision));
        what_if.finish()
    };
    let kept = few(decisions.clone());
    assert_eq!(kept.changes, forth.changes[..7]);
    assert_eq!((kept.changed, kept.unjudged), (forth.changed, forth.unjudged));
    decisions.reverse();
    assert_eq!(kept, few(decisions));
}

#[test]
fn a_decision_that_comes_out_otherwise_under_its_own_policies_is_a_finding() {
    let was = risk("default: {max_order_qty: 500}");
    let mut fewer = decided("fewer-00001", json!({"qty": "900"}), &was);
    fewer["decided_qty"] = json!("400");
    let mut why = decided("why-0000001", json!({"qty": "900"}), &was);
    why["steps"][0]["reason"] = json!("because");
    let mut never = decided("never-00001", json!({"qty": "900"}), &was);
    never["action"] = json!("REJECT");
    let good = decided("good-000001", json!({"qty": "900"}), &was);
    let report = report(&was, &was, [fewer, why, never, good]);
    assert_eq!(report.reproduced, Reproduced { comparable: 4, reproduced: 1 });
    let found: Vec<(&str, &str)> = report
        .findings
        .not_reproduced
        .iter()
        .map(|one| (&*one.idempotency_key, &*one.differs[0]))
        .collect();
    assert_eq!(
        found,
        [
            ("fewer-00001", "decided_qty: recorded 400, again 500"),
            ("never-00001", "action: recorded REJECT, again BUY"),
            (
                "why-0000001",
                "steps: recorded risk.max_order_qty 900 → 500 (because), again risk.max_order_qty 900 → 500 (900 > 500)"
            ),
        ]
    );
    assert_eq!(report.rejected, 1);
}

#[test]
fn what_cannot_be_judged_again_is_counted_and_told_and_never_dropped() {
    let was = risk("default: {}");
    let with = |key: &str, change: &dyn Fn(&mut Value)| {
        let mut decision = decided(key, json!({}), &was);
        change(&mut decision);
        decision
    };
    let report = report(
        &was,
        &was,
        [
            with("a-facts-none", &|d| d["facts"] = json!({})),
            with("b-facts-null", &|d| drop(d.as_object_mut().unwrap().remove("facts"))),
            with("c-facts-some", &|d| drop(d["facts"].as_object_mut().unwrap().remove("rate"))),
            with("d-facts-more", &|d| d["facts"]["mood"] = json!("good")),
            with("e-request-no", &|d| d["request"] = Value::Null),
            with("f-shape-wrong", &|d| d["request"]["qty"] = json!("-1")),
            with("g-other-symbol", &|d| d["request"]["symbol"] = json!("EURJPY")),
            with("h-no-action", &|d| d["action"] = json!("HOPE")),
            json!("text"),
            Value::Null,
            json!([]),
        ],
    );
    assert_eq!((report.decisions, report.unjudged, report.total.orders.all()), (11, 11, 0));
    let told: Vec<(&str, &str)> =
        report.findings.unjudged.iter().map(|one| (&*one.name, &*one.why)).collect();
    let starts = [
        ("a-facts-none", "it has no facts"),
        ("b-facts-null", "it has no facts"),
        ("c-facts-some", "its facts lack rate"),
        ("d-facts-more", "facts: unknown field `mood`"),
        ("e-request-no", "it has no request"),
        ("f-shape-wrong", "request: invalid_qty: "),
        ("g-other-symbol", "the request is for another account or symbol"),
        ("h-no-action", "no decision: unknown variant `HOPE`"),
        ("line 10", "no decision: "),
        ("line 8", "no decision: "),
        ("line 9", "no decision: "),
    ];
    assert_eq!(told.len(), starts.len());
    for ((name, why), (wanted, start)) in told.into_iter().zip(starts) {
        assert_eq!(name, wanted);
        assert!(why.starts_with(start), "{name}: {why}");
    }
    assert_eq!(report.first_at, None, "nothing is known of when");
}

#[test]
fn an_order_without_a_price_is_counted_apart_and_never_as_nothing() {
    let was = risk("default: {}");
    let is = risk("default: {max_order_qty: 50}");
    let unknown = recorded("no-price-01", &order(json!({})), &Facts::default(), &was, now());
    let known = decided("a-price-001", json!({}), &was);
    let report = report(&was, &is, [unknown, known]);
    let sum = |units: &str, notional: &str| Sum {
        units: number(units),
        notional: yen(notional),
        unpriced: 1,
    };
    assert_eq!(report.total.recorded, sum("200", "15000"));
    assert_eq!(report.total.new, sum("100", "7500"));
    assert_eq!(report.rules[0].new.removed, sum("100", "7500"));
    // What has no price comes after what has one, whatever it may be worth.
    assert_eq!(report.changes[0].idempotency_key, "a-price-001");
    assert_eq!(report.changes[1].notional, None);
}

#[test]
fn where_limits_go_by_the_quantity_an_order_is_valued_by_its_price_and_not_by_1() {
    let was = risk("default: {notional_basis: qty, max_position_notional: 80}");
    let report = report(&was, &was, [decided("naive-0001", json!({}), &was)]);
    assert_eq!(report.total.recorded.notional, yen("12000"), "80 of 100 are left, at 150");
    let one = recorded(
        "at-one-0001",
        &order(json!({"symbol": "CHFJPY"})),
        &quoted("0.5", "1", now()),
        &was,
        now(),
    );
    let report = self::report(&was, &was, [one]);
    assert_eq!(report.total.recorded.notional, yen("80"), "its price is 1");
}

#[test]
fn other_instruments_are_told_where_they_change_what_a_rate_is() {
    let instruments = |text: &str| {
        let sources =
            Sources { instruments: Some(Source { file: "i", text }), ..Sources::default() };
        Policies::parse(sources, &utc_only).unwrap()
    };
    let was = instruments("account_currency: JPY");
    let dollars = instruments("account_currency: USD");
    let decisions = || [decided("rate-000001", json!({"qty": "1"}), &was)];
    let told = report(&was, &dollars, decisions());
    assert_eq!((told.currencies.changed, told.currencies.unknown), (1, 0));
    assert!(told.currencies.symbols.contains("USDJPY"));
    assert_eq!(told.total.recorded.notional, yen("150"), "what was recorded were yen");
    let steps = instruments("account_currency: JPY\nUSDJPY: {qty_step: 0.1}");
    assert_eq!(report(&was, &steps, decisions()).currencies, Currencies::default());
    // Neither the new nor the present instruments are those of the decision.
    assert_eq!(report(&dollars, &steps, decisions()).currencies.unknown, 1);
}

#[test]
fn money_of_two_currencies_is_never_one_sum() {
    let sources = Sources {
        instruments: Some(Source { file: "i", text: "accounts: {desk: USD}" }),
        ..Sources::default()
    };
    let was = Policies::parse(sources, &utc_only).unwrap();
    let desk = order(json!({"account": "desk", "symbol": "EURUSD", "qty": "10"}));
    let desk = recorded("dollars-01", &desk, &quoted("1.1", "1.2", now()), &was, now());
    let report = report(&was, &was, [desk, decided("yen-000001", json!({"qty": "2"}), &was)]);
    let both = [("JPY", "300"), ("USD", "12")];
    let both = both.map(|(c, amount)| (Currency::new(c).unwrap(), number(amount)));
    assert_eq!(report.total.recorded.notional, Notional(both.into()));
}

#[test]
fn proposals_are_judged_again_and_may_turn() {
    let profiles = |text: &str| {
        let sources = Sources {
            profiles: Some(Source { file: "p", text }),
            risk: Some(Source { file: "r", text: "default: {}" }),
            ..Sources::default()
        };
        Policies::parse(sources, &utc_only).unwrap()
    };
    let was =
        profiles("default: {rollout_percent: 100, combine: best_one}\nweights: {A: 1, B: 0.1}");
    let is = profiles("default: {rollout_percent: 50, combine: best_one}\nweights: {A: 0.1, B: 1}");
    let proposal = |strategy: &str, intent: &str, confidence: f64| json!({"strategy": strategy, "intent": intent, "qty_raw": "10", "confidence": confidence});
    let set = json!({"trace_id": "t-1", "symbol": "USDJPY", "requested_at": NOW, "idempotency_key": "set-000001",
        "quality": {"missing_ratio": 0.0, "data_lag_min": 1.0},
        "proposals": [proposal("A", "LONG", 0.9), proposal("B", "SHORT", 0.9)]});
    let mut draft: crate::domain::request::ProposalSetDraft = serde_json::from_value(set).unwrap();
    // Nobody measured this one: it is dropped, then and again.
    let mut odd = draft.proposals[0].clone();
    (odd.strategy, odd.confidence) = ("C".into(), f64::NAN);
    draft.proposals.push(odd);
    let set = crate::domain::request::Intake::Proposals(draft.check().unwrap());
    let decision = recorded("set-000001", &set, &quoted("149", "150", now()), &was, now());
    assert!(decision["request"]["proposals"][2]["confidence"].is_null(), "{decision}");
    let same = report(&was, &was, [decision.clone()]);
    assert_eq!(same.reproduced, Reproduced { comparable: 1, reproduced: 1 });
    let turned = report(&was, &is, [decision]);
    assert_eq!(turned.total.orders.turned, 1);
    assert_eq!(turned.changes[0].units, number("15"), "10 bought become 5 sold");
    assert_eq!(cell(&turned, Outcome::Whole, Outcome::Clamped), 1);
    assert_eq!(turned.rules[0].rule, "engine.rollout");
}

#[test]
fn hours_become_days_when_they_are_many() {
    let was = risk("default: {}");
    let at = |hour: i64| {
        let now = now() + jiff::SignedDuration::from_hours(hour);
        let order = order(json!({"requested_at": now}));
        recorded(&format!("order-{hour:05}"), &order, &quoted("149", "150", now), &was, now)
    };
    let froms = |hours: &[i64]| {
        let report = report(&was, &was, hours.iter().map(|hour| at(*hour)));
        let told = report.buckets.iter().map(|b| (b.from.to_string(), b.group.orders.all()));
        (report.bucket, told.collect::<Vec<_>>())
    };
    let told =
        |all: &[(&str, u64)]| all.iter().map(|(t, n)| (t.to_string(), *n)).collect::<Vec<_>>();
    let hours = told(&[("2026-11-23T10:00:00Z", 2), ("2026-11-25T09:00:00Z", 1)]);
    assert_eq!(froms(&[0, 47, 0]), (Every::Hour, hours));
    let days = told(&[("2026-11-23T00:00:00Z", 2), ("2026-11-25T00:00:00Z", 1)]);
    assert_eq!(froms(&[0, 48, 13]), (Every::Day, days));
}

#[test]
fn rules_are_told_in_the_order_in_which_they_act() {
    let (was, is) = (risk(WAS), risk(IS));
    let report = report(&was, &is, two_days(300, &was));
    let told: Vec<&str> = report.rules.iter().map(|r| &*r.rule).collect();
    let acting = [
        "quality",
        "risk.halted",
        "risk.forbidden_symbol",
        "risk.trading_window",
        "risk.price_unavailable",
        "risk.price_collar",
        "risk.consecutive_losses",
        "risk.max_order_qty",
        "risk.rate",
        "risk.max_position_notional",
        "risk.qty_step",
    ];
    assert_eq!(told, acting);
}
