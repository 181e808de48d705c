//! A floor to test dispatch on: a database of its own with decided orders, a paper broker, dispatchers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use noctus::dispatch::broker::Broker;
use noctus::dispatch::broker::rest::Rest;
use noctus::dispatch::{self, DispatchError};
use noctus::domain::event::{Alert, ExecEvent};
use noctus::domain::policy::Policies;
use noctus::kafka::registry::Registry;
use noctus::pg;
use noctus::runtime::config::{Config, Database};
use noctus::runtime::context::Context;
use noctus::runtime::health::Health;
use noctus::runtime::keyring::Keyring;
use noctus::runtime::metrics::Metrics;
use noctus::runtime::secrets::Secrets;
use noctus::wire::{self, Subject};
use rust_decimal::Decimal;
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::paper::PaperBroker;

const ADMIN: &str = "postgres://noctus:noctus@127.0.0.1:25432";
const REGISTRY: &str = "http://127.0.0.1:28081/apis/ccompat/v7";
const START: &str = "start the services with tests/stack/up";
const DEADLINE: Duration = Duration::from_secs(30);

/// Registers the schemas of dispatch's events, once per process.
async fn registered(config: &Config) {
    static ONCE: OnceCell<()> = OnceCell::const_new();
    let register = async || {
        let registry = Registry::new(&config.registry).expect("a registry client");
        for subject in [Subject::ExecEvent, Subject::Alert, Subject::CommandOutcome] {
            let name = format!("{}-value", config.topic(subject.topic()));
            let newest = subject.versions().last().expect("a version");
            registry.register(&name, newest).await.expect(START);
        }
    };
    ONCE.get_or_init(register).await;
}

/// The floor.
pub struct Floor {
    pub broker: PaperBroker,
    pub pool: pg::Pool,
    config: Config,
    name: String,
}

/// An order to decide; the rest is the same for all.
#[derive(Clone)]
pub struct Decided {
    pub key: String,
    pub symbol: &'static str,
    pub side: &'static str,
    pub qty: i64,
    pub opening: i64,
    pub price: Option<&'static str>,
    pub limit: Option<&'static str>,
    /// From now, milliseconds; < 0: too old already.
    pub life_ms: i64,
}

impl Decided {
    pub fn buy(key: &str, symbol: &'static str) -> Self {
        let (key, price) = (key.to_string(), Some("147.25"));
        Self {
            key,
            symbol,
            side: "BUY",
            qty: 100,
            opening: 100,
            price,
            limit: None,
            life_ms: 60_000,
        }
    }
}

/// A dispatcher in this process.
pub struct Dispatcher {
    pub health: Health,
    pub metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DispatchError>>,
}

impl Dispatcher {
    /// Ends it in the middle of whatever it does: nothing of it is settled or released.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()), "it was running");
    }
    /// Drains it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it did not panic").expect("it drained");
    }
    /// Waits for it to end by itself.
    pub async fn end(self) -> Result<(), DispatchError> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends").expect("it did not panic")
    }
}

impl Floor {
    /// A new floor; `change` adjusts the configuration.
    pub async fn new(arguments: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        Self::with(PaperBroker::start(arguments), change).await
    }

    /// The same with this broker.
    pub async fn with(broker: PaperBroker, change: impl FnOnce(&mut Config)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_dispatch_{}_{number}", std::process::id());
        let url = format!("{ADMIN}/noctus");
        let (admin, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect(START);
        tokio::spawn(connection);
        pg::database::create(&admin, &name).await.expect("a database can be made");
        let mut config = Config::default();
        config.database.url = format!("{ADMIN}/{name}");
        config.registry.url = REGISTRY.into();
        config.kafka.topic_prefix = format!("it-dispatch-{}-", std::process::id());
        config.broker.url = broker.url.clone();
        config.broker.timeout_ms = 2_000;
        config.broker.settle_ms = 200;
        config.dispatch.lease_ms = 1_000;
        config.dispatch.poll_ms = 50;
        change(&mut config);
        pg::migrate::run(&config.database.url).await.expect("the schema");
        // One connection: what asks in a test is never one of those that the test cuts.
        let one = Database { pool_max: 1, ..config.database.clone() };
        let pool = pg::connect(&one).await.expect("a pool");
        registered(&config).await;
        Self { broker, pool, config, name }
    }

    /// Where the database is.
    pub fn database(&self) -> &str {
        &self.config.database.url
    }

    /// Starts a dispatcher under a worker's name and with connections of its own.
    pub async fn dispatcher(&self, worker: &str) -> Dispatcher {
        self.start(worker, None).await
    }

    /// Starts one that sends to this broker instead.
    pub async fn dispatcher_at(&self, worker: &str, broker: Arc<dyn Broker>) -> Dispatcher {
        self.start(worker, Some(broker)).await
    }

    /// Starts one that signs with the secret that this file holds, also when it is another one later.
    pub async fn dispatcher_signing(&self, worker: &str, secret: &Path) -> Dispatcher {
        let file = secret.to_path_buf();
        let read = move || Ok(std::fs::read_to_string(&file).ok().map(SecretString::from));
        let first = read().expect("it can be read");
        let rest = Rest::new(&self.config.broker, first).expect("a client").reading(Arc::new(read));
        self.dispatcher_at(worker, Arc::new(rest)).await
    }

    async fn start(&self, worker: &str, broker: Option<Arc<dyn Broker>>) -> Dispatcher {
        let pool = pg::connect(&self.config.database).await.expect("a pool");
        let (config, health) = (self.config.clone(), Health::default());
        let metrics = Arc::new(Metrics::default());
        let ctx = Context {
            registry: Arc::new(Registry::new(&config.registry).expect("a registry client")),
            config: Arc::new(config),
            secrets: Arc::new(arc_swap::ArcSwap::from_pointee(Secrets {
                idempotency: vec![],
                signing: Keyring::dev(),
            })),
            pool,
            policies: Arc::new(arc_swap::ArcSwap::from_pointee(Policies::default())),
            policy_files: Default::default(),
            secret_files: Default::default(),
            metrics: metrics.clone(),
            health: health.clone(),
            worker: worker.into(),
        };
        let stop = CancellationToken::new();
        let task = match broker {
            Some(broker) => tokio::spawn(dispatch::run_with(ctx, broker, stop.clone())),
            None => tokio::spawn(dispatch::run(ctx, stop.clone())),
        };
        Dispatcher { health, metrics, stop, task }
    }

    /// Commits a decided order and its reservation, as the gate does.
    pub async fn decide(&self, order: &Decided) {
        let mut client = self.pool.get().await.expect("a connection");
        let tx = client.transaction().await.expect("a transaction");
        let number = |n: i64| Decimal::from(n);
        let price = |p: Option<&str>| p.map(|p| p.parse::<Decimal>().expect("a price"));
        let notional = price(order.price).unwrap_or_default() * number(order.opening);
        let kind = if order.limit.is_some() { "LIMIT" } else { "MARKET" };
        tx.execute(
            "INSERT INTO outbox_orders (idempotency_key, trace_id, payload, digest, account, symbol, action,
                 requested_qty, decided_qty, order_type, limit_price, time_in_force, requested_at,
                 decided_at, dispatch_by, state, opening_qty, opening_notional, risk_price, working_qty,
                 source_topic_id, source_partition, source_offset)
             VALUES ($1, 't-' || $1, '{}', sha256($1::text::bytea), 'main', $2, $3, $4, $4, $5, $6, 'GTC',
                 clock_timestamp(), clock_timestamp(),
                 clock_timestamp() + $7 * interval '1 millisecond', 'NEW', $8, $9, $10, $4, 'x', 0, 0)",
            &[
                &order.key,
                &order.symbol,
                &order.side,
                &number(order.qty),
                &kind,
                &price(order.limit),
                &(order.life_ms as f64),
                &number(order.opening),
                &notional,
                &price(order.price),
            ],
        )
        .await
        .expect("an order");
        let working = if order.side == "BUY" { "working_buy" } else { "working_sell" };
        tx.execute(
            "INSERT INTO risk_accounts (account) VALUES ('main') ON CONFLICT DO NOTHING",
            &[],
        )
        .await
        .expect("an account");
        let sql = format!(
            "INSERT INTO risk_positions AS p (account, symbol, {working}) VALUES ('main', $1, $2)
             ON CONFLICT (account, symbol) DO UPDATE SET {working} = p.{working} + $2"
        );
        tx.execute(&sql, &[&order.symbol, &number(order.qty)]).await.expect("a reservation");
        tx.execute(
            "INSERT INTO risk_traces VALUES ('main', 't-' || $1, $2)",
            &[&order.key, &notional],
        )
        .await
        .expect("a trace");
        tx.batch_execute("NOTIFY noctus_outbox").await.expect("a notice");
        tx.commit().await.expect("a commit");
    }

    /// Runs SQL.
    pub async fn sql(&self, sql: &str) {
        let client = self.pool.get().await.expect("a connection");
        client.batch_execute(sql).await.expect("good SQL");
    }

    /// One text answer.
    pub async fn text(&self, sql: &str) -> String {
        let client = self.pool.get().await.expect("a connection");
        let sql = format!("SELECT coalesce(({sql})::text, '-')");
        client.query_one(&sql, &[]).await.expect("good SQL").get(0)
    }

    /// Waits until the SQL answers this; prints what it answers instead when it never does.
    pub async fn until(&self, sql: &str, wanted: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.text(sql).await;
            if found == wanted {
                return;
            }
            if Instant::now() > deadline {
                let orders = self.text(ORDERS).await;
                panic!("{sql}\n  wanted {wanted}, found {found}\n  {orders}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until this holds.
    pub async fn comes_true(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            if Instant::now() > deadline {
                panic!("never: {what}\n  {}", self.text(ORDERS).await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until an order has the state.
    pub async fn state(&self, key: &str, state: &str) {
        let sql = format!("SELECT state FROM outbox_orders WHERE idempotency_key = '{key}'");
        self.until(&sql, state).await;
    }

    /// Every exec event owed so far, by key and exec_seq; panics when one exists twice with other bytes.
    pub async fn exec_events(&self) -> Vec<ExecEvent> {
        let decode = |body: &[u8]| {
            wire::exec_event::decode(body, Subject::ExecEvent.schema()).expect("an exec event")
        };
        let mut events: Vec<ExecEvent> =
            self.owed("exec-events").await.iter().map(|b| decode(b)).collect();
        events.sort_by_key(|e| (e.idempotency_key.clone(), e.exec_seq));
        let twice = events.windows(2).find(|w| w[0].event_id == w[1].event_id);
        assert!(twice.is_none(), "one event twice: {twice:?}");
        events
    }

    /// Every alert owed so far.
    pub async fn alerts(&self) -> Vec<Alert> {
        let decode =
            |body: &[u8]| wire::alert::decode(body, Subject::Alert.schema()).expect("an alert");
        self.owed("alerts").await.iter().map(|b| decode(b)).collect()
    }

    async fn owed(&self, topic: &str) -> Vec<Vec<u8>> {
        let client = self.pool.get().await.expect("a connection");
        let rows = client
            .query(
                "SELECT e.payload FROM owed_events o, unnest(o.topics, o.payloads) AS e (topic, payload)
                  WHERE e.topic = $1",
                &[&topic],
            )
            .await
            .expect("good SQL");
        rows.iter()
            .map(|row| {
                let value: &[u8] = row.get(0);
                wire::split(value).expect("framed").1.to_vec()
            })
            .collect()
    }

    /// Nothing is reserved for orders that are over, and the broker has one order per key.
    pub async fn nothing_is_left(&self) {
        let working = "SELECT sum(working_buy + working_sell)::float8 FROM risk_positions";
        assert_eq!(self.text(working).await, "0", "{}", self.text(ORDERS).await);
        let held = "SELECT sum(working_qty)::float8 FROM outbox_orders";
        assert_eq!(self.text(held).await, "0");
        let attempts = "SELECT count(*) FROM send_attempts WHERE outcome IS NULL";
        assert_eq!(self.text(attempts).await, "0");
        self.one_order_per_key();
    }

    /// The broker has one order per client order id.
    pub fn one_order_per_key(&self) {
        let mut ids: Vec<String> =
            self.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "a key has two orders");
    }
}

const ORDERS: &str = "SELECT string_agg(format('%s %s seq=%s attempt=%s query=%s next=%s', idempotency_key,
    state, exec_seq, attempt_no, query_no, next_query_at), E'\\n  ' ORDER BY id) FROM outbox_orders";

impl Drop for Floor {
    fn drop(&mut self) {
        let name = self.name.clone();
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let url = format!("{ADMIN}/noctus");
                let (admin, connection) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                pg::database::drop(&admin, &name).await?;
                Ok::<_, anyhow::Error>(())
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the database {} stays: {error}", self.name);
        }
    }
}
