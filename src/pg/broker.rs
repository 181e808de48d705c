//! What the broker said of itself and of positions, and how ours compare (C-OUT-8, C-OUT-9).

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, GenericClient, Row};

use super::PgTime;

/// One for all that note capabilities: "capable" in ASCII.
const NOTE_LOCK: i64 = 0x63_6170_6162_6c65;

/// Notes what a broker says of itself now. What it said before, if that was something else.
pub async fn note_capabilities(
    tx: &Transaction<'_>,
    broker: &str,
    digest: &str,
    capabilities: &Value,
) -> Result<Option<Value>, Error> {
    tx.execute("SELECT pg_advisory_xact_lock($1)", &[&NOTE_LOCK]).await?;
    let newest = tx
        .query_opt(
            "SELECT digest, capabilities FROM broker_capabilities WHERE broker = $1
              ORDER BY seen_at DESC LIMIT 1",
            &[&broker],
        )
        .await?;
    tx.execute(
        "INSERT INTO broker_capabilities AS b (digest, broker, capabilities) VALUES ($1, $2, $3)
         ON CONFLICT (digest) DO UPDATE SET seen_at = clock_timestamp(), broker = $2",
        &[&digest, &broker, &Json(capabilities)],
    )
    .await?;
    let Some(row) = newest else { return Ok(None) };
    let before: &str = row.try_get(0)?;
    match before == digest {
        true => Ok(None),
        false => Ok(Some(row.try_get::<_, Json<Value>>(1)?.0)),
    }
}

/// Takes a round for `hold_ms`, unless another worker has it or it was done less than `rested_ms` ago.
pub async fn take_round(
    client: &Client,
    what: &str,
    worker: &str,
    (hold_ms, rested_ms): (u64, u64),
) -> Result<bool, Error> {
    let taken = client
        .execute(
            "INSERT INTO dispatch_rounds AS r (what, worker, until)
             VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
             ON CONFLICT (what) DO UPDATE SET worker = excluded.worker, until = excluded.until
              WHERE (r.worker = $2 OR r.until < clock_timestamp())
                AND (r.done_at IS NULL
                     OR r.done_at <= clock_timestamp() - $4 * interval '1 millisecond')",
            &[&what, &worker, &(hold_ms as f64), &(rested_ms as f64)],
        )
        .await?;
    Ok(taken == 1)
}

/// Prolongs a round; false: it is another worker's now.
pub async fn hold_round(
    client: &Client,
    what: &str,
    worker: &str,
    hold_ms: u64,
) -> Result<bool, Error> {
    let held = client
        .execute(
            "UPDATE dispatch_rounds SET until = clock_timestamp() + $3 * interval '1 millisecond'
              WHERE what = $1 AND worker = $2 AND until > clock_timestamp()",
            &[&what, &worker, &(hold_ms as f64)],
        )
        .await?;
    Ok(held == 1)
}

/// Ends a round that this worker has: done, or given up.
pub async fn end_round(client: &Client, what: &str, worker: &str, done: bool) -> Result<(), Error> {
    let end = "UPDATE dispatch_rounds
                  SET until = '-infinity', done_at = CASE WHEN $3 THEN clock_timestamp() ELSE done_at END
                WHERE what = $1 AND worker = $2";
    client.execute(end, &[&what, &worker, &done]).await?;
    Ok(())
}

/// A position of ours, and what could move it or the broker's at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Held {
    pub account: String,
    pub symbol: String,
    pub position: Decimal,
    /// An order is being sent, or nobody knows what became of one.
    pub unclear: bool,
    /// An order works at the broker.
    pub working: bool,
}

/// Every account, and every position with what is under way in its lane.
pub async fn held(client: &Client) -> Result<(Vec<String>, Vec<Held>), Error> {
    let accounts = client.query("SELECT account FROM risk_accounts ORDER BY 1", &[]).await?;
    let accounts = accounts.iter().map(|r| r.try_get(0)).collect::<Result<_, _>>()?;
    let rows = client
        .query(
            "SELECT p.account, p.symbol, p.position, coalesce(o.unclear, false), coalesce(o.working, false)
               FROM risk_positions p
               LEFT JOIN LATERAL (
                    SELECT bool_or(state IN ('SENT','UNKNOWN','PARKED')) AS unclear,
                           bool_or(state IN ('ACCEPTED','PARTIALLY_FILLED')) AS working
                      FROM outbox_orders
                     WHERE account = p.account AND symbol = p.symbol
                       AND state IN ('SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED')) o ON true
              ORDER BY 1, 2",
            &[],
        )
        .await?;
    let read = |r: &Row| {
        Ok(Held {
            account: r.try_get(0)?,
            symbol: r.try_get(1)?,
            position: r.try_get(2)?,
            unclear: r.try_get(3)?,
            working: r.try_get(4)?,
        })
    };
    Ok((accounts, rows.iter().map(read).collect::<Result<_, _>>()?))
}

/// A comparison that was noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Check {
    pub account: String,
    pub symbol: String,
    pub ours: Decimal,
    pub theirs: Decimal,
    pub checked_at: Timestamp,
    pub halt_number: Option<i64>,
}

/// Every comparison noted last.
pub async fn checks(client: &impl GenericClient) -> Result<Vec<Check>, Error> {
    let rows = client
        .query(
            "SELECT account, symbol, ours, theirs, checked_at, halt_number FROM position_checks
              ORDER BY 1, 2",
            &[],
        )
        .await?;
    let read = |r: &Row| {
        Ok(Check {
            account: r.try_get(0)?,
            symbol: r.try_get(1)?,
            ours: r.try_get(2)?,
            theirs: r.try_get(3)?,
            checked_at: r.try_get::<_, PgTime>(4)?.0,
            halt_number: r.try_get(5)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Notes a comparison.
pub async fn note_check(
    client: &impl GenericClient,
    of: (&str, &str),
    (ours, theirs): (Decimal, Decimal),
    halt_number: Option<i64>,
) -> Result<(), Error> {
    client
        .execute(
            "INSERT INTO position_checks (account, symbol, ours, theirs, halt_number)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (account, symbol) DO UPDATE
                SET ours = excluded.ours, theirs = excluded.theirs, checked_at = clock_timestamp(),
                    halt_number = excluded.halt_number",
            &[&of.0, &of.1, &ours, &theirs, &halt_number],
        )
        .await?;
    Ok(())
}

/// Comparisons end here, one after the other.
pub async fn lock_check(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.batch_execute("LOCK TABLE position_checks IN SHARE ROW EXCLUSIVE MODE").await
}

/// What is known of an order that the broker told something about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Heard {
    pub client_order_id: String,
    pub key: String,
    pub account: String,
    pub symbol: String,
    pub state: String,
    pub fills: i64,
}

/// Orders by the ids under which they were sent.
pub async fn heard_of(client: &Client, ids: &[&str]) -> Result<Vec<Heard>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT i.id, o.idempotency_key, o.account, o.symbol, o.state,
                    (SELECT count(*) FROM order_fills f WHERE f.idempotency_key = o.idempotency_key)
               FROM (SELECT id, id AS key FROM unnest($1::text[]) AS u (id)
                     UNION
                     SELECT a.client_order_id, a.idempotency_key FROM send_attempts a
                      WHERE a.client_order_id = ANY($1) AND a.client_order_id <> a.idempotency_key
                     UNION
                     SELECT r.replaced ->> 'order_id', r.idempotency_key FROM outbox_orders r
                      WHERE r.replaced IS NOT NULL AND r.replaced ->> 'order_id' = ANY($1)) i
               JOIN outbox_orders o ON o.idempotency_key = i.key
              WHERE o.attempt_no > 0",
        )
        .await?;
    let rows = client.query(&statement, &[&ids]).await?;
    let read = |r: &Row| {
        Ok(Heard {
            client_order_id: r.try_get(0)?,
            key: r.try_get(1)?,
            account: r.try_get(2)?,
            symbol: r.try_get(3)?,
            state: r.try_get(4)?,
            fills: r.try_get(5)?,
        })
    };
    rows.iter().map(read).collect()
}
