//! Dispatch against a real Postgres and a paper broker that is a process of its own.

mod broker;
mod floor;
mod late;
mod paced;
mod refused;
mod stopping;
mod told;
mod turns;

use floor::{Decided, Floor};
use futures::future::join_all;
use jiff::civil::date;
use noctus::dispatch::DispatchError;
use noctus::dispatch::broker::handshake::HandshakeError;
use noctus::pg::risk;
use serde_json::json;

const QUOTES: &[&str] = &["--quotes", "USDJPY=147.250/147.252"];

fn plain(_: &mut noctus::runtime::config::Config) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decided_order_is_sent_once_and_its_reservation_becomes_the_position() {
    let floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    let facts = "SELECT position::float8 || ' at ' || avg_price::float8 FROM risk_positions";
    assert_eq!(floor.text(facts).await, "100 at 147.252");
    let row =
        "SELECT executed_qty::float8 || ' ' || broker_ref || ' ' || (broker_response->>'status')
                 || ' ' || (sent_at IS NOT NULL) FROM outbox_orders";
    assert_eq!(floor.text(row).await, "100 p-1 filled true");
    let chain: Vec<_> =
        floor.exec_events().await.iter().map(|e| (e.exec_seq, e.status.as_str())).collect();
    assert_eq!(chain, [(1, "SENT"), (2, "ACCEPTED"), (3, "FILLED")]);
    assert!(floor.alerts().await.is_empty());
    dispatcher.stop().await;
    assert_eq!(floor.text("SELECT owner FROM dispatch_lanes").await, "", "its lane was let go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f51_an_answer_that_was_lost_is_asked_for_and_the_order_is_not_sent_again() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"drop_answer_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.records().len(), 1, "one order, and it came once");
    let chain: Vec<_> = floor.exec_events().await.iter().map(|e| e.status.as_str()).collect();
    assert_eq!(chain, ["SENT", "UNKNOWN", "ACCEPTED", "FILLED"]);
    assert_eq!(floor.text("SELECT outcome FROM send_attempts").await, "accepted");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f51_an_order_reset_before_the_broker_applied_it_is_sent_again_under_the_same_id() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"reset_before_apply_every": 2})).await;
    let dispatcher = floor.dispatcher("one").await;
    let symbols = ["EURUSD", "USDJPY", "GBPUSD"];
    for n in 0..9 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), symbols[n % 3])).await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "9").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.orders().len(), 9);
    let again = "SELECT count(*) > 0 FROM outbox_orders WHERE attempt_no > 1";
    assert_eq!(floor.text(again).await, "true");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f52_a_dispatcher_that_dies_between_attempt_and_answer_leaves_one_order() {
    // However long it takes until the first one dies, it has no answer by then.
    let floor = Floor::new(QUOTES, |config| config.broker.timeout_ms = 60_000).await;
    floor.broker.lie(json!({"delay_ms": 600_000})).await;
    let dispatcher = floor.dispatcher("first").await;
    for n in 0..4 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), "USDJPY")).await;
    }
    floor.comes_true("an order at the broker", || !floor.broker.orders().is_empty()).await;
    dispatcher.crash().await;
    assert_ne!(floor.text("SELECT count(*) FROM send_attempts WHERE outcome IS NULL").await, "0");
    floor.broker.lie(json!({})).await;
    let second = floor.dispatcher("second").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "4").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.orders().len(), 4);
    // On a machine that stands still for longer than a lease, the second takes its lane more than once.
    assert_eq!(floor.text("SELECT max(epoch) > 1 FROM dispatch_lanes").await, "true");
    let heirs = "SELECT string_agg(DISTINCT worker, ' ' ORDER BY worker) FROM send_attempts";
    assert_eq!(floor.text(heirs).await, "first second");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f50_an_attempt_without_an_outcome_is_asked_about_before_anything_else_of_its_lane() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    // As a dispatcher leaves it that died after its claim and before a byte left.
    floor
        .sql(
            "UPDATE outbox_orders SET state = 'SENT', exec_seq = 1, attempt_no = 1, sent_at = now()
              WHERE idempotency_key = 'order-00001';
             INSERT INTO send_attempts VALUES ('order-00001', 1, 'dead', 1);
             INSERT INTO dispatch_lanes VALUES ('main', 'USDJPY', 'dead', 1, now())",
        )
        .await;
    let dispatcher = floor.dispatcher("heir").await;
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "2").await;
    floor.nothing_is_left().await;
    let order: Vec<_> =
        floor.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(order, ["order-00001", "order-00002"]);
    let attempts =
        "SELECT string_agg(attempt_no || outcome, ' ' ORDER BY attempt_no) FROM send_attempts
                     WHERE idempotency_key = 'order-00001'";
    assert_eq!(floor.text(attempts).await, "1unknown 2accepted");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dispatchers_share_the_lanes_and_each_lane_keeps_its_order() {
    let floor = Floor::new(&[], plain).await;
    let dispatchers = [floor.dispatcher("left").await, floor.dispatcher("right").await];
    let symbols = ["AA", "BB", "CC", "DD", "EE", "FF", "GG", "HH"];
    for n in 0..80 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), symbols[n % 8])).await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "80").await;
    floor.nothing_is_left().await;
    let orders = floor.broker.orders();
    assert_eq!(orders.len(), 80);
    for symbol in symbols {
        let lane: Vec<&str> = orders
            .iter()
            .filter(|v| v.order.symbol == symbol)
            .map(|v| v.order.client_order_id.as_str())
            .collect();
        assert!(lane.is_sorted(), "{symbol}: {lane:?}");
    }
    let events = floor.exec_events().await;
    let steps = floor.text("SELECT sum(exec_seq) FROM outbox_orders").await;
    assert_eq!(events.len().to_string(), steps, "each step is told once");
    let filled = events.iter().filter(|event| event.status.as_str() == "FILLED").count();
    assert_eq!(filled, 80);
    join_all(dispatchers.map(|d| d.stop())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f59_an_order_past_its_life_expires_unsent_and_its_reservation_is_released() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided { life_ms: -1, ..Decided::buy("order-00001", "USDJPY") }).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.state("order-00001", "EXPIRED").await;
    floor.nothing_is_left().await;
    assert!(floor.broker.orders().is_empty());
    let trace = "SELECT opening_notional::float8 FROM risk_traces";
    assert_eq!(floor.text(trace).await, "0");
    let events = floor.exec_events().await;
    let seen: Vec<_> =
        events.iter().map(|e| (e.status.as_str(), e.reason_code.as_deref())).collect();
    assert_eq!(seen, [("EXPIRED", Some("too_old"))]);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_what_was_decided_before_a_halt_is_cancelled_also_when_the_halt_is_over() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.decide(&Decided::buy("order-00002", "EURUSD")).await;
    floor
        .sql(
            "INSERT INTO halts (mode, symbol, reason, by_whom) VALUES ('halted', 'USDJPY', 'test', 'me');
             INSERT INTO halts (mode, symbol, reason, by_whom) VALUES ('resumed', 'USDJPY', 'test', 'me')",
        )
        .await;
    let dispatcher = floor.dispatcher("one").await;
    floor.state("order-00001", "CANCELLED").await;
    floor.state("order-00002", "FILLED").await;
    floor.decide(&Decided::buy("order-00003", "USDJPY")).await;
    floor.state("order-00003", "FILLED").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.orders().len(), 2);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f61_a_broker_of_another_environment_ends_the_role() {
    let floor = Floor::new(&["--dev", "--environment", "live"], plain).await;
    let ended = floor.dispatcher("one").await.end().await;
    assert!(
        matches!(ended, Err(DispatchError::Handshake(HandshakeError::Unusable { .. }))),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_order_releases_its_reservation() {
    let floor = Floor::new(&[], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided { price: None, ..Decided::buy("order-00001", "USDJPY") }).await;
    floor.state("order-00001", "REJECTED").await;
    floor.nothing_is_left().await;
    let events = floor.exec_events().await;
    assert_eq!(events.last().and_then(|e| e.reason_code.as_deref()), Some("no_price"));
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_resting_order_is_asked_about_until_its_fills_are_known() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"fill_parts": 3})).await;
    let dispatcher = floor.dispatcher("one").await;
    let limit = Some("147.000");
    floor.decide(&Decided { limit, ..Decided::buy("order-00001", "USDJPY") }).await;
    floor.state("order-00001", "ACCEPTED").await;
    let working = "SELECT working_buy::float8 FROM risk_positions";
    assert_eq!(floor.text(working).await, "100");
    floor.broker.post("/quotes", &json!({"USDJPY": {"bid": "146.9", "ask": "146.95"}})).await;
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.text("SELECT count(*) FROM order_fills").await, "3");
    assert_eq!(floor.text("SELECT avg_price::float8 FROM risk_positions").await, "146.95");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_parked_order_opening_orders_wait_and_expire_and_reducing_ones_go() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.sql("UPDATE outbox_orders SET state = 'PARKED', exec_seq = 3, attempt_no = 1").await;
    floor.decide(&Decided { life_ms: 1_500, ..Decided::buy("order-00002", "USDJPY") }).await;
    let (side, opening) = ("SELL", 0);
    floor.decide(&Decided { side, opening, ..Decided::buy("order-00003", "USDJPY") }).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.state("order-00003", "FILLED").await;
    floor.state("order-00002", "EXPIRED").await;
    let sent: Vec<_> = floor.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(sent, ["order-00003"]);
    assert_eq!(floor.text("SELECT working_buy::float8 FROM risk_positions").await, "100");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_never_left_because_the_broker_is_away_goes_when_it_is_back() {
    let mut floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    let address = floor.broker.url.trim_start_matches("http://").to_string();
    floor.broker.kill();
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    floor
        .until(
            "SELECT count(*) > 0 FROM send_attempts WHERE idempotency_key = 'order-00002'",
            "true",
        )
        .await;
    floor.broker.restart_at(&address, QUOTES);
    floor.state("order-00002", "FILLED").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.orders().len(), 2);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_f35_connections_to_postgres_cut_at_any_moment_lose_and_double_nothing() {
    let floor = Floor::new(&[], plain).await;
    let symbols = ["AA", "BB", "CC", "DD", "EE", "FF", "GG", "HH"];
    for n in 0..120 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), symbols[n % 8])).await;
    }
    floor.broker.lie(json!({"delay_ms": 5})).await;
    let dispatcher = floor.dispatcher("one").await;
    for part in ["20", "45", "70", "95"] {
        let reached = format!(
            "SELECT count(*) >= {part} FROM outbox_orders WHERE state <> 'NEW' OR exec_seq > 0"
        );
        floor.until(&reached, "true").await;
        // All but the one that asks; some are in the middle of a transaction.
        floor
            .text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "120").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.broker.orders().len(), 120);
    let steps = floor.text("SELECT sum(exec_seq) FROM outbox_orders").await;
    assert_eq!(floor.exec_events().await.len().to_string(), steps);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_a_claim_whose_commit_was_not_heard_of_is_reconciled_by_its_own_worker() {
    let floor = Floor::new(QUOTES, |config| config.dispatch.lease_ms = 60_000).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    // As a claim leaves it that was committed while its connection died: SENT, and nobody sends it.
    floor
        .sql(
            r#"INSERT INTO outbox_orders SELECT (jsonb_populate_record(o, '{"id": 1000,
                 "idempotency_key": "order-00002", "state": "SENT", "exec_seq": 1, "attempt_no": 1,
                 "executed_qty": 0, "avg_price": null, "working_qty": 100}')).* FROM outbox_orders o;
               INSERT INTO send_attempts VALUES ('order-00002', 1, 'one', 1);
               UPDATE risk_positions SET working_buy = 100;
               ALTER TABLE halts RENAME TO halts_away"#,
        )
        .await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while dispatcher.health.problems().is_empty() {
        assert!(std::time::Instant::now() < deadline, "no round failed");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    floor.sql("ALTER TABLE halts_away RENAME TO halts").await;
    floor.state("order-00002", "FILLED").await;
    floor.nothing_is_left().await;
    let outcomes = "SELECT string_agg(outcome, ' ' ORDER BY attempt_no) FROM send_attempts
                     WHERE idempotency_key = 'order-00002'";
    assert_eq!(floor.text(outcomes).await, "unknown accepted");
    assert_eq!(
        floor.text("SELECT epoch FROM dispatch_lanes").await,
        "1",
        "the lane was never lost"
    );
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_keeps_its_newest_day_and_adds_nothing_to_one_that_is_over() {
    let floor = Floor::new(&[], plain).await;
    let mut client = floor.pool.get().await.expect("a connection");
    let tx = client.transaction().await.expect("a transaction");
    risk::lock(&tx, &["main"], &[], &[]).await.expect("its row is made");
    let read = "SELECT pnl_day || ' ' || daily_pnl::float8 FROM risk_accounts";
    let begins = tx.query_one(read, &[]).await.expect("a row").get::<_, String>(0);
    assert_eq!(begins, "1970-01-01 0", "nothing was realised yet");
    for (day, amount, wanted) in [
        (date(2026, 11, 23), -5, "2026-11-23 -5"),
        (date(2026, 11, 23), 2, "2026-11-23 -3"),
        (date(2026, 11, 22), -100, "2026-11-23 -3"),
        (date(2026, 11, 25), 7, "2026-11-25 7"),
        (date(2026, 11, 24), -100, "2026-11-25 7"),
    ] {
        risk::add_realised(&tx, &[("main", day, amount.into())]).await.expect("it is added");
        assert_eq!(tx.query_one(read, &[]).await.expect("a row").get::<_, String>(0), wanted);
    }
}
