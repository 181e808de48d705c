//! What held an order besides its decision: halts over it, and the cancel that is wanted of it.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error, Row};

use super::{Cancel, Held, PgTime, time, time_opt};

/// Halts told of one order.
const HALTS_MAX: i64 = 20;

// In force when the order was decided, or declared before it ended; a newer row of its scope ends a halt.
const HALTS: &str = "
    WITH over AS (
        SELECT o.idempotency_key, o.decided_at, h.*,
               (SELECT min(n.at) FROM halts n WHERE n.number > h.number
                   AND n.account IS NOT DISTINCT FROM h.account AND n.symbol IS NOT DISTINCT FROM h.symbol
                   AND n.strategy IS NOT DISTINCT FROM h.strategy) AS ended_at,
               (SELECT max(e.sent_at) FROM obs_exec_events e
                 WHERE e.idempotency_key = o.idempotency_key AND e.sent_at >= o.decided_at
                   AND o.state NOT IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED')) AS over_at,
               o.state = 'NOT_SENT' AS never_sent
          FROM outbox_orders o
          JOIN halts h ON (h.account IS NULL OR h.account = o.account) AND (h.symbol IS NULL OR h.symbol = o.symbol)
                      AND (h.strategy IS NULL OR h.strategy = o.strategy)
         WHERE o.idempotency_key = ANY($1) AND h.mode <> 'resumed')
    SELECT * FROM over
     WHERE coalesce(ended_at > decided_at, true)
       AND at <= CASE WHEN never_sent THEN decided_at ELSE coalesce(over_at, 'infinity') END
     ORDER BY number DESC LIMIT $2";

/// Halts over these orders, each with its order's key, the oldest first.
pub(super) async fn halts(
    tx: &Transaction<'_>,
    keys: &[String],
) -> Result<Vec<(String, Held)>, Error> {
    let rows = tx.query(HALTS, &[&keys, &(HALTS_MAX * keys.len() as i64)]).await?;
    let read = |row: &Row| {
        let held = Held {
            number: row.try_get("number")?,
            mode: row.try_get("mode")?,
            account: row.try_get("account")?,
            symbol: row.try_get("symbol")?,
            strategy: row.try_get("strategy")?,
            reason: row.try_get("reason")?,
            by_whom: row.try_get("by_whom")?,
            at: time(row, "at")?,
            ended_at: time_opt(row, "ended_at")?,
        };
        Ok((row.try_get("idempotency_key")?, held))
    };
    rows.iter().rev().map(read).collect()
}

/// The cancels wanted of these orders, by key.
pub(super) async fn cancels(
    tx: &Transaction<'_>,
    keys: &[String],
) -> Result<Vec<(String, Cancel)>, Error> {
    let sql = "SELECT * FROM order_cancels WHERE idempotency_key = ANY($1)";
    let read = |row: &Row| {
        let cancel = Cancel {
            code: row.try_get("code")?,
            reason: row.try_get("reason")?,
            by_whom: row.try_get("by_whom")?,
            halt_number: row.try_get("halt_number")?,
            at: row.try_get::<_, PgTime>("at")?.0,
            asked: row.try_get("asked")?,
            answer: row.try_get("answer")?,
        };
        Ok((row.try_get("idempotency_key")?, cancel))
    };
    tx.query(sql, &[&keys]).await?.iter().map(read).collect()
}
