//! The risk state as it is stored at one moment, with what was owed to Kafka then. Never changes anything.

use deadpool_postgres::{Client, Transaction};
use futures::{TryStreamExt, pin_mut};
use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Error, Row};

use super::PgTime;
use crate::domain::event::OrderStatus;
use crate::domain::lots::Lot;
use crate::domain::request::Side;
use crate::domain::risk_state::{AccountDay, Lane, Order, Progress, RiskState, Terms};
use crate::domain::text::{Account, IdempotencyKey, InvalidText, Symbol, TraceId};

/// Why the state cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SnapshotError {
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] Error),
    #[error("{table} holds what no role wrote: {why}")]
    Row { table: &'static str, why: String },
}

/// The state as of one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Everything.
    pub state: RiskState,
    /// The batches of events that were committed and not acknowledged by Kafka.
    pub owed: Vec<i64>,
    /// When that was, by the database's clock.
    pub taken_at: Timestamp,
}

/// Reads all of it in one read-only transaction.
pub async fn snapshot(client: &mut Client) -> Result<Snapshot, SnapshotError> {
    let tx = super::moment(client).await?;
    // The whole ledger takes as long as it takes.
    tx.batch_execute("SET LOCAL statement_timeout = 0").await?;
    let mut state = RiskState::default();
    each(&tx, "risk_accounts", ACCOUNTS, |row| {
        let (name, day) = account(row)?;
        state.accounts.insert(name, day);
        Ok(())
    })
    .await?;
    each(&tx, "risk_positions", LANES, |row| {
        let name = (Account::new(row.try_get(0)?)?, Symbol::new(row.try_get(1)?)?);
        state.lanes.insert(name, lane(row)?);
        Ok(())
    })
    .await?;
    each(&tx, "risk_traces", TRACES, |row| {
        let name = (Account::new(row.try_get(0)?)?, TraceId::new(row.try_get(1)?)?);
        state.traces.insert(name, row.try_get(2)?);
        Ok(())
    })
    .await?;
    each(&tx, "outbox_orders", ORDERS, |row| {
        let mut order = order(row)?;
        // One text for all orders of a lane.
        if let Some((lane, _)) = state.lanes.get_key_value(&order.terms.lane) {
            order.terms.lane = lane.clone();
        }
        state.orders.insert(IdempotencyKey::new(row.try_get(0)?)?, Box::new(order));
        Ok(())
    })
    .await?;
    let owed = tx.query("SELECT id FROM owed_events", &[]).await?;
    let owed = owed.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let taken_at = tx.query_one("SELECT now()", &[]).await?.try_get::<_, PgTime>(0)?.0;
    Ok(Snapshot { state, owed, taken_at })
}

/// How many of these batches Kafka has not acknowledged yet.
pub async fn still_owed(client: &Client, batches: &[i64]) -> Result<i64, Error> {
    let sql = "SELECT count(*) FROM owed_events WHERE id = ANY($1)";
    client.query_one(sql, &[&batches]).await?.try_get(0)
}

const ACCOUNTS: &str = "SELECT account, pnl_day::text, daily_pnl FROM risk_accounts";
const LANES: &str =
    "SELECT account, symbol, position, avg_price, working_buy, working_sell, realised_pnl,
        consecutive_losses, lots, moves, recent_orders FROM risk_positions";
// What is held for a replacement on its way is told when it is in force.
const TRACES: &str = "SELECT t.account, t.trace_id, t.opening_notional - coalesce(r.reserved, 0)
    FROM risk_traces t
    LEFT JOIN (SELECT o.account, o.trace_id, sum(c.reserved) AS reserved
                 FROM order_commands c JOIN outbox_orders o ON o.idempotency_key = c.target_key
                WHERE c.action = 'REPLACE' AND c.status = 'ACCEPTED' GROUP BY 1, 2) r
      ON r.account = t.account AND r.trace_id = t.trace_id";
const ORDERS: &str = "SELECT idempotency_key, account, symbol, coalesce(trace_id, ''), action, decided_qty, opening_qty,
        opening_notional, unit_value, arm, state, exec_seq, executed_qty, avg_price, working_qty, realised_pnl
    FROM outbox_orders WHERE action IN ('BUY','SELL')";

/// What one row may be wrong by.
enum Wrong {
    Postgres(Error),
    Value(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<InvalidText> for Wrong {
    fn from(invalid: InvalidText) -> Self {
        Self::Value(invalid.to_string())
    }
}

/// Row by row, so that no table is held twice.
async fn each(
    tx: &Transaction<'_>,
    table: &'static str,
    sql: &str,
    mut take: impl FnMut(&Row) -> Result<(), Wrong>,
) -> Result<(), SnapshotError> {
    let rows = tx.query_raw(sql, std::iter::empty::<&(dyn ToSql + Sync)>()).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        take(&row).map_err(|wrong| match wrong {
            Wrong::Postgres(error) => SnapshotError::Postgres(error),
            Wrong::Value(why) => SnapshotError::Row { table, why },
        })?;
    }
    Ok(())
}

fn account(row: &Row) -> Result<(Account, AccountDay), Wrong> {
    let day: &str = row.try_get(1)?;
    let pnl_day: Date = day.parse().map_err(|_| Wrong::Value(format!("pnl_day {day}")))?;
    Ok((Account::new(row.try_get(0)?)?, AccountDay { pnl_day, daily_pnl: row.try_get(2)? }))
}

fn lane(row: &Row) -> Result<Lane, Wrong> {
    let losses: i32 = row.try_get(7)?;
    let time = |us: i64| {
        Timestamp::from_microsecond(us).map_err(|_| Wrong::Value(format!("recent order {us}")))
    };
    let Json(recent): Json<Vec<i64>> = row.try_get(10)?;
    Ok(Lane {
        position: row.try_get(2)?,
        avg_price: row.try_get(3)?,
        working_buy: row.try_get(4)?,
        working_sell: row.try_get(5)?,
        realised_pnl: row.try_get(6)?,
        consecutive_losses: u32::try_from(losses)
            .map_err(|_| Wrong::Value(format!("consecutive_losses {losses}")))?,
        lots: row.try_get::<_, Json<Vec<Lot>>>(8)?.0,
        moves: row.try_get(9)?,
        recent_orders: recent.into_iter().map(time).collect::<Result<_, _>>()?,
    })
}

fn order(row: &Row) -> Result<Order, Wrong> {
    let state: &str = row.try_get(10)?;
    let terms = Terms {
        lane: (Account::new(row.try_get(1)?)?, Symbol::new(row.try_get(2)?)?),
        trace_id: TraceId::new(row.try_get(3)?)?,
        side: if row.try_get::<_, &str>(4)? == "SELL" { Side::Sell } else { Side::Buy },
        decided_qty: row.try_get(5)?,
        opening_qty: row.try_get(6)?,
        opening_notional: row.try_get(7)?,
        unit_value: row.try_get(8)?,
        arm: row.try_get(9)?,
    };
    let progress = Progress {
        status: OrderStatus::read(state).ok_or_else(|| Wrong::Value(format!("state {state}")))?,
        executed_qty: row.try_get(12)?,
        avg_price: row.try_get(13)?,
        working_qty: row.try_get(14)?,
        realised_pnl: row.try_get(15)?,
    };
    Ok(Order { terms, progress, exec_seq: row.try_get(11)? })
}
