//! Connections to Postgres: time-outs on every session, so that a stopped process cannot hold a lock for long.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use crate::runtime::config::Database;

/// The pool; cheap to clone.
pub type Pool = deadpool_postgres::Pool;

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
    let mut config: tokio_postgres::Config = database.url.parse().map_err(PoolError::BadUrl)?;
    config
        .application_name("noctus")
        .connect_timeout(Duration::from_secs(5))
        .tcp_user_timeout(Duration::from_secs(10))
        .keepalives_idle(Duration::from_secs(10))
        // No JIT: it takes longer to compile a set-wise statement than to run it.
        .options(format!(
            "-c TimeZone=UTC -c jit=off -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}{more}",
            database.statement_timeout_ms, database.lock_timeout_ms, database.idle_in_transaction_ms
        ));
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let pool = Pool::builder(manager)
        .max_size(database.pool_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(Duration::from_secs(5)))
        .create_timeout(Some(Duration::from_secs(10)))
        .build()?;
    drop(pool.get().await?);
    Ok(pool)
}
