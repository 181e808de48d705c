//! The gate's clock is wrong (F11): a person is told, and beyond the limit nothing is decided until it is right again.

use super::{Line, open_policy, order};

/// How wrong the clock of the roles is that are started with this file, in milliseconds.
fn skew(line: &Line, ms: i64) -> String {
    let (new, path) = (line.file("skew.new", &ms.to_string()), line.path("skew"));
    std::fs::rename(new, &path).expect("a rename within a folder");
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_with_a_clock_that_is_wrong_nothing_is_decided_until_it_is_right_again() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let file = skew(&line, 0);
    let (gate, _sink) = (line.start_with("gate", &[("NOCTUS_SKEW", &file)]), line.start("sink"));
    let decided = "SELECT count(*) FROM outbox_orders";
    line.produce(&[order("clock-0001", "USDJPY")], None).await;
    line.until(decided, "1").await;
    gate.answers(200, "ready").await;

    // More than 2 s: told, and decided all the same.
    skew(&line, 3_000);
    let told = |name: &str| {
        format!(
            "SELECT string_agg(DISTINCT severity || ' ' || (details->>'whose'), ', ') FROM obs_alerts
              WHERE policy_name = '{name}'"
        )
    };
    line.until(&told("clock.skew"), "HIGH Postgres").await;
    line.produce(&[order("clock-0002", "USDJPY")], None).await;
    line.until(decided, "2").await;
    gate.answers(200, "ready").await;

    // More than 5 s: read, and not decided.
    skew(&line, -8_000);
    gate.answers(503, "our clock and that of Postgres are apart").await;
    line.until(&told("clock.apart"), "CRITICAL Postgres").await;
    let read = gate.metric("noctus_gate_requests_total").await;
    line.produce(&[order("clock-0003", "USDJPY")], None).await;
    gate.counts("noctus_gate_requests_total", read + 1.0).await;
    gate.answers(503, "our clock and that of Postgres are apart").await;
    assert_eq!(line.ask(decided).await, "2", "{}", line.state().await);
    // Kafka's clock says the same of a record that it wrote later than it is.
    line.until(&told("clock.skew"), "HIGH Kafka, HIGH Postgres").await;

    skew(&line, 0);
    line.until(decided, "3").await;
    gate.answers(200, "ready").await;
    let actions = "SELECT string_agg(DISTINCT action, ' ') FROM outbox_orders";
    assert_eq!(line.ask(actions).await, "BUY", "none was taken for late, or for one of the future");
    assert_eq!(line.dump("dead-letters").len(), 0);
}
