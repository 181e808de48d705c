//! ADAPTER: the only SQL, one file per table group.
//! Never decides anything: it locks, reads and writes what it is told.

pub mod acceptance;
pub mod admission;
pub mod attempts;
pub mod broker;
pub mod cancels;
pub mod commands;
pub mod database;
pub mod evidence;
pub mod facts;
pub mod halts;
pub mod lanes;
pub mod listen;
pub mod migrate;
pub mod obs;
pub mod outbox;
pub mod outcome;
pub mod owed;
pub mod pool;
pub mod positions;
pub mod proposals;
pub mod reader;
pub mod redrives;
pub mod replaces;
pub mod risk;
pub mod risk_state;
pub mod story;
pub mod time;

pub use deadpool_postgres::Client as PoolClient;
pub use pool::{Pool, PoolError, connect};
pub use time::PgTime;
pub use tokio_postgres::GenericClient;

/// What Postgres says, with its code: an error of the client says of it only that there was one.
pub fn told(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
