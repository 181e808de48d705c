//! What the views answer for traces made by hand.

use noctus::domain::event::Action;
use noctus::domain::event::OrderStatus::*;
use noctus::pg::acceptance::{self, Answer};

use super::base::{Base, Order, at};

async fn ask(base: &Base, query: &str, trace: &Order) -> Answer {
    let client = base.pool.get().await.unwrap();
    acceptance::ask(&client, &acceptance::of_trace(query, &trace.trace)).await.unwrap()
}

/// `kind action` of each row, in the order of the plan's own query.
async fn timeline(base: &Base, trace: &Order) -> Vec<String> {
    let answer = ask(base, acceptance::TIMELINE, trace).await;
    let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
    answer
        .rows
        .iter()
        .map(|row| format!("{} {}", text(&row[1]), text(&row[2])).trim().into())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timeline_of_a_trace_shows_every_hop_in_order() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    let mut rows = order.everything();
    rows.push(order.untraced(at(1)));
    rows.extend(Order::new("run-2", "order-00002").everything());
    rows.reverse();
    base.write(rows).await;
    let wanted = [
        "PLAN:START",
        "INFER Prometheus",
        "PLAN:END",
        "DECISION BUY",
        "ALERT risk.max_order_qty",
        "EXEC SENT",
        "EXEC ACCEPTED",
        "EXEC FILLED",
    ];
    assert_eq!(timeline(&base, &order).await, wanted);
    let untraced = "SELECT count(*) FROM obs_trace_timeline WHERE trace_id IS NULL OR kind IS NULL";
    assert_eq!(base.text(untraced).await, "0");
    assert_eq!(base.text("SELECT count(*) FROM obs_trace_timeline").await, "16");
    assert_eq!(base.text("SELECT count(*) FROM obs_alerts WHERE policy = policy_name").await, "3");
    let payload =
        "SELECT payload->>'executed_qty' || ' ' || (payload->'response'->'last_fill'->>'px')
                     FROM obs_trace_timeline WHERE trace_id = 'run-1' AND action = 'FILLED'";
    assert_eq!(base.text(payload).await, "500 147.26");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_of_a_decision_is_never_null() {
    let base = Base::new().await;
    let all = [Action::Buy, Action::Sell, Action::Flat, Action::Reject];
    for (nth, action) in all.into_iter().enumerate() {
        let order = Order::new("run", &format!("order-0000{nth}"));
        base.write(vec![order.decision(action, at(nth as i64))]).await;
    }
    let order = Order::new("run", "order-00000");
    let wanted = ["DECISION BUY", "DECISION SELL", "DECISION FLAT", "DECISION REJECT"];
    assert_eq!(timeline(&base, &order).await, wanted);
}

/// A burst of steps in the same microsecond, of two orders, written in a hostile order: the plan's query, which sorts
/// by ts alone, must not shuffle them. It does not sort at all: the view is sorted already, and the planner knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hops_of_the_same_microsecond_keep_their_meaning_under_the_plans_order_by() {
    let base = Base::new().await;
    let (one, two) = (Order::new("run", "order-00001"), Order::new("run", "order-00002"));
    let statuses =
        [Sent, Unknown, Sent, Accepted, PartiallyFilled, PartiallyFilled, PartiallyFilled];
    let mut rows = Vec::new();
    for order in [&two, &one] {
        for seq in (0..statuses.len()).rev() {
            rows.push(order.exec(seq as i32 + 1, statuses[seq], at(40)));
        }
        rows.push(order.alert("do.unknown", at(40)));
        rows.push(order.decision(Action::Buy, at(40)));
    }
    for row in rows {
        base.write(vec![row]).await;
    }
    let chain = statuses.map(|s| format!("EXEC {}", s.as_str()));
    let mut wanted = vec!["DECISION BUY".to_string(); 2];
    wanted.extend(chain.clone());
    wanted.extend(chain);
    wanted.extend(vec!["ALERT do.unknown".to_string(); 2]);
    assert_eq!(timeline(&base, &one).await, wanted);
    let seqs = "SELECT string_agg(payload->>'exec_seq', '') FROM
                  (SELECT * FROM obs_trace_timeline WHERE trace_id = 'run' ORDER BY ts) t
                 WHERE kind = 'EXEC'";
    assert_eq!(base.text(seqs).await, "12345671234567");
    let plan = ask(&base, &format!("EXPLAIN {}", acceptance::TIMELINE), &one).await;
    let sorts = plan.column("QUERY PLAN").iter().filter(|l| l.unwrap().contains("Sort  (")).count();
    assert_eq!(sorts, 1, "{plan:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latency_of_a_trace_is_between_the_first_of_each_stage() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(order.everything()).await;
    let answer = ask(&base, acceptance::LATENCY, &order).await;
    let columns = [
        "trace_id",
        "plan_start",
        "infer_ts",
        "decision_ts",
        "exec_ts",
        "ms_plan_to_infer",
        "ms_infer_to_decision",
        "ms_decision_to_exec",
        "ms_total",
    ];
    assert_eq!(answer.columns, columns);
    let row: Vec<&str> = answer.rows[0].iter().map(|v| v.as_deref().unwrap_or("-")).collect();
    assert_eq!(answer.rows.len(), 1);
    let wanted = [
        "run-1",
        "2025-08-23 10:59:57+00",
        "2025-08-23 10:59:58.2+00",
        "2025-08-23 11:00:00.03+00",
        "2025-08-23 11:00:00.042+00",
        "1200.000",
        "1830.000",
        "12.000",
        "3042.000",
    ];
    assert_eq!(row, wanted);
}

async fn milliseconds(base: &Base, trace: &str) -> String {
    let sql = format!(
        "SELECT concat_ws(' ', coalesce(ms_plan_to_infer::float8::text, '-'),
                coalesce(ms_infer_to_decision::float8::text, '-'),
                coalesce(ms_decision_to_exec::float8::text, '-'), coalesce(ms_total::float8::text, '-'))
           FROM obs_trace_latency WHERE trace_id = '{trace}'"
    );
    base.text(&sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_negative_duration_stays_negative_and_a_missing_side_is_null() {
    let base = Base::new().await;
    let skewed = Order::new("skewed", "order-00001");
    base.write(vec![
        skewed.plan("START", at(0)),
        skewed.infer(at(-250)),
        skewed.decision(Action::Buy, at(100)),
        skewed.exec(1, Sent, at(90)),
    ])
    .await;
    assert_eq!(milliseconds(&base, "skewed").await, "-250 350 -10 90");
    let direct = Order::new("direct", "order-00002");
    base.write(vec![direct.decision(Action::Buy, at(0)), direct.exec(1, Sent, at(7))]).await;
    assert_eq!(milliseconds(&base, "direct").await, "- - 7 -");
    let unsent = Order::new("unsent", "order-00003");
    base.write(vec![
        unsent.plan("START", at(0)),
        unsent.decision(Action::Buy, at(5)),
        unsent.exec(1, Expired, at(60_000)),
    ])
    .await;
    assert_eq!(milliseconds(&base, "unsent").await, "- - - -");
    assert_eq!(milliseconds(&base, "nobody").await, "-", "no row at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_latency_is_refreshed_while_it_is_read() {
    let base = Base::new().await;
    let refresh = "REFRESH MATERIALIZED VIEW CONCURRENTLY obs_latency_daily";
    base.sql(refresh).await; // also when nothing was ever written
    let mut rows = Vec::new();
    for n in 1..=100_i64 {
        let order = Order::new(&format!("t-{n}"), &format!("order-{n:05}"));
        let day = if n == 100 { 13 * 3_600_000 } else { 0 }; // the last one: the day after, in UTC
        rows.extend([order.plan("START", at(day)), order.exec(1, Sent, at(day + 10 * n))]);
    }
    base.write(rows).await;
    let direct = Order::new("direct", "order-00000");
    base.write(vec![direct.decision(Action::Flat, at(0))]).await;
    let mut reader = base.pool.get().await.unwrap();
    let reading = reader.transaction().await.unwrap();
    reading.query("SELECT * FROM obs_latency_daily", &[]).await.unwrap();
    base.sql(refresh).await;
    reading.commit().await.unwrap();
    let rows = "SELECT string_agg(concat_ws(' ', day, p50_ms, p90_ms, p95_ms, round(p99_ms::numeric, 3), max_ms, traces, executed),
                       ' | ' ORDER BY day) FROM obs_latency_daily";
    let wanted =
        "2025-08-23 500 892 941 980.200 990 100 99 | 2025-08-24 1000 1000 1000 1000.000 1000 1 1";
    assert_eq!(base.text(rows).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plans_queries_about_traces_answer_nothing_for_good_traces() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(order.everything()).await;
    base.write(vec![Order::new("run-2", "order-00002").decision(Action::Flat, at(0))]).await;
    for query in [acceptance::EXEC_WITHOUT_DECISION, acceptance::DECISION_WITHOUT_EXEC] {
        assert!(ask(&base, query, &order).await.rows.is_empty(), "{query}");
    }
    base.write(vec![Order::new("run-3", "order-00003").decision(Action::Sell, at(0))]).await;
    let silent = ask(&base, acceptance::DECISION_WITHOUT_EXEC, &order).await.rows;
    assert_eq!(silent, [[Some("run-3".to_string())]]);
}
