//! `submit --wait`: asks the ledger what became of each key until all are settled or the time is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::prepare::Prepared;
use crate::pg::outcome::{self, Outcome};

/// Pause between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far one order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// The ledger has no row: not read yet, or refused (then it is in dead-letters).
    Undecided,
    /// Decided, and the broker has not taken it yet.
    OnItsWay,
    /// With the broker, which has not finished it.
    Working,
    /// Nothing more is to come.
    Settled,
}

/// How far this row of the ledger has come.
pub fn progress(row: Option<&Outcome>) -> Progress {
    match row.map(|row| row.state.as_str()) {
        None => Progress::Undecided,
        Some("NEW" | "SENT" | "UNKNOWN") => Progress::OnItsWay,
        Some("ACCEPTED" | "PARTIALLY_FILLED") => Progress::Working,
        Some(_) => Progress::Settled,
    }
}

/// What the ledger says of each order, by key.
pub type Outcomes = HashMap<String, Outcome>;

/// Looks until every order is settled, at most for `limit`.
pub async fn wait(
    pool: &crate::pg::Pool,
    orders: &[Prepared],
    limit: Duration,
) -> anyhow::Result<Outcomes> {
    let keys: Vec<String> = orders.iter().map(|order| order.key.to_string()).collect();
    let deadline = Instant::now() + limit;
    loop {
        let client = pool.get().await.map_err(crate::pg::PoolError::from)?;
        let rows = outcome::by_keys(&client, &keys).await?;
        drop(client);
        let outcomes: Outcomes =
            rows.into_iter().map(|row| (row.idempotency_key.clone(), row)).collect();
        let settled = keys.iter().all(|key| progress(outcomes.get(key)) == Progress::Settled);
        if settled || Instant::now() >= deadline {
            return Ok(outcomes);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
