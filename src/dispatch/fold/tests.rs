//! What findings make of an order, its position and its reservation.

use serde_json::Value;

use super::*;
use crate::dispatch::broker::events;
use crate::dispatch::broker::protocol::{BrokerStatus, ClientId, PlaceOrder};
use crate::dispatch::tests::order_row;
use crate::domain::request::{OrderType, TimeInForce};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

pub(in crate::dispatch) fn manners() -> Manners {
    let capabilities = Capabilities {
        name: "test".into(),
        environment: "paper".into(),
        min_qty: Decimal::ONE,
        qty_step: Decimal::ONE,
        price_tick: None,
        time_in_force: vec![TimeInForce::Gtc],
        order_types: vec![OrderType::Market],
        client_id: ClientId { chars: "A-Za-z0-9_-".into(), max_length: 128 },
        dedupes_by_client_id: true,
        dedupe_horizon_s: None,
        query_by_client_id: true,
        visible_within_ms: 0,
        honours_accept_by: true,
        replace: false,
        cancel: false,
        events: false,
        positions: false,
        rate_limits: vec![],
    };
    Manners { capabilities, settle_ms: 5_000, late_fill_ms: 60_000 }
}

fn position() -> PositionRow {
    PositionRow {
        account: "main".into(),
        symbol: "USDJPY".into(),
        position: Decimal::ZERO,
        avg_price: None,
        working_buy: Decimal::ONE_HUNDRED,
        working_sell: Decimal::ZERO,
        realised_pnl: Decimal::ZERO,
        consecutive_losses: 0,
        lots: vec![],
        moves: 0,
    }
}

fn sent() -> OrderRow {
    OrderRow {
        state: OrderStatus::Sent,
        exec_seq: 1,
        attempt_no: 1,
        sent_at: Some(at(1001)),
        ..order_row("fold-key-1")
    }
}

fn unknown() -> OrderRow {
    OrderRow { state: OrderStatus::Unknown, exec_seq: 2, ..sent() }
}

fn found(row: &OrderRow, finding: Finding) -> Outcome {
    Outcome {
        row: row.clone(),
        attempt_no: row.attempt_no,
        finding,
        ends: None,
        detail: Value::Null,
        response: None,
        cancel: None,
        rtt_ms: Some(3),
        at: at(1002),
        jitter: 0.0,
    }
}

fn fill(id: &str, qty: i64, px: i64) -> Fill {
    Fill { fill_id: id.into(), px: px.into(), qty: qty.into(), at: at(1002) }
}

fn settle(row: &OrderRow, finding: Finding, position: &mut PositionRow) -> Folded {
    fold(row, BTreeMap::new(), &found(row, finding), Some(position), &manners())
}

fn view(status: BrokerStatus, fills: Vec<Fill>) -> OrderView {
    let row = order_row("fold-key-1");
    let order = PlaceOrder {
        client_order_id: row.key.to_string(),
        account: "main".into(),
        symbol: "USDJPY".into(),
        side: row.side,
        qty: row.qty,
        order_type: row.order_type,
        limit_price: None,
        stop_price: None,
        stop_loss: None,
        take_profit: None,
        reference_price: None,
        time_in_force: row.time_in_force,
        accept_by: None,
        trace_id: None,
    };
    let (order_ref, received_at) = ("p-1".to_string(), at(1002));
    OrderView {
        order,
        order_ref,
        status,
        code: None,
        fills,
        received_at,
        duplicate: false,
        replaces: None,
    }
}

#[test]
fn a_filled_order_moves_its_whole_reservation_into_the_position() {
    let mut position = position();
    let seen = view(BrokerStatus::Filled, vec![fill("a", 40, 150), fill("b", 60, 151)]);
    let done = settle(&sent(), Finding::Facts(events(&seen)), &mut position);
    let states: Vec<_> = done.steps.iter().map(|s| (s.exec_seq, s.status.as_str())).collect();
    assert_eq!(states, [(2, "ACCEPTED"), (3, "PARTIALLY_FILLED"), (4, "FILLED")]);
    assert_eq!(done.settled.working_qty, Decimal::ZERO);
    assert_eq!((position.working_buy, position.position), (0.into(), 100.into()));
    assert_eq!(position.avg_price, Some(Decimal::new(1506, 1)));
    assert_eq!(done.trace_moved, Decimal::ZERO, "what filled stays taken");
    assert_eq!(done.settled.next_question, NextQuestion::Never);
    assert!(done.alerts.is_empty());
}

#[test]
fn the_unfilled_part_of_a_cancelled_order_is_released_once() {
    let mut position = position();
    let seen = view(BrokerStatus::Cancelled, vec![fill("a", 25, 150)]);
    let done = settle(&sent(), Finding::Facts(events(&seen)), &mut position);
    assert_eq!(done.settled.state, OrderStatus::Cancelled);
    assert_eq!((position.working_buy, position.position), (0.into(), 25.into()));
    assert_eq!(done.trace_moved, Decimal::from(-11_250), "75 of 100 of 15000");
    // The same answer again: the row as it was stored, the fills as they were.
    let row = OrderRow {
        state: done.settled.state,
        exec_seq: done.settled.exec_seq,
        working_qty: done.settled.working_qty,
        ..sent()
    };
    let known = seen.fills.iter().map(|f| (f.fill_id.clone(), f.clone())).collect();
    let before = position.clone();
    let outcome = found(&row, Finding::Facts(events(&seen)));
    let again = fold(&row, known, &outcome, Some(&mut position), &manners());
    assert!(again.steps.is_empty() && again.alerts.is_empty());
    assert_eq!((again.trace_moved, &position), (Decimal::ZERO, &before));
}

#[test]
fn f56_a_late_fill_takes_the_released_part_again_and_raises_a_high_alert() {
    let row =
        OrderRow { state: OrderStatus::Expired, exec_seq: 3, working_qty: Decimal::ZERO, ..sent() };
    let mut position = PositionRow { working_buy: Decimal::ZERO, ..position() };
    let done =
        settle(&row, Finding::Facts(vec![Event::Fill(fill("late", 10, 150))]), &mut position);
    assert_eq!(position.position, 10.into());
    assert_eq!(position.working_buy, Decimal::ZERO);
    assert_eq!(done.trace_moved, 1_500.into());
    assert_eq!(done.alerts[0].policy_name, "do.late_fill");
    assert_eq!(done.settled.state, OrderStatus::Expired);
}

#[test]
fn a_losing_reduction_counts_one_loss_for_the_whole_order() {
    let mut position = PositionRow {
        position: Decimal::from(-100),
        avg_price: Some(150.into()),
        consecutive_losses: 2,
        ..position()
    };
    let seen = view(BrokerStatus::Filled, vec![fill("a", 40, 151), fill("b", 60, 152)]);
    let done = settle(&sent(), Finding::Facts(events(&seen)), &mut position);
    assert_eq!(done.realised, Some((utc_day(at(1002)), Decimal::from(-160))));
    assert_eq!(position.consecutive_losses, 3);
    assert_eq!((position.position, position.avg_price), (0.into(), None));
}

#[test]
fn what_steps_move_does_not_depend_on_which_of_them_were_found_together() {
    // Over-filled: a gain, then a loss that is larger. And a fill that comes after the end.
    let sold = |id: &str, qty, px| Event::Fill(fill(id, qty, px));
    let cancel = Event::Cancel { code: "broker".into() };
    let stories = [
        (vec![sold("a", 100, 151), sold("b", 100, 148)], 1, 15_000),
        (vec![sold("a", 50, 151), cancel, sold("b", 10, 130)], 1, -6_000),
    ];
    for (events, losses, trace_moved) in stories {
        let together = vec![events.clone()];
        let one_by_one = events.into_iter().map(|event| vec![event]).collect();
        let settled = |groups: Vec<Vec<Event>>| {
            let mut position = PositionRow {
                position: Decimal::from(1_000),
                avg_price: Some(150.into()),
                working_buy: Decimal::ZERO,
                working_sell: Decimal::ONE_HUNDRED,
                consecutive_losses: 2,
                ..position()
            };
            let (mut row, mut fills) = (OrderRow { side: Side::Sell, ..sent() }, BTreeMap::new());
            let (mut moved, mut steps) = (Decimal::ZERO, vec![]);
            for events in groups {
                let outcome = found(&row, Finding::Facts(events));
                let done = fold(&row, fills.clone(), &outcome, Some(&mut position), &manners());
                (row.state, row.exec_seq) = (done.settled.state, done.settled.exec_seq);
                row.working_qty = done.settled.working_qty;
                row.realised_pnl = done.settled.realised_pnl;
                fills.extend(done.settled.new_fills.iter().map(|f| (f.fill_id.clone(), f.clone())));
                moved += done.trace_moved;
                steps.extend(done.steps);
            }
            (position, row, moved, steps)
        };
        let (together, one_by_one) = (settled(together), settled(one_by_one));
        assert_eq!(together, one_by_one);
        let (position, _, moved, steps) = together;
        assert_eq!((position.consecutive_losses, moved), (losses, trace_moved.into()));
        let numbers: Vec<_> = steps.iter().filter_map(|step| step.lane_seq).collect();
        assert_eq!(numbers, (1..=position.moves).collect::<Vec<_>>(), "each move has its number");
    }
}

#[test]
fn a_lost_answer_makes_the_order_unknown_and_it_keeps_its_reservation() {
    let mut position = position();
    let lost = Finding::Lost { code: "timeout", retry_after_ms: 0 };
    let done = settle(&sent(), lost, &mut position);
    assert_eq!(done.settled.state, OrderStatus::Unknown);
    assert_eq!(done.settled.next_question, NextQuestion::InMs(5_000));
    assert_eq!(done.settled.working_qty, Decimal::ONE_HUNDRED);
}

#[test]
fn what_is_said_about_an_older_attempt_changes_nothing() {
    let row = OrderRow { attempt_no: 2, ..sent() };
    for finding in [
        Finding::NotSent { code: "lease_over" },
        Finding::Lost { code: "timeout", retry_after_ms: 0 },
    ] {
        let outcome = Outcome { attempt_no: 1, ..found(&row, finding) };
        let done = fold(&row, BTreeMap::new(), &outcome, None, &manners());
        assert!(done.steps.is_empty());
        assert_eq!(done.settled.next_question, NextQuestion::Keep);
    }
}

#[test]
fn f53_questions_are_asked_six_times_in_doubling_pauses_and_then_the_order_is_parked() {
    let mut row = unknown();
    let mut pauses = vec![];
    loop {
        let done =
            settle(&row, Finding::NoAnswer { code: "timeout", retry_after_ms: 0 }, &mut position());
        match done.settled.next_question {
            NextQuestion::InMs(ms) => pauses.push(ms),
            other => {
                assert_eq!(other, NextQuestion::Never);
                assert_eq!(done.settled.state, OrderStatus::Parked);
                assert_eq!(done.alerts[0].policy_name, "do.parked");
                assert_eq!(done.alerts[0].severity, Severity::Critical);
                break;
            }
        }
        row.query_no = done.settled.query_no;
    }
    // The first question came after 5 s; these are the pauses before the other five.
    assert_eq!(pauses, [10_000, 20_000, 40_000, 80_000, 160_000]);
    let spread = manners().question_ms(0, 1.0);
    assert_eq!(spread, 5_500);
}

/// What NotFound makes of an UNKNOWN order: its state and whether it is to be sent again.
fn not_found(row: &OrderRow, manners: &Manners) -> (OrderStatus, NextQuestion) {
    let outcome = found(row, Finding::NotFound);
    let done = fold(row, BTreeMap::new(), &outcome, Some(&mut position()), manners);
    (done.settled.state, done.settled.next_question)
}

#[test]
fn an_order_the_broker_does_not_have_is_sent_again_only_where_that_makes_no_second_order() {
    use OrderStatus::*;
    let dedupes = manners();
    assert_eq!(not_found(&unknown(), &dedupes), (Unknown, NextQuestion::Never), "to be sent again");
    let mut no_dedupe = manners();
    no_dedupe.capabilities.dedupes_by_client_id = false;
    assert_eq!(not_found(&unknown(), &no_dedupe).0, Parked);
    let mut short = manners();
    short.capabilities.dedupe_horizon_s = Some(30);
    let row = |read_at| OrderRow { read_at: at(read_at), ..unknown() };
    assert_eq!(not_found(&row(1_028), &short).0, Unknown);
    assert_eq!(not_found(&row(1_029), &short).0, Parked, "it might arrive past the horizon");
}

#[test]
fn f54_not_found_ends_an_order_only_after_its_life_and_the_time_the_broker_needs_to_show_it() {
    use OrderStatus::*;
    let mut slow = manners();
    slow.capabilities.visible_within_ms = 3_000;
    let row = |read_at| OrderRow { read_at: at(read_at), ..unknown() };
    assert_eq!(not_found(&row(1_061), &slow), (Unknown, NextQuestion::InMs(4_001)));
    assert_eq!(not_found(&row(1_066), &slow), (Expired, NextQuestion::Never));
    slow.capabilities.honours_accept_by = false;
    assert_eq!(not_found(&row(1_066), &slow).0, Parked);
}

#[test]
fn f54_not_found_says_nothing_of_what_arrived_after_the_question() {
    let row = |read_at| OrderRow { read_at: at(read_at), ..unknown() };
    // Asked while the order lived; settled when its life and the time to show it are over.
    let asked = found(&row(1_059), Finding::NotFound);
    let done =
        fold(&row(1_070), BTreeMap::new(), &asked, Some(&mut position()), &manners()).settled;
    let again = (OrderStatus::Unknown, NextQuestion::InMs(1));
    assert_eq!((done.state, done.next_question), again);
}

#[test]
fn f53_a_resend_that_did_not_leave_leaves_the_order_unknown() {
    let not_sent = Finding::NotSent { code: "connect" };
    let first = settle(&sent(), not_sent.clone(), &mut position()).settled;
    assert_eq!(first.state, OrderStatus::New);
    let again = OrderRow { attempt_no: 2, unsure_before: true, ..sent() };
    let done = settle(&again, not_sent, &mut position()).settled;
    assert_eq!((done.state, done.next_question), (OrderStatus::Unknown, NextQuestion::Never));
}

#[test]
fn f55_another_order_under_our_id_parks_ours_with_a_critical_alert_once() {
    let theirs = Finding::Mismatch(Box::new(view(BrokerStatus::Filled, vec![])));
    let done = settle(&sent(), theirs.clone(), &mut position());
    assert_eq!(done.settled.state, OrderStatus::Parked);
    let names: Vec<_> = done.alerts.iter().map(|a| a.policy_name).collect();
    assert_eq!(names, ["do.broker_mismatch", "do.parked"]);
    let row =
        OrderRow { state: OrderStatus::Parked, quarantined: done.settled.quarantined, ..sent() };
    assert!(settle(&row, theirs, &mut position()).alerts.is_empty());
}

#[test]
fn an_illegal_event_is_quarantined_with_one_alert_and_the_order_stays() {
    let row = OrderRow { state: OrderStatus::Rejected, exec_seq: 2, ..sent() };
    let late = || Finding::Facts(vec![Event::Fill(fill("x", 10, 150))]);
    let mut position = position();
    let before = position.clone();
    let done = settle(&row, late(), &mut position);
    assert_eq!(done.alerts[0].policy_name, "do.illegal_event");
    assert!(done.steps.is_empty());
    assert_eq!(position, before);
    let row = OrderRow { quarantined: done.settled.quarantined, ..row };
    assert!(settle(&row, late(), &mut position).alerts.is_empty());
}

#[test]
fn c_out_2_an_order_that_cannot_be_asked_about_is_sent_again_only_where_that_makes_no_second_one() {
    let unknown = OrderRow { state: OrderStatus::Unknown, ..sent() };
    let too_old = OrderRow { send_by: Some(at(1000)), ..unknown.clone() };
    let cases = [
        (true, &unknown, OrderStatus::Unknown),
        (true, &too_old, OrderStatus::Parked),
        (false, &unknown, OrderStatus::Parked),
    ];
    for (dedupes, row, wanted) in cases {
        let mut manners = manners();
        manners.capabilities.dedupes_by_client_id = dedupes;
        let outcome = found(row, Finding::CannotAsk);
        let done = fold(row, BTreeMap::new(), &outcome, Some(&mut position()), &manners);
        assert_eq!(done.settled.state, wanted, "{dedupes} {:?}", row.send_by);
        assert_eq!(done.settled.next_question, NextQuestion::Never);
    }
}

#[test]
fn f57_the_next_question_waits_as_long_as_the_broker_asks_for() {
    let row = OrderRow { state: OrderStatus::Unknown, ..sent() };
    let none = Finding::NoAnswer { code: "rate_limited", retry_after_ms: 120_000 };
    let done = settle(&row, none, &mut position());
    assert_eq!(done.settled.next_question, NextQuestion::InMs(120_000));
}

#[test]
fn f60_what_is_ended_unsent_is_only_ended_if_nobody_has_sent_it_meanwhile() {
    let halted = || Finding::Unsent(Event::Cancel { code: "halted".into() });
    let new = OrderRow { state: OrderStatus::New, exec_seq: 0, attempt_no: 0, ..sent() };
    let done = settle(&new, halted(), &mut position());
    assert_eq!(done.settled.state, OrderStatus::Cancelled);
    assert_eq!(done.settled.working_qty, Decimal::ZERO);
    for row in [sent(), unknown()] {
        let done = settle(&row, halted(), &mut position());
        assert_eq!((done.settled.state, done.steps.len()), (row.state, 0));
        assert_eq!(done.settled.next_question, NextQuestion::Keep);
    }
}

#[test]
fn a_cancel_that_the_broker_refuses_is_told_once_and_the_order_goes_on() {
    let row = OrderRow { state: OrderStatus::Accepted, exec_seq: 2, ..sent() };
    let refused = |shown| Finding::CancelRefused { code: "too_late".into(), shown };
    let done = settle(&row, refused(vec![]), &mut position());
    assert_eq!(done.settled.state, OrderStatus::Accepted);
    assert_eq!(done.alerts[0].policy_name, "do.cancel_refused");
    let again = OrderRow { quarantined: done.settled.quarantined, ..row.clone() };
    assert!(settle(&again, refused(vec![]), &mut position()).alerts.is_empty());
    // Refused because it was filled: that is what counts.
    let shown = vec![Event::Fill(fill("x", 100, 150))];
    let done = settle(&row, refused(shown), &mut position());
    assert_eq!(done.settled.state, OrderStatus::Filled);
    assert!(done.alerts.is_empty());
}

/// What is done about an order in this state, after so many questions since its end.
fn after_the_end(state: OrderStatus, query_no: i32, finding: Finding) -> Folded {
    let row = OrderRow { state, exec_seq: 3, query_no, ..sent() };
    settle(&row, finding, &mut position())
}

#[test]
fn f56_after_its_end_an_order_is_asked_about_with_doubled_pauses_until_the_time_is_over() {
    let cancel = || Finding::Facts(vec![Event::Cancel { code: "by_hand".into() }]);
    let ended = after_the_end(OrderStatus::Accepted, 7, cancel());
    assert_eq!(ended.settled.next_question, NextQuestion::InMs(1_000));
    assert_eq!(ended.settled.query_no, 0, "counted from its end");
    let mut pauses = vec![1_000];
    for asked in 0..5 {
        for finding in [Finding::Facts(vec![]), Finding::NotFound] {
            let done = after_the_end(OrderStatus::Cancelled, asked, finding);
            assert_eq!(done.settled.query_no, asked + 1);
            let NextQuestion::InMs(pause) = done.settled.next_question else { panic!("{asked}") };
            assert!(done.steps.is_empty() && done.alerts.is_empty());
            pauses.push(pause);
        }
    }
    pauses.dedup();
    assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 29_000]);
    assert_eq!(pauses.iter().sum::<u64>(), 60_000);
    for state in [OrderStatus::Cancelled, OrderStatus::Expired] {
        let over = after_the_end(state, 5, Finding::Facts(vec![]));
        assert_eq!(over.settled.next_question, NextQuestion::Never);
        let unasked = after_the_end(state, 2, Finding::AskAgain);
        assert_eq!((unasked.settled.query_no, unasked.steps.len()), (2, 0));
    }
}

#[test]
fn f56_what_was_never_sent_or_cannot_be_asked_about_is_not_asked_about_after_its_end() {
    let new = OrderRow { state: OrderStatus::New, attempt_no: 0, ..sent() };
    let halted = Finding::Unsent(Event::Cancel { code: "halted".into() });
    let done = settle(&new, halted, &mut position());
    assert_eq!(done.settled.next_question, NextQuestion::Never);
    let row = OrderRow { state: OrderStatus::Accepted, exec_seq: 2, ..sent() };
    let ended = found(&row, Finding::Facts(vec![Event::Expire { code: "end_of_day".into() }]));
    let mut never = [manners(), manners()];
    never[0].capabilities.query_by_client_id = false;
    never[1].late_fill_ms = 0;
    for manners in never {
        let done = fold(&row, BTreeMap::new(), &ended, Some(&mut position()), &manners);
        assert_eq!(done.settled.state, OrderStatus::Expired);
        assert_eq!(done.settled.next_question, NextQuestion::Never);
    }
}

#[test]
fn f56_a_late_fill_found_by_asking_is_booked_and_told() {
    let late = Finding::Facts(vec![Event::Fill(fill("late", 100, 150))]);
    let row = OrderRow {
        state: OrderStatus::Cancelled,
        exec_seq: 3,
        working_qty: Decimal::ZERO,
        ..sent()
    };
    let mut position = PositionRow { working_buy: Decimal::ZERO, ..position() };
    let done = settle(&row, late, &mut position);
    assert_eq!(done.settled.state, OrderStatus::Cancelled);
    assert_eq!(position.position, Decimal::ONE_HUNDRED);
    assert_eq!(done.alerts[0].policy_name, "do.late_fill");
}
