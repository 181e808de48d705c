//! Connections to Postgres: time-outs on every session, so that a stopped process cannot hold a lock for long.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Manager, ManagerConfig, RecyclingMethod, Runtime};
use prometheus::Histogram;
use tokio_postgres::NoTls;

use crate::runtime::config::Database;
use crate::runtime::metrics::Metrics;

/// The pool; cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    waits: Arc<OnceLock<Histogram>>,
}

impl Deref for Pool {
    type Target = deadpool_postgres::Pool;
    fn deref(&self) -> &deadpool_postgres::Pool {
        &self.pool
    }
}

impl Pool {
    /// A connection, as soon as one is free.
    pub async fn get(&self) -> Result<Client, deadpool_postgres::PoolError> {
        let began = Instant::now();
        let got = self.pool.get().await;
        if let Some(waits) = self.waits.get() {
            waits.observe(began.elapsed().as_secs_f64());
        }
        got
    }

    /// Tells these metrics of itself from now on.
    pub fn tell(&self, metrics: &Metrics) {
        // A pool is told of by one process, once.
        let _ = self.waits.set(metrics.pool_wait_seconds.clone());
        let pool = self.pool.clone();
        metrics.before_scrapes(move |metrics| {
            let status = pool.status();
            let set = |state: &str, number: usize| {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                metrics.pool_connections.with_label_values(&[state]).set(number);
            };
            set("in_use", status.size.saturating_sub(status.available));
            set("idle", status.available);
            set("max", status.max_size);
            metrics.pool_waiting.set(i64::try_from(status.waiting).unwrap_or(i64::MAX));
        });
    }
}

/// Why Postgres cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PoolError {
    #[error("database.url cannot be read: {0}")]
    BadUrl(tokio_postgres::Error),
    #[error("the pool cannot be built: {0}")]
    Build(#[from] deadpool_postgres::BuildError),
    #[error("Postgres does not answer: {0}. Is it running, and is database.url right?")]
    Unavailable(#[from] deadpool_postgres::PoolError),
}

/// Makes a pool and asks for one connection, so that a wrong address shows at the start.
pub async fn connect(database: &Database) -> Result<Pool, PoolError> {
    connect_with(database, "").await
}

/// The same, with tables of this schema and no others, for rows that can be made again: a commit does not wait for the disk.
/// `schema` is ours, never input.
pub async fn connect_within(database: &Database, schema: &str) -> Result<Pool, PoolError> {
    connect_with(database, &format!(" -c search_path={schema} -c synchronous_commit=off")).await
}

async fn connect_with(database: &Database, more: &str) -> Result<Pool, PoolError> {
    let config = configured(database, "noctus", more).map_err(PoolError::BadUrl)?;
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(database.pool_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_secs(5)))
        .create_timeout(Some(Duration::from_secs(10)))
        .build()?;
    drop(pool.get().await?);
    Ok(Pool { pool, waits: Arc::default() })
}

/// How a session is made: its name in `pg_stat_activity`, and time-outs.
pub(super) fn configured(
    database: &Database,
    name: &str,
    more: &str,
) -> Result<tokio_postgres::Config, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = database.url.parse()?;
    config
        .application_name(name)
        .connect_timeout(Duration::from_secs(5))
        .tcp_user_timeout(Duration::from_secs(10))
        .keepalives_idle(Duration::from_secs(10))
        // No JIT: it takes longer to compile a set-wise statement than to run it.
        .options(format!(
            "-c TimeZone=UTC -c jit=off -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}{more}",
            database.statement_timeout_ms, database.lock_timeout_ms, database.idle_in_transaction_ms
        ));
    Ok(config)
}
