//! The state that events make, worked out by hand; what differs from it, and what is lacking.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::json;

use super::*;
use crate::domain::event::{
    Action, BrokerRef, Decision, EventId, ExecEvent, Fill, LatencyMs, PolicyDigests,
};
use crate::domain::lots::Lot;
use crate::domain::request::{OrderType, TimeInForce};
use OrderStatus::*;

fn d(text: &str) -> Decimal {
    text.parse().expect("a number")
}

/// Seconds after the start of a day.
fn at(second: i64) -> Timestamp {
    let day: Timestamp = "2026-11-23T00:00:00Z".parse().expect("a time");
    day + SignedDuration::from_secs(second)
}

fn key(key: &str) -> IdempotencyKey {
    IdempotencyKey::new(&format!("order-{key:0>4}")).expect("a key")
}

fn lane() -> LaneName {
    (Account::new("main").expect("an account"), Symbol::new("USDJPY").expect("a symbol"))
}

fn trace(name: &str) -> TraceName {
    (lane().0, TraceId::new(&format!("t-{name}")).expect("a trace"))
}

/// What a decision says that the state is made of: opening units and notional, and who decided.
fn decision(
    name: &str,
    action: Action,
    qty: &str,
    opening: (&str, &str),
    arm: Option<&str>,
) -> Decision {
    Decision {
        event_id: EventId("0".into()),
        decision_id: "d".into(),
        idempotency_key: key(name),
        trace_id: trace(name).1,
        account: lane().0,
        symbol: lane().1,
        action,
        requested_qty: d(qty),
        decided_qty: if action.sends() { d(qty) } else { Decimal::ZERO },
        steps: vec![],
        quality: None,
        score: None,
        strategy_name: None,
        top_candidates: vec![],
        arm: arm.map(String::from),
        reason: String::new(),
        engine_version: String::new(),
        policies: PolicyDigests::default(),
        quote: None,
        price: None,
        unit_value: Some(d("2")),
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Gtc,
        requested_at: at(0),
        decided_at: at(10),
        request: json!({}),
        facts: json!({}),
        opening_qty: Some(d(opening.0)),
        opening_notional: Some(d(opening.1)),
    }
}

/// A step; `moves` is its number in the lane, and what was filled, if anything was.
fn step(
    name: &str,
    exec_seq: i32,
    status: OrderStatus,
    moves: Option<(i64, Option<(&str, &str)>)>,
) -> ExecEvent {
    let fill = |(qty, px): (&str, &str)| Fill {
        fill_id: format!("f-{exec_seq}"),
        px: d(px),
        qty: d(qty),
        at: at(20),
    };
    ExecEvent {
        event_id: EventId(format!("{name}-{exec_seq}")),
        idempotency_key: key(name),
        exec_seq,
        trace_id: trace(name).1,
        order_id: name.into(),
        account: lane().0,
        symbol: lane().1,
        side: Side::Buy,
        qty: d("1"),
        status,
        last_fill: moves.and_then(|(_, filled)| filled).map(fill),
        executed_qty: Decimal::ZERO,
        avg_price: None,
        broker: BrokerRef { name: "paper".into(), order_ref: None },
        reason_code: None,
        latency_ms: LatencyMs::default(),
        at: at(20),
        lane_seq: moves.map(|(number, _)| number),
        replaced: None,
    }
}

/// a buys 10 in two fills, b sells 15 beyond it and is cancelled after 12, c buys 7 and was not sent yet.
fn decisions() -> Vec<Decision> {
    vec![
        decision("a", Action::Buy, "10", ("10", "1000"), Some("challenger")),
        decision("b", Action::Sell, "15", ("5", "500"), None),
        decision("c", Action::Buy, "7", ("5", "700"), None),
        decision("flat", Action::Flat, "0", ("0", "0"), None),
    ]
}

fn steps() -> Vec<ExecEvent> {
    vec![
        step("a", 1, Sent, None),
        step("a", 2, Accepted, None),
        step("a", 3, PartiallyFilled, Some((1, Some(("4", "100"))))),
        step("a", 4, Filled, Some((2, Some(("6", "101"))))),
        step("b", 1, Sent, None),
        step("b", 2, PartiallyFilled, Some((3, Some(("12", "99.6"))))),
        step("b", 3, Cancelled, Some((4, None))),
    ]
}

/// What they make.
fn stored() -> RiskState {
    let order = |name: &str,
                 side,
                 qty: &str,
                 (opening_qty, opening_notional): (&str, &str),
                 arm: Option<&str>| Terms {
        lane: lane(),
        trace_id: trace(name).1,
        side,
        decided_qty: d(qty),
        opening_qty: d(opening_qty),
        opening_notional: d(opening_notional),
        unit_value: d("2"),
        arm: arm.map(String::from),
    };
    let come =
        |status, executed: &str, avg: Option<&str>, working: &str, realised: &str| Progress {
            status,
            executed_qty: d(executed),
            avg_price: avg.map(d),
            working_qty: d(working),
            realised_pnl: d(realised),
        };
    let a = order("a", Side::Buy, "10", ("10", "1000"), Some("challenger"));
    let b = order("b", Side::Sell, "15", ("5", "500"), None);
    let c = order("c", Side::Buy, "7", ("5", "700"), None);
    let a = Order { terms: a, progress: come(Filled, "10", Some("100.6"), "0", "0"), exec_seq: 4 };
    let b =
        Order { terms: b, progress: come(Cancelled, "12", Some("99.6"), "0", "-20"), exec_seq: 3 };
    let c = Order { terms: c, progress: come(New, "0", None, "7", "0"), exec_seq: 0 };
    let position = Lane {
        position: d("-2"),
        avg_price: Some(d("99.6")),
        working_buy: d("7"),
        working_sell: d("0"),
        realised_pnl: d("-20"),
        consecutive_losses: 1,
        lots: vec![Lot { arm: None, qty: d("2") }],
        moves: 4,
        recent_orders: vec![at(10); 3],
    };
    let day = AccountDay { pnl_day: date(2026, 11, 23), daily_pnl: d("-20") };
    RiskState {
        lanes: [(lane(), position)].into(),
        accounts: [(lane().0, day)].into(),
        // 500 less the share of the 3 that were not filled; rows of FLAT decisions hold 0.
        traces: [("a", "1000"), ("b", "400"), ("c", "700"), ("flat", "0")]
            .map(|(name, notional)| (trace(name), d(notional)))
            .into(),
        orders: [("a", a), ("b", b), ("c", c)]
            .map(|(name, order)| (key(name), Box::new(order)))
            .into(),
    }
}

fn compared(stored: RiskState, decisions: Vec<Decision>, steps: Vec<ExecEvent>) -> Compared {
    let mut rebuild = Rebuild::new(stored);
    decisions.into_iter().for_each(|decision| rebuild.decided(decision));
    steps.into_iter().for_each(|step| rebuild.stepped(step));
    rebuild.compared()
}

/// What differs, as `what field stored rebuilt`.
fn told(compared: &Compared) -> Vec<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
    let one = |d: &Difference| {
        format!("{} {} {} {}", d.what.as_str(), d.field, value(&d.stored), value(&d.rebuilt))
    };
    compared.differences.iter().map(one).collect()
}

#[test]
fn the_events_make_the_state_that_is_worked_out_by_hand() {
    let found = compared(stored(), decisions(), steps());
    assert_eq!((told(&found), &found.gaps), (vec![], &vec![]));
    assert!(found.is_equal());
    let counts = Counts { orders: 3, lanes: 1, accounts: 1, traces: 4 };
    assert_eq!((found.stored, found.decisions, found.events), (counts, 3, 7));
}

#[test]
fn events_in_any_order_and_told_again_make_the_same_state() {
    let mut rebuild = Rebuild::new(stored());
    assert_eq!(rebuild.left(), 10);
    steps().into_iter().rev().for_each(|step| rebuild.stepped(step));
    decisions().into_iter().rev().for_each(|decision| rebuild.decided(decision));
    assert_eq!(rebuild.left(), 0);
    decisions().into_iter().for_each(|decision| rebuild.decided(decision));
    steps().into_iter().for_each(|step| rebuild.stepped(step));
    let found = rebuild.compared();
    assert!(found.is_equal(), "{found:?}");
    assert_eq!((found.decisions, found.events), (3, 7));
}

#[test]
fn what_is_newer_than_the_ledger_changes_nothing() {
    let later = decision("later", Action::Buy, "3", ("3", "300"), None);
    let more = vec![
        step("c", 1, Sent, None),
        step("c", 2, Filled, Some((5, Some(("7", "100"))))),
        step("later", 1, Sent, None),
        step("later", 2, Filled, Some((6, Some(("3", "100"))))),
    ];
    let found = compared(stored(), [vec![later], decisions()].concat(), [more, steps()].concat());
    assert!(found.is_equal(), "{found:?}");
}

#[test]
fn every_field_that_is_stored_otherwise_is_named_and_no_other() {
    type Plant = fn(&mut RiskState);
    fn of(state: &mut RiskState) -> &mut Lane {
        state.lanes.get_mut(&lane()).expect("it is there")
    }
    fn of_trace<'a>(state: &'a mut RiskState, name: &str) -> &'a mut Decimal {
        state.traces.get_mut(&trace(name)).expect("it is there")
    }
    fn order(state: &mut RiskState) -> &mut Order {
        state.orders.get_mut(&key("b")).expect("it is there")
    }
    let cases: [(Plant, &str); 27] = [
        (|s| of(s).position += d("0.000001"), "position position -1.999999 -2"),
        (|s| of(s).avg_price = Some(d("99.7")), "position avg_price 99.7 99.6"),
        (|s| of(s).avg_price = None, "position avg_price none 99.6"),
        (|s| of(s).working_buy = d("8"), "position working_buy 8 7"),
        (|s| of(s).working_sell = d("1"), "position working_sell 1 0"),
        (|s| of(s).realised_pnl = d("-19"), "position realised_pnl -19 -20"),
        (|s| of(s).consecutive_losses = 0, "position consecutive_losses 0 1"),
        (|s| of(s).lots.clear(), "position lots  - 2"),
        (|s| of(s).lots[0].arm = Some("champion".into()), "position lots champion 2 - 2"),
        (|s| of(s).moves = 3, "position moves 3 4"),
        (
            |s| of(s).recent_orders[1] = at(11),
            "position recent_orders 3 times, of no order: 2026-11-23T00:00:11Z 3 times, not stored: 2026-11-23T00:00:10Z",
        ),
        (
            |s| of(s).recent_orders.truncate(2),
            "position recent_orders 2 times 3 times, not stored: 2026-11-23T00:00:10Z",
        ),
        (|s| s.lanes.clear(), "position row none there"),
        (|s| s.accounts.values_mut().for_each(|a| a.daily_pnl = d("0")), "account daily_pnl 0 -20"),
        (
            |s| s.accounts.values_mut().for_each(|a| a.pnl_day = date(2026, 11, 24)),
            "account pnl_day 2026-11-24 2026-11-23",
        ),
        (|s| s.accounts.clear(), "account row none there"),
        (|s| *of_trace(s, "b") = d("400.1"), "trace opening_notional 400.1 400"),
        (|s| *of_trace(s, "flat") = d("1"), "trace opening_notional 1 0"),
        (|s| s.traces.retain(|name, _| *name != trace("a")), "trace row none there"),
        (|s| order(s).progress.status = Expired, "order state EXPIRED CANCELLED"),
        (|s| order(s).progress.executed_qty = d("11"), "order executed_qty 11 12"),
        (|s| order(s).progress.avg_price = None, "order avg_price none 99.6"),
        (|s| order(s).progress.working_qty = d("3"), "order working_qty 3 0"),
        (|s| order(s).progress.realised_pnl = d("-21"), "order realised_pnl -21 -20"),
        (|s| order(s).terms.opening_notional = d("600"), "order opening_notional 600 500"),
        (|s| order(s).terms.unit_value = d("1"), "order unit_value 1 2"),
        (|s| order(s).terms.arm = Some("champion".into()), "order arm champion none"),
    ];
    for (plant, wanted) in cases {
        let mut state = stored();
        plant(&mut state);
        let found = compared(state, decisions(), steps());
        assert_eq!(told(&found), [wanted]);
        assert!(!found.is_equal() && found.gaps.is_empty());
    }
}

fn gaps(found: &Compared) -> Vec<String> {
    let of = |g: &Gap| g.idempotency_key.as_ref().map_or("lane".into(), ToString::to_string);
    found.gaps.iter().map(|g| format!("{}: {}", of(g), g.lack)).collect()
}

#[test]
fn what_is_not_told_is_named_and_what_hangs_on_it_is_left_out() {
    // Which event is not told; the gap; orders, lanes, accounts and traces left out.
    let all = |orders, traces| Counts { orders, lanes: 1, accounts: 1, traces };
    let one = Counts { orders: 1, traces: 1, ..Counts::default() };
    let cases = [
        (("a", 2), "order-000a: exec event 2", one),
        (("a", 3), "order-000a: exec event 3", all(2, 2)),
        (("b", 2), "order-000b: exec event 2", all(1, 1)),
        (("b", 3), "order-000b: exec event 3", all(1, 1)),
    ];
    for ((name, seq), gap, left_out) in cases {
        let told_of = |s: &ExecEvent| s.idempotency_key != key(name) || s.exec_seq != seq;
        let found = compared(stored(), decisions(), steps().into_iter().filter(told_of).collect());
        assert_eq!((gaps(&found), found.left_out), (vec![gap.to_string()], left_out));
        assert_eq!(told(&found), Vec::<String>::new(), "nothing is guessed");
        assert!(!found.is_equal());
    }
    let without_b = decisions().into_iter().filter(|d| d.idempotency_key != key("b")).collect();
    let found = compared(stored(), without_b, steps());
    assert_eq!(
        (gaps(&found), found.left_out),
        (vec!["order-000b: its decision".into()], all(1, 1))
    );
    assert_eq!(told(&found), Vec::<String>::new());
}

#[test]
fn a_ledger_that_counts_more_than_was_told_is_named_and_everything_else_is_compared() {
    let mut state = stored();
    state.orders.get_mut(&key("a")).expect("it is there").exec_seq = i32::MAX;
    state.traces.insert(trace("c"), d("701"));
    let found = compared(state, decisions(), steps());
    assert_eq!(gaps(&found), ["order-000a: exec events 5 to 2147483647"]);
    assert_eq!(told(&found), ["trace opening_notional 701 700"]);
    assert_eq!(found.left_out, Counts { orders: 1, traces: 1, ..Counts::default() });
    let mut state = stored();
    state.lanes.get_mut(&lane()).expect("it is there").moves = 6;
    let found = compared(state, decisions(), steps());
    assert_eq!(
        (gaps(&found), told(&found)),
        (vec!["lane: moves 5 to 6 of the lane".into()], vec![])
    );
}

#[test]
fn what_an_older_build_told_is_not_enough_and_is_named() {
    let mut all = steps();
    all[3].lane_seq = None;
    let found = compared(stored(), decisions(), all);
    let number = "order-000a: the number of exec event 4 in its lane (an older build wrote it)";
    assert_eq!((gaps(&found), told(&found)), (vec![number.into()], vec![]));
    let mut all = decisions();
    all[1].opening_notional = None;
    let found = compared(stored(), all, steps());
    let reserved = "order-000b: what its decision reserved (an older build decided)";
    assert_eq!((gaps(&found), told(&found)), (vec![reserved.into()], vec![]));
}

#[test]
fn an_order_that_was_decided_to_be_none_is_named() {
    let mut all = decisions();
    all[2] = decision("c", Action::Flat, "0", ("0", "0"), None);
    let found = compared(stored(), all, steps());
    assert_eq!((told(&found), gaps(&found)), (vec!["order action BUY FLAT".into()], vec![]));
    assert_eq!(found.left_out, Counts { orders: 1, lanes: 1, accounts: 1, traces: 1 });
}

#[test]
fn a_number_that_two_steps_have_is_named() {
    let mut all = steps();
    all[6].lane_seq = Some(2);
    let found = compared(stored(), decisions(), all);
    let taken = "order-000b: a number of its own: exec event 3 is move 2, as another one is";
    assert_eq!((gaps(&found), told(&found)), (vec![taken.into()], vec![]));
}

#[test]
fn only_the_newest_day_on_which_something_was_realised_counts() {
    // a buys 3 at 10; b, c and d sell one each, a loss of 2, 4 and 8, on another day each.
    let story = [("b", "9", 86_400), ("c", "8", 2 * 86_400), ("d", "6", 86_399)];
    let mut decisions = vec![decision("a", Action::Buy, "3", ("3", "30"), None)];
    let mut steps = vec![step("a", 1, Filled, Some((1, Some(("3", "10")))))];
    for ((name, px, second), number) in story.into_iter().zip(2..) {
        decisions.push(decision(name, Action::Sell, "1", ("0", "0"), None));
        let sold = step(name, 1, Filled, Some((number, Some(("1", px)))));
        steps.push(ExecEvent { at: at(second), ..sold });
    }
    let mut state = RiskState::default();
    for decision in &decisions {
        let (name, qty) = (decision.idempotency_key.clone(), decision.decided_qty);
        let is_buy = decision.action == Action::Buy;
        let terms = Terms {
            lane: lane(),
            trace_id: decision.trace_id.clone(),
            side: if is_buy { Side::Buy } else { Side::Sell },
            decided_qty: qty,
            opening_qty: d(if is_buy { "3" } else { "0" }),
            opening_notional: d(if is_buy { "30" } else { "0" }),
            unit_value: d("2"),
            arm: None,
        };
        let (px, realised) = match &*name {
            "order-000b" => ("9", "-2"),
            "order-000c" => ("8", "-4"),
            "order-000d" => ("6", "-8"),
            _ => ("10", "0"),
        };
        let (zero, avg_price) = (Decimal::ZERO, Some(d(px)));
        let progress = Progress {
            status: Filled,
            executed_qty: qty,
            avg_price,
            working_qty: zero,
            realised_pnl: d(realised),
        };
        state.traces.insert((lane().0, terms.trace_id.clone()), terms.opening_notional);
        state.orders.insert(name, Box::new(Order { terms, progress, exec_seq: 1 }));
    }
    let flat = Lane {
        realised_pnl: d("-14"),
        consecutive_losses: 3,
        moves: 4,
        recent_orders: vec![at(10); 4],
        ..Lane::default()
    };
    state.lanes.insert(lane(), flat);
    let newest = AccountDay { pnl_day: date(2026, 11, 25), daily_pnl: d("-4") };
    state.accounts.insert(lane().0, newest);
    for _ in 0..steps.len() {
        steps.rotate_left(1);
        let found = compared(state.clone(), decisions.clone(), steps.clone());
        assert!(found.is_equal(), "{found:?}");
    }
}

#[test]
fn recent_orders_are_the_last_minutes_and_of_many_perhaps_only_the_newest() {
    let times = |seconds: &[i64]| seconds.iter().map(|s| at(*s)).collect::<Vec<_>>();
    let many: Vec<i64> = (0..100).map(|n| 100 + n / 2).collect();
    let cases = [
        (times(&[10, 70]), times(&[70, 9, 10]), true),
        (times(&[9, 10, 70]), times(&[70, 9, 10]), false),
        (times(&[]), times(&[]), true),
        (times(&[70]), times(&[70, 70]), false),
        (times(&many[36..]), times(&many), true),
        (times(&many[37..]), times(&many), false),
        (times(&[&many[36..], &[151]].concat()), times(&many), false),
    ];
    for (kept, decided, are_equal) in cases {
        let mut state = RiskState::default();
        state.lanes.insert(lane(), Lane { recent_orders: kept.clone(), ..Lane::default() });
        let mut rebuild = Rebuild::new(state);
        rebuild.lanes.entry(lane()).or_default().lane.recent_orders = decided;
        assert_eq!(rebuild.compared().is_equal(), are_equal, "{kept:?}");
    }
}
