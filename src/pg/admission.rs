//! Admission: the ledger rows of a batch of decisions, and what they reserve. One round trip.

use deadpool_postgres::Transaction;
use futures::try_join;
use jiff::Timestamp;
use rust_decimal::Decimal;
use tokio_postgres::Error;

use super::PgTime;
use super::listen::OUTBOX_CHANNEL;
use crate::domain::trace_context::TraceContext;
use crate::runtime::faults::is_planted;

/// A decision as the ledger keeps it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct LedgerRow {
    /// Its place among the batch's decisions: rows are written sorted by key, and numbered in this order.
    pub nth: i32,
    pub key: String,
    pub trace_id: String,
    /// The decision, as JSON text.
    pub payload: String,
    pub digest: [u8; 32],
    pub account: String,
    pub symbol: String,
    pub action: &'static str,
    pub requested_qty: Decimal,
    pub decided_qty: Decimal,
    pub order_type: &'static str,
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub reference_price: Option<Decimal>,
    pub stop_loss: Option<Decimal>,
    pub take_profit: Option<Decimal>,
    pub time_in_force: &'static str,
    pub strategy: Option<String>,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub decided_at: Timestamp,
    pub dispatch_by: Option<Timestamp>,
    /// NEW, or NOT_SENT for FLAT and REJECT.
    pub state: &'static str,
    pub opening_qty: Decimal,
    pub opening_notional: Decimal,
    pub risk_price: Option<Decimal>,
    pub working_qty: Decimal,
    pub unit_value: Decimal,
    pub arm: Option<String>,
    pub topic_id: String,
    pub partition: i32,
    pub offset: i64,
    /// The record's own time.
    pub source_at: Option<Timestamp>,
    /// The trace that the record belongs to.
    pub trace: Option<TraceContext>,
}

/// A lane's facts after the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LaneAfter {
    pub account: String,
    pub symbol: String,
    pub working_buy: Decimal,
    pub working_sell: Decimal,
    pub recent_orders: Vec<Timestamp>,
}

/// A memory of the quality gate after the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MemoryAfter {
    pub account: String,
    pub symbol: String,
    pub timeframe: String,
    pub lag: &'static str,
    pub missing: &'static str,
}

/// What a batch leaves behind.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Admission {
    /// Sorted by key.
    pub rows: Vec<LedgerRow>,
    pub lanes: Vec<LaneAfter>,
    /// Opening notional of (account, trace) after the batch.
    pub traces: Vec<(String, String, Decimal)>,
    pub memories: Vec<MemoryAfter>,
}

const ROWS: &str = "WITH decided AS MATERIALIZED (
        SELECT u.*, nextval('outbox_orders_id_seq') AS id FROM (SELECT * FROM
            unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::numeric[],
                  $9::numeric[], $10::text[], $11::numeric[], $12::numeric[], $13::numeric[], $14::numeric[],
                  $15::numeric[], $16::text[], $17::text[], $18::timestamptz[], $19::timestamptz[],
                  $20::timestamptz[], $21::timestamptz[], $22::text[], $23::numeric[], $24::numeric[],
                  $25::numeric[], $26::numeric[], $27::text[], $28::int[], $29::bigint[],
                  $30::numeric[], $31::text[], $32::int[], $33::timestamptz[], $34::text[], $35::text[])
            AS u (k, t, p, d, a, s, act, rq, dq, ot, lp, sp, rp, sl, tp, tif, str, ra, vu, da, db, st, oq, onl, rkp, wq,
                  ti, pa, os, uv, arm, nth, sat, tpt, tst) ORDER BY nth) u)
    INSERT INTO outbox_orders (id, idempotency_key, trace_id, payload, digest, account, symbol, action,
        requested_qty, decided_qty, order_type, limit_price, stop_price, reference_price, stop_loss, take_profit,
        time_in_force, strategy, requested_at, valid_until, decided_at, dispatch_by, state, opening_qty,
        opening_notional, risk_price, working_qty, source_topic_id, source_partition, source_offset, unit_value, arm,
        source_at, traceparent, tracestate)
    SELECT id, k, t, p::jsonb, d, a, s, act, rq, dq, ot, lp, sp, rp, sl, tp, tif, str, ra, vu, da, db, st, oq, onl, rkp,
           wq, ti, pa, os, uv, arm, sat, tpt, tst
      FROM decided ORDER BY k COLLATE \"C\"
    ON CONFLICT (idempotency_key) DO NOTHING RETURNING 1";
const LANES: &str = "UPDATE risk_positions p
        SET working_buy = u.buy, working_sell = u.sell, recent_orders = u.recent::jsonb
       FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[])
         AS u (account, symbol, buy, sell, recent)
      WHERE p.account = u.account AND p.symbol = u.symbol";
const TRACES: &str = "UPDATE risk_traces t SET opening_notional = u.notional
       FROM unnest($1::text[], $2::text[], $3::numeric[]) AS u (account, trace_id, notional)
      WHERE t.account = u.account AND t.trace_id = u.trace_id";
const MEMORIES: &str = "INSERT INTO quality_memory (account, symbol, timeframe, lag, missing)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) ORDER BY 1, 2, 3
    ON CONFLICT (account, symbol, timeframe) DO UPDATE SET lag = excluded.lag, missing = excluded.missing";
const NOTIFY: &str = "SELECT pg_notify($1, '')";

/// What takes the place of LANES and TRACES when rows were not made before (a planted mistake).
const LANES_MADE_LATE: &str = "INSERT INTO risk_positions (account, symbol, working_buy, working_sell, recent_orders)
    SELECT a, s, buy, sell, recent::jsonb
      FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[]) AS u (a, s, buy, sell, recent)
    ON CONFLICT (account, symbol) DO UPDATE SET working_buy = excluded.working_buy,
        working_sell = excluded.working_sell, recent_orders = excluded.recent_orders";
const TRACES_MADE_LATE: &str = "INSERT INTO risk_traces (account, trace_id, opening_notional)
    SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[])
    ON CONFLICT (account, trace_id) DO UPDATE SET opening_notional = excluded.opening_notional";

/// Reserves alone, without the rows it is for: a mistake that a test must notice when it is made after the commit.
pub async fn reserve(tx: &Transaction<'_>, admission: &Admission) -> Result<(), Error> {
    let lanes = tx.prepare_cached(LANES).await?;
    let traces = tx.prepare_cached(TRACES).await?;
    write_lanes(tx, &lanes, &admission.lanes).await?;
    write_traces(tx, &traces, &admission.traces).await
}

/// Writes a batch. False: a key was claimed by another worker in between, so nothing may be committed.
pub async fn write(tx: &Transaction<'_>, admission: &Admission) -> Result<bool, Error> {
    let (rows, lanes, traces, memories, notify) = (
        tx.prepare_cached(ROWS).await?,
        tx.prepare_cached(if is_planted("lock-missing-rows") { LANES_MADE_LATE } else { LANES })
            .await?,
        tx.prepare_cached(if is_planted("lock-missing-rows") { TRACES_MADE_LATE } else { TRACES })
            .await?,
        tx.prepare_cached(MEMORIES).await?,
        tx.prepare_cached(NOTIFY).await?,
    );
    let wakes = admission.rows.iter().any(|r| r.state == "NEW");
    let (claimed, (), (), (), ()) = try_join!(
        write_rows(tx, &rows, &admission.rows),
        write_lanes(tx, &lanes, &admission.lanes),
        write_traces(tx, &traces, &admission.traces),
        write_memories(tx, &memories, &admission.memories),
        async {
            if wakes {
                tx.execute(&notify, &[&OUTBOX_CHANNEL]).await?;
            }
            Ok(())
        },
    )?;
    Ok(claimed == admission.rows.len() as u64)
}

type Prepared = tokio_postgres::Statement;

async fn write_rows(
    tx: &Transaction<'_>,
    statement: &Prepared,
    rows: &[LedgerRow],
) -> Result<u64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    macro_rules! column {
        ($f:expr) => {
            rows.iter().map($f).collect::<Vec<_>>()
        };
    }
    tx.execute(
        statement,
        &[
            &column!(|r| r.key.as_str()),
            &column!(|r| r.trace_id.as_str()),
            &column!(|r| r.payload.as_str()),
            &column!(|r| r.digest.as_slice()),
            &column!(|r| r.account.as_str()),
            &column!(|r| r.symbol.as_str()),
            &column!(|r| r.action),
            &column!(|r| r.requested_qty),
            &column!(|r| r.decided_qty),
            &column!(|r| r.order_type),
            &column!(|r| r.limit_price),
            &column!(|r| r.stop_price),
            &column!(|r| r.reference_price),
            &column!(|r| r.stop_loss),
            &column!(|r| r.take_profit),
            &column!(|r| r.time_in_force),
            &column!(|r| r.strategy.as_deref()),
            &column!(|r| PgTime(r.requested_at)),
            &column!(|r| r.valid_until.map(PgTime)),
            &column!(|r| PgTime(r.decided_at)),
            &column!(|r| r.dispatch_by.map(PgTime)),
            &column!(|r| r.state),
            &column!(|r| r.opening_qty),
            &column!(|r| r.opening_notional),
            &column!(|r| r.risk_price),
            &column!(|r| r.working_qty),
            &column!(|r| r.topic_id.as_str()),
            &column!(|r| r.partition),
            &column!(|r| r.offset),
            &column!(|r| r.unit_value),
            &column!(|r| r.arm.as_deref()),
            &column!(|r| r.nth),
            &column!(|r| r.source_at.map(PgTime)),
            &column!(|r| r.trace.as_ref().map(TraceContext::traceparent)),
            &column!(|r| r.trace.as_ref().and_then(TraceContext::tracestate)),
        ],
    )
    .await
}

async fn write_lanes(
    tx: &Transaction<'_>,
    statement: &Prepared,
    lanes: &[LaneAfter],
) -> Result<(), Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = lanes.iter().map(|l| l.account.as_str()).collect();
    let symbols: Vec<&str> = lanes.iter().map(|l| l.symbol.as_str()).collect();
    let buys: Vec<Decimal> = lanes.iter().map(|l| l.working_buy).collect();
    let sells: Vec<Decimal> = lanes.iter().map(|l| l.working_sell).collect();
    let recent = |l: &LaneAfter| {
        let micros: Vec<i64> = l.recent_orders.iter().map(|t| t.as_microsecond()).collect();
        format!("{micros:?}")
    };
    let recent: Vec<String> = lanes.iter().map(recent).collect();
    tx.execute(statement, &[&accounts, &symbols, &buys, &sells, &recent]).await?;
    Ok(())
}

async fn write_traces(
    tx: &Transaction<'_>,
    statement: &Prepared,
    traces: &[(String, String, Decimal)],
) -> Result<(), Error> {
    if traces.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = traces.iter().map(|t| t.0.as_str()).collect();
    let ids: Vec<&str> = traces.iter().map(|t| t.1.as_str()).collect();
    let notionals: Vec<Decimal> = traces.iter().map(|t| t.2).collect();
    tx.execute(statement, &[&accounts, &ids, &notionals]).await?;
    Ok(())
}

async fn write_memories(
    tx: &Transaction<'_>,
    statement: &Prepared,
    memories: &[MemoryAfter],
) -> Result<(), Error> {
    if memories.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = memories.iter().map(|m| m.account.as_str()).collect();
    let symbols: Vec<&str> = memories.iter().map(|m| m.symbol.as_str()).collect();
    let timeframes: Vec<&str> = memories.iter().map(|m| m.timeframe.as_str()).collect();
    let lags: Vec<&str> = memories.iter().map(|m| m.lag).collect();
    let missing: Vec<&str> = memories.iter().map(|m| m.missing).collect();
    tx.execute(statement, &[&accounts, &symbols, &timeframes, &lags, &missing]).await?;
    Ok(())
}
