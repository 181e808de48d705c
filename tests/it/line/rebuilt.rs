//! `noctus sink rebuild`: the tables made again are the same, whatever kills it and whatever was done to them; what the topics
//! do not hold any more is not lost by it.

mod large;

use noctus::domain::event::{Action, OrderStatus};
use noctus::kafka::producer::Outgoing;
use noctus::wire::{self, Subject};

use super::truth::TOPICS;
use super::verbs::run;
use super::{Line, open_policy};
use crate::obs::base::{Order, TABLES, at, number};

async fn line() -> Line {
    Line::new(2, |config| config.policies.risk = Some(open_policy())).await
}

/// What is told of so many orders: a decision, three steps, an alert; of a month long ago.
async fn told(line: &Line, from: usize, to: usize) -> Vec<Outgoing> {
    let mut all = Vec::new();
    for n in from..to {
        let order = Order::new(&format!("t-{n:05}"), &format!("order-{n:05}"));
        let ms = |more: i64| at(i64::try_from(n).expect("small") * 60_000 + more);
        let decision = order.decision_of(Action::Buy, Some("147.252"), ms(30));
        let body = wire::decision::encode(&decision).expect("it fits");
        all.push(line.signed(Subject::Decision, &order.trace, &body).await);
        let steps = [OrderStatus::Sent, OrderStatus::Accepted, OrderStatus::Filled];
        for (seq, status) in (1..).zip(steps) {
            let mut step = order.step(seq, status, ms(40 + i64::from(seq)));
            if status == OrderStatus::Filled {
                (step.executed_qty, step.avg_price) = (number("500"), Some(number("147.26")));
            }
            let body = wire::exec_event::encode(&step).expect("it fits");
            all.push(line.signed(Subject::ExecEvent, &order.trace, &body).await);
        }
        let alert = order.alert_of("risk.max_order_qty", ms(30));
        let body = wire::alert::encode(&alert).expect("it fits");
        all.push(line.signed(Subject::Alert, &order.trace, &body).await);
    }
    all
}

/// Every table: its rows, and the sum of the hashes of what they say (when a row was written is none of it).
async fn content(line: &Line) -> String {
    let mut all = String::new();
    for table in TABLES {
        let digest = format!(
            "SELECT count(*) || ' ' || sum(hashtextextended((to_jsonb(t) - 'ingested_at')::text, 0)::numeric) FROM {table} t"
        );
        all.push_str(&format!("{table} {}\n", line.ask(&digest).await));
    }
    all
}

async fn sunk(line: &Line) {
    line.read_to_the_end("sink", &TOPICS).await;
}

/// What `verify` says of the topics and the tables ends with this code.
fn verified(line: &Line, code: i32) {
    run(line, "verify --only tables").with(code);
}

const NOTHING_LEFT: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'noctus_rebuild'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_tables_that_somebody_wrote_to_are_made_again_as_the_topics_tell_while_the_sink_goes_on()
 {
    let mut line = line().await;
    let sink = line.start("sink");
    line.send(&told(&line, 0, 120).await).await;
    sunk(&line).await;
    let before = content(&line).await;
    verified(&line, 0);
    let views = "SELECT count(*) FROM obs_trace_timeline WHERE trace_id = 't-00007'";
    let hops = line.ask(views).await;

    // Nobody says yes: nothing is done. Nor by a dry run.
    let ran = run(&line, "sink rebuild").with(2);
    assert!(ran.out.contains("decisions") && ran.err.contains("--yes"), "{ran:?}");
    run(&line, "sink rebuild --dry-run").with(0);
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");

    let ran = run(&line, "sink rebuild --yes").with(0);
    assert!(ran.out.contains("each with the same hash as in use"), "{ran:?}");
    assert_eq!(content(&line).await, before);
    line.sql(
        "DELETE FROM obs_decisions WHERE trace_id < 't-00010';
         UPDATE obs_exec_events SET size = size + 1 WHERE trace_id = 't-00011';
         UPDATE obs_do_metrics SET slippage = 7;
         INSERT INTO obs_alerts (event_id, policy_name, severity, reason, details, created_at)
         SELECT 'added', 'x', 'LOW', 'x', '{}', created_at FROM obs_alerts LIMIT 1",
    )
    .await;
    verified(&line, 1);
    let ran = run(&line, "sink rebuild --yes").with(0);
    assert!(ran.out.contains("hour that differs") && ran.out.contains("exchanged"), "{ran:?}");
    assert_eq!(content(&line).await, before);
    assert_eq!(line.ask(views).await, hops, "views read what was made again");
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");
    assert!(
        line.ask("SELECT obs_make_month('2025-08-01T00:00Z')").await == "f",
        "months are known"
    );

    // One table alone, and what follows from it.
    line.sql("UPDATE obs_alerts SET reason = ''; UPDATE obs_exec_events SET size = 1").await;
    run(&line, "sink rebuild --tables obs_alerts --yes").with(0);
    let mended = "SELECT count(*) FROM obs_alerts WHERE reason = ''";
    assert_eq!(line.ask(mended).await, "0");
    run(&line, "sink rebuild --tables obs_exec_events --yes").with(0);
    assert_eq!(content(&line).await, before);

    line.send(&told(&line, 120, 140).await).await;
    sunk(&line).await;
    verified(&line, 0);
    assert_eq!(line.ask("SELECT count(*) FROM obs_do_metrics").await, "140");
    assert!(!sink.log().contains("ERROR"), "{}", sink.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_a_rebuild_killed_anywhere_goes_on_and_the_tables_in_use_are_whole_at_every_moment() {
    let mut line = line().await;
    let _sink = line.start("sink");
    line.send(&told(&line, 0, 60).await).await;
    sunk(&line).await;
    let points = [
        "sink/rebuild-written:2",
        "sink/rebuild-commit-in-flight:1",
        "sink/rebuild-copied:1",
        "sink/rebuild-before-swap:1",
        "sink/rebuild-exchanged:1",
        "sink/rebuild-swap-in-flight:1",
        "sink/rebuild-swapped:1",
    ];
    let mut orders = 60;
    for point in points {
        // The sink has new work meanwhile.
        line.send(&told(&line, orders, orders + 5).await).await;
        orders += 5;
        let mut dying = line.noctus();
        dying.env("NOCTUS_CRASH", point).args(["sink", "rebuild", "--yes"]);
        let died = dying.output().expect("it can be run");
        assert_eq!(died.status.code(), None, "{point}: {}", String::from_utf8_lossy(&died.stderr));
        sunk(&line).await;
        verified(&line, 0);
    }
    let before = content(&line).await;
    run(&line, "sink rebuild --yes").with(0);
    assert_eq!(content(&line).await, before);
    assert_eq!(line.ask("SELECT count(*) FROM obs_do_metrics").await, orders.to_string());
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");
    verified(&line, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_was_begun_is_gone_on_with_or_thrown_away_and_there_is_one_at_a_time() {
    let mut line = line().await;
    let sink = line.start("sink");
    line.send(&told(&line, 0, 10).await).await;
    sunk(&line).await;
    drop(sink);
    let mut dying = line.noctus();
    dying.env("NOCTUS_CRASH", "sink/rebuild-before-swap:1");
    dying.args(["sink", "rebuild", "--tables", "obs_alerts", "--yes"]);
    dying.output().expect("it can be run");
    assert_eq!(line.ask(NOTHING_LEFT).await, "1");
    let ran = run(&line, "sink rebuild --tables obs_decisions --yes").with(2);
    assert!(ran.err.contains("--abandon"), "{ran:?}");
    // Another session has the right to rebuild.
    let other = line.pool.get().await.expect("a connection");
    let lock = "SELECT pg_advisory_lock(hashtextextended('noctus.sink_rebuild', 0))";
    other.batch_execute(lock).await.expect("a lock");
    run(&line, "sink rebuild --yes").with(69);
    other.batch_execute("SELECT pg_advisory_unlock_all()").await.expect("unlocked");
    let ran = run(&line, "sink rebuild --yes").with(0);
    assert!(ran.out.contains("it goes on from where it is"), "{ran:?}");
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");

    let mut dying = line.noctus();
    dying.env("NOCTUS_CRASH", "sink/rebuild-copied:1").args(["sink", "rebuild", "--yes"]);
    dying.output().expect("it can be run");
    assert_eq!(line.ask(NOTHING_LEFT).await, "1");
    run(&line, "sink rebuild --abandon").with(0);
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");
    verified(&line, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_before_the_first_one_asked_for_stay_and_orders_across_it_cost_what_they_cost() {
    let mut line = line().await;
    let _sink = line.start("sink");
    line.send(&told(&line, 0, 10).await).await;
    // Decided and sent in one month, filled in the next.
    let order = Order::new("t-across", "order-across");
    let decision = order.decision_of(Action::Buy, Some("147.252"), at(30));
    let body = wire::decision::encode(&decision).expect("it fits");
    let mut records = vec![line.signed(Subject::Decision, &order.trace, &body).await];
    let later = at(10 * 24 * 3_600_000);
    for (seq, status, at) in [(1, OrderStatus::Sent, at(42)), (2, OrderStatus::Filled, later)] {
        let mut step = order.step(seq, status, at);
        (step.executed_qty, step.avg_price) = (number("500"), Some(number("147.26")));
        let body = wire::exec_event::encode(&step).expect("it fits");
        records.push(line.signed(Subject::ExecEvent, &order.trace, &body).await);
    }
    line.send(&records).await;
    sunk(&line).await;
    let before = content(&line).await;
    line.sql("UPDATE obs_exec_events SET size = 9 WHERE sent_at >= '2025-09-01T00:00Z'").await;
    run(&line, "sink rebuild --since 2025-09 --yes").with(0);
    assert_eq!(content(&line).await, before);
    // What is older is not made again.
    line.sql("UPDATE obs_exec_events SET size = 9 WHERE sent_at < '2025-09-01T00:00Z'").await;
    run(&line, "sink rebuild --since 2025-09 --yes").with(0);
    assert_ne!(content(&line).await, before);
    run(&line, "sink rebuild --yes").with(0);
    assert_eq!(content(&line).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f29_what_kafka_has_removed_is_not_lost_from_the_tables() {
    let mut line = line().await;
    let _sink = line.start("sink");
    line.send(&told(&line, 0, 10).await).await;
    sunk(&line).await;
    let topic = line.config.topic("alerts");
    line.forget(&topic).await;
    line.send(&told(&line, 10, 12).await).await;
    sunk(&line).await;
    let content_before = content(&line).await;
    let ran = run(&line, "sink rebuild --yes").with(1);
    assert!(ran.err.contains("obs_alerts") && ran.err.contains("--since"), "{ran:?}");
    assert_eq!(line.ask(NOTHING_LEFT).await, "0");
    // The others can be made again.
    run(&line, "sink rebuild --tables obs_decisions --yes").with(0);
    assert_eq!(content(&line).await, content_before);
}
