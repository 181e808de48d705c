//! Order commands as the gate reads and writes them: known keys, the orders they are about, tombstones, outcomes.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::Timestamp;
use rust_decimal::Decimal;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, GenericClient, Row};

use super::PgTime;
use super::listen::OUTBOX_CHANNEL;
use super::outbox::{self, OrderRow, OutboxError};
use crate::domain::command::replace::Terms;
use crate::domain::event::OrderStatus;
use crate::domain::trace_context::TraceContext;

/// The code of cancels that a producer wants; the broker is told it, and exec events show it.
pub const CANCEL_CODE: &str = "cancelled_by_producer";

/// A command that is about to be decided: its key, and the order it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct About {
    pub key: String,
    pub target_key: String,
    pub account: String,
    pub symbol: String,
    /// It is a REPLACE.
    pub replaces: bool,
}

/// The traces of orders that a REPLACE is about, with their accounts: to be locked before the orders are. An order's
/// trace never changes; one that comes in between is not in this list.
pub async fn traces(
    client: &impl GenericClient,
    about: &[About],
) -> Result<Vec<(String, String)>, Error> {
    let keys: Vec<&str> =
        about.iter().filter(|a| a.replaces).map(|a| a.target_key.as_str()).collect();
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let sql = "SELECT account, trace_id FROM outbox_orders
                WHERE idempotency_key = ANY($1) AND trace_id IS NOT NULL";
    let rows = client.query(sql, &[&keys]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// An order of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Order {
    pub account: String,
    pub symbol: String,
    /// None: decided FLAT or REJECT.
    pub status: Option<OrderStatus>,
}

/// What is known of commands and their orders.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Commands decided before, each with its digest.
    pub commands: HashMap<String, Vec<u8>>,
    /// Their orders, by key; those of the command's own lane are locked.
    pub orders: HashMap<String, Order>,
    /// Of those that a REPLACE is about, everything.
    pub rows: HashMap<String, OrderRow>,
}

/// A command as the table keeps it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct CommandRow {
    pub about: About,
    pub digest: [u8; 32],
    pub trace_id: String,
    pub action: &'static str,
    pub qty: Option<Decimal>,
    pub limit_price: Option<Decimal>,
    pub why: Option<String>,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub decided_at: Timestamp,
    pub status: &'static str,
    pub code: Option<&'static str>,
    pub reason: String,
    pub tombstone: bool,
    /// Of an accepted REPLACE, with what is reserved for it on top.
    pub terms: Option<(Terms, Decimal)>,
    pub topic_id: String,
    pub partition: i32,
    pub offset: i64,
    /// The trace that the record belongs to.
    pub trace: Option<TraceContext>,
}

/// An order that is wanted cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The order's key.
    pub order: String,
    /// The command's, for who looks at it later.
    pub command: String,
    /// The producer's reason.
    pub reason: String,
}

// Not FOR UPDATE: whoever wants a cancel refers to the row, and must not wait for us while we wait for him.
const LOCK: &str = "SELECT o.idempotency_key FROM outbox_orders o
      JOIN unnest($1::text[], $2::text[], $3::text[]) AS u (key, account, symbol)
        ON o.idempotency_key = u.key AND o.account = u.account AND o.symbol = u.symbol
     ORDER BY o.idempotency_key FOR NO KEY UPDATE OF o";
const ORDERS: &str = "SELECT idempotency_key, account, symbol, state FROM outbox_orders
     WHERE idempotency_key = ANY($1)";
const KNOWN: &str =
    "SELECT idempotency_key, digest FROM order_commands WHERE idempotency_key = ANY($1)";

/// Locks the orders that commands of their own lane are about (the last locks of the global order) and reads what is
/// known by then. The lanes must be locked: an order that is not there now does not come before the commit.
pub async fn lock(tx: &Transaction<'_>, about: &[About]) -> Result<Known, OutboxError> {
    if about.is_empty() {
        return Ok(Known::default());
    }
    let column = |f: fn(&About) -> &str| about.iter().map(f).collect::<Vec<_>>();
    let (keys, targets) = (column(|a| &a.key), column(|a| &a.target_key));
    let (accounts, symbols) = (column(|a| &a.account), column(|a| &a.symbol));
    let (lock, orders, known) = (
        tx.prepare_cached(LOCK).await?,
        tx.prepare_cached(ORDERS).await?,
        tx.prepare_cached(KNOWN).await?,
    );
    // Sent together, run one after another.
    let lane: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&targets, &accounts, &symbols];
    let of_orders: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&targets];
    let of_commands: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&keys];
    let (_, orders, known) = try_join!(
        tx.query(&lock, &lane),
        tx.query(&orders, &of_orders),
        tx.query(&known, &of_commands),
    )?;
    let replaced: Vec<&str> =
        about.iter().filter(|a| a.replaces).map(|a| a.target_key.as_str()).collect();
    let rows = match replaced.is_empty() {
        true => vec![],
        false => outbox::of_keys(&**tx, &replaced).await?,
    };
    let order = |row: &Row| {
        let status = OrderStatus::read(row.try_get(3)?);
        let order = Order { account: row.try_get(1)?, symbol: row.try_get(2)?, status };
        Ok((row.try_get(0)?, order))
    };
    Ok(Known {
        commands: known
            .iter()
            .map(|r| Ok((r.try_get(0)?, r.try_get(1)?)))
            .collect::<Result<_, Error>>()?,
        orders: orders.iter().map(order).collect::<Result<_, Error>>()?,
        rows: rows.into_iter().map(|row| (row.key.to_string(), row)).collect(),
    })
}

/// (key, account, symbol) of orders that were cancelled before they came.
pub type Tombstones = HashSet<(String, String, String)>;

/// Finds [`Tombstones`] of these keys.
pub const TOMBSTONES: &str = "SELECT target_key, account, symbol FROM order_commands
     WHERE target_key = ANY($1) AND tombstone";

const ROWS: &str = "INSERT INTO order_commands (idempotency_key, target_key, account, symbol, digest, trace_id, action,
        qty, limit_price, why, requested_at, valid_until, decided_at, status, code, reason, tombstone,
        source_topic_id, source_partition, source_offset, terms, reserved, traceparent, tracestate)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[],
            $8::numeric[], $9::numeric[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[],
            $14::text[], $15::text[], $16::text[], $17::bool[], $18::text[], $19::int[], $20::bigint[],
            $21::jsonb[], $22::numeric[], $23::text[], $24::text[]) AS u (k)
     ORDER BY k COLLATE \"C\"
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING 1";
// One that is under way stays; one that the broker had refused is asked for again.
const CANCELS: &str = "INSERT INTO order_cancels AS c (idempotency_key, code, reason, by_whom)
    SELECT key, $4, reason, 'command ' || command
      FROM unnest($1::text[], $2::text[], $3::text[]) AS u (key, command, reason) ORDER BY key COLLATE \"C\"
    ON CONFLICT (idempotency_key) DO UPDATE
       SET code = excluded.code, reason = excluded.reason, by_whom = excluded.by_whom, halt_number = NULL,
           at = clock_timestamp(), next_ask_at = clock_timestamp(), asked = 0, answer = NULL
     WHERE c.next_ask_at IS NULL";

/// Writes what was decided; `rows` sorted by key, `cancels` one per order. False: a key was claimed by another worker
/// in between, so nothing may be committed.
pub async fn write(
    tx: &Transaction<'_>,
    rows: &[CommandRow],
    cancels: &[Cancel],
) -> Result<bool, Error> {
    let claimed = write_rows(tx, rows).await?;
    if !cancels.is_empty() {
        let column = |f: fn(&Cancel) -> &str| cancels.iter().map(f).collect::<Vec<_>>();
        let (orders, commands) = (column(|c| &c.order), column(|c| &c.command));
        let reasons = column(|c| &c.reason);
        let statement = tx.prepare_cached(CANCELS).await?;
        tx.execute(&statement, &[&orders, &commands, &reasons, &CANCEL_CODE]).await?;
        tx.execute("SELECT pg_notify($1, '')", &[&OUTBOX_CHANNEL]).await?;
    }
    Ok(claimed == rows.len() as u64)
}

async fn write_rows(tx: &Transaction<'_>, rows: &[CommandRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    macro_rules! column {
        ($f:expr) => {
            rows.iter().map($f).collect::<Vec<_>>()
        };
    }
    let statement = tx.prepare_cached(ROWS).await?;
    tx.execute(
        &statement,
        &[
            &column!(|r| r.about.key.as_str()),
            &column!(|r| r.about.target_key.as_str()),
            &column!(|r| r.about.account.as_str()),
            &column!(|r| r.about.symbol.as_str()),
            &column!(|r| r.digest.as_slice()),
            &column!(|r| r.trace_id.as_str()),
            &column!(|r| r.action),
            &column!(|r| r.qty),
            &column!(|r| r.limit_price),
            &column!(|r| r.why.as_deref()),
            &column!(|r| PgTime(r.requested_at)),
            &column!(|r| r.valid_until.map(PgTime)),
            &column!(|r| PgTime(r.decided_at)),
            &column!(|r| r.status),
            &column!(|r| r.code),
            &column!(|r| r.reason.as_str()),
            &column!(|r| r.tombstone),
            &column!(|r| r.topic_id.as_str()),
            &column!(|r| r.partition),
            &column!(|r| r.offset),
            &column!(|r| r.terms.as_ref().map(|(terms, _)| Json(terms))),
            &column!(|r| r.terms.as_ref().map_or(Decimal::ZERO, |(_, reserved)| *reserved)),
            &column!(|r| r.trace.as_ref().map(TraceContext::traceparent)),
            &column!(|r| r.trace.as_ref().and_then(TraceContext::tracestate)),
        ],
    )
    .await
}

/// What was decided about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Told {
    pub digest: Vec<u8>,
    pub status: String,
    pub code: Option<String>,
    pub reason: String,
}

/// What was decided about the command of this key, if it was.
pub async fn told(client: &tokio_postgres::Client, key: &str) -> Result<Option<Told>, Error> {
    let sql = "SELECT digest, status, code, reason FROM order_commands WHERE idempotency_key = $1";
    let row = client.query_opt(sql, &[&key]).await?;
    let read = |row: Row| {
        Ok(Told {
            digest: row.try_get(0)?,
            status: row.try_get(1)?,
            code: row.try_get(2)?,
            reason: row.try_get(3)?,
        })
    };
    row.map(read).transpose()
}
