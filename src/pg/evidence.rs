//! What became of requests, and whether everything has come to rest: what a scenario is judged by.
//! Never changes anything.

use tokio_postgres::{Client, Error};

/// The decision of this key as the ledger holds it.
pub async fn decision(client: &Client, key: &str) -> Result<Option<serde_json::Value>, Error> {
    let row = client
        .query_opt("SELECT payload FROM outbox_orders WHERE idempotency_key = $1", &[&key])
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// A fired rule as dashboards see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SeenAlert {
    pub policy_name: String,
    pub severity: String,
    pub reason: String,
}

fn alert(row: &tokio_postgres::Row) -> Result<SeenAlert, Error> {
    Ok(SeenAlert {
        policy_name: row.try_get(0)?,
        severity: row.try_get(1)?,
        reason: row.try_get(2)?,
    })
}

/// The rules that fired for a trace.
pub async fn alerts_of_trace(client: &Client, trace: &str) -> Result<Vec<SeenAlert>, Error> {
    let rows = client
        .query(
            "SELECT policy_name, severity::text, reason FROM obs_alerts
              WHERE trace_id = $1 ORDER BY created_at, event_id",
            &[&trace],
        )
        .await?;
    rows.iter().map(alert).collect()
}

/// The alerts about one place of an input topic that was refused.
pub async fn alerts_of_place(
    client: &Client,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Vec<SeenAlert>, Error> {
    let rows = client
        .query(
            "SELECT policy_name, severity::text, reason FROM obs_alerts
              WHERE details->>'topic' = $1 AND details->>'partition' = $2 AND details->>'offset' = $3
              ORDER BY created_at, event_id",
            &[&topic, &partition.to_string(), &offset.to_string()],
        )
        .await?;
    rows.iter().map(alert).collect()
}

/// The statuses an order went through, by exec_seq.
pub async fn statuses(client: &Client, key: &str) -> Result<Vec<String>, Error> {
    let rows = client
        .query(
            "SELECT status::text FROM obs_exec_events WHERE idempotency_key = $1 ORDER BY exec_seq",
            &[&key],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Rows of a table for a trace. `table` is one of ours, never input.
pub async fn rows(client: &Client, table: &'static str, trace: &str) -> Result<i64, Error> {
    let query = format!("SELECT count(*) FROM {table} WHERE trace_id = $1");
    client.query_one(&query, &[&trace]).await?.try_get(0)
}

/// Up to where a reader has come, by topic (actual name) and partition.
pub async fn positions(client: &Client, reader: &str) -> Result<Vec<(String, i32, i64)>, Error> {
    let rows = client
        .query(
            "SELECT topic, partition, max(next_offset) FROM input_positions
              WHERE reader = $1 GROUP BY 1, 2",
            &[&reader],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Those of these keys whose order still moves, and how: key and state.
pub async fn moving(client: &Client, keys: &[String]) -> Result<Vec<(String, String)>, Error> {
    let rows = client
        .query(
            "SELECT idempotency_key, state FROM outbox_orders
              WHERE idempotency_key = ANY($1)
                AND state NOT IN ('NOT_SENT','FILLED','REJECTED','CANCELLED','EXPIRED','PARKED')",
            &[&keys],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Batches of events that are committed and not yet acknowledged by Kafka.
pub async fn owed(client: &Client) -> Result<i64, Error> {
    client.query_one("SELECT count(*) FROM owed_events", &[]).await?.try_get(0)
}
