//! How far readers are behind, as processes tell it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::DEADLINE;
use crate::line::{Line, Role, open_policy, order};

/// `topic partition` of the series of a metric, with their values.
async fn told(role: &Role, metric: &str) -> Vec<(String, f64)> {
    let text = reqwest::get(format!("{}/metrics", role.address())).await.expect("it listens");
    let text = text.text().await.expect("text");
    let series = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let label = |labels: &str, name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\"")).expect("the label is there");
        rest.split('"').next().expect("it ends").to_string()
    };
    series
        .map(|line| {
            let (labels, value) = line.rsplit_once("} ").expect("a value");
            let place = format!("{} {}", label(labels, "topic"), label(labels, "partition"));
            (place, value.parse().expect("a number"))
        })
        .collect()
}

async fn places(role: &Role) -> BTreeSet<String> {
    told(role, "noctus_lag_records").await.into_iter().map(|(place, _)| place).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_told_of_partitions_that_are_owned_and_of_no_other() {
    let mut line = Line::new(4, |c| c.policies.risk = Some(open_policy())).await;
    let first = line.start("gate");
    first.answers(200, "ready").await;
    let orders: Vec<_> =
        (0..40).map(|n| order(&format!("lag-{n:08}"), &format!("SYM{}", n % 8))).collect();
    line.produce(&orders, None).await;
    line.until("SELECT count(*) FROM outbox_orders", "40").await;
    let all = 12; // partitions of three topics
    let began = Instant::now();
    while places(&first).await.len() < all {
        assert!(began.elapsed() < DEADLINE, "{:?}", places(&first).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A second gate takes some over: from then on the first one tells nothing of them.
    let mut second = line.start("gate");
    second.answers(200, "ready").await;
    let began = Instant::now();
    loop {
        let (one, other) = (places(&first).await, places(&second).await);
        let shared = !one.is_empty() && !other.is_empty() && one.len() + other.len() == all;
        if shared && one.is_disjoint(&other) {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{one:?} {other:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(second.stop().success());
    let began = Instant::now();
    while places(&first).await.len() < all {
        assert!(began.elapsed() < DEADLINE, "{:?}", places(&first).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_grows_while_nothing_can_be_committed_and_is_0_afterwards() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let gate = line.start("gate");
    gate.answers(200, "ready").await;
    line.produce(&[order("aged-0000001", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let client = line.pool.get().await.expect("a connection");
    // Nobody writes the ledger meanwhile.
    client.batch_execute("SET idle_in_transaction_session_timeout = 0; BEGIN; LOCK TABLE outbox_orders IN SHARE MODE").await.expect("a lock");
    line.produce(&[order("aged-0000002", "USDJPY")], None).await;
    let oldest = async || {
        told(&gate, "noctus_lag_seconds").await.into_iter().map(|(_, s)| s).fold(0.0, f64::max)
    };
    let began = Instant::now();
    while oldest().await < 3.0 {
        assert!(began.elapsed() < DEADLINE, "{}", line.state().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.batch_execute("COMMIT").await.expect("a commit");
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    let began = Instant::now();
    while oldest().await > 0.0 {
        assert!(began.elapsed() < DEADLINE, "{:?}", told(&gate, "noctus_lag_seconds").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
