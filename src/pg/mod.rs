//! ADAPTER: the only SQL, one file per table group.
//! Never decides anything: it locks, reads and writes what it is told.

pub mod acceptance;
pub mod admission;
pub mod attempts;
pub mod database;
pub mod evidence;
pub mod facts;
pub mod lanes;
pub mod listen;
pub mod migrate;
pub mod obs;
pub mod outbox;
pub mod outcome;
pub mod owed;
pub mod pool;
pub mod positions;
pub mod risk;
pub mod story;
pub mod time;

pub use pool::{Pool, PoolError, connect};
pub use time::PgTime;
