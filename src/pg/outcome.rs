//! What became of orders, by their keys: the ledger as a person asks about it.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use tokio_postgres::{Client, Error};

use super::PgTime;

/// One order of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Listed {
    pub idempotency_key: String,
    pub trace_id: Option<String>,
    pub state: String,
    pub account: String,
    pub symbol: String,
    pub action: String,
    pub decided_qty: Decimal,
    pub executed_qty: Decimal,
    pub working_qty: Decimal,
    pub attempts: i32,
    pub broker_ref: Option<String>,
    pub decided_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub next_query_at: Option<Timestamp>,
}

/// What narrows a list of orders down; nothing means all.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Wanted {
    pub states: Vec<String>,
    pub account: Option<String>,
    pub symbol: Option<String>,
}

/// Orders, the newest `limit` of those wanted, newest first.
pub async fn list(client: &Client, wanted: &Wanted, limit: i64) -> Result<Vec<Listed>, Error> {
    let rows = client
        .query(
            "SELECT idempotency_key, trace_id, state, account, symbol, action, decided_qty, executed_qty,
                    working_qty, attempt_no, broker_ref, decided_at, sent_at, next_query_at
               FROM outbox_orders
              WHERE state = ANY($1) AND ($2::text IS NULL OR account = $2)
                AND ($3::text IS NULL OR symbol = $3)
              ORDER BY id DESC LIMIT $4",
            &[&wanted.states, &wanted.account, &wanted.symbol, &limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let time =
                |at| row.try_get::<_, Option<PgTime>>(at).map(|time| time.map(|time| time.0));
            Ok(Listed {
                idempotency_key: row.try_get(0)?,
                trace_id: row.try_get(1)?,
                state: row.try_get(2)?,
                account: row.try_get(3)?,
                symbol: row.try_get(4)?,
                action: row.try_get(5)?,
                decided_qty: row.try_get(6)?,
                executed_qty: row.try_get(7)?,
                working_qty: row.try_get(8)?,
                attempts: row.try_get(9)?,
                broker_ref: row.try_get(10)?,
                decided_at: row.try_get::<_, PgTime>(11)?.0,
                sent_at: time(12)?,
                next_query_at: time(13)?,
            })
        })
        .collect()
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Outcome {
    pub idempotency_key: String,
    pub trace_id: Option<String>,
    pub digest: Vec<u8>,
    pub action: String,
    pub decided_qty: Decimal,
    pub executed_qty: Decimal,
    pub state: String,
    pub avg_price: Option<Decimal>,
    pub reason: Option<String>,
}

/// The rows of these keys, as far as they have been decided, in no order.
pub async fn by_keys(client: &Client, keys: &[String]) -> Result<Vec<Outcome>, Error> {
    let rows = client
        .query(
            "SELECT idempotency_key, trace_id, digest, action, decided_qty, executed_qty, state,
                    avg_price, payload->>'reason'
               FROM outbox_orders WHERE idempotency_key = ANY($1)",
            &[&keys],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Outcome {
                idempotency_key: row.try_get(0)?,
                trace_id: row.try_get(1)?,
                digest: row.try_get(2)?,
                action: row.try_get(3)?,
                decided_qty: row.try_get(4)?,
                executed_qty: row.try_get(5)?,
                state: row.try_get(6)?,
                avg_price: row.try_get(7)?,
                reason: row.try_get(8)?,
            })
        })
        .collect()
}
