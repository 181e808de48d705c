//! A broker that answers no questions: what it tells is all that is ever known, and nobody may miss it.

use serde_json::json;

use super::floor::{Decided, Floor};
use super::{QUOTES, plain};

/// Rests at the broker until the quote falls.
fn resting(key: &str, symbol: &'static str) -> Decided {
    Decided { limit: Some("147.000"), ..Decided::buy(key, symbol) }
}

async fn falls(floor: &Floor, symbol: &str) {
    floor.broker.post("/quotes", &json!({symbol: {"bid": "146.9", "ask": "146.95"}})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_what_the_broker_told_while_nobody_listened_is_heard_by_whoever_takes_the_lane() {
    for arguments in [
        &["--no-query", QUOTES[0], QUOTES[1]][..],
        &["--no-query", "--no-dedupe", QUOTES[0], QUOTES[1]],
    ] {
        let floor = Floor::new(arguments, plain).await;
        let first = floor.dispatcher("first").await;
        floor.decide(&resting("order-00001", "USDJPY")).await;
        floor.state("order-00001", "ACCEPTED").await;
        first.crash().await;
        falls(&floor, "USDJPY").await;
        let second = floor.dispatcher("second").await;
        floor.state("order-00001", "FILLED").await;
        floor.until("SELECT position::float8 FROM risk_positions", "100").await;
        // Drained in good order, and what comes then is heard by the next one.
        floor.broker.post("/quotes", &json!({"USDJPY": {"bid": "150.0", "ask": "150.1"}})).await;
        floor.decide(&resting("order-00002", "USDJPY")).await;
        floor.state("order-00002", "ACCEPTED").await;
        second.stop().await;
        falls(&floor, "USDJPY").await;
        let third = floor.dispatcher("third").await;
        floor.state("order-00002", "FILLED").await;
        third.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_what_another_was_told_of_its_lane_before_it_died_is_heard_again() {
    let floor = Floor::new(&["--no-query", QUOTES[0], QUOTES[1]], plain).await;
    let first = floor.dispatcher("first").await;
    floor.decide(&resting("order-00001", "USDJPY")).await;
    floor.state("order-00001", "ACCEPTED").await;
    // It hears the fill as well, and the lane is not its own.
    let second = floor.dispatcher("second").await;
    floor.until("SELECT count(*) FROM sender_confirmations", "2").await;
    first.crash().await;
    falls(&floor, "USDJPY").await;
    floor.state("order-00001", "FILLED").await;
    floor.until("SELECT owner FROM dispatch_lanes", "second").await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_f60_an_order_of_unknown_outcome_that_is_not_wanted_is_cancelled_where_nobody_may_ask()
{
    // Resent to find out, or PARKED at once: in both cases the broker has it, and it would go on working there.
    for (arguments, is_in) in [
        (&["--no-query", QUOTES[0], QUOTES[1]][..], "UNKNOWN"),
        (&["--no-query", "--no-dedupe", QUOTES[0], QUOTES[1]], "PARKED"),
    ] {
        let floor = Floor::new(arguments, plain).await;
        floor.broker.lie(json!({"drop_answer_every": 1, "drop_event_every": 1})).await;
        let dispatcher = floor.dispatcher("one").await;
        floor.decide(&resting("order-00001", "USDJPY")).await;
        floor.state("order-00001", is_in).await;
        floor
            .sql("INSERT INTO halts (mode, symbol, reason, by_whom) VALUES ('halted', 'USDJPY', 'test', 'me')")
            .await;
        floor.until("SELECT asked > 1 FROM order_cancels", "true").await;
        // As soon as an answer comes through.
        floor.broker.lie(json!({})).await;
        floor.state("order-00001", "CANCELLED").await;
        let attempt = "SELECT outcome || ' ' || (detail ->> 'found_by') FROM send_attempts ORDER BY attempt_no DESC LIMIT 1";
        assert_eq!(floor.text(attempt).await, "accepted cancel", "{is_in}");
        dispatcher.stop().await;
    }
}
