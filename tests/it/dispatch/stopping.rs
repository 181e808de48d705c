//! C-OUT-6: what a halt or a person does not want any more is cancelled, unsent or at the broker.

use serde_json::json;

use super::floor::{Decided, Floor};
use super::{QUOTES, plain};

fn resting(key: &str, symbol: &'static str) -> Decided {
    Decided { limit: Some("1.000"), ..Decided::buy(key, symbol) }
}

async fn declare(floor: &Floor, mode: &str, symbol: &str) {
    let sql = format!(
        "INSERT INTO halts (mode, symbol, reason, by_whom) VALUES ('{mode}', '{symbol}', 'test', 'me')"
    );
    floor.sql(&sql).await;
}

/// Without a quote the paper broker fills at the order's own price.
async fn quote_the_euro(floor: &Floor) {
    floor.broker.post("/quotes", &json!({"EURUSD": {"bid": "1.10", "ask": "1.11"}})).await;
}

async fn want(floor: &Floor, key: &str) {
    let sql = format!(
        "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom)
         VALUES ('{key}', 'cancelled_by_hand', 'test', 'me')"
    );
    floor.sql(&sql).await;
}

/// Its steps after SENT and ACCEPTED, with their codes. On a machine that stands still for longer than a lease, it comes
/// back unsent (NEW) before it is sent.
async fn end(floor: &Floor, key: &str) -> Vec<(String, String)> {
    let events = floor.exec_events().await.into_iter();
    let ours = events.filter(|event| event.idempotency_key.as_str() == key);
    let step = |status: &str, code: Option<String>| (status.to_string(), code.unwrap_or_default());
    ours.map(|event| step(event.status.as_str(), event.reason_code.map(|code| code.to_string())))
        .filter(|(status, _)| !matches!(status.as_str(), "SENT" | "NEW" | "ACCEPTED"))
        .collect()
}

fn cancelled(code: &str) -> Vec<(String, String)> {
    vec![("CANCELLED".into(), code.into())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_a_halt_cancels_at_once_what_waits_behind_an_order_of_unknown_outcome() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.sql("UPDATE outbox_orders SET state = 'PARKED', exec_seq = 3, attempt_no = 1").await;
    for n in 2..40 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), "USDJPY")).await;
    }
    declare(&floor, "halted", "USDJPY").await;
    declare(&floor, "resumed", "USDJPY").await;
    floor.decide(&Decided::buy("order-00040", "USDJPY")).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'CANCELLED'", "38").await;
    assert_eq!(end(&floor, "order-00039").await, cancelled("halted"));
    let new = "SELECT string_agg(idempotency_key, ' ') FROM outbox_orders WHERE state = 'NEW'";
    assert_eq!(floor.text(new).await, "order-00040", "decided after the resume, it waits");
    assert_eq!(floor.text("SELECT working_buy::float8 FROM risk_positions").await, "200");
    assert!(floor.broker.orders().is_empty());
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reduce_only_cancels_what_opens_also_when_it_is_lifted_and_leaves_what_works() {
    let floor = Floor::new(QUOTES, plain).await;
    quote_the_euro(&floor).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001", "EURUSD")).await;
    floor.state("order-00001", "ACCEPTED").await;
    dispatcher.stop().await;
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    declare(&floor, "reduce_only", "USDJPY").await;
    declare(&floor, "resumed", "USDJPY").await;
    declare(&floor, "reduce_only", "EURUSD").await;
    floor.decide(&Decided::buy("order-00003", "EURUSD")).await;
    let (side, opening) = ("SELL", 0);
    floor.decide(&Decided { side, opening, ..Decided::buy("order-00004", "USDJPY") }).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.state("order-00004", "FILLED").await;
    floor.state("order-00002", "CANCELLED").await;
    floor.state("order-00003", "CANCELLED").await;
    assert_eq!(end(&floor, "order-00003").await, cancelled("reduce_only"));
    floor.state("order-00001", "ACCEPTED").await;
    assert_eq!(floor.text("SELECT count(*) FROM order_cancels").await, "0");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_a_halt_cancels_what_works_at_the_broker_in_its_scope_only() {
    let floor = Floor::new(QUOTES, plain).await;
    quote_the_euro(&floor).await;
    let dispatcher = floor.dispatcher("one").await;
    for (key, symbol) in [("order-00001", "USDJPY"), ("order-00002", "EURUSD")] {
        floor.decide(&resting(key, symbol)).await;
        floor.state(key, "ACCEPTED").await;
    }
    floor.decide(&Decided { price: Some("1"), ..resting("order-00003", "USDJPY") }).await;
    floor.state("order-00003", "ACCEPTED").await;
    let fill = json!({"client_order_id": "order-00003", "qty": "40", "px": "1"});
    floor.broker.post("/fills", &fill).await;
    declare(&floor, "halted", "USDJPY").await;
    floor.state("order-00001", "CANCELLED").await;
    floor.state("order-00003", "CANCELLED").await;
    assert_eq!(end(&floor, "order-00001").await, cancelled("halted"));
    floor
        .until(
            "SELECT count(*) FROM order_cancels WHERE answer = 'CANCELLED' AND halt_number = 1",
            "2",
        )
        .await;
    let position = "SELECT position::float8 || ' ' || working_buy::float8 FROM risk_positions
                     WHERE symbol = 'USDJPY'";
    floor.until(position, "40 0").await;
    floor.state("order-00002", "ACCEPTED").await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f51_a_cancel_whose_answers_are_lost_is_asked_again_and_only_the_broker_ends_the_order() {
    let floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001", "USDJPY")).await;
    floor.state("order-00001", "ACCEPTED").await;
    // Nothing arrives, and nothing is told.
    floor.broker.lie(json!({"reset_before_apply_every": 1})).await;
    declare(&floor, "halted", "USDJPY").await;
    floor.until("SELECT asked >= 3 FROM order_cancels", "true").await;
    floor.state("order-00001", "ACCEPTED").await;
    // Lifted meanwhile, and the sender dies: it is wanted still.
    declare(&floor, "resumed", "USDJPY").await;
    dispatcher.crash().await;
    floor.broker.lie(json!({})).await;
    // However long the pause has become: who takes the lane over asks at once.
    floor.sql("UPDATE order_cancels SET next_ask_at = clock_timestamp() + interval '1 hour'").await;
    let dispatcher = floor.dispatcher("two").await;
    floor.state("order-00001", "CANCELLED").await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_fill_that_races_a_cancel_counts() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"late_fill_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001", "USDJPY")).await;
    floor.state("order-00001", "ACCEPTED").await;
    declare(&floor, "halted", "USDJPY").await;
    floor.state("order-00001", "CANCELLED").await;
    floor.until("SELECT position::float8 FROM risk_positions", "100").await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_cancels_one_order_unsent_or_at_the_broker_and_others_go_on() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    want(&floor, "order-00001").await;
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.state("order-00001", "CANCELLED").await;
    floor.state("order-00002", "FILLED").await;
    floor.decide(&resting("order-00003", "USDJPY")).await;
    floor.state("order-00003", "ACCEPTED").await;
    want(&floor, "order-00003").await;
    floor.state("order-00003", "CANCELLED").await;
    for key in ["order-00001", "order-00003"] {
        assert_eq!(end(&floor, key).await, cancelled("cancelled_by_hand"));
    }
    floor
        .until(
            "SELECT count(*) FROM order_cancels WHERE answer = 'CANCELLED' AND next_ask_at IS NULL",
            "2",
        )
        .await;
    assert_eq!(floor.broker.orders().len(), 2);
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}
