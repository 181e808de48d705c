//! `noctus explain` as a user runs it.

use std::process::{Command, Output};

use noctus::domain::event::Action;
use serde_json::Value;

use super::base::{Base, Order, at};
use crate::line::{Line, open_policy, order};

fn explain(base: &Base, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_noctus"))
        .arg("explain")
        .args(arguments)
        .args(["--database", &base.database.url])
        .env("NO_COLOR", "1")
        .output()
        .expect("noctus runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// As the gate and dispatch leave it: the ledger's row, a send, and events that are still owed.
async fn in_the_ledger(base: &Base, order: &Order, state: &str) {
    let decision = order.decision_of(Action::Buy, Some("147.252"), at(30));
    let payload = serde_json::to_value(&decision).unwrap();
    let client = base.pool.get().await.unwrap();
    client
        .execute(
            "INSERT INTO outbox_orders (idempotency_key, trace_id, payload, digest, account, symbol, action,
                 requested_qty, decided_qty, order_type, time_in_force, requested_at, decided_at, dispatch_by,
                 state, exec_seq, executed_qty, avg_price, attempt_no, working_qty, source_topic_id,
                 source_partition, source_offset)
             VALUES ($1, $2, $3, sha256(convert_to($1, 'UTF8')), 'main', 'USDJPY', 'BUY', 700, 500, 'MARKET', 'GTC',
                 '2025-08-23T11:00Z', '2025-08-23T11:00:00.030Z', '2025-08-23T11:01Z', $4, 3, 500, 147.26, 1,
                 0, 'x', 2, 17)",
            &[&order.key.as_str(), &order.trace.as_str(), &payload, &state],
        )
        .await
        .unwrap();
    let rest = format!(
        "INSERT INTO send_attempts VALUES ('{0}', 1, 'worker-1', 1, '2025-08-23T11:00:00.042Z',
             '2025-08-23T11:00:00.046Z', 'accepted', '{{}}');
         INSERT INTO order_fills VALUES ('{0}', 'f-{0}-3', 147.26, 500, '2025-08-23T11:00:00.046Z')",
        order.key
    );
    client.batch_execute(&rest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_explained_from_what_was_asked_to_the_last_fill() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "FILLED").await;
    base.write(order.everything()).await;
    let told = explain(&base, &["run-1"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    insta::assert_snapshot!("filled", text(&told.stdout));
    let by_key = explain(&base, &["order-00001"]);
    assert_eq!(text(&by_key.stdout), text(&told.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_owed_or_not_written_yet_is_said() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "PARKED").await;
    base.sql(
        "INSERT INTO owed_events (owner, topics, keys, payloads, headers)
         VALUES ('w', '{decisions,alerts,decisions}', '{run-1,run-1,other}', '{a,b,c}', '{NULL,NULL,NULL}')",
    )
    .await;
    let told = text(&explain(&base, &["run-1"]).stdout);
    for part in [
        "PARKED: a person must find out",
        "the sink has written step 0 of 3",
        "the sink has not written the decision yet",
        "1 event(s) owed to alerts",
        "1 event(s) owed to decisions",
        "700 → 500  risk.max_order_qty",
        "timeline: nothing is written yet",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_only_the_tables_know_is_explained_too() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(order.everything()).await;
    let told = explain(&base, &["order-00001"]);
    let shown = text(&told.stdout);
    assert!(shown.contains("FILLED; the ledger does not have this order"), "{shown}");
    assert!(shown.contains("decided   BUY 500"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_is_one_json_object_on_request() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "FILLED").await;
    base.write(order.everything()).await;
    let told = explain(&base, &["run-1", "--json"]);
    let story: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(story["trace_id"], "run-1");
    assert_eq!(story["orders"][0]["steps"].as_array().map(Vec::len), Some(3));
    assert_eq!(story["orders"][0]["decision"]["steps"][0]["rule"], "risk.max_order_qty");
    assert_eq!(story["timeline"].as_array().map(Vec::len), Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_knows_is_a_finding_with_advice() {
    let base = Base::new().await;
    let told = explain(&base, &["nobody'; --"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(told.stdout.is_empty());
    assert!(text(&told.stderr).contains("dead-letters says why"), "{}", text(&told.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_went_the_whole_way_is_explained() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let _roles = (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.produce(&[order("whole-0001", "USDJPY")], None).await;
    line.rest(1).await;
    let told = line.noctus().args(["explain", "whole-0001"]).output().expect("noctus runs");
    let shown = text(&told.stdout);
    for part in [
        "trace t-whole-0001",
        "BUY 3 USDJPY LIMIT limit 1.5 GTC for account main",
        "data_lag_min 1.0, missing_ratio 0.0",
        "decided   BUY 3",
        "quality OK, multiplier 1",
        "policies quality ",
        ": accepted after ",
        "3 FILLED ",
        "now       FILLED: 3 of 3 at 1.5",
        "DECISION BUY",
        "EXEC FILLED  step 3",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}{}", text(&told.stderr));
    }
    assert!(!shown.contains("owed") && !shown.contains("has written"), "{shown}");
}
