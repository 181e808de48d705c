//! Risk facts as settling moves them, and the halts in force. Locks are taken in V1's order, rows sorted.

use jiff::civil::Date;
use rust_decimal::Decimal;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, GenericClient, Transaction};

use super::PgTime;
use crate::domain::lots::Lot;

/// A row of `risk_positions`, as far as fills move it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PositionRow {
    pub account: String,
    pub symbol: String,
    pub position: Decimal,
    pub avg_price: Option<Decimal>,
    pub working_buy: Decimal,
    pub working_sell: Decimal,
    pub realised_pnl: Decimal,
    pub consecutive_losses: i32,
    /// Who opened it, oldest first.
    pub lots: Vec<Lot>,
    /// Steps that moved it, so far.
    pub moves: i64,
}

/// Makes the rows that are missing and locks all: accounts, then positions, then traces. Returns the positions.
pub async fn lock(
    tx: &Transaction<'_>,
    accounts: &[&str],
    positions: &[(&str, &str)],
    traces: &[(&str, &str)],
) -> Result<Vec<PositionRow>, Error> {
    tx.execute(
        "INSERT INTO risk_accounts (account) SELECT * FROM unnest($1::text[]) ORDER BY 1
         ON CONFLICT DO NOTHING",
        &[&accounts],
    )
    .await?;
    tx.execute(
        "SELECT 1 FROM risk_accounts WHERE account = ANY($1) ORDER BY account FOR UPDATE",
        &[&accounts],
    )
    .await?;
    let (of, symbols): (Vec<&str>, Vec<&str>) = positions.iter().copied().unzip();
    tx.execute(
        "INSERT INTO risk_positions (account, symbol)
         SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        &[&of, &symbols],
    )
    .await?;
    let rows = tx
        .query(
            "SELECT p.account, p.symbol, p.position, p.avg_price, p.working_buy, p.working_sell,
                    p.realised_pnl, p.consecutive_losses, p.lots, p.moves
               FROM risk_positions p JOIN unnest($1::text[], $2::text[]) AS u (account, symbol)
                 ON p.account = u.account AND p.symbol = u.symbol
              ORDER BY 1, 2 FOR UPDATE OF p",
            &[&of, &symbols],
        )
        .await?;
    let (of, ids): (Vec<&str>, Vec<&str>) = traces.iter().copied().unzip();
    tx.execute(
        "INSERT INTO risk_traces (account, trace_id)
         SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        &[&of, &ids],
    )
    .await?;
    tx.execute(
        "SELECT 1 FROM risk_traces t JOIN unnest($1::text[], $2::text[]) AS u (account, trace_id)
             ON t.account = u.account AND t.trace_id = u.trace_id
          ORDER BY t.account, t.trace_id FOR UPDATE OF t",
        &[&of, &ids],
    )
    .await?;
    rows.iter()
        .map(|r| {
            Ok(PositionRow {
                account: r.try_get(0)?,
                symbol: r.try_get(1)?,
                position: r.try_get(2)?,
                avg_price: r.try_get(3)?,
                working_buy: r.try_get(4)?,
                working_sell: r.try_get(5)?,
                realised_pnl: r.try_get(6)?,
                consecutive_losses: r.try_get(7)?,
                lots: r.try_get::<_, Json<Vec<Lot>>>(8)?.0,
                moves: r.try_get(9)?,
            })
        })
        .collect()
}

/// Writes moved positions.
pub async fn store_positions(tx: &Transaction<'_>, rows: &[PositionRow]) -> Result<(), Error> {
    macro_rules! column {
        ($f:expr) => {
            rows.iter().map($f).collect::<Vec<_>>()
        };
    }
    tx.execute(
        "UPDATE risk_positions p
            SET position = u.position, avg_price = u.avg_price, working_buy = u.working_buy,
                working_sell = u.working_sell, realised_pnl = u.realised_pnl,
                consecutive_losses = u.losses, lots = u.lots, moves = u.moves
           FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[],
                       $6::numeric[], $7::numeric[], $8::int[], $9::jsonb[], $10::bigint[])
             AS u (account, symbol, position, avg_price, working_buy, working_sell, realised_pnl, losses, lots,
                   moves)
          WHERE p.account = u.account AND p.symbol = u.symbol",
        &[
            &column!(|r| r.account.as_str()),
            &column!(|r| r.symbol.as_str()),
            &column!(|r| r.position),
            &column!(|r| r.avg_price),
            &column!(|r| r.working_buy),
            &column!(|r| r.working_sell),
            &column!(|r| r.realised_pnl),
            &column!(|r| r.consecutive_losses),
            &column!(|r| Json(&r.lots)),
            &column!(|r| r.moves),
        ],
    )
    .await?;
    Ok(())
}

/// Adds realised profit to the accounts' days, one day an account: a later day than the account's starts
/// anew, to an earlier one nothing is added.
pub async fn add_realised(
    tx: &Transaction<'_>,
    realised: &[(&str, Date, Decimal)],
) -> Result<(), Error> {
    let accounts: Vec<&str> = realised.iter().map(|r| r.0).collect();
    let days: Vec<String> = realised.iter().map(|r| r.1.to_string()).collect();
    let amounts: Vec<Decimal> = realised.iter().map(|r| r.2).collect();
    tx.execute(
        "UPDATE risk_accounts a
            SET daily_pnl = CASE WHEN u.day::date > a.pnl_day THEN u.amount
                                 WHEN u.day::date = a.pnl_day THEN a.daily_pnl + u.amount
                                 ELSE a.daily_pnl END,
                pnl_day = greatest(a.pnl_day, u.day::date)
           FROM unnest($1::text[], $2::text[], $3::numeric[]) AS u (account, day, amount)
          WHERE a.account = u.account",
        &[&accounts, &days, &amounts],
    )
    .await?;
    Ok(())
}

/// Moves the opening notional of (account, trace) by these amounts; never below 0.
pub async fn move_traces(
    tx: &Transaction<'_>,
    moved: &[(&str, &str, Decimal)],
) -> Result<(), Error> {
    let accounts: Vec<&str> = moved.iter().map(|m| m.0).collect();
    let traces: Vec<&str> = moved.iter().map(|m| m.1).collect();
    let amounts: Vec<Decimal> = moved.iter().map(|m| m.2).collect();
    tx.execute(
        "UPDATE risk_traces t SET opening_notional = greatest(0, t.opening_notional + u.amount)
           FROM unnest($1::text[], $2::text[], $3::numeric[]) AS u (account, trace_id, amount)
          WHERE t.account = u.account AND t.trace_id = u.trace_id",
        &[&accounts, &traces, &amounts],
    )
    .await?;
    Ok(())
}

/// A row of `halts` that matters: the newest of its scope, or the scope's newest `halted` or `reduce_only` one,
/// which goes on stopping what was decided before it when the scope is resumed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)]
pub struct HaltRow {
    pub number: i64,
    /// Whether it is the newest of its scope, and so in force.
    pub in_force: bool,
    /// `halted`, `reduce_only` or `resumed`.
    pub mode: String,
    pub account: Option<String>,
    pub symbol: Option<String>,
    pub strategy: Option<String>,
    pub at: jiff::Timestamp,
}

/// Per scope the newest row, and the newest `halted` and `reduce_only` rows.
pub async fn halts(client: &impl GenericClient) -> Result<Vec<HaltRow>, Error> {
    let rows = client
        .query(
            "(SELECT DISTINCT ON (account, symbol, strategy)
                     number, true, mode, account, symbol, strategy, at
                FROM halts ORDER BY account, symbol, strategy, number DESC)
             UNION ALL
             (SELECT DISTINCT ON (mode, account, symbol, strategy)
                     number, false, mode, account, symbol, strategy, at
                FROM halts WHERE mode <> 'resumed'
               ORDER BY mode, account, symbol, strategy, number DESC)",
            &[],
        )
        .await?;
    rows.iter()
        .map(|r| {
            Ok(HaltRow {
                number: r.try_get(0)?,
                in_force: r.try_get(1)?,
                mode: r.try_get(2)?,
                account: r.try_get(3)?,
                symbol: r.try_get(4)?,
                strategy: r.try_get(5)?,
                at: r.try_get::<_, PgTime>(6)?.0,
            })
        })
        .collect()
}

/// SQL: the rows of `halts` (a parameter, JSON of [`HaltRow`]s) that stop the row `order` of the outbox, as `c`; the same
/// as `dispatch::halts::stops`.
pub fn covered(order: &str, halts: &str) -> String {
    format!(
        "(SELECT c.number
            FROM jsonb_to_recordset({halts}::jsonb) AS c (number bigint, in_force bool, mode text,
                 account text, symbol text, strategy text, at timestamptz)
           WHERE (c.account IS NULL OR c.account = {order}.account)
             AND (c.symbol IS NULL OR c.symbol = {order}.symbol)
             AND (c.strategy IS NULL OR c.strategy = {order}.strategy)
             AND (c.in_force OR c.at >= {order}.decided_at)
             AND (c.mode = 'halted' OR c.mode = 'reduce_only' AND {order}.opening_qty <> 0)) c"
    )
}

/// Halts a symbol of an account; the new row is in force at once.
pub async fn halt_symbol(
    tx: &Transaction<'_>,
    account: &str,
    symbol: &str,
    reason: &str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO halts (mode, account, symbol, reason, by_whom)
         VALUES ('halted', $1, $2, $3, 'noctus dispatch')",
        &[&account, &symbol, &reason],
    )
    .await?;
    Ok(())
}
