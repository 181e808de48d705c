//! Replacements that were accepted: carried out one at a time per order, kept until it is known what came of them (C-CMD).

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Error};

use super::cancels::{PAUSE_MAX_MS, PAUSE_MS};
use super::lanes::{HeldLane, columns};
use crate::domain::command::replace::Terms;
use crate::domain::text::{IdempotencyKey, TraceId};
use crate::domain::trace_context::{self, TraceContext};

/// A replacement on its way, as the order's row carries it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Replacement {
    /// The command's.
    pub key: IdempotencyKey,
    pub trace_id: TraceId,
    pub requested_at: Timestamp,
    /// As asked for.
    pub qty: Option<Decimal>,
    pub limit_price: Option<Decimal>,
    /// What it makes of the order.
    pub terms: Terms,
    /// What the trace holds for it on top.
    #[serde(with = "rust_decimal::serde::str")]
    pub reserved: Decimal,
    /// How often the broker was asked.
    pub asked: i32,
    /// The headers of the record that asked for it.
    #[serde(default)]
    pub traceparent: Option<String>,
    #[serde(default)]
    pub tracestate: Option<String>,
}

impl Replacement {
    /// The trace that the command belongs to.
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::stored(self.traceparent.as_deref(), self.tracestate.as_deref())
    }

    /// The same, as whoever is asked for it finds it.
    pub fn hop(&self) -> Option<TraceContext> {
        self.trace().map(|trace| trace.child(&trace_context::command(&self.key)))
    }
}

/// The column of an order `o` that [`Replacement`] is read from.
pub const COLUMN: &str = "(SELECT jsonb_build_object('key', r.idempotency_key, 'trace_id', r.trace_id,
        'requested_at', r.requested_at, 'qty', r.qty::text, 'limit_price', r.limit_price::text, 'terms', r.terms,
        'reserved', r.reserved::text, 'asked', r.asked, 'traceparent', r.traceparent, 'tracestate', r.tracestate)
      FROM order_commands r
     WHERE r.target_key = o.idempotency_key AND r.action = 'REPLACE' AND r.status = 'ACCEPTED')";

/// The terms in force, once they were replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The terms.
    pub terms: Terms,
    /// The order that has them at the broker; none: it was replaced before it was sent.
    pub at_broker: Option<AtBroker>,
    /// The same as `at_broker.order_id`, where the index looks.
    pub order_id: Option<String>,
}

/// An order that took the place of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtBroker {
    /// Its client order id.
    pub order_id: String,
    /// Its own quantity: what was unfilled of the order when its place was taken.
    #[serde(with = "rust_decimal::serde::str")]
    pub qty: Decimal,
}

/// The orders of these lanes whose replacement the broker is to be asked for now. The next question is put off before
/// this one is asked.
pub async fn due(
    client: &Client,
    lanes: &[HeldLane],
    asking: &[&str],
    limit: usize,
) -> Result<Vec<String>, Error> {
    if lanes.is_empty() || limit == 0 {
        return Ok(vec![]);
    }
    let (accounts, symbols, _) = columns(lanes);
    let rows = client
        .query(
            "UPDATE order_commands c
                SET asked = c.asked + 1,
                    next_ask_at = clock_timestamp()
                        + least($5, $6 * 2 ^ least(c.asked, 20)) * interval '1 millisecond'
              WHERE c.idempotency_key IN (
                    SELECT k.idempotency_key
                      FROM order_commands k
                      JOIN outbox_orders o ON o.idempotency_key = k.target_key
                      JOIN unnest($1::text[], $2::text[]) AS l (account, symbol)
                        ON o.account = l.account AND o.symbol = l.symbol
                     WHERE k.action = 'REPLACE' AND k.status = 'ACCEPTED'
                       AND k.next_ask_at <= clock_timestamp() AND k.target_key <> ALL ($3)
                       AND o.state IN ('ACCEPTED','PARTIALLY_FILLED')
                     ORDER BY k.next_ask_at LIMIT $4)
             RETURNING c.target_key",
            &[&accounts, &symbols, &asking, &(limit as i64), &PAUSE_MAX_MS, &PAUSE_MS],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The end of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ended {
    pub command: String,
    /// DONE or FAILED.
    pub status: &'static str,
    pub code: Option<String>,
    pub reason: String,
}

/// These are over; their next question is none.
pub async fn end(tx: &Transaction<'_>, ended: &[Ended]) -> Result<(), Error> {
    for over in ended {
        tx.execute(
            "UPDATE order_commands SET status = $2, code = $3, reason = $4, next_ask_at = NULL
              WHERE idempotency_key = $1 AND status = 'ACCEPTED'",
            &[&over.command, &over.status, &over.code, &over.reason],
        )
        .await?;
    }
    Ok(())
}

/// These terms are in force now, by the orders' keys.
pub async fn store(tx: &Transaction<'_>, orders: &[(&str, &InForce)]) -> Result<(), Error> {
    for (key, in_force) in orders {
        let sql = "UPDATE outbox_orders SET replaced = $2 WHERE idempotency_key = $1";
        tx.execute(sql, &[key, &Json(in_force)]).await?;
    }
    Ok(())
}
