//! Whose turn it is: lanes do not keep each other waiting, and within a lane what is sent again keeps its place.

use noctus::dispatch::broker::protocol::BrokerStatus;
use serde_json::{Map, json};

use super::QUOTES;
use super::floor::{Decided, Floor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_in_which_orders_rest_or_are_parked_keep_no_other_lane_waiting() {
    let floor = Floor::new(&[], |config| config.dispatch.in_flight_max = 32).await;
    let symbol = |n: usize| -> &'static str { Box::leak(format!("S{n:03}").into_boxed_str()) };
    let quotes: Map<_, _> =
        (0..50).map(|n| (symbol(n).to_string(), json!({"bid": "150.0", "ask": "150.1"}))).collect();
    floor.broker.post("/quotes", &json!(quotes)).await;
    for n in 0..90 {
        // 50 rest at the broker, 40 are a person's.
        let limit = Some("147.000");
        floor.decide(&Decided { limit, ..Decided::buy(&format!("rests-{n:05}"), symbol(n)) }).await;
    }
    floor
        .sql(
            "UPDATE outbox_orders SET state = 'PARKED', exec_seq = 3, attempt_no = 1
              WHERE symbol >= 'S050'",
        )
        .await;
    let dispatcher = floor.dispatcher("one").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'ACCEPTED'", "50").await;
    for n in 200..210 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), symbol(n))).await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "10").await;
    let resting =
        floor.broker.orders().into_iter().filter(|v| v.status == BrokerStatus::Working).count();
    assert_eq!(resting, 50);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f50_an_order_that_is_sent_again_waits_for_an_earlier_one_of_unknown_outcome() {
    let floor = Floor::new(QUOTES, |_| {}).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    // The broker was asked about the second, and has it not; about the first it is asked in a moment.
    floor
        .sql(
            "UPDATE outbox_orders SET state = 'UNKNOWN', exec_seq = 2, attempt_no = 1, sent_at = now();
             UPDATE outbox_orders SET next_query_at = now() + interval '1500 milliseconds'
              WHERE idempotency_key = 'order-00001';
             INSERT INTO send_attempts
             SELECT idempotency_key, 1, 'dead', 1, now(), now(), 'unknown' FROM outbox_orders;
             INSERT INTO dispatch_lanes VALUES ('main', 'USDJPY', 'dead', 1, now())",
        )
        .await;
    let dispatcher = floor.dispatcher("heir").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "2").await;
    let sent: Vec<_> = floor.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(sent, ["order-00001", "order-00002"]);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_came_back_unsent_goes_before_a_later_one_of_unknown_outcome() {
    let floor = Floor::new(QUOTES, |_| {}).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    // Both were claimed together; the first never left, about the second the broker was asked and has it not.
    floor
        .sql(
            "UPDATE outbox_orders SET exec_seq = 2, attempt_no = 1, sent_at = now();
             UPDATE outbox_orders SET state = 'UNKNOWN' WHERE idempotency_key = 'order-00002';
             INSERT INTO send_attempts
             SELECT idempotency_key, 1, 'dead', 1, now(), now(), 'unknown' FROM outbox_orders;
             INSERT INTO dispatch_lanes VALUES ('main', 'USDJPY', 'dead', 1, now())",
        )
        .await;
    let dispatcher = floor.dispatcher("heir").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "2").await;
    let sent: Vec<_> = floor.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(sent, ["order-00001", "order-00002"]);
    dispatcher.stop().await;
}
