//! Dispatch and what the broker says by itself: events, what it can, what it holds.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use noctus::dispatch::DispatchError;
use noctus::dispatch::broker::desk::InProcess;
use noctus::dispatch::broker::handshake::HandshakeError;
use noctus::domain::event::Severity;
use noctus::paper::desk::Desk;
use noctus::paper::ledger::Ledger;
use noctus::paper::lies::Lies;
use noctus::runtime::config::Config;
use serde_json::{Value, json};

use super::floor::{Decided, Floor};
use super::{QUOTES, plain};

/// Less than the pause between two questions about a working order.
const AT_ONCE: Duration = Duration::from_secs(4);

fn often(config: &mut Config) {
    (config.broker.handshake_s, config.broker.positions_s) = (1, 1);
}

fn resting(key: &str) -> Decided {
    Decided { limit: Some("147.000"), ..Decided::buy(key, "USDJPY") }
}

async fn cross(floor: &Floor) {
    floor.broker.post("/quotes", &json!({"USDJPY": {"bid": "146.9", "ask": "146.95"}})).await;
}

async fn steps(floor: &Floor, key: &str) -> Vec<String> {
    let events = floor.exec_events().await;
    let ours = events.into_iter().filter(|event| event.idempotency_key.as_str() == key);
    ours.map(|event| event.status.as_str().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_fill_is_known_as_soon_as_the_broker_tells_of_it() {
    let floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    let crossed = Instant::now();
    cross(&floor).await;
    floor.state("order-00001", "FILLED").await;
    assert!(crossed.elapsed() < AT_ONCE, "{:?}", crossed.elapsed());
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_fill_that_the_broker_never_tells_of_is_found_by_asking() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"drop_event_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    cross(&floor).await;
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_events_told_twice_late_or_in_disorder_lead_to_the_same_steps() {
    let floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    let lies = [
        json!({"duplicate_event_every": 1, "duplicate_fill_every": 1}),
        json!({"reorder_events": true}),
        json!({"delay_event_ms": 700}),
    ];
    for (n, lies) in lies.into_iter().enumerate() {
        let quote = json!({"USDJPY": {"bid": "147.250", "ask": "147.252"}});
        floor.broker.post("/quotes", &quote).await;
        floor.broker.lie(lies.clone()).await;
        let key = format!("order-{n:05}");
        floor.decide(&resting(&key)).await;
        floor.state(&key, "ACCEPTED").await;
        cross(&floor).await;
        floor.state(&key, "FILLED").await;
        assert_eq!(steps(&floor, &key).await, ["SENT", "ACCEPTED", "FILLED"], "{lies}");
    }
    assert!(floor.alerts().await.is_empty());
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_fill_after_the_end_is_heard_booked_and_told() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"late_fill_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    let cancel = "/v1/orders/by-client-id/order-00001/cancel";
    floor.broker.post(cancel, &json!({"reason": "by_hand"})).await;
    floor.state("order-00001", "CANCELLED").await;
    floor.until("SELECT position::float8 FROM risk_positions", "100").await;
    floor.nothing_is_left().await;
    let alerts: Vec<String> =
        floor.alerts().await.into_iter().map(|alert| alert.policy_name).collect();
    assert_eq!(alerts, ["do.late_fill"]);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_neither_dedupes_nor_answers_questions_gets_an_order_once_and_it_is_parked() {
    let floor = Floor::new(&["--no-dedupe", "--no-query", QUOTES[0], QUOTES[1]], plain).await;
    floor
        .broker
        .lie(json!({
            "no_dedupe": true, "no_query": true, "drop_answer_every": 1, "drop_event_every": 1,
        }))
        .await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "PARKED").await;
    let events = floor.exec_events().await;
    assert_eq!(events.last().and_then(|e| e.reason_code.as_deref()), Some("cannot_ask"));
    assert_eq!(floor.broker.orders().len(), 1);
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dedupes_and_answers_no_questions_is_sent_the_same_order_again() {
    let floor = Floor::new(&["--no-query", QUOTES[0], QUOTES[1]], plain).await;
    floor
        .broker
        .lie(json!({
            "no_query": true, "drop_answer_every": 1, "drop_event_every": 1,
        }))
        .await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.until("SELECT attempt_no > 1 FROM outbox_orders", "true").await;
    floor.broker.lie(json!({"no_query": true})).await;
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_replaced_by_what_the_broker_tells() {
    let floor = Floor::new(QUOTES, |config| config.broker.settle_ms = 60_000).await;
    floor.broker.lie(json!({"drop_answer_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    // Long before the first question.
    floor.state("order-00001", "FILLED").await;
    floor.nothing_is_left().await;
    assert_eq!(floor.text("SELECT detail->>'found_by' FROM send_attempts").await, "event");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_says_something_else_of_itself_is_an_alert_and_each_attempt_says_which() {
    let mut floor = Floor::new(QUOTES, often).await;
    let dispatchers = [floor.dispatcher("one").await, floor.dispatcher("two").await];
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    let address = floor.broker.url.trim_start_matches("http://").to_string();
    floor.broker.kill();
    floor.broker.restart_at(&address, &["--visible-after-ms", "50", QUOTES[0], QUOTES[1]]);
    floor.until("SELECT count(*) FROM broker_capabilities", "2").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while floor.alerts().await.is_empty() {
        assert!(Instant::now() < deadline, "no alert");
    }
    let alerts = floor.alerts().await;
    assert_eq!(alerts.len(), 1, "once among all: {alerts:?}");
    assert_eq!(alerts[0].policy_name, "do.capabilities_drift");
    assert_eq!(alerts[0].severity, Severity::High);
    assert_eq!(alerts[0].reason, "visible_within_ms: 0 → 50");
    // Both have heard of it by now, or will before this order of theirs.
    let under = "SELECT count(DISTINCT capabilities) FROM send_attempts";
    let mut n = 2;
    while floor.text(under).await != "2" {
        let key = format!("order-{n:05}");
        floor.decide(&Decided::buy(&key, "USDJPY")).await;
        floor.state(&key, "FILLED").await;
        n += 1;
    }
    let unknown = "SELECT count(*) FROM send_attempts a LEFT JOIN broker_capabilities b
                       ON b.digest = a.capabilities
                    WHERE b.digest IS NULL OR a.client_order_id <> a.idempotency_key";
    assert_eq!(floor.text(unknown).await, "0");
    for dispatcher in dispatchers {
        dispatcher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f61_a_broker_that_turns_into_another_environment_ends_the_role_with_an_alert() {
    let mut floor = Floor::new(QUOTES, often).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    let address = floor.broker.url.trim_start_matches("http://").to_string();
    floor.broker.kill();
    floor.broker.restart_at(&address, &["--dev", "--environment", "live"]);
    let ended = dispatcher.end().await;
    assert!(
        matches!(ended, Err(DispatchError::Handshake(HandshakeError::Unusable { .. }))),
        "{ended:?}"
    );
    let alerts = floor.alerts().await;
    assert_eq!(alerts[0].policy_name, "do.capabilities_drift");
    assert_eq!(alerts[0].severity, Severity::Critical);
}

const STOPPED: &str = "SELECT count(*) FROM halts WHERE mode = 'reduce_only'";
const RESUME: &str = "INSERT INTO halts (mode, account, symbol, reason, by_whom)
                      VALUES ('resumed', 'main', 'USDJPY', 'explained', 'alice')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_differs_from_the_brokers_stops_what_opens_until_a_person_has_looked() {
    let floor = Floor::new(QUOTES, often).await;
    let dispatchers = [floor.dispatcher("one").await, floor.dispatcher("two").await];
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    floor.until("SELECT ours = 100 AND theirs = 100 FROM position_checks", "true").await;
    assert!(floor.alerts().await.is_empty());
    floor.broker.lie(json!({"position_offset": {"USDJPY": "5"}})).await;
    floor.until(STOPPED, "1").await;
    let alerts = floor.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].policy_name, "do.position_mismatch");
    assert_eq!(alerts[0].severity, Severity::Critical);
    assert_eq!(alerts[0].details["theirs"], "105");
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    floor.state("order-00002", "CANCELLED").await;
    let (side, opening) = ("SELL", 0);
    floor.decide(&Decided { side, opening, ..Decided::buy("order-00003", "USDJPY") }).await;
    floor.state("order-00003", "FILLED").await;
    // The same difference is not told again, before it is acknowledged or after.
    floor.sql(RESUME).await;
    let checked = floor.text("SELECT checked_at FROM position_checks").await;
    floor.until(&format!("SELECT checked_at > '{checked}' FROM position_checks"), "true").await;
    assert_eq!(floor.text(STOPPED).await, "1");
    floor.decide(&Decided::buy("order-00004", "USDJPY")).await;
    floor.state("order-00004", "FILLED").await;
    floor.broker.lie(json!({"position_offset": {"USDJPY": "7", "EURUSD": "1"}})).await;
    floor.until(STOPPED, "3").await;
    let symbols =
        "SELECT string_agg(symbol, ' ' ORDER BY number) FROM halts WHERE mode = 'reduce_only'";
    assert!(floor.text(symbols).await.contains("EURUSD"), "what only the broker holds differs too");
    assert_eq!(floor.alerts().await.len(), 3);
    for dispatcher in dispatchers {
        dispatcher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_not_compared_while_an_outcome_is_unknown() {
    let floor = Floor::new(QUOTES, |config| {
        often(config);
        config.broker.settle_ms = 4_000;
    })
    .await;
    floor.broker.lie(json!({"drop_answer_every": 1, "drop_event_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "UNKNOWN").await;
    // The broker holds 100 and we do not know it: longer than a difference may last.
    floor.state("order-00001", "FILLED").await;
    floor.until("SELECT theirs = 100 FROM position_checks", "true").await;
    assert_eq!(floor.text(STOPPED).await, "0");
    assert!(floor.alerts().await.is_empty());
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dispatch_works_with_the_desk_in_process_as_with_a_broker_over_http() {
    let floor = Floor::new(&[], plain).await;
    let quotes = [("USDJPY".to_string(), "147.250/147.252".parse().expect("a quote"))];
    let lies = Lies { drop_answer_every: 2, fill_parts: 2, ..Lies::default() };
    let desk = Desk::new(Ledger::nowhere(), vec![], "paper", quotes.into(), lies);
    let desk = Arc::new(Mutex::new(desk));
    let broker = InProcess::new(desk.clone(), Duration::from_secs(1));
    let dispatcher = floor.dispatcher_at("one", Arc::new(broker)).await;
    for n in 0..6 {
        floor.decide(&Decided::buy(&format!("order-{n:05}"), "USDJPY")).await;
    }
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", "6").await;
    assert_eq!(floor.text("SELECT position::float8 FROM risk_positions").await, "600");
    assert_eq!(desk.lock().expect("no panic").orders(0, 100).len(), 6);
    dispatcher.stop().await;
}

/// Runs a verb; its exit code and its standard output.
fn noctus(floor: &Floor, arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(arguments)
        .env("NOCTUS_DATABASE__URL", floor.database())
        .env("NOCTUS_BROKER__URL", &floor.broker.url)
        .env_remove("NOCTUS_BROKER_SECRET")
        .output()
        .expect("the executable starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verbs_show_what_the_broker_can_and_both_sides_of_a_position() {
    let floor = Floor::new(QUOTES, plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    let (code, told) = noctus(&floor, &["broker", "capabilities", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["usable"]), (Some(0), &json!(true)));
    let digest = floor.text("SELECT capabilities FROM send_attempts").await;
    assert_eq!(told["digest"], json!(digest));
    let (_, shown) = noctus(&floor, &["orders", "show", "order-00001"]);
    assert!(shown.contains(&format!("capabilities {}", &digest[..8])), "{shown}");
    let (code, both) = noctus(&floor, &["broker", "positions", "--json"]);
    let both: Value = serde_json::from_str(&both).expect("one line of JSON");
    assert_eq!((code, &both["ours"], &both["theirs"]), (Some(0), &json!("100"), &json!("100")));
    floor.broker.lie(json!({"position_offset": {"USDJPY": "-5"}})).await;
    let (code, table) = noctus(&floor, &["broker", "positions"]);
    assert_eq!(code, Some(1));
    assert!(table.contains("USDJPY") && table.contains("95") && table.contains("-5"), "{table}");
    dispatcher.stop().await;
    let away = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(["broker", "capabilities"])
        .env("NOCTUS_BROKER__URL", "http://127.0.0.1:1")
        .output()
        .expect("the executable starts");
    assert_eq!(away.status.code(), Some(69), "{}", String::from_utf8_lossy(&away.stderr));
    let live = Floor::new(&["--dev", "--environment", "live"], plain).await;
    assert_eq!(noctus(&live, &["broker", "capabilities"]).0, Some(1));
}
