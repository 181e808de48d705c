//! Conditions and their changes, as `noctus notify` keeps them.
//! Whoever locks several conditions does so in the order of their fingerprints.

pub mod lease;
pub mod list;
pub mod messages;

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::types::Json;
use tokio_postgres::{Error, Row};

use super::PgTime;
use crate::domain::notice::{Change, Condition};

/// Rows of a turn that looks for what is over.
const OVER_MAX: i64 = 1_000;

/// The lanes of orders: account and symbol by idempotency key.
pub async fn lanes(
    tx: &Transaction<'_>,
    keys: &[&str],
) -> Result<HashMap<String, (String, String)>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = tx
        .prepare_cached(
            "SELECT idempotency_key, account, symbol FROM outbox_orders WHERE idempotency_key = ANY($1)",
        )
        .await?;
    let rows = tx.query(&statement, &[&keys]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// What Postgres' clock says in a transaction, now.
pub async fn now(tx: &Transaction<'_>) -> Result<Timestamp, Error> {
    let statement = tx.prepare_cached("SELECT clock_timestamp()").await?;
    Ok(tx.query_one(&statement, &[]).await?.try_get::<_, PgTime>(0)?.0)
}

/// Locks these conditions, made before if they are not there.
pub async fn lock(
    tx: &Transaction<'_>,
    fresh: &BTreeMap<String, Condition>,
) -> Result<BTreeMap<String, Condition>, Error> {
    let fingerprints: Vec<&str> = fresh.keys().map(String::as_str).collect();
    let rows: Vec<&Condition> = fresh.values().collect();
    let make = tx
        .prepare_cached(
            "INSERT INTO notify_conditions
             SELECT * FROM jsonb_populate_recordset(NULL::notify_conditions, $1)
              ORDER BY fingerprint COLLATE \"C\" ON CONFLICT DO NOTHING",
        )
        .await?;
    tx.execute(&make, &[&Json(rows)]).await?;
    let statement = tx
        .prepare_cached(
            "SELECT to_jsonb(c) FROM notify_conditions c WHERE fingerprint = ANY($1)
              ORDER BY fingerprint COLLATE \"C\" FOR UPDATE",
        )
        .await?;
    let locked = conditions(&tx.query(&statement, &[&fingerprints]).await?)?;
    Ok(locked.into_iter().map(|c| (c.fingerprint.clone(), c)).collect())
}

/// The open conditions that are violations, locked.
pub async fn open_violations(tx: &Transaction<'_>) -> Result<Vec<Condition>, Error> {
    let statement = tx
        .prepare_cached(
            "SELECT to_jsonb(c) FROM notify_conditions c WHERE state = 'OPEN' AND source = 'slo'
              ORDER BY fingerprint COLLATE \"C\" FOR UPDATE",
        )
        .await?;
    conditions(&tx.query(&statement, &[]).await?)
}

/// Some of the open conditions of which no alert has come since `before`, locked. Those that somebody else holds are
/// left for the next time.
pub async fn quiet(tx: &Transaction<'_>, before: Timestamp) -> Result<Vec<Condition>, Error> {
    let statement = tx
        .prepare_cached(
            "SELECT to_jsonb(c) FROM notify_conditions c
              WHERE state = 'OPEN' AND source = 'alert' AND seen_at <= $1
              ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        )
        .await?;
    conditions(&tx.query(&statement, &[&PgTime(before), &OVER_MAX]).await?)
}

fn conditions(rows: &[Row]) -> Result<Vec<Condition>, Error> {
    rows.iter().map(|row| Ok(row.try_get::<_, Json<Condition>>(0)?.0)).collect()
}

/// Keeps these conditions, and their changes for those who are told.
pub async fn keep(
    tx: &Transaction<'_>,
    conditions: &[&Condition],
    changes: &[(&str, &Change)],
    now: Timestamp,
) -> Result<(), Error> {
    let statement = tx
        .prepare_cached(
            "UPDATE notify_conditions c
                SET state = n.state, change_no = n.change_no, severity = n.severity, alerts = n.alerts,
                    opened_at = n.opened_at, last_at = n.last_at, seen_at = n.seen_at,
                    changed_at = n.changed_at, reason = n.reason, trace_id = n.trace_id
               FROM jsonb_populate_recordset(NULL::notify_conditions, $1) n
              WHERE c.fingerprint = n.fingerprint",
        )
        .await?;
    tx.execute(&statement, &[&Json(conditions)]).await?;
    if changes.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = changes
        .iter()
        .map(|(receiver, change)| json!({"receiver": receiver, "change": change}))
        .collect();
    let statement = tx
        .prepare_cached(
            "INSERT INTO notify_changes (receiver, fingerprint, change_no, kind, severity, change, noted_at)
             SELECT u.receiver, u.change ->> 'fingerprint', (u.change ->> 'change_no')::bigint,
                    u.change ->> 'kind', u.change ->> 'severity', u.change, $2
               FROM jsonb_to_recordset($1) AS u (receiver text, change jsonb)",
        )
        .await?;
    tx.execute(&statement, &[&Json(rows), &PgTime(now)]).await?;
    Ok(())
}

/// A row of `obs_slo_violations_24h`.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The objective.
    pub slo: String,
    /// What it was looked at over.
    pub window: String,
    /// As it was observed, as text.
    pub observed: Option<String>,
    /// What is allowed, as text.
    pub threshold: Option<String>,
    /// How much it matters.
    pub severity: String,
    /// How many were looked at.
    pub samples: Option<i64>,
    /// The trace that was worst.
    pub worst_trace_id: Option<String>,
}

/// What is violated now; none if the database has no such view.
pub async fn violations(client: &Client) -> Result<Option<Vec<Violation>>, Error> {
    let there =
        client.query_one("SELECT to_regclass('obs_slo_violations_24h') IS NOT NULL", &[]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let rows = client
        .query(
            "SELECT slo::text, \"window\"::text, observed::text, threshold::text, severity::text, samples::bigint,
                    worst_trace_id::text
               FROM obs_slo_violations_24h ORDER BY 1, 2, 5 LIMIT 1000",
            &[],
        )
        .await?;
    let violation = |row: &Row| {
        Ok(Violation {
            slo: row.try_get(0)?,
            window: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
            observed: row.try_get(2)?,
            threshold: row.try_get(3)?,
            severity: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
            samples: row.try_get(5)?,
            worst_trace_id: row.try_get(6)?,
        })
    };
    rows.iter().map(violation).collect::<Result<_, Error>>().map(Some)
}
