//! The same events, however they come, leave the same rows.

use noctus::domain::event::OrderStatus::*;
use noctus::domain::event::{Action, ExecEvent};
use noctus::pg::obs;
use noctus::sink::project;
use noctus::sink::project::rows::{Row, Rows};

use super::base::{Base, Order, at, number};

fn two_orders() -> Vec<Row> {
    let (one, two) = (Order::new("run-1", "order-00001"), Order::new("run-1", "order-00002"));
    let mut rows = one.everything();
    rows.extend([
        two.decision(Action::Flat, at(31)),
        two.alert("risk.forbidden_symbol", at(31)),
        two.untraced(at(90)),
    ]);
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f62_the_same_batch_again_writes_nothing() {
    let base = Base::new().await;
    let first = base.write(two_orders()).await;
    assert_eq!(
        first,
        [
            ("obs_plan_runs", 2, 0),
            ("obs_infer_calls", 1, 0),
            ("obs_decisions", 2, 0),
            ("obs_exec_events", 3, 0),
            ("obs_alerts", 3, 0),
        ]
    );
    let before = base.content().await;
    let again = base.write(two_orders()).await;
    assert!(again.iter().all(|(_, new, _)| *new == 0), "{again:?}");
    assert_eq!(again.iter().map(|(_, _, repeats)| repeats).sum::<u64>(), 11);
    assert_eq!(base.content().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_repeated_within_a_batch_counts_as_one() {
    let base = Base::new().await;
    let twice: Vec<Row> = two_orders().into_iter().chain(two_orders()).collect();
    let written = base.write(twice).await;
    assert!(written.iter().all(|(_, new, repeats)| new == repeats), "{written:?}");
    assert_eq!(base.text("SELECT count(*) FROM obs_do_metrics").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_a_rebuild_split_and_ordered_otherwise_leaves_the_same_rows() {
    let (live, rebuilt) = (Base::new().await, Base::new().await);
    live.write(two_orders()).await;
    let mut rows = two_orders();
    rows.reverse();
    for pair in rows.chunks(2) {
        rebuilt.write(pair.to_vec()).await;
        rebuilt.write(pair[..1].to_vec()).await;
    }
    assert_eq!(rebuilt.content().await, live.content().await);
}

/// Every order of five things.
fn permutations(of: &[Row]) -> Vec<Vec<Row>> {
    if of.len() < 2 {
        return vec![of.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..of.len() {
        let mut rest = of.to_vec();
        let head = rest.remove(first);
        for tail in permutations(&rest) {
            all.push([vec![head.clone()], tail].concat());
        }
    }
    all
}

/// What an order of this name causes: a part of it is filled before it is cancelled.
fn cancelled(key: &str) -> Vec<Row> {
    let order = Order::new("run", key);
    let partial = order.step(3, PartiallyFilled, at(60));
    let (qty, price) = (number("200"), Some(number("147.260")));
    let partial = ExecEvent { executed_qty: qty, avg_price: price, ..partial };
    let last = order.step(4, Cancelled, at(90));
    let last = ExecEvent { executed_qty: qty, avg_price: price, ..last };
    vec![
        order.decision(Action::Buy, at(30)),
        order.exec(1, Sent, at(42)),
        order.exec(2, Accepted, at(46)),
        project::exec_event(partial).expect("a row"),
        project::exec_event(last).expect("a row"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_order_cost_does_not_depend_on_the_order_in_which_its_events_arrive() {
    let base = Base::new().await;
    let ways = permutations(&cancelled("order-00000")).len();
    assert_eq!(ways, 120);
    // An order for each way; the first event of each, then the second of each, and so on.
    let order = |way: usize| permutations(&cancelled(&format!("order-{way:05}"))).swap_remove(way);
    let orders: Vec<Vec<Row>> = (0..ways).map(order).collect();
    for nth in 0..5 {
        base.write(orders.iter().map(|order| order[nth].clone()).collect()).await;
    }
    assert_eq!(base.text("SELECT count(*) FROM obs_do_metrics").await, "120", "one row per order");
    let metrics = "SELECT string_agg(DISTINCT concat_ws(' ', symbol, child_orders, retry_counts,
        partial_fills, requested_qty::float8, filled_qty::float8, slippage::float8, queue_ms,
        broker_rtt_ms, total_ms, final_status, first_at), ' | ') FROM obs_do_metrics";
    let wanted = "USDJPY 1 0 1 500 200 0.008 12 4 90 CANCELLED 2025-08-23 11:00:00.042+00";
    assert_eq!(base.text(metrics).await, wanted);
    let first = "SELECT count(*) FROM obs_do_metrics m
                   JOIN obs_exec_events e USING (event_id) WHERE e.exec_seq = 1";
    assert_eq!(base.text(first).await, "120", "each has the id of its order's first step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_steps_lie_in_two_months_is_measured_as_one() {
    let base = Base::new().await;
    let order = Order::new("run", "order-00001");
    let month_later = 31 * 24 * 3_600_000;
    base.write(vec![order.filled(3, "147.260", at(month_later))]).await;
    base.write(vec![order.exec(2, Accepted, at(46)), order.exec(1, Sent, at(42))]).await;
    base.write(vec![order.decision(Action::Buy, at(30))]).await;
    let metrics = "SELECT string_agg(concat_ws(' ', final_status, slippage::float8, total_ms, first_at), ' | ')
                     FROM obs_do_metrics";
    let wanted = format!("FILLED 0.008 {month_later} 2025-08-23 11:00:00.042+00");
    assert_eq!(base.text(metrics).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_not_sent_has_no_metrics() {
    let base = Base::new().await;
    base.write(vec![Order::new("run", "order-00001").decision(Action::Buy, at(0))]).await;
    base.write(vec![Order::new("run", "order-00002").decision(Action::Reject, at(0))]).await;
    assert_eq!(base.text("SELECT count(*) FROM obs_do_metrics").await, "0");
}

/// Each transaction sees only its own rows until both have committed; the later one has to see both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_and_its_decision_that_two_sinks_commit_at_once_still_give_the_slippage() {
    let base = Base::new().await;
    let order = Order::new("run", "order-00001");
    let step = order.filled(1, "147.260", at(46));
    let decided = order.decision(Action::Buy, at(30));
    let (steps, decision) = (Rows::of([&step]), Rows::of([&decided]));
    let mut left = base.pool.get().await.unwrap();
    let mut right = base.pool.get().await.unwrap();
    obs::Months::default().make(&left, &steps).await.unwrap();
    let left = left.transaction().await.unwrap();
    let right = right.transaction().await.unwrap();
    let steps = obs::write(&left, &steps).await.unwrap();
    let decision = obs::write(&right, &decision).await.unwrap();
    obs::measure(&left, &steps).await.unwrap();
    let later = async {
        obs::measure(&right, &decision).await.unwrap();
        right.commit().await.unwrap();
    };
    tokio::join!(later, async { left.commit().await.unwrap() });
    assert_eq!(base.text("SELECT slippage::float8 FROM obs_do_metrics").await, "0.008");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_costs_one_statement_per_table() {
    let base = Base::new().await;
    let rows: Vec<Row> = (0..400)
        .flat_map(|n| Order::new(&format!("t-{n}"), &format!("order-{n:05}")).everything())
        .collect();
    base.write(rows).await;
    assert_eq!(base.text("SELECT count(*) FROM obs_do_metrics").await, "400");
    // The schema may be missing a part (F64): then nothing of the batch stays.
    base.sql("ALTER TABLE obs_do_metrics RENAME TO obs_do_metrics_away").await;
    let mut client = base.pool.get().await.unwrap();
    let rows = Order::new("late", "order-99999").everything();
    let tx = client.transaction().await.unwrap();
    let written = obs::write(&tx, &Rows::of(&rows)).await.unwrap();
    assert!(obs::measure(&tx, &written).await.is_err());
    drop(tx);
    assert_eq!(base.text("SELECT count(*) FROM obs_decisions WHERE trace_id = 'late'").await, "0");
}
