//! F57: a broker that says how often it may be called, and one that asks for peace.

use std::time::Duration;

use jiff::Timestamp;
use noctus::paper::ledger::Entry;
use serde_json::json;

use super::floor::{Decided, Floor};
use super::{QUOTES, plain};

/// Symbols without a quote are filled at the order's own price.
const SYMBOLS: [&str; 12] =
    ["AA", "BB", "CC", "DD", "EE", "FF", "GG", "HH", "II", "JJ", "KK", "LL"];

/// When the broker took the orders, in their order.
fn taken(floor: &Floor) -> Vec<(String, Timestamp)> {
    let records = floor.broker.records().into_iter();
    let order = |record: noctus::paper::ledger::Record| match record.entry {
        Entry::Order(view) => Some((view.order.client_order_id, record.at)),
        _ => None,
    };
    records.filter_map(order).collect()
}

fn apart(first: Timestamp, last: Timestamp) -> Duration {
    last.duration_since(first).unsigned_abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_dispatchers_together_send_no_faster_than_the_broker_says() {
    let floor = Floor::new(&["--orders-per-s", "10"], plain).await;
    let dispatchers = [floor.dispatcher("left").await, floor.dispatcher("right").await];
    let share = || dispatchers.iter().all(|d| d.metrics.broker_senders.get() == 2);
    floor.comes_true("each knows of the other", share).await;
    for n in 0..36 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), SYMBOLS[n % 12])).await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "36").await;
    floor.nothing_is_left().await;
    let taken = taken(&floor);
    // Evenly they take 3.5 s; without a share for each half of that, without a limit next to nothing.
    let took = apart(taken[0].1, taken[35].1);
    assert!(took > Duration::from_millis(2_400), "36 orders within {took:?}");
    assert!(dispatchers.iter().any(|d| d.metrics.broker_waits.get() > 0));
    for dispatcher in dispatchers {
        dispatcher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_what_cancels_or_reduces_does_not_wait_behind_what_opens() {
    let arguments = ["--orders-per-s", "2", QUOTES[0], QUOTES[1]];
    let floor = Floor::new(&arguments, |config| config.dispatch.in_flight_max = 4).await;
    let dispatcher = floor.dispatcher("one").await;
    let limit = Some("147.000");
    floor.decide(&Decided { limit, ..Decided::buy("rests-00001", "USDJPY") }).await;
    floor.state("rests-00001", "ACCEPTED").await;
    for (n, symbol) in SYMBOLS.into_iter().enumerate() {
        floor.decide(&Decided::buy(&format!("opens-{n:05}"), symbol)).await;
    }
    let (side, opening) = ("SELL", 0);
    floor.decide(&Decided { side, opening, ..Decided::buy("order-reduces", "MM") }).await;
    floor
        .sql(
            "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom)
             VALUES ('rests-00001', 'cancelled_by_hand', 'test', 'me')",
        )
        .await;
    floor.state("rests-00001", "CANCELLED").await;
    floor.state("order-reduces", "FILLED").await;
    let opened = "SELECT count(*) FROM outbox_orders WHERE state = 'FILLED' AND opening_qty > 0";
    let opened: usize = floor.text(opened).await.parse().expect("a number");
    assert!(opened < SYMBOLS.len(), "they came last");
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "13").await;
    floor.nothing_is_left().await;
    let order: Vec<String> = taken(&floor).into_iter().map(|(id, _)| id).collect();
    assert_ne!(order.last().map(String::as_str), Some("order-reduces"), "{order:?}");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_f59_an_order_whose_life_ends_while_it_waits_is_not_sent() {
    let floor = Floor::new(&["--orders-per-s", "1"], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    for (n, symbol) in SYMBOLS.into_iter().enumerate() {
        let life_ms = 2_500;
        floor.decide(&Decided { life_ms, ..Decided::buy(&format!("order-{n:05}"), symbol) }).await;
    }
    let over = "SELECT count(*) FROM outbox_orders WHERE state IN ('FILLED','EXPIRED')";
    floor.until(over, "12").await;
    floor.nothing_is_left().await;
    // The broker would have refused what came too late, and that would be REJECTED.
    let expired = "SELECT count(*) > 6 FROM outbox_orders WHERE state = 'EXPIRED'";
    assert_eq!(floor.text(expired).await, "true");
    let filled = floor.text("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'").await;
    assert_eq!(taken(&floor).len().to_string(), filled);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_f60_a_halt_stops_what_waits_for_its_turn() {
    let floor = Floor::new(&["--orders-per-s", "1"], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    for (n, symbol) in SYMBOLS.into_iter().enumerate() {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), symbol)).await;
    }
    floor.comes_true("one is sent", || !floor.broker.orders().is_empty()).await;
    floor.sql("INSERT INTO halts (mode, reason, by_whom) VALUES ('halted', 'test', 'me')").await;
    floor.until("SELECT halt_number FROM sender_confirmations", "1").await;
    let sent = floor.broker.orders().len();
    let over = "SELECT count(*) FROM outbox_orders WHERE state IN ('FILLED','CANCELLED')";
    floor.until(over, "12").await;
    assert_eq!(floor.broker.orders().len(), sent, "after the acknowledgement nothing is sent");
    assert!(sent < SYMBOLS.len());
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_after_a_429_every_lane_leaves_the_broker_in_peace_and_nothing_counts_as_refused() {
    let floor = Floor::new(&[], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.broker.lie(json!({"rate_limit_every": 1})).await;
    floor.decide(&Decided::buy("order-00001", "AA")).await;
    let paused = || dispatcher.metrics.broker_pauses.with_label_values(&["rate_limited"]).get() > 0;
    floor.comes_true("a pause", paused).await;
    floor.broker.lie(json!({})).await;
    floor.decide(&Decided::buy("order-00002", "BB")).await;
    floor.state("order-00001", "FILLED").await;
    floor.state("order-00002", "FILLED").await;
    floor.nothing_is_left().await;
    let turned_away: Vec<Timestamp> = floor
        .broker
        .records()
        .into_iter()
        .filter(|record| matches!(record.entry, Entry::TurnedAway { .. }))
        .map(|record| record.at)
        .collect();
    for (id, at) in taken(&floor) {
        let peace = apart(turned_away[0], at);
        assert!(peace > Duration::from_millis(950), "{id} came after {peace:?}");
    }
    let outcomes = "SELECT string_agg(outcome, ' ' ORDER BY attempt_no) FROM send_attempts
                     WHERE idempotency_key = 'order-00001'";
    assert_eq!(floor.text(outcomes).await, "unknown accepted");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_maintenance_is_waited_for_at_the_start_and_later_by_sends_questions_and_cancels() {
    let floor = Floor::new(&["--maintenance", QUOTES[0], QUOTES[1]], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    let told = || dispatcher.health.problems().iter().any(|(_, why)| why.contains("503"));
    floor.comes_true("it waits", told).await;
    floor.broker.lie(json!({})).await;
    let limit = Some("147.000");
    floor.decide(&Decided { limit, ..Decided::buy("rests-00001", "USDJPY") }).await;
    floor.state("rests-00001", "ACCEPTED").await;
    floor.broker.lie(json!({"maintenance": true})).await;
    floor.decide(&Decided::buy("order-00001", "AA")).await;
    let paused = || dispatcher.metrics.broker_pauses.with_label_values(&["unavailable"]).get() > 1;
    floor.comes_true("pauses", paused).await;
    floor
        .sql(
            "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom)
             VALUES ('rests-00001', 'cancelled_by_hand', 'test', 'me')",
        )
        .await;
    floor.until("SELECT asked > 0 FROM order_cancels", "true").await;
    floor.state("rests-00001", "ACCEPTED").await;
    floor.broker.lie(json!({})).await;
    floor.state("order-00001", "FILLED").await;
    floor.state("rests-00001", "CANCELLED").await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}
