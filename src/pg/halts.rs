//! Halts as people declare them, and who has confirmed which (C-OUT-7).

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, GenericClient, Row};

use super::PgTime;

/// After its lease a sender may still be in the middle of a write for this long, milliseconds (C-OUT-7).
const AFTER_LEASE_MS: f64 = 250.0;

/// What a halt covers; an absent part covers all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Scope {
    pub account: Option<String>,
    pub symbol: Option<String>,
    pub strategy: Option<String>,
}

/// A row of `halts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Halt {
    pub number: i64,
    /// `halted`, `reduce_only` or `resumed`.
    pub mode: String,
    #[serde(flatten)]
    pub scope: Scope,
    pub reason: String,
    pub by_whom: String,
    pub approved_by: Option<String>,
    pub at: Timestamp,
    /// Whether it is the newest of its scope.
    pub in_force: bool,
}

/// A dispatch process that sends, or may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Sender {
    pub worker: String,
    /// The newest halt it acts on; 0 if it has not said.
    pub confirmed: i64,
    /// When it said so last.
    pub at: Option<Timestamp>,
    /// Until when its lanes are its own.
    pub lease_until: Option<Timestamp>,
    /// Why its host's own halt file keeps it from sending.
    pub halted_here: Option<String>,
    /// Since when and why the broker refuses it.
    pub safe: Option<String>,
}

/// What a sender says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Says {
    /// It acts on everything up to this halt.
    pub number: i64,
    /// Why its host's own halt file keeps it from sending.
    pub halted_here: Option<String>,
    /// Since when and why the broker refuses it.
    pub safe: Option<String>,
}

const COLUMNS: &str =
    "h.number, h.mode, h.account, h.symbol, h.strategy, h.reason, h.by_whom, h.approved_by,
    h.at, NOT EXISTS (SELECT FROM halts n WHERE n.number > h.number
        AND n.account IS NOT DISTINCT FROM h.account AND n.symbol IS NOT DISTINCT FROM h.symbol
        AND n.strategy IS NOT DISTINCT FROM h.strategy)";

fn halt(row: &Row) -> Result<Halt, Error> {
    Ok(Halt {
        number: row.try_get(0)?,
        mode: row.try_get(1)?,
        scope: Scope {
            account: row.try_get(2)?,
            symbol: row.try_get(3)?,
            strategy: row.try_get(4)?,
        },
        reason: row.try_get(5)?,
        by_whom: row.try_get(6)?,
        approved_by: row.try_get(7)?,
        at: row.try_get::<_, PgTime>(8)?.0,
        in_force: row.try_get(9)?,
    })
}

/// No halt is numbered while another one is not committed: who has read a number has read all before it.
/// Others that declare wait until the transaction ends; readers do not.
pub async fn lock(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.batch_execute("LOCK TABLE halts IN SHARE ROW EXCLUSIVE MODE").await
}

/// Declares a mode for a scope, under [`lock`]; its number.
pub async fn declare(
    tx: &Transaction<'_>,
    mode: &str,
    scope: &Scope,
    reason: &str,
    (by_whom, approved_by): (&str, Option<&str>),
) -> Result<i64, Error> {
    let row = tx
        .query_one(
            "INSERT INTO halts (mode, account, symbol, strategy, reason, by_whom, approved_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING number",
            &[
                &mode,
                &scope.account,
                &scope.symbol,
                &scope.strategy,
                &reason,
                &by_whom,
                &approved_by,
            ],
        )
        .await?;
    row.try_get(0)
}

/// The newest row of exactly this scope.
pub async fn newest(client: &impl GenericClient, scope: &Scope) -> Result<Option<Halt>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM halts h
          WHERE h.account IS NOT DISTINCT FROM $1 AND h.symbol IS NOT DISTINCT FROM $2
            AND h.strategy IS NOT DISTINCT FROM $3 ORDER BY h.number DESC LIMIT 1"
    );
    let row = client.query_opt(&sql, &[&scope.account, &scope.symbol, &scope.strategy]).await?;
    row.as_ref().map(halt).transpose()
}

/// The newest rows, newest first.
pub async fn list(client: &Client, limit: i64) -> Result<Vec<Halt>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM halts h ORDER BY h.number DESC LIMIT $1");
    client.query(&sql, &[&limit]).await?.iter().map(halt).collect()
}

/// A sender says what it acts on, and how it is.
pub async fn confirm(client: &Client, worker: &str, says: &Says) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO sender_confirmations AS c (worker, halt_number, halted_here, safe)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (worker) DO UPDATE
                SET halt_number = $2, halted_here = $3, safe = $4, at = clock_timestamp()",
        )
        .await?;
    let Says { number, halted_here, safe } = says;
    client.execute(&statement, &[&worker, number, halted_here, safe]).await?;
    Ok(())
}

/// A sender has ended. Those that were killed are forgotten a day later.
pub async fn retire(client: &Client, worker: &str) -> Result<(), Error> {
    let gone = "DELETE FROM sender_confirmations
                 WHERE worker = $1 OR at < clock_timestamp() - interval '1 day'";
    client.execute(gone, &[&worker]).await?;
    Ok(())
}

/// Senders that may still write without knowing of this halt: their lease, and the time after it, is not over.
pub async fn unconfirmed(client: &Client, number: i64) -> Result<Vec<Sender>, Error> {
    let rows = client
        .query(
            "SELECT l.owner, coalesce(max(c.halt_number), 0), max(c.at), max(l.lease_until),
                    max(c.halted_here), max(c.safe)
               FROM dispatch_lanes l LEFT JOIN sender_confirmations c ON c.worker = l.owner
              WHERE l.owner <> ''
                AND l.lease_until + $2 * interval '1 millisecond' > clock_timestamp()
              GROUP BY l.owner HAVING coalesce(max(c.halt_number), 0) < $1 ORDER BY 1",
            &[&number, &AFTER_LEASE_MS],
        )
        .await?;
    rows.iter().map(sender).collect()
}

/// After so long without a word a sender counts no more among those that share the broker, milliseconds: three heartbeats.
const SILENT_MS: f64 = 15_000.0;

/// How many senders live besides this one.
pub async fn others(client: &Client, worker: &str) -> Result<i64, Error> {
    let statement = client
        .prepare_cached(
            "SELECT count(*) FROM sender_confirmations
              WHERE worker <> $1 AND at > clock_timestamp() - $2 * interval '1 millisecond'",
        )
        .await?;
    client.query_one(&statement, &[&worker, &SILENT_MS]).await?.try_get(0)
}

/// Every sender that holds a lane or has said something within the last minute.
pub async fn senders(client: &Client) -> Result<Vec<Sender>, Error> {
    let rows = client
        .query(
            "SELECT w.worker, coalesce(max(c.halt_number), 0), max(c.at), max(l.lease_until),
                    max(c.halted_here), max(c.safe)
               FROM (SELECT owner AS worker FROM dispatch_lanes
                      WHERE owner <> '' AND lease_until > clock_timestamp()
                     UNION
                     SELECT worker FROM sender_confirmations
                      WHERE at > clock_timestamp() - interval '1 minute') w
               LEFT JOIN sender_confirmations c ON c.worker = w.worker
               LEFT JOIN dispatch_lanes l ON l.owner = w.worker
              GROUP BY w.worker ORDER BY 1",
            &[],
        )
        .await?;
    rows.iter().map(sender).collect()
}

fn sender(row: &Row) -> Result<Sender, Error> {
    Ok(Sender {
        worker: row.try_get(0)?,
        confirmed: row.try_get(1)?,
        at: row.try_get::<_, Option<PgTime>>(2)?.map(|t| t.0),
        lease_until: row.try_get::<_, Option<PgTime>>(3)?.map(|t| t.0),
        halted_here: row.try_get(4)?,
        safe: row.try_get(5)?,
    })
}
