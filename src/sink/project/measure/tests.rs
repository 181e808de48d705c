//! What an order cost, from its steps in any order.

use proptest::prelude::*;

use super::*;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_755_946_830 + seconds).unwrap()
}

fn step(exec_seq: i32, status: &str) -> Step {
    Step {
        event_id: format!("e-{exec_seq}"),
        trace_id: "t".into(),
        idempotency_key: "key-00001".into(),
        exec_seq,
        sent_at: at(exec_seq.into()),
        symbol: "USDJPY".into(),
        side: "BUY".into(),
        size: d("500"),
        status: status.into(),
        executed_qty: Decimal::ZERO,
        avg_price: None,
        queue_ms: None,
        broker_rtt_ms: None,
        total_ms: None,
        price: Some(d("147.252")),
    }
}

fn resent() -> Vec<Step> {
    vec![
        Step { queue_ms: Some(12), total_ms: Some(40), ..step(1, "SENT") },
        Step { queue_ms: Some(12), total_ms: Some(60), ..step(2, "UNKNOWN") },
        Step { queue_ms: Some(12), total_ms: Some(900), ..step(3, "SENT") },
        Step { broker_rtt_ms: Some(4), total_ms: Some(904), ..step(4, "ACCEPTED") },
        Step {
            executed_qty: d("200"),
            avg_price: Some(d("147.25")),
            total_ms: Some(950),
            broker_rtt_ms: Some(90),
            ..step(5, "PARTIALLY_FILLED")
        },
        Step { executed_qty: d("500"), avg_price: Some(d("147.26")), ..step(6, "FILLED") },
    ]
}

#[test]
fn an_order_is_measured_from_its_first_and_its_newest_step() {
    let row = measure(resent()).unwrap();
    assert_eq!((row.event_id.as_str(), row.first_at), ("e-1", at(1)));
    assert_eq!((row.child_orders, row.retry_counts, row.partial_fills), (1, 1, 1));
    assert_eq!((row.requested_qty, row.filled_qty), (d("500"), d("500")));
    assert_eq!(row.slippage, Some(d("0.008")));
    assert_eq!((row.queue_ms, row.broker_rtt_ms, row.total_ms), (Some(12), Some(4), Some(950)));
    assert_eq!(row.final_status, "FILLED");
    assert_eq!(measure(Vec::new()), None);
}

#[test]
fn slippage_is_what_a_unit_cost_more_and_needs_a_price_and_a_fill() {
    let filled = |side: &str, paid, price| {
        let step = Step { side: side.into(), avg_price: paid, price, ..step(1, "FILLED") };
        measure(vec![step]).unwrap().slippage
    };
    assert_eq!(filled("BUY", Some(d("10.5")), Some(d("10"))), Some(d("0.5")));
    assert_eq!(filled("SELL", Some(d("10.5")), Some(d("10"))), Some(d("-0.5")));
    assert_eq!(filled("BUY", None, Some(d("10"))), None);
    assert_eq!(filled("BUY", Some(d("10.5")), None), None);
    let huge = d("9999999999999999999");
    assert_eq!(filled("BUY", Some(huge), Some(-huge)), None, "the column would not hold it");
}

#[test]
fn an_order_that_was_never_sent_has_no_resends() {
    let row = measure(vec![step(1, "EXPIRED")]).unwrap();
    assert_eq!((row.retry_counts, row.final_status.as_str()), (0, "EXPIRED"));
}

#[test]
fn the_months_to_look_through_begin_a_day_before_the_request() {
    let row = |total_ms| ExecEventRow {
        event_id: "e".into(),
        trace_id: "t".into(),
        idempotency_key: "key-00001".into(),
        exec_seq: 1,
        sent_at: at(0),
        account: "main".into(),
        symbol: "USDJPY".into(),
        side: "BUY",
        size: d("1"),
        provider: "paper".into(),
        status: "SENT",
        order_id: "o".into(),
        executed_qty: Decimal::ZERO,
        avg_price: None,
        reason_code: None,
        queue_ms: None,
        broker_rtt_ms: None,
        total_ms,
        response: serde_json::json!({}),
    };
    let day = 24 * 60 * 60;
    assert_eq!(Touched::by_step(&row(Some(5_000))).since, Some(at(-5 - day)));
    assert_eq!(Touched::by_step(&row(Some(-5_000))).since, Some(at(-day)));
    assert_eq!(Touched::by_step(&row(None)).since, None);
    assert_eq!(Touched::by_step(&row(Some(i64::MIN))).since, None);
    assert_eq!(Touched::by_step(&row(Some(i64::MAX))).since, None);
}

#[test]
fn an_order_touched_twice_is_measured_once_from_the_earlier_time() {
    let touched =
        |key: &str, since| Touched { idempotency_key: key.into(), trace_id: "t".into(), since };
    let all = vec![
        touched("key-b", Some(at(9))),
        touched("key-a", Some(at(3))),
        touched("key-b", None),
        touched("key-a", Some(at(1))),
    ];
    assert_eq!(Touched::each_once(all), [touched("key-a", Some(at(1))), touched("key-b", None)]);
}

proptest! {
    #[test]
    fn the_row_does_not_depend_on_the_order_of_the_steps(
        shuffled in Just(resent()).prop_shuffle(),
        known in 1..6_usize,
    ) {
        prop_assert_eq!(measure(shuffled.clone()), measure(resent()));
        let mut part = shuffled;
        part.truncate(known);
        let row = measure(part.clone()).unwrap();
        part.sort_by_key(|s| s.exec_seq);
        prop_assert_eq!(&row.event_id, &part[0].event_id);
        prop_assert_eq!(&row.final_status, &part[known - 1].status);
    }
}
