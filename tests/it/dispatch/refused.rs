//! F57: a broker that refuses us. Nothing is sent until it shakes hands again.

use std::path::{Path, PathBuf};
use std::process::Command;

use noctus::domain::event::Severity;

use super::floor::{Decided, Dispatcher, Floor};
use super::{QUOTES, plain};
use crate::paper::PaperBroker;

const RIGHT: &str = "the secret that the broker knows, long enough";
const OTHER: &str = "another secret, which is as long as it must be";

/// Puts a secret in its place, whole.
fn put(folder: &Path, secret: &str) -> PathBuf {
    let (new, file) = (folder.join("secret.new"), folder.join("secret"));
    std::fs::write(&new, secret).expect("the folder can be written");
    std::fs::rename(new, &file).expect("it can be moved");
    file
}

async fn is_safe(floor: &Floor, dispatcher: &Dispatcher) {
    floor.comes_true("SAFE", || dispatcher.metrics.dispatch_safe.get() == 1).await;
    let problems = dispatcher.health.problems();
    let told = problems.iter().any(|(part, why)| part == "broker" && why.starts_with("SAFE since"));
    assert!(told, "{problems:?}");
    floor.until("SELECT safe LIKE 'SAFE since%' FROM sender_confirmations", "true").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while floor.alerts().await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "no alert");
    }
}

/// It is over, and was told once.
async fn is_over(floor: &Floor, dispatcher: &Dispatcher) {
    floor.comes_true("it is over", || dispatcher.metrics.dispatch_safe.get() == 0).await;
    floor.comes_true("ready", || dispatcher.health.problems().is_empty()).await;
    floor.until("SELECT safe FROM sender_confirmations", "-").await;
    let alerts = floor.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].policy_name, "do.broker_refuses_us");
    assert_eq!(alerts[0].severity, Severity::Critical);
}

fn noctus(floor: &Floor, arguments: &[&str], secret: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(arguments)
        .env("NOCTUS_DATABASE__URL", floor.database())
        .env("NOCTUS_BROKER__URL", &floor.broker.url)
        .env_remove("NOCTUS_BROKER_SECRET")
        .env("NOCTUS_BROKER_SECRET_FILE", secret)
        .output()
        .expect("the executable starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_a_wrong_secret_at_the_start_is_safe_until_the_file_holds_the_right_one() {
    let floor = Floor::with(PaperBroker::start_with(QUOTES, Some(RIGHT)), plain).await;
    let file = put(floor.broker.folder(), OTHER);
    let dispatcher = floor.dispatcher_signing("one", &file).await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    is_safe(&floor, &dispatcher).await;
    assert_eq!(noctus(&floor, &["broker", "capabilities"], &file).0, Some(77));
    let (code, halts) = noctus(&floor, &["halts"], &file);
    assert_eq!(code, Some(0));
    assert!(halts.contains("SAFE since") && halts.contains("HTTP 401"), "{halts}");
    floor.state("order-00001", "NEW").await;
    put(floor.broker.folder(), RIGHT);
    floor.state("order-00001", "FILLED").await;
    is_over(&floor, &dispatcher).await;
    assert_eq!(noctus(&floor, &["broker", "capabilities"], &file).0, Some(0));
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_a_send_that_meets_a_changed_secret_is_unknown_and_goes_again_once_it_is_known() {
    // Without events only the send can meet it.
    let arguments = ["--no-events", QUOTES[0], QUOTES[1]];
    let mut floor = Floor::with(PaperBroker::start_with(&arguments, Some(RIGHT)), plain).await;
    let file = put(floor.broker.folder(), RIGHT);
    let dispatcher = floor.dispatcher_signing("one", &file).await;
    floor.until("SELECT done_at IS NOT NULL FROM dispatch_rounds", "true").await;
    floor.decide(&Decided::buy("order-00001", "USDJPY")).await;
    floor.state("order-00001", "FILLED").await;
    floor.broker.change_secret(&arguments, OTHER);
    floor.decide(&Decided::buy("order-00002", "USDJPY")).await;
    floor.state("order-00002", "UNKNOWN").await;
    is_safe(&floor, &dispatcher).await;
    // In other lanes too nothing leaves, and a halt ends what waits.
    floor.decide(&Decided::buy("order-00003", "EURUSD")).await;
    floor.decide(&Decided::buy("order-00004", "GBPUSD")).await;
    floor
        .sql(
            "INSERT INTO halts (mode, symbol, reason, by_whom)
             VALUES ('halted', 'GBPUSD', 'test', 'me')",
        )
        .await;
    floor.state("order-00004", "CANCELLED").await;
    let attempts = "SELECT count(*) FROM send_attempts";
    assert_eq!(floor.text(attempts).await, "2", "nothing else was even begun");
    // Longer than a question would have waited: none was asked, and none counts.
    let unasked = "SELECT query_no FROM outbox_orders WHERE idempotency_key = 'order-00002'";
    assert_eq!(floor.text(unasked).await, "0");
    put(floor.broker.folder(), OTHER);
    floor.state("order-00002", "FILLED").await;
    floor.state("order-00003", "FILLED").await;
    is_over(&floor, &dispatcher).await;
    let outcomes = "SELECT string_agg(outcome, ' ' ORDER BY attempt_no) FROM send_attempts
                     WHERE idempotency_key = 'order-00002'";
    assert_eq!(floor.text(outcomes).await, "unknown accepted");
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_what_works_at_a_broker_that_refuses_us_is_cancelled_once_it_shakes_hands_again() {
    let mut floor = Floor::with(PaperBroker::start_with(QUOTES, Some(RIGHT)), plain).await;
    let file = put(floor.broker.folder(), RIGHT);
    let dispatcher = floor.dispatcher_signing("one", &file).await;
    let limit = Some("147.000");
    floor.decide(&Decided { limit, ..Decided::buy("rests-00001", "USDJPY") }).await;
    floor.state("rests-00001", "ACCEPTED").await;
    // Its events or a question meet it first.
    floor.broker.change_secret(QUOTES, OTHER);
    is_safe(&floor, &dispatcher).await;
    floor
        .sql(
            "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom)
             VALUES ('rests-00001', 'cancelled_by_hand', 'test', 'me')",
        )
        .await;
    floor.decide(&Decided::buy("order-00001", "EURUSD")).await;
    put(floor.broker.folder(), OTHER);
    floor.state("rests-00001", "CANCELLED").await;
    floor.state("order-00001", "FILLED").await;
    is_over(&floor, &dispatcher).await;
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}
