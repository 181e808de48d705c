//! What became of orders, by their keys: the ledger as a person asks about it.

use rust_decimal::Decimal;
use tokio_postgres::{Client, Error};

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
