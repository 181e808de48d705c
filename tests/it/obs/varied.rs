//! An event that comes again says what it said first (I4); one that does not is noticed, and changes nothing.

use noctus::domain::event::Action;
use noctus::domain::event::OrderStatus::{Accepted, Filled};
use noctus::pg::obs;
use noctus::sink::project::rows::{Row, Rows};

use super::base::{Base, Order, at};

/// What the sink would notice of these rows; nothing of them stays.
async fn noticed(base: &Base, rows: Vec<Row>) -> Vec<(&'static str, u64)> {
    let batch = Rows::of(&rows);
    let mut client = base.pool.get().await.expect("a connection");
    obs::Months::default().make(&client, &batch).await.expect("months");
    let tx = client.transaction().await.expect("a transaction");
    let written = obs::write(&tx, &batch).await.expect("rows");
    obs::varied(&tx, &batch, &written).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_again_as_they_were_are_no_news() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    let everything = || {
        let mut rows = order.everything();
        rows.push(order.untraced(at(1)));
        rows
    };
    assert_eq!(noticed(&base, everything()).await, [], "new");
    base.write(everything()).await;
    assert_eq!(noticed(&base, everything()).await, [], "again");
    let twice = everything().into_iter().chain(everything()).collect();
    assert_eq!(noticed(&base, twice).await, [], "twice in a batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_again_and_says_something_else_is_noticed_in_every_table() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(order.everything()).await;
    let before = base.content().await;
    let mut changed = order.everything();
    let mut tables = 0;
    for row in &mut changed {
        match row {
            Row::PlanRun(row) => row.meta = serde_json::json!({"run": "daily"}),
            Row::InferCall(row) => row.duration_ms = Some(241),
            Row::Decision(row) => row.decision["decided_qty"] = "499".into(),
            Row::ExecEvent(row) => row.executed_qty += rust_decimal::Decimal::ONE,
            Row::Alert(row) => row.reason += "!",
            Row::CommandOutcome(row) => row.reason += "!",
        }
        tables += 1;
    }
    let noticed = noticed(&base, changed).await;
    let number: u64 = noticed.iter().map(|(_, events)| events).sum();
    assert_eq!(number, tables, "{noticed:?}");
    for table in
        ["obs_plan_runs", "obs_infer_calls", "obs_decisions", "obs_exec_events", "obs_alerts"]
    {
        assert!(noticed.iter().any(|(name, _)| *name == table), "{table}: {noticed:?}");
    }
    assert_eq!(base.content().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_decision_of_a_key_is_noticed_and_those_of_other_keys_are_not() {
    let base = Base::new().await;
    let (one, two) = (Order::new("run-1", "order-00001"), Order::new("run-2", "order-00002"));
    base.write(one.everything()).await;
    let rows = vec![
        one.decision(Action::Buy, at(40)),
        two.decision(Action::Sell, at(50)),
        two.exec(1, Accepted, at(60)),
        two.exec(2, Filled, at(70)),
    ];
    let noticed = noticed(&base, rows).await;
    assert_eq!(noticed, [("obs_decisions", 1)], "at another time, so it is a row of its own");
}
