//! Owns the risk state as one value: what the tables hold of it, what the events tell of it, and how the two differ.
//! Never reads a table or a topic: both are handed in, and a difference is told, never mended.
//! Invariant: the same events, in whatever order and however often they are told, make the same state.

mod books;
mod compare;
mod difference;
mod orders;
mod rebuild;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use rust_decimal::Decimal;

pub use self::difference::{Compared, Counts, Difference, Gap, Lack, What};
pub use self::rebuild::Rebuild;
use super::event::OrderStatus;
use super::lots::Lot;
use super::request::Side;
use super::text::{Account, IdempotencyKey, Symbol, TraceId};

/// An (account, symbol).
pub type LaneName = (Account, Symbol);
/// A trace within an account.
pub type TraceName = (Account, TraceId);

/// Everything the gate judges by that orders move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RiskState {
    /// Positions and what works beside them.
    pub lanes: BTreeMap<LaneName, Lane>,
    /// Realised profit of a day.
    pub accounts: BTreeMap<Account, AccountDay>,
    /// Opening notional, account currency.
    pub traces: BTreeMap<TraceName, Decimal>,
    /// Every order that was decided with a quantity.
    pub orders: HashMap<IdempotencyKey, Box<Order>>,
}

/// A position, and what may still be added to it. Units; money in the account's currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    /// Long > 0, short < 0.
    pub position: Decimal,
    /// Of the open position; none when flat.
    pub avg_price: Option<Decimal>,
    /// Unfilled units of live buys.
    pub working_buy: Decimal,
    /// Unfilled units of live sells.
    pub working_sell: Decimal,
    /// Realised so far.
    pub realised_pnl: Decimal,
    /// Losing orders in a row.
    pub consecutive_losses: u32,
    /// Who opened it, oldest first.
    pub lots: Vec<Lot>,
    /// Steps that moved it so far.
    pub moves: i64,
    /// When its newest orders were decided.
    pub recent_orders: Vec<Timestamp>,
}

/// What an account realised on the newest day on which it realised anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AccountDay {
    pub pnl_day: Date,
    pub daily_pnl: Decimal,
}

impl Default for AccountDay {
    /// Nothing was realised yet: as the table has it.
    fn default() -> Self {
        Self { pnl_day: date(1970, 1, 1), daily_pnl: Decimal::ZERO }
    }
}

/// What a decision fixed and reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The order's lane.
    pub lane: LaneName,
    /// Its trace.
    pub trace_id: TraceId,
    /// BUY or SELL.
    pub side: Side,
    /// Units decided.
    pub decided_qty: Decimal,
    /// How much of them opens risk.
    pub opening_qty: Decimal,
    /// The same as a notional.
    pub opening_notional: Decimal,
    /// Account currency per unit and price step of 1.
    pub unit_value: Decimal,
    /// Which profile of an experiment decided.
    pub arm: Option<String>,
}

/// How far an order has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Its state.
    pub status: OrderStatus,
    /// Units filled.
    pub executed_qty: Decimal,
    /// Their average price.
    pub avg_price: Option<Decimal>,
    /// Units that still count as working.
    pub working_qty: Decimal,
    /// Realised by its fills.
    pub realised_pnl: Decimal,
}

/// An order of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What was decided.
    pub terms: Terms,
    /// How far it has come.
    pub progress: Progress,
    /// The number of its newest exec event; 0 before the first.
    pub exec_seq: i32,
}
