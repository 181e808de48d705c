//! Counts of the ledger and of halts, for gauges. Looks at what is open only, however long the ledger is.

use std::collections::BTreeMap;

use deadpool_postgres::Client;
use tokio_postgres::Error;

/// What is open in the ledger.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Open {
    /// How many orders are in each open state; a state without any is not there.
    pub states: BTreeMap<String, i64>,
    /// Age of the oldest NEW order, seconds; 0 without one.
    pub oldest_new_s: f64,
    /// Time since the first send of the oldest order whose outcome is not known, seconds; 0 without one.
    pub oldest_unclear_s: f64,
    /// Cancels that the broker is still asked for.
    pub cancels: i64,
}

/// Counts what is open.
pub async fn open(client: &Client) -> Result<Open, Error> {
    let statement = client
        .prepare_cached(
            "SELECT state, count(*),
                    extract(epoch FROM clock_timestamp() - min(CASE state WHEN 'NEW' THEN created_at ELSE sent_at END))::float8,
                    0::bigint
               FROM outbox_orders
              WHERE state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED')
              GROUP BY state
             UNION ALL
             SELECT NULL, 0, NULL, count(*) FROM order_cancels WHERE next_ask_at IS NOT NULL",
        )
        .await?;
    let mut open = Open::default();
    for row in client.query(&statement, &[]).await? {
        open.cancels += row.try_get::<_, i64>(3)?;
        let Some(state) = row.try_get::<_, Option<String>>(0)? else { continue };
        let age_s = row.try_get::<_, Option<f64>>(2)?.unwrap_or_default();
        match state.as_str() {
            "NEW" => open.oldest_new_s = age_s,
            "SENT" | "UNKNOWN" | "PARKED" => {
                open.oldest_unclear_s = open.oldest_unclear_s.max(age_s);
            }
            _ => {}
        }
        open.states.insert(state, row.try_get(1)?);
    }
    Ok(open)
}

/// How many scopes are halted, by mode.
pub async fn halted(client: &Client) -> Result<BTreeMap<String, i64>, Error> {
    let rows = client
        .query(
            "SELECT mode, count(*) FROM (
               SELECT DISTINCT ON (account, symbol, strategy) mode
                 FROM halts ORDER BY account, symbol, strategy, number DESC) newest
              WHERE mode <> 'resumed' GROUP BY mode",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
