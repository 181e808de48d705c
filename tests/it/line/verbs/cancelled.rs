//! C-OUT-6: a person cancels one order.

use serde_json::json;

use super::super::{Line, open_policy, order};
use super::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_works_is_cancelled_at_the_broker_and_the_command_tells_what_became_of_it() {
    let mut line = Line::new(1, |config| config.policies.risk = Some(open_policy())).await;
    let (_gate, dispatch, _sink) = (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.broker.post("/quotes", &json!({"USDJPY": {"bid": "147.2", "ask": "147.3"}})).await;
    line.produce(&[order("cancelled-01", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "ACCEPTED").await;
    let words = "orders cancel cancelled-01 --reason test --by alice --json";
    let done = run(&line, words).with(0).json().remove(0);
    assert_eq!(
        (&done["state"], &done["executed_qty"]),
        (&json!("CANCELLED"), &json!("0")),
        "{done}"
    );
    let over = run(&line, "orders cancel cancelled-01 --reason again").with(1);
    assert!(over.err.contains("is over: it is CANCELLED"), "{over:?}");
    run(&line, "orders cancel cancelled-none --reason test").with(1);
    run(&line, "orders cancel cancelled-01").with(2);
    // Nobody does it: it stays wanted, and is done by who comes next, unsent.
    drop(dispatch);
    line.produce(&[order("cancelled-02", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state = 'NEW'", "1").await;
    run(&line, "orders cancel cancelled-02 --reason test --timeout 0").with(1);
    let _dispatch = line.start("dispatch");
    line.rest(2).await;
    let ends = "SELECT string_agg(idempotency_key || ' ' || status::text || ' ' || reason_code, ', '
                       ORDER BY idempotency_key) FROM obs_exec_events WHERE status::text = 'CANCELLED'";
    let wanted =
        "cancelled-01 CANCELLED cancelled_by_hand, cancelled-02 CANCELLED cancelled_by_hand";
    assert_eq!(line.ask(ends).await, wanted);
    assert_eq!(line.broker.orders().len(), 1);
    let by_hand =
        "UPDATE outbox_orders SET state = 'PARKED' WHERE idempotency_key = 'cancelled-02'";
    line.pool.get().await.expect("a connection").batch_execute(by_hand).await.expect("good SQL");
    let parked = run(&line, "orders cancel cancelled-02 --reason test").with(1);
    assert!(parked.err.contains("noctus orders resolve"), "{parked:?}");
}
