//! `obs_do_metrics`: reads all steps of the touched orders and their prices, and stores what was measured.

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::{Error, Row};

use super::PgTime;
use crate::sink::project::measure::{Step, Touched, measure as measured};
use crate::sink::project::rows::DoMetricsRow;

/// Every step of these orders, those of one order together. OFFSET 0 keeps the planner from joining whole months:
/// it looks up one order after the other, in the months that can have it.
const STEPS: &str = "
    SELECT s.event_id, s.trace_id, s.idempotency_key, s.exec_seq, s.sent_at, s.symbol, s.side, s.size,
           s.status, s.executed_qty, s.avg_price, s.queue_ms, s.broker_rtt_ms, s.total_ms, d.price
      FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS t (key, trace, since, nth)
     CROSS JOIN LATERAL (SELECT * FROM obs_exec_events e
                          WHERE e.idempotency_key = t.key AND e.sent_at >= t.since OFFSET 0) s
      LEFT JOIN LATERAL (SELECT price FROM obs_decisions d
                          WHERE d.trace_id = t.trace AND d.decision ->> 'idempotency_key' = t.key
                            AND d.made_at >= t.since
                          LIMIT 1) d ON true
     ORDER BY t.nth";

/// One sink at a time; a rebuild measures beside them, in tables of its own.
const MEASURING: &str = "SELECT pg_advisory_xact_lock(hashtextextended('noctus.obs_do_metrics'
    || CASE current_schema() WHEN 'noctus_rebuild' THEN '.rebuild' ELSE '' END, 0))";

/// Every step of every order, those of one order together, with the price that the sink finds for it.
pub(in crate::pg) const ALL_STEPS: &str = "
    SELECT s.event_id, s.trace_id, s.idempotency_key, s.exec_seq, s.sent_at, s.symbol, s.side, s.size,
           s.status, s.executed_qty, s.avg_price, s.queue_ms, s.broker_rtt_ms, s.total_ms, d.price
      FROM obs_exec_events s
      LEFT JOIN (SELECT trace_id, decision ->> 'idempotency_key' AS key, min(price) AS price
                   FROM obs_decisions GROUP BY 1, 2) d
        ON d.trace_id = s.trace_id AND d.key = s.idempotency_key
     ORDER BY s.idempotency_key COLLATE \"C\", s.exec_seq";

pub(super) async fn measure(
    tx: &Transaction<'_>,
    touched: &[Touched],
    new_steps: &HashSet<String>,
) -> Result<u64, Error> {
    if touched.is_empty() {
        return Ok(0);
    }
    tx.execute(MEASURING, &[]).await?;
    let statement = tx.prepare_cached(STEPS).await?;
    // No row is older (`project`).
    let since = touched.iter().map(|t| PgTime(t.since.unwrap_or(Timestamp::UNIX_EPOCH)));
    let found = tx
        .query(
            &statement,
            &[
                &touched.iter().map(|t| t.idempotency_key.as_str()).collect::<Vec<_>>(),
                &touched.iter().map(|t| t.trace_id.as_str()).collect::<Vec<_>>(),
                &since.collect::<Vec<_>>(),
            ],
        )
        .await?;
    let steps = found.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    let (mut rows, mut stale) = (Vec::new(), Vec::new());
    for order in steps.chunk_by(|a, b| a.idempotency_key == b.idempotency_key) {
        let Some(row) = measured(order.to_vec()) else { continue };
        // A step before the first one known until now: the row made from that one gives way.
        let known = order.iter().filter(|s| !new_steps.contains(&s.event_id)).cloned().collect();
        stale.extend(measured(known).filter(|before| before.event_id != row.event_id));
        rows.push(row);
    }
    remove(tx, &stale).await?;
    store(tx, &rows).await
}

pub(in crate::pg) fn step(row: &Row) -> Result<Step, Error> {
    Ok(Step {
        event_id: row.try_get(0)?,
        trace_id: row.try_get(1)?,
        idempotency_key: row.try_get(2)?,
        exec_seq: row.try_get(3)?,
        sent_at: row.try_get::<_, PgTime>(4)?.0,
        symbol: row.try_get(5)?,
        side: row.try_get(6)?,
        size: row.try_get(7)?,
        status: row.try_get(8)?,
        executed_qty: row.try_get(9)?,
        avg_price: row.try_get(10)?,
        queue_ms: row.try_get(11)?,
        broker_rtt_ms: row.try_get(12)?,
        total_ms: row.try_get(13)?,
        price: row.try_get(14)?,
    })
}

async fn remove(tx: &Transaction<'_>, rows: &[DoMetricsRow]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    tx.execute(
        "DELETE FROM obs_do_metrics m USING unnest($1::text[], $2::timestamptz[]) AS s (event_id, first_at)
          WHERE m.event_id = s.event_id AND m.first_at = s.first_at",
        &[
            &rows.iter().map(|r| r.event_id.as_str()).collect::<Vec<_>>(),
            &rows.iter().map(|r| PgTime(r.first_at)).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}

async fn store(tx: &Transaction<'_>, rows: &[DoMetricsRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    macro_rules! column {
        ($f:expr) => {
            rows.iter().map($f).collect::<Vec<_>>()
        };
    }
    let statement = tx
        .prepare_cached(
            "INSERT INTO obs_do_metrics AS m (event_id, trace_id, idempotency_key, symbol, child_orders,
                    retry_counts, partial_fills, requested_qty, filled_qty, slippage, queue_ms,
                    broker_rtt_ms, total_ms, final_status, first_at)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[],
                    $7::int[], $8::numeric[], $9::numeric[], $10::numeric[], $11::bigint[],
                    $12::bigint[], $13::bigint[], $14::text[], $15::timestamptz[])
             ON CONFLICT (event_id, first_at) DO UPDATE
                SET retry_counts = excluded.retry_counts, partial_fills = excluded.partial_fills,
                    filled_qty = excluded.filled_qty, slippage = excluded.slippage,
                    queue_ms = excluded.queue_ms, broker_rtt_ms = excluded.broker_rtt_ms,
                    total_ms = excluded.total_ms, final_status = excluded.final_status
              WHERE (m.retry_counts, m.partial_fills, m.filled_qty, m.slippage, m.queue_ms,
                     m.broker_rtt_ms, m.total_ms, m.final_status)
                    IS DISTINCT FROM
                    (excluded.retry_counts, excluded.partial_fills, excluded.filled_qty, excluded.slippage,
                     excluded.queue_ms, excluded.broker_rtt_ms, excluded.total_ms, excluded.final_status)",
        )
        .await?;
    tx.execute(
        &statement,
        &[
            &column!(|r| r.event_id.as_str()),
            &column!(|r| r.trace_id.as_str()),
            &column!(|r| r.idempotency_key.as_str()),
            &column!(|r| r.symbol.as_str()),
            &column!(|r| r.child_orders),
            &column!(|r| r.retry_counts),
            &column!(|r| r.partial_fills),
            &column!(|r| r.requested_qty),
            &column!(|r| r.filled_qty),
            &column!(|r| r.slippage),
            &column!(|r| r.queue_ms),
            &column!(|r| r.broker_rtt_ms),
            &column!(|r| r.total_ms),
            &column!(|r| r.final_status.as_str()),
            &column!(|r| PgTime(r.first_at)),
        ],
    )
    .await
}
