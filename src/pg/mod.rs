//! ADAPTER: the only SQL, one file per table group.
//! Never decides anything: it locks, reads and writes what it is told.

pub mod acceptance;
pub mod admission;
pub mod attempts;
pub mod broker;
pub mod cancels;
pub mod census;
pub mod commands;
pub mod database;
pub mod evidence;
pub mod facts;
pub mod halts;
pub mod lanes;
pub mod listen;
pub mod migrate;
pub mod notify;
pub mod obs;
pub mod outbox;
pub mod outcome;
pub mod owed;
pub mod pool;
pub mod positions;
pub mod proposals;
pub mod reader;
pub mod rebuild;
pub mod redrives;
pub mod replaces;
pub mod risk;
pub mod risk_state;
pub mod schemas;
pub mod slo;
pub mod story;
pub mod time;
pub mod truth;
pub mod upkeep;

pub use deadpool_postgres::Client as PoolClient;
pub use pool::{Pool, PoolError, connect, connect_within};
pub use time::PgTime;
pub use tokio_postgres::Error as Refused;
pub use tokio_postgres::GenericClient;

use tokio_postgres::error::SqlState;

/// A transaction that reads everything as of one moment, and writes nothing.
pub(crate) async fn moment(
    client: &mut PoolClient,
) -> Result<deadpool_postgres::Transaction<'_>, tokio_postgres::Error> {
    let moment = client.build_transaction().read_only(true);
    moment.isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await
}

/// Whether Postgres says by this code that what it was given cannot be kept: a value of a wrong form or size (class
/// 22), or one that breaks a rule of its table (23). A key that is there already (23505) is another worker's claim.
pub fn is_of_data(code: &SqlState) -> bool {
    let class = code.code().get(..2);
    matches!(class, Some("22" | "23")) && *code != SqlState::UNIQUE_VIOLATION
}

/// Whether Postgres, or the way to it, is away for now: the connection is gone, it goes down or comes up (57P), or has no
/// room (53).
pub fn is_away(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    let is_io = error.source().is_some_and(|source| source.is::<std::io::Error>());
    let code = error.code().map(SqlState::code);
    error.is_closed() || is_io || code.is_some_and(says_away)
}

fn says_away(code: &str) -> bool {
    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
}

/// Whether a row was refused because its table has no partition for it: it says so with the code of a rule that is broken
/// (23514), but names no rule.
pub fn lacks_partition(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|db| *db.code() == SqlState::CHECK_VIOLATION && db.constraint().is_none())
}

/// What Postgres says, with its code: an error of the client says of it only that there was one.
pub fn told(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_told_from_what_is_wrong() {
        for code in ["08006", "53100", "53300", "57P01", "57P02", "57P03"] {
            assert!(says_away(code), "{code}");
        }
        for code in ["57014", "42P01", "23505", "22003", "XX000", "40001", "25006"] {
            assert!(!says_away(code), "{code}");
        }
    }

    #[test]
    fn only_what_a_record_says_is_held_against_it() {
        let of_data = |code: &str| is_of_data(&SqlState::from_code(code));
        // Too large, bad text, division; not null, foreign key, check.
        for code in ["22003", "22P02", "22P05", "22021", "22012", "23502", "23503", "23514"] {
            assert!(of_data(code), "{code}");
        }
        // A key that is there; conflicts; connection, resources, disk, read-only, shutdown, time-outs, schema.
        for code in [
            "23505", "40001", "40P01", "08006", "53200", "53100", "53300", "25006", "57P01",
            "57014", "55P03", "58030", "XX000", "42P01", "42703", "25P03", "",
        ] {
            assert!(!of_data(code), "{code}");
        }
    }
}
