//! Connections and locks of Postgres that somebody else has (F26, F38): roles are alive and not ready, and go on when
//! they are given back, nothing lost.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use noctus::kafka::registry::Registry;
use noctus::pg::{self, Pool};
use noctus::runtime::context::Context;
use noctus::runtime::health::Health;
use noctus::runtime::keyring::Keyring;
use noctus::runtime::metrics::Metrics;
use noctus::runtime::secrets::Secrets;
use noctus::runtime::{http, policies};
use noctus::{dispatch, gate};
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Line, answered, open_policy, order};

const FILLED: &str = "SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'";

/// A role in this process, whose connections the test can take.
struct Inside {
    pool: Pool,
    address: String,
    stop: CancellationToken,
}

impl Inside {
    async fn start(line: &Line, role: &str) -> Self {
        let (health, metrics) = (Health::default(), Arc::new(Metrics::default()));
        let pool = pg::connect(&line.config.database).await.expect("a pool");
        let secrets = Secrets { idempotency: vec![], signing: Keyring::dev() };
        let loaded = policies::load(&line.config.policies).expect("good policies");
        let ctx = Context {
            config: Arc::new(line.config.clone()),
            secrets: Arc::new(ArcSwap::from_pointee(secrets)),
            pool: pool.clone(),
            registry: Arc::new(Registry::new(&line.config.registry).expect("a registry client")),
            policies: Arc::new(ArcSwap::from_pointee(loaded)),
            policy_files: Default::default(),
            secret_files: Default::default(),
            metrics: metrics.clone(),
            health: health.clone(),
            worker: format!("inside-{role}").into(),
        };
        let stop = CancellationToken::new();
        let listen = ([127, 0, 0, 1], 0).into();
        let address = http::serve(listen, health, metrics, stop.clone()).await.expect("a port");
        match role {
            "gate" => drop(tokio::spawn(gate::run(ctx, stop.clone()))),
            _ => drop(tokio::spawn(dispatch::run(ctx, stop.clone()))),
        }
        Self { pool, address: format!("http://{address}"), stop }
    }

    /// Every connection of its pool, as they come free.
    async fn all_connections(&self) -> Vec<pg::PoolClient> {
        let (mut taken, began) = (Vec::new(), Instant::now());
        while taken.len() < self.pool.status().max_size {
            assert!(began.elapsed() < DEADLINE, "{} are taken", taken.len());
            if let Ok(client) = self.pool.get().await {
                taken.push(client);
            }
        }
        taken
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f38_without_a_free_connection_roles_are_alive_not_ready_and_go_on_later() {
    let line = Line::new(1, |config| {
        config.policies.risk = Some(open_policy());
        config.database.pool_max = 4;
    })
    .await;
    let roles = [Inside::start(&line, "gate").await, Inside::start(&line, "dispatch").await];
    line.produce(&[order("pool-0001", "USDJPY")], None).await;
    line.until(FILLED, "1").await;
    let mut taken = Vec::new();
    for role in &roles {
        answered(&role.address, "/readyz", 200, "ready").await;
        taken.push(role.all_connections().await);
    }
    line.produce(&[order("pool-0002", "USDJPY"), order("pool-0003", "EURJPY")], None).await;
    for role in &roles {
        answered(&role.address, "/readyz", 503, "").await;
        answered(&role.address, "/livez", 200, "alive").await;
    }
    assert_eq!(line.ask("SELECT count(*) FROM outbox_orders").await, "1");
    drop(taken);
    line.until(FILLED, "3").await;
    for role in &roles {
        answered(&role.address, "/readyz", 200, "ready").await;
    }
    assert_eq!(line.dump("dead-letters").len(), 0);
    assert_eq!(line.broker.orders().len(), 3, "each was sent once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_statements_that_hang_end_and_the_gate_says_so_until_they_go_through() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let gate = line.start("gate");
    line.produce(&[order("hang-0001", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let (mut other, driver) =
        tokio_postgres::connect(&line.config.database.url, NoTls).await.expect("a connection");
    tokio::spawn(driver);
    let locked = other.transaction().await.expect("a transaction");
    locked.batch_execute("LOCK TABLE outbox_orders IN ACCESS EXCLUSIVE MODE").await.expect("it");
    line.produce(&[order("hang-0002", "USDJPY")], None).await;
    gate.answers(503, "lock timeout (55P03)").await;
    answered(&gate.address(), "/livez", 200, "alive").await;
    locked.rollback().await.expect("it is given back");
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    gate.answers(200, "ready").await;
    assert_eq!(line.dump("dead-letters").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f26_what_a_stopped_gate_has_locked_is_free_again_for_the_next_one() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    for (setting, value) in [
        ("idle_in_transaction_session_timeout", "10s"),
        ("lock_timeout", "2s"),
        ("statement_timeout", "5s"),
    ] {
        assert_eq!(line.ask(&format!("SHOW {setting}")).await, value, "{setting} of our sessions");
    }
    // This one waits long for a lock, so that it can be stopped while it does.
    let patient = [
        ("NOCTUS_DATABASE__LOCK_TIMEOUT_MS", "120000"),
        ("NOCTUS_DATABASE__STATEMENT_TIMEOUT_MS", "120000"),
    ];
    let one = line.start_with("gate", &patient);
    line.produce(&[order("stopped-0001", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    let (mut other, driver) =
        tokio_postgres::connect(&line.config.database.url, NoTls).await.expect("a connection");
    tokio::spawn(driver);
    let locked = other.transaction().await.expect("a transaction");
    locked.batch_execute("LOCK TABLE owed_events IN EXCLUSIVE MODE").await.expect("it is free");
    line.produce(&[order("stopped-0002", "USDJPY")], None).await;
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                    AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO owed_events%'";
    line.until(waits, "t").await;
    one.freeze();
    locked.rollback().await.expect("it is given back");
    // Its statement is through, and its transaction stays open with everything that it has locked.
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND state = 'idle in transaction'";
    line.until(open, "1").await;
    let fence = "SELECT count(*) FROM (SELECT FROM input_positions
                  WHERE reader = 'gate' AND topic LIKE '%order-requests' FOR UPDATE SKIP LOCKED) free";
    assert_eq!(line.ask(fence).await, "0", "the fence is locked");
    let _two = line.start("gate");
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    // Its connection is gone when it wakes up; it gets another one, and decides nothing twice.
    one.wake();
    line.produce(&[order("stopped-0003", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "3").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(line.event_ids("decisions").len(), 3);
    assert_eq!(line.dump("dead-letters").len(), 0);
}
