//! Fills after the end, and orders of unknown outcome under a halt: what only questions find out.

use std::time::Duration;

use noctus::domain::event::Severity;
use noctus::paper::ledger::Entry;
use serde_json::json;

use super::floor::{Decided, Floor};
use super::{QUOTES, plain};

fn resting(key: &str) -> Decided {
    Decided { limit: Some("147.000"), ..Decided::buy(key, "USDJPY") }
}

async fn want(floor: &Floor, key: &str) {
    let sql = format!(
        "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom)
         VALUES ('{key}', 'cancelled_by_hand', 'test', 'me')"
    );
    floor.sql(&sql).await;
}

async fn halt(floor: &Floor) {
    let halt = "INSERT INTO halts (mode, symbol, reason, by_whom)
                VALUES ('halted', 'USDJPY', 'test', 'me')";
    floor.sql(halt).await;
}

async fn steps(floor: &Floor, key: &str) -> Vec<String> {
    let events = floor.exec_events().await.into_iter();
    let ours = events.filter(|event| event.idempotency_key.as_str() == key);
    ours.map(|event| event.status.as_str().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_fill_after_the_end_that_nobody_tells_of_is_found_by_asking() {
    // A broker without events; and one that has them and loses every one.
    for (arguments, lies) in [
        (&["--no-events", QUOTES[0], QUOTES[1]][..], json!({"late_fill_every": 1})),
        (QUOTES, json!({"late_fill_every": 1, "drop_event_every": 1})),
    ] {
        let floor = Floor::new(arguments, plain).await;
        let dispatcher = floor.dispatcher("one").await;
        floor.broker.lie(lies.clone()).await;
        floor.decide(&resting("order-00001")).await;
        floor.state("order-00001", "ACCEPTED").await;
        want(&floor, "order-00001").await;
        floor.state("order-00001", "CANCELLED").await;
        floor.until("SELECT position::float8 FROM risk_positions", "100").await;
        floor.state("order-00001", "CANCELLED").await;
        let alerts = floor.alerts().await;
        assert_eq!(alerts.len(), 1, "{lies}: {alerts:?}");
        assert_eq!(alerts[0].policy_name, "do.late_fill");
        assert_eq!(alerts[0].severity, Severity::High);
        floor.nothing_is_left().await;
        dispatcher.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_an_order_that_has_ended_is_asked_about_for_as_long_as_configured_and_no_longer() {
    let arguments = ["--no-events", QUOTES[0], QUOTES[1]];
    let floor = Floor::new(&arguments, |config| config.broker.late_fill_s = 2).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    want(&floor, "order-00001").await;
    floor.state("order-00001", "CANCELLED").await;
    // At the first second and at the end; then its lane is let go.
    let asked = "SELECT query_no || ' ' || coalesce(next_query_at::text, '-') FROM outbox_orders";
    floor.until(asked, "2 -").await;
    floor.until("SELECT owner FROM dispatch_lanes", "").await;
    assert!(floor.alerts().await.is_empty());
    // Never sent, never asked about.
    floor.decide(&Decided { life_ms: -1, ..Decided::buy("order-00002", "USDJPY") }).await;
    floor.state("order-00002", "EXPIRED").await;
    let never =
        "SELECT next_query_at IS NULL FROM outbox_orders WHERE idempotency_key = 'order-00002'";
    assert_eq!(floor.text(never).await, "true");
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_f60_under_a_halt_an_order_of_unknown_outcome_is_asked_about_and_then_cancelled() {
    let floor = Floor::new(QUOTES, |config| config.broker.settle_ms = 1_000).await;
    floor.broker.lie(json!({"drop_answer_every": 1, "drop_event_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "UNKNOWN").await;
    halt(&floor).await;
    floor.broker.lie(json!({"drop_event_every": 1})).await;
    floor.state("order-00001", "CANCELLED").await;
    assert_eq!(steps(&floor, "order-00001").await, ["SENT", "UNKNOWN", "ACCEPTED", "CANCELLED"]);
    floor.until("SELECT answer FROM order_cancels", "CANCELLED").await;
    assert_eq!(floor.broker.orders().len(), 1);
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_f60_under_a_halt_an_order_the_broker_never_got_is_asked_about_until_its_life_ends() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"reset_before_apply_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&Decided { life_ms: 10_000, ..resting("order-00001") }).await;
    floor.state("order-00001", "UNKNOWN").await;
    halt(&floor).await;
    floor.until("SELECT halt_number FROM sender_confirmations", "1").await;
    let came = floor.broker.records().len();
    floor.broker.lie(json!({})).await;
    // It may not go again, and cannot be ended before the broker would refuse it: asking goes on meanwhile.
    floor.state("order-00001", "EXPIRED").await;
    assert_eq!(floor.broker.records().len(), came, "nothing was sent after the acknowledgement");
    assert!(floor.broker.orders().is_empty());
    assert!(floor.alerts().await.is_empty(), "it was not PARKED on the way");
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f53_a_cancel_wanted_of_an_order_of_unknown_outcome_is_carried_out_once_it_is_known() {
    let floor = Floor::new(QUOTES, |config| config.broker.settle_ms = 1_000).await;
    floor.broker.lie(json!({"drop_answer_every": 1, "drop_event_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "UNKNOWN").await;
    want(&floor, "order-00001").await;
    floor.broker.lie(json!({"drop_event_every": 1})).await;
    floor.state("order-00001", "CANCELLED").await;
    assert_eq!(steps(&floor, "order-00001").await, ["SENT", "UNKNOWN", "ACCEPTED", "CANCELLED"]);
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_the_broker_refuses_is_told_once_and_asked_again_only_when_wanted_again() {
    let floor = Floor::new(QUOTES, plain).await;
    floor.broker.lie(json!({"refuse_cancel_every": 1})).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    halt(&floor).await;
    let answer = "SELECT answer || ' ' || asked || ' ' || (next_ask_at IS NULL) FROM order_cancels";
    floor.until(answer, "refused:cannot_cancel 1 true").await;
    let alerts = floor.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].policy_name, "do.cancel_refused");
    assert_eq!(alerts[0].severity, Severity::High);
    floor.state("order-00001", "ACCEPTED").await;
    let cancels = floor.broker.told().await["refuse_cancel"];
    assert_eq!(cancels, 1);
    floor.broker.lie(json!({})).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(["orders", "cancel", "order-00001", "--reason", "again", "--by", "alice"])
        .env("NOCTUS_DATABASE__URL", floor.database())
        .output()
        .await
        .expect("the executable starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    floor.state("order-00001", "CANCELLED").await;
    assert_eq!(floor.alerts().await.len(), 1);
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_a_cancel_of_an_order_that_was_filled_meanwhile_finds_the_fill() {
    let floor = Floor::new(&["--no-events", QUOTES[0], QUOTES[1]], plain).await;
    let dispatcher = floor.dispatcher("one").await;
    floor.decide(&resting("order-00001")).await;
    floor.state("order-00001", "ACCEPTED").await;
    dispatcher.stop().await;
    // Not asked about in a while: only the cancel can find it.
    floor.sql("UPDATE outbox_orders SET next_query_at = now() + interval '1 hour'").await;
    let fill = json!({"client_order_id": "order-00001", "qty": "100", "px": "147"});
    floor.broker.post("/fills", &fill).await;
    want(&floor, "order-00001").await;
    let dispatcher = floor.dispatcher("two").await;
    floor.state("order-00001", "FILLED").await;
    let moot = |entry: &Entry| matches!(entry, Entry::Moot { what, .. } if what == "cancel");
    let came = floor.broker.records().iter().any(|record| moot(&record.entry));
    assert!(came, "the cancel came to an order that had ended");
    floor.until("SELECT answer FROM order_cancels", "FILLED").await;
    assert!(floor.alerts().await.is_empty());
    floor.nothing_is_left().await;
    dispatcher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f67_the_list_of_halts_shows_which_host_is_halted_by_its_own_file() {
    let file = std::env::temp_dir().join(format!("noctus-it-halt-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let floor = Floor::new(QUOTES, |config| config.dispatch.halt_file = Some(file.clone())).await;
    let dispatcher = floor.dispatcher("one").await;
    let noctus = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
            .args(arguments)
            .env("NOCTUS_DATABASE__URL", floor.database())
            .env("NOCTUS_DISPATCH__HALT_FILE", &file)
            .output()
            .expect("the executable starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    floor.until("SELECT count(*) FROM sender_confirmations", "1").await;
    assert!(!noctus(&["halts"]).contains("its own file"));
    noctus(&["halt", "--local", "--reason", "this host is wrong", "--as", "alice"]);
    floor.until("SELECT halted_here FROM sender_confirmations", "this host is wrong").await;
    let shown = noctus(&["halts"]);
    assert!(shown.contains("halted by its own file: this host is wrong"), "{shown}");
    let told: serde_json::Value =
        serde_json::from_str(&noctus(&["halts", "--json"])).expect("JSON");
    assert_eq!(told["senders"][0]["halted_here"], "this host is wrong");
    floor
        .sql("INSERT INTO halts (mode, reason, by_whom) VALUES ('resumed', 'mended', 'bob')")
        .await;
    floor.until("SELECT halted_here FROM sender_confirmations", "-").await;
    dispatcher.stop().await;
    let _ = std::fs::remove_file(&file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_with_resting_orders_take_no_place_of_those_in_which_something_moves() {
    let floor = Floor::new(&[], |config| config.dispatch.in_flight_max = 2).await;
    let symbol = |n: usize| -> &'static str { Box::leak(format!("S{n:03}").into_boxed_str()) };
    let quotes: serde_json::Map<_, _> =
        (0..20).map(|n| (symbol(n).to_string(), json!({"bid": "150.0", "ask": "150.1"}))).collect();
    floor.broker.post("/quotes", &json!(quotes)).await;
    // In six lanes something is decided, and waits behind an order that is a person's.
    for n in 30..36 {
        floor.decide(&Decided::buy(&format!("parked-{n:05}"), symbol(n))).await;
    }
    floor.sql("UPDATE outbox_orders SET state = 'PARKED', exec_seq = 3, attempt_no = 1").await;
    for n in 30..36 {
        let life_ms = 600_000;
        let behind = Decided { life_ms, ..Decided::buy(&format!("behind-{n:05}"), symbol(n)) };
        floor.decide(&behind).await;
    }
    let dispatcher = floor.dispatcher("one").await;
    for n in 0..20 {
        let limit = Some("147.000");
        floor.decide(&Decided { limit, ..Decided::buy(&format!("rests-{n:05}"), symbol(n)) }).await;
    }
    // Five times what one worker may hold of lanes in which something moves.
    floor.until("SELECT count(*) FROM outbox_orders WHERE state = 'ACCEPTED'", "20").await;
    floor.decide(&Decided::buy("order-00001", "ZZZ")).await;
    floor.state("order-00001", "FILLED").await;
    // And all of them are looked after: a fill is heard, a cancel is carried out.
    floor.broker.post("/quotes", &json!({"S019": {"bid": "146.9", "ask": "146.95"}})).await;
    floor.state("rests-00019", "FILLED").await;
    want(&floor, "rests-00018").await;
    floor.state("rests-00018", "CANCELLED").await;
    let lanes = "SELECT count(*) >= 19 FROM dispatch_lanes WHERE owner = 'one'";
    floor.until(lanes, "true").await;
    tokio::time::timeout(Duration::from_secs(30), dispatcher.stop()).await.expect("it drains");
}
