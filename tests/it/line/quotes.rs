//! Which quote counts (C-RISK note 3), in a running gate: the newest whose time has come, and no other in its place.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use noctus::domain::event::Quote;
use noctus::domain::text::Symbol;
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::{Line, open_policy, order};

async fn quote(line: &Line, symbol: &str, bid: i64, ask: i64, at: Timestamp) {
    let symbol = Symbol::new(symbol).expect("a symbol");
    let body = wire::quote::encode(&symbol, &Quote { bid: bid.into(), ask: ask.into(), at });
    let record = line.signed(Subject::Quote, &symbol, &body.expect("it fits")).await;
    line.send(&[record]).await;
}

/// What is decided about a market order, which only a quote can price.
async fn decided(line: &Line, symbol: &str, number: usize) -> Value {
    let key = format!("quotes-{symbol}-{number}");
    let mut market = order(&key, symbol);
    market["order_type"] = json!("MARKET");
    market.as_object_mut().expect("an object").remove("limit_price");
    line.produce(&[market], None).await;
    let there = format!("SELECT count(*) FROM outbox_orders WHERE idempotency_key = '{key}'");
    line.until(&there, "1").await;
    let row = format!("SELECT payload FROM outbox_orders WHERE idempotency_key = '{key}'");
    serde_json::from_str(&line.ask(&row).await).expect("JSON")
}

/// Asks until this is decided: quotes and requests are read side by side.
async fn until(line: &Line, symbol: &str, from: usize, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    for number in from.. {
        let decision = decided(line, symbol, number).await;
        if wanted(&decision) {
            return decision;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it stays {decision}");
    }
    unreachable!("numbers do not end")
}

fn is_unpriced(decision: &Value) -> bool {
    let reason = decision["reason"].as_str().unwrap_or_default();
    decision["action"] == "FLAT" && reason.contains("risk.price_unavailable")
}

fn bought_at(ask: &str) -> impl Fn(&Value) -> bool {
    move |decision| decision["action"] == "BUY" && decision["quote"]["ask"] == ask
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_from_the_future_keeps_no_other_out_and_counts_when_its_time_comes() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let later = |seconds| clock::now() + SignedDuration::from_secs(seconds);
    // There before the gate starts, so that it is known when the first order is decided (I9).
    quote(&line, "EURJPY", 900, 901, later(3_600)).await;
    let gate = line.start("gate");
    let first = decided(&line, "EURJPY", 0).await;
    assert!(is_unpriced(&first), "{first}");
    quote(&line, "EURJPY", 160, 161, later(0)).await;
    until(&line, "EURJPY", 1, bought_at("161")).await;

    let at = later(10);
    quote(&line, "GBPJPY", 190, 191, at).await;
    let bought = until(&line, "GBPJPY", 0, bought_at("191")).await;
    let decided_at: Timestamp =
        bought["decided_at"].as_str().expect("a time").parse().expect("a time");
    assert!(at.duration_since(decided_at) <= SignedDuration::from_secs(5), "{bought}");
    let before = "SELECT payload FROM outbox_orders WHERE symbol = 'GBPJPY' ORDER BY id LIMIT 1";
    let before: Value = serde_json::from_str(&line.ask(before).await).expect("JSON");
    assert!(is_unpriced(&before), "{before}");
    assert_eq!(gate.metric("noctus_quotes_ahead_total").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_newest_quote_is_no_price_and_an_older_good_one_does_not_stand_in() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let now = clock::now();
    let ago = |ms| now - SignedDuration::from_millis(ms);
    quote(&line, "AUDJPY", 100, 101, ago(30)).await;
    let _gate = line.start("gate");
    let first = decided(&line, "AUDJPY", 0).await;
    assert!(bought_at("101")(&first), "{first}");
    // bid above ask, and nothing: each newer than what was good.
    for (number, (bid, ask)) in [(102, 101), (0, 101)].into_iter().enumerate() {
        let at = ago(20 - 10 * number as i64);
        quote(&line, "AUDJPY", bid, ask, at).await;
        until(&line, "AUDJPY", 100 * (number + 1), is_unpriced).await;
        // Late: it is older than the bad one, which stands.
        quote(&line, "AUDJPY", 103, 104, ago(25)).await;
        // A quote of another symbol behind it tells that it was read.
        quote(&line, "NZDJPY", 90 + number as i64, 95 + number as i64, clock::now()).await;
        until(&line, "NZDJPY", 100 * number, bought_at(&(95 + number).to_string())).await;
        let still = decided(&line, "AUDJPY", 100 * (number + 1) + 99).await;
        assert!(is_unpriced(&still), "{still}");
    }
    // Of the same time and later in the topic: a correction.
    quote(&line, "AUDJPY", 105, 106, ago(10)).await;
    until(&line, "AUDJPY", 300, bought_at("106")).await;
}
