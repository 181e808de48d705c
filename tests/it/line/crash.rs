//! Processes are killed, stopped and woken in the middle of work: nothing is lost, nothing is sent twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::verbs::run;
use super::{Line, open_policy, order};

const SYMBOLS: [&str; 8] =
    ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY", "NZDJPY", "CHFJPY", "CADJPY", "SGDJPY"];

async fn line() -> Line {
    Line::new(4, |config| {
        config.policies.risk = Some(open_policy());
        // Small batches: more moments to be killed in.
        config.gate.batch_max = 20;
        config.sink.batch_max = 50;
    })
    .await
}

fn requests(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|n| order(&format!("order-{n:06}"), SYMBOLS[n % 8])).collect()
}

/// Everything came, once: by the broker's ledger, the tables, and a dump of the topics by another client.
async fn whole(line: &Line, orders: usize) {
    line.rest(orders).await;
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for view in line.broker.orders() {
        *sent.entry(view.order.client_order_id).or_default() += 1;
    }
    let twice: Vec<_> = sent.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let wanted: BTreeSet<String> = (0..orders).map(|n| format!("order-{n:06}")).collect();
    let lost: Vec<_> = wanted.iter().filter(|key| !sent.contains_key(*key)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}\n{}", line.state().await);
    let count = orders.to_string();
    let keys = "SELECT count(DISTINCT trace_id) || ' ' || count(*) FROM obs_decisions";
    assert_eq!(line.ask(keys).await, format!("{count} {count}"));
    let steps = line.ask("SELECT sum(exec_seq) FROM outbox_orders").await;
    assert_eq!(line.ask("SELECT count(*) FROM obs_exec_events").await, steps);
    assert_eq!(line.event_ids("decisions").len(), orders);
    assert_eq!(line.event_ids("exec-events").len().to_string(), steps);
    let positions =
        "SELECT sum(position)::float8 || ' ' || sum(working_buy)::float8 FROM risk_positions";
    assert_eq!(line.ask(positions).await, format!("{} 0", orders * 3));
    run(line, "verify").with(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f21_f50_f62_each_role_killed_in_the_middle_of_2000_requests() {
    let mut line = line().await;
    let mut roles = vec![line.start("gate"), line.start("dispatch"), line.start("sink")];
    line.produce(&requests(0, 2_000), None).await;
    let reached = [
        (0, "SELECT count(*) >= 300 FROM outbox_orders"),
        (1, "SELECT count(*) >= 200 FROM outbox_orders WHERE state = 'FILLED'"),
        (2, "SELECT count(*) >= 300 FROM obs_exec_events"),
        (1, "SELECT count(*) >= 700 FROM outbox_orders WHERE state = 'FILLED'"),
        (0, "SELECT count(*) >= 1200 FROM outbox_orders"),
        (2, "SELECT count(*) >= 1500 FROM obs_exec_events"),
    ];
    for (role, sql) in reached {
        line.until(sql, "t").await;
        roles[role].kill();
        let name = roles[role].name.clone();
        roles[role] = line.start(&name);
    }
    whole(&line, 2_000).await;
    for role in &mut roles {
        let ended = role.stop();
        assert!(ended.success(), "{}: {ended}\n{}", role.name, role.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f24_f25_two_gates_share_partitions_and_a_killed_or_stopped_one_is_replaced() {
    let mut line = line().await;
    let (mut one, two) = (line.start("gate"), line.start("gate"));
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    let owners = "SELECT count(DISTINCT owner) FROM input_positions WHERE reader = 'gate'";
    line.until(owners, "2").await;
    line.produce(&requests(0, 400), None).await;
    line.until("SELECT count(*) >= 200 FROM outbox_orders", "t").await;
    one.kill();
    line.produce(&requests(400, 800), None).await;
    line.until("SELECT count(*) FROM outbox_orders", "800").await;
    line.until(owners, "1").await;
    // Stopped for longer than its session, with work in its hands.
    let three = line.start("gate");
    line.until(owners, "2").await;
    line.produce(&requests(800, 1_000), None).await;
    two.freeze();
    let before = line
        .ask(
            "SELECT string_agg(partition || ' ' || epoch, ',' ORDER BY topic, partition)
                             FROM input_positions WHERE reader = 'gate'",
        )
        .await;
    line.produce(&requests(1_000, 1_400), None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1400").await;
    line.until(owners, "1").await;
    let after = line
        .ask(
            "SELECT string_agg(partition || ' ' || epoch, ',' ORDER BY topic, partition)
                            FROM input_positions WHERE reader = 'gate'",
        )
        .await;
    assert_ne!(before, after, "its partitions have a new owner");
    two.wake();
    line.produce(&requests(1_400, 1_600), None).await;
    whole(&line, 1_600).await;
    drop(three);
}
