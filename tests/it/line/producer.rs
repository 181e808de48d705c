//! examples/producer.py: confluent-kafka's own AvroSerializer against the real stack, as a producer would run it.

use std::process::Command;

use noctus::domain::trace_context::TraceContext;
use serde_json::Value;

use super::{Line, open_policy};
use crate::stack::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_the_python_example_are_decided_and_filled_once() {
    let mut line = Line::new(4, |c| c.policies.risk = Some(open_policy())).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    let stack = Stack::get();
    let orders = line.file(
        "orders.jsonl",
        "{\"symbol\":\"USDJPY\",\"side\":\"BUY\",\"qty\":\"12\",\"reference_price\":\"147.25\",\
          \"requested_at\":\"@\",\"trace_id\":\"py-1\",\"quality\":{\"missing_ratio\":0.0,\"data_lag_min\":1.0}}\n"
            .replace('@', &noctus::runtime::clock::now().to_string())
            .as_str(),
    );
    let mut keys = Vec::new();
    // Twice, as a producer that lost its answer would.
    for _ in 0..2 {
        let out = Command::new(&stack.python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/producer.py"))
            .args(["--dev", "--brokers", &stack.brokers, "--registry", &stack.registry])
            .args(["--topic-prefix", &line.prefix])
            .arg("--file")
            .arg(&orders)
            .output()
            .expect("python can be started");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let told: Value = serde_json::from_slice(&out.stdout).expect("a JSON line");
        keys.push(told["key"].as_str().expect("a key").to_string());
    }
    assert_eq!(keys[0], keys[1], "recipe v1 gives the same key again");
    line.rest(1).await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    let row =
        "SELECT idempotency_key || ' ' || decided_qty::float8 || ' ' || state FROM outbox_orders";
    assert_eq!(line.ask(row).await, format!("{} 12 FILLED", keys[0]));
    assert_eq!(line.broker.orders().len(), 1);
    let trace = TraceContext::begun("py-1", &format!("submit {}", keys[0])).traceparent();
    assert_eq!(line.ask("SELECT traceparent FROM outbox_orders").await, trace);
}
