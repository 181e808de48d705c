//! One insert per table. Arrays in, one row per element out; an event that is there already is left as it is.

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use tokio_postgres::Error;
use tokio_postgres::types::{Json, ToSql};

use super::PgTime;
use crate::sink::project::rows::{
    AlertRow, CommandOutcomeRow, DecisionRow, ExecEventRow, InferCallRow, PlanRunRow,
};

macro_rules! column {
    ($rows:ident, $f:expr) => {
        $rows.iter().map($f).collect::<Vec<_>>()
    };
}

async fn ids(
    tx: &Transaction<'_>,
    sql: &str,
    columns: &[&(dyn ToSql + Sync)],
) -> Result<HashSet<String>, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.query(&statement, columns).await?.iter().map(|row| row.try_get(0)).collect()
}

async fn number(
    tx: &Transaction<'_>,
    sql: &str,
    columns: &[&(dyn ToSql + Sync)],
) -> Result<u64, Error> {
    let statement = tx.prepare_cached(sql).await?;
    tx.execute(&statement, columns).await
}

/// How many were new.
pub(super) async fn plan_runs(tx: &Transaction<'_>, rows: &[&PlanRunRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    number(
        tx,
        "INSERT INTO obs_plan_runs (event_id, trace_id, status, symbol, timeframe, started_at,
                finished_at, meta)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                $6::timestamptz[], $7::timestamptz[], $8::jsonb[])
         ON CONFLICT DO NOTHING",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_str()),
            &column!(rows, |r| r.status.as_str()),
            &column!(rows, |r| r.symbol.as_deref()),
            &column!(rows, |r| r.timeframe.as_deref()),
            &column!(rows, |r| PgTime(r.started_at)),
            &column!(rows, |r| r.finished_at.map(PgTime)),
            &column!(rows, |r| Json(&r.meta)),
        ],
    )
    .await
}

/// How many were new.
pub(super) async fn infer_calls(
    tx: &Transaction<'_>,
    rows: &[&InferCallRow],
) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    number(
        tx,
        "INSERT INTO obs_infer_calls (event_id, trace_id, model, version, called_at, duration_ms,
                status, inputs, outputs)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                $6::bigint[], $7::text[], $8::jsonb[], $9::jsonb[])
         ON CONFLICT DO NOTHING",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_str()),
            &column!(rows, |r| r.model.as_str()),
            &column!(rows, |r| r.version.as_deref()),
            &column!(rows, |r| PgTime(r.called_at)),
            &column!(rows, |r| r.duration_ms),
            &column!(rows, |r| r.status.as_str()),
            &column!(rows, |r| Json(&r.inputs)),
            &column!(rows, |r| Json(&r.outputs)),
        ],
    )
    .await
}

/// The event ids that were new.
pub(super) async fn decisions(
    tx: &Transaction<'_>,
    rows: &[&DecisionRow],
) -> Result<HashSet<String>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    ids(
        tx,
        "INSERT INTO obs_decisions (event_id, trace_id, made_at, engine_version, strategy_name, score,
                reason, price, features, decision)
         SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[],
                $6::numeric[], $7::text[], $8::numeric[], $9::jsonb[], $10::jsonb[])
         ON CONFLICT DO NOTHING RETURNING event_id",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_str()),
            &column!(rows, |r| PgTime(r.made_at)),
            &column!(rows, |r| r.engine_version.as_str()),
            &column!(rows, |r| r.strategy_name.as_deref()),
            &column!(rows, |r| r.score),
            &column!(rows, |r| r.reason.as_str()),
            &column!(rows, |r| r.price),
            &column!(rows, |r| Json(&r.features)),
            &column!(rows, |r| Json(&r.decision)),
        ],
    )
    .await
}

/// The event ids that were new.
pub(super) async fn exec_events(
    tx: &Transaction<'_>,
    rows: &[&ExecEventRow],
) -> Result<HashSet<String>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    ids(
        tx,
        "INSERT INTO obs_exec_events (event_id, trace_id, idempotency_key, exec_seq, sent_at, account,
                symbol, side, size, provider, status, order_id, executed_qty, avg_price, reason_code,
                queue_ms, broker_rtt_ms, total_ms, response)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::timestamptz[],
                $6::text[], $7::text[], $8::text[], $9::numeric[], $10::text[], $11::text[],
                $12::text[], $13::numeric[], $14::numeric[], $15::text[], $16::bigint[],
                $17::bigint[], $18::bigint[], $19::jsonb[])
         ON CONFLICT DO NOTHING RETURNING event_id",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_str()),
            &column!(rows, |r| r.idempotency_key.as_str()),
            &column!(rows, |r| r.exec_seq),
            &column!(rows, |r| PgTime(r.sent_at)),
            &column!(rows, |r| r.account.as_str()),
            &column!(rows, |r| r.symbol.as_str()),
            &column!(rows, |r| r.side),
            &column!(rows, |r| r.size),
            &column!(rows, |r| r.provider.as_str()),
            &column!(rows, |r| r.status),
            &column!(rows, |r| r.order_id.as_str()),
            &column!(rows, |r| r.executed_qty),
            &column!(rows, |r| r.avg_price),
            &column!(rows, |r| r.reason_code.as_deref()),
            &column!(rows, |r| r.queue_ms),
            &column!(rows, |r| r.broker_rtt_ms),
            &column!(rows, |r| r.total_ms),
            &column!(rows, |r| Json(&r.response)),
        ],
    )
    .await
}

/// How many were new.
pub(super) async fn alerts(tx: &Transaction<'_>, rows: &[&AlertRow]) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    number(
        tx,
        "INSERT INTO obs_alerts (event_id, trace_id, idempotency_key, policy_name, severity, reason,
                details, created_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                $7::jsonb[], $8::timestamptz[])
         ON CONFLICT DO NOTHING",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_deref()),
            &column!(rows, |r| r.idempotency_key.as_deref()),
            &column!(rows, |r| r.policy_name.as_str()),
            &column!(rows, |r| r.severity),
            &column!(rows, |r| r.reason.as_str()),
            &column!(rows, |r| Json(&r.details)),
            &column!(rows, |r| PgTime(r.created_at)),
        ],
    )
    .await
}

/// How many were new.
pub(super) async fn command_outcomes(
    tx: &Transaction<'_>,
    rows: &[&CommandOutcomeRow],
) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    number(
        tx,
        "INSERT INTO obs_command_outcomes (event_id, trace_id, decided_at, idempotency_key, target_key,
                account, symbol, action, status, reason_code, reason, order_status, qty, limit_price,
                requested_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[],
                $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::text[], $13::numeric[], $14::numeric[], $15::timestamptz[])
         ON CONFLICT DO NOTHING",
        &[
            &column!(rows, |r| r.event_id.as_str()),
            &column!(rows, |r| r.trace_id.as_str()),
            &column!(rows, |r| PgTime(r.decided_at)),
            &column!(rows, |r| r.idempotency_key.as_str()),
            &column!(rows, |r| r.target_key.as_str()),
            &column!(rows, |r| r.account.as_str()),
            &column!(rows, |r| r.symbol.as_str()),
            &column!(rows, |r| r.action),
            &column!(rows, |r| r.status),
            &column!(rows, |r| r.reason_code.as_deref()),
            &column!(rows, |r| r.reason.as_str()),
            &column!(rows, |r| r.order_status.as_deref()),
            &column!(rows, |r| r.qty),
            &column!(rows, |r| r.limit_price),
            &column!(rows, |r| PgTime(r.requested_at)),
        ],
    )
    .await
}
