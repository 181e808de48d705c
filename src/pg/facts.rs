//! Risk facts as the gate reads them, locked until its transaction ends, in V1's order. One round trip.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use futures::try_join;
use rust_decimal::Decimal;
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Error, Row};

use super::PgTime;
use super::commands::{TOMBSTONES, Tombstones};
use super::risk::HaltRow;
use crate::domain::judge::{LagMemory, MissingMemory, QualityMemory};
use crate::runtime::faults::is_planted;

/// What a batch is about; every list without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Accounts.
    pub accounts: Vec<String>,
    /// (account, symbol).
    pub lanes: Vec<(String, String)>,
    /// (account, trace).
    pub traces: Vec<(String, String)>,
    /// Every key that the batch's requests may be known by.
    pub keys: Vec<String>,
}

/// A row of `risk_accounts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AccountFacts {
    pub pnl_day: jiff::Timestamp,
    pub daily_pnl: Decimal,
}

/// A row of `risk_positions`, as the gate uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LaneFacts {
    pub position: Decimal,
    pub working_buy: Decimal,
    pub working_sell: Decimal,
    pub consecutive_losses: u32,
    /// Which arm opened the oldest lot that is still open.
    pub oldest_lot_arm: Option<String>,
    /// decided_at of the newest orders, oldest first.
    pub recent_orders: Vec<jiff::Timestamp>,
}

/// Everything that is known about a batch.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Facts {
    pub accounts: HashMap<String, AccountFacts>,
    pub lanes: HashMap<(String, String), LaneFacts>,
    pub traces: HashMap<(String, String), Decimal>,
    /// By (account, symbol, timeframe).
    pub quality: HashMap<(String, String, String), QualityMemory>,
    pub halts: Vec<HaltRow>,
    /// Keys that the ledger has, each with the digest of what was decided under it.
    pub known: HashMap<String, Vec<u8>>,
    /// Keys whose order was cancelled before it came, with the lane they were cancelled for.
    pub tombstones: Tombstones,
}

const MAKE_ACCOUNTS: &str = "INSERT INTO risk_accounts (account)
    SELECT a FROM unnest($1::text[]) AS a ORDER BY 1 ON CONFLICT DO NOTHING";
// Shared: the gate reads them and moves nothing, so gates of one account do not wait for each other;
// dispatch, which books profits, does.
const ACCOUNTS: &str =
    "SELECT account, pnl_day::timestamp AT TIME ZONE 'UTC', daily_pnl FROM risk_accounts
    WHERE account = ANY($1) ORDER BY account FOR SHARE";
const MAKE_LANES: &str = "INSERT INTO risk_positions (account, symbol)
    SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING";
const LANES: &str = "SELECT p.account, p.symbol, p.position, p.working_buy, p.working_sell,
           p.consecutive_losses, p.recent_orders, p.lots->0->>'arm'
      FROM risk_positions p JOIN unnest($1::text[], $2::text[]) AS u (account, symbol)
        ON p.account = u.account AND p.symbol = u.symbol
     ORDER BY 1, 2 FOR UPDATE OF p";
const MAKE_TRACES: &str = "INSERT INTO risk_traces (account, trace_id)
    SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING";
const TRACES: &str = "SELECT t.account, t.trace_id, t.opening_notional
      FROM risk_traces t JOIN unnest($1::text[], $2::text[]) AS u (account, trace_id)
        ON t.account = u.account AND t.trace_id = u.trace_id
     ORDER BY 1, 2 FOR UPDATE OF t";
const QUALITY: &str = "SELECT q.account, q.symbol, q.timeframe, q.lag, q.missing
      FROM quality_memory q JOIN unnest($1::text[], $2::text[]) AS u (account, symbol)
        ON q.account = u.account AND q.symbol = u.symbol";
// Later than the locks, so that whoever held them is seen: a key known by now is a replay or a conflict.
const KNOWN: &str =
    "SELECT idempotency_key, digest FROM outbox_orders WHERE idempotency_key = ANY($1)";

type Param<'a> = &'a (dyn ToSql + Sync);

/// Makes the fact rows that are missing, locks all, and reads them. The statements are sent together and
/// run one after another.
pub async fn lock(tx: &Transaction<'_>, wanted: &Wanted) -> Result<Facts, Error> {
    // A mistake that a test must notice: FOR UPDATE locks no row that does not exist yet.
    let makes = !is_planted("lock-missing-rows");
    let (lane_accounts, symbols): (Vec<&str>, Vec<&str>) =
        wanted.lanes.iter().map(|(a, s)| (a.as_str(), s.as_str())).unzip();
    let (trace_accounts, traces): (Vec<&str>, Vec<&str>) =
        wanted.traces.iter().map(|(a, t)| (a.as_str(), t.as_str())).unzip();
    let s = Statements::prepare(tx).await?;
    let accounts: [Param<'_>; 1] = [&wanted.accounts];
    let keys: [Param<'_>; 1] = [&wanted.keys];
    let lanes: [Param<'_>; 2] = [&lane_accounts, &symbols];
    let of_trace: [Param<'_>; 2] = [&trace_accounts, &traces];
    let (halts, _, accounts, _, lanes, _, traces, quality, known, tombstones) = try_join!(
        super::risk::halts(&**tx),
        tx.execute(&s.make_accounts, &accounts),
        tx.query(&s.accounts, &accounts),
        make(tx, &s.make_lanes, &lanes, makes),
        tx.query(&s.lanes, &lanes),
        make(tx, &s.make_traces, &of_trace, makes),
        tx.query(&s.traces, &of_trace),
        tx.query(&s.quality, &lanes),
        tx.query(&s.known, &keys),
        tx.query(&s.tombstones, &keys),
    )?;
    Ok(Facts {
        accounts: map(&accounts, account)?,
        lanes: map(&lanes, lane)?,
        traces: map(&traces, |r| Ok(((r.try_get(0)?, r.try_get(1)?), r.try_get(2)?)))?,
        quality: map(&quality, memory)?,
        halts,
        known: map(&known, |r| Ok((r.try_get(0)?, r.try_get(1)?)))?,
        tombstones: tombstones
            .iter()
            .map(|r| Ok((r.try_get(0)?, r.try_get(1)?, r.try_get(2)?)))
            .collect::<Result<_, Error>>()?,
    })
}

async fn make(
    tx: &Transaction<'_>,
    statement: &tokio_postgres::Statement,
    of: &[Param<'_>],
    makes: bool,
) -> Result<u64, Error> {
    if makes { tx.execute(statement, of).await } else { Ok(0) }
}

struct Statements {
    make_accounts: tokio_postgres::Statement,
    accounts: tokio_postgres::Statement,
    make_lanes: tokio_postgres::Statement,
    lanes: tokio_postgres::Statement,
    make_traces: tokio_postgres::Statement,
    traces: tokio_postgres::Statement,
    quality: tokio_postgres::Statement,
    known: tokio_postgres::Statement,
    tombstones: tokio_postgres::Statement,
}

impl Statements {
    /// From the connection's cache; only a new connection asks for them.
    async fn prepare(tx: &Transaction<'_>) -> Result<Self, Error> {
        Ok(Self {
            make_accounts: tx.prepare_cached(MAKE_ACCOUNTS).await?,
            accounts: tx.prepare_cached(ACCOUNTS).await?,
            make_lanes: tx.prepare_cached(MAKE_LANES).await?,
            lanes: tx.prepare_cached(LANES).await?,
            make_traces: tx.prepare_cached(MAKE_TRACES).await?,
            traces: tx.prepare_cached(TRACES).await?,
            quality: tx.prepare_cached(QUALITY).await?,
            known: tx.prepare_cached(KNOWN).await?,
            tombstones: tx.prepare_cached(TOMBSTONES).await?,
        })
    }
}

fn map<K: std::hash::Hash + Eq, V>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<(K, V), Error>,
) -> Result<HashMap<K, V>, Error> {
    rows.iter().map(read).collect()
}

fn account(row: &Row) -> Result<(String, AccountFacts), Error> {
    let pnl_day = row.try_get::<_, PgTime>(1)?.0;
    Ok((row.try_get(0)?, AccountFacts { pnl_day, daily_pnl: row.try_get(2)? }))
}

fn lane(row: &Row) -> Result<((String, String), LaneFacts), Error> {
    let losses: i32 = row.try_get(5)?;
    let Json(recent): Json<Vec<i64>> = row.try_get(6)?;
    let time = |us: i64| jiff::Timestamp::from_microsecond(us).ok();
    let facts = LaneFacts {
        position: row.try_get(2)?,
        working_buy: row.try_get(3)?,
        working_sell: row.try_get(4)?,
        consecutive_losses: u32::try_from(losses).unwrap_or(0),
        oldest_lot_arm: row.try_get(7)?,
        recent_orders: recent.into_iter().filter_map(time).collect(),
    };
    Ok(((row.try_get(0)?, row.try_get(1)?), facts))
}

type MemoryKey = (String, String, String);

fn memory(row: &Row) -> Result<(MemoryKey, QualityMemory), Error> {
    let lag = match row.try_get::<_, &str>(3)? {
        "flat" => LagMemory::Flat,
        _ => LagMemory::Ok,
    };
    let missing = match row.try_get::<_, &str>(4)? {
        "flat" => MissingMemory::Flat,
        "scale" => MissingMemory::Scale,
        _ => MissingMemory::Ok,
    };
    let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok((key, QualityMemory { lag, missing }))
}
