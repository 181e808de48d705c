//! Owns the simulated database: the rows that orders move, and what each statement of `src/pg` does to them.
//! Never decides: where SQL holds a rule, the same rule stands here, and a test on a real Postgres compares the two.
//! Invariant: every command is atomic; what a transaction of several commands has locked, no other one touches.

mod gate;
mod halts;
mod lanes;
mod orders;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

pub use self::halts::Ack;
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::judge::QualityMemory;
use crate::domain::lots::Lot;
use crate::domain::money::WIRE_DECIMALS;
use crate::domain::risk_state::AccountDay;
use crate::pg::lanes::LaneKey;
use crate::pg::outbox::OrderRow;

/// (account, symbol), or (account, trace).
pub type Pair = (String, String);

/// A row of `input_positions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct InputPosition {
    pub epoch: i64,
    pub next_offset: i64,
    pub owner: String,
}

/// A row of `outbox_orders`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Stored {
    pub id: i64,
    pub key: String,
    pub digest: [u8; 32],
    /// Where it was read.
    pub source: (i32, i64),
    /// An order that may be sent; none of FLAT and REJECT.
    pub order: Option<Box<Sendable>>,
}

/// What dispatch moves of a row of `outbox_orders`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Sendable {
    pub row: OrderRow,
    pub never_sent: bool,
    pub next_query_at: Option<Timestamp>,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
}

/// A row of `send_attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attempt {
    pub worker: String,
    pub epoch: i64,
    pub client_order_id: String,
    pub price_tick: Option<Decimal>,
    pub outcome: Option<&'static str>,
}

/// A row of `dispatch_lanes`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LaneRow {
    pub owner: String,
    pub epoch: i64,
    pub lease_until: Timestamp,
}

/// A row of `risk_positions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RiskRow {
    pub position: Decimal,
    pub avg_price: Option<Decimal>,
    pub working_buy: Decimal,
    pub working_sell: Decimal,
    pub realised_pnl: Decimal,
    pub consecutive_losses: i32,
    pub lots: Vec<Lot>,
    pub moves: i64,
    pub recent_orders: Vec<Timestamp>,
}

/// A row of `order_cancels`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cancel {
    pub code: String,
    pub asked: i32,
    pub next_ask_at: Option<Timestamp>,
    pub answer: Option<String>,
}

/// A row of `halts`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Declared {
    pub number: i64,
    pub mode: String,
    pub account: Option<String>,
    pub symbol: Option<String>,
    pub strategy: Option<String>,
    pub at: Timestamp,
}

/// What a transaction may lock; others wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Lock {
    Input(i32),
    /// Shared by gates, not with dispatch.
    Account(String),
    Lane(Pair),
    Trace(Pair),
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    by: u64,
    lock: Lock,
    is_shared: bool,
}

/// The tables.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Db {
    pub inputs: BTreeMap<i32, InputPosition>,
    pub rows: BTreeMap<i64, Stored>,
    pub ids: BTreeMap<String, i64>,
    pub attempts: BTreeMap<(String, i32), Attempt>,
    pub fills: BTreeMap<String, BTreeMap<String, Fill>>,
    pub lanes: BTreeMap<LaneKey, LaneRow>,
    pub risk: BTreeMap<Pair, RiskRow>,
    pub accounts: BTreeMap<String, AccountDay>,
    pub traces: BTreeMap<Pair, Decimal>,
    pub quality: BTreeMap<(String, String, String), QualityMemory>,
    pub halts: Vec<Declared>,
    pub confirmed: BTreeMap<String, i64>,
    pub cancels: BTreeMap<String, Cancel>,
    last_id: i64,
    held: Vec<Held>,
}

/// As `numeric(28,9)` gives a number back.
pub fn held(mut number: Decimal) -> Decimal {
    number.rescale(WIRE_DECIMALS);
    number
}

impl Db {
    /// Locks everything that is wanted, or nothing if another transaction has any of it.
    pub fn lock_all(&mut self, by: u64, wanted: &[(Lock, bool)]) -> bool {
        let taken = |(lock, is_shared): &(Lock, bool)| {
            let clashes = |h: &Held| h.by != by && h.lock == *lock && !(h.is_shared && *is_shared);
            self.held.iter().any(clashes)
        };
        if wanted.iter().any(taken) {
            return false;
        }
        let mine = wanted.iter().map(|(lock, is_shared)| Held {
            by,
            lock: lock.clone(),
            is_shared: *is_shared,
        });
        self.held.extend(mine);
        true
    }

    /// A transaction is over.
    pub fn unlock(&mut self, by: u64) {
        self.held.retain(|h| h.by != by);
    }

    /// An order that may be sent.
    pub fn order(&self, key: &str) -> Option<&Sendable> {
        self.rows.get(self.ids.get(key)?)?.order.as_deref()
    }

    fn order_mut(&mut self, key: &str) -> Option<&mut Sendable> {
        self.rows.get_mut(self.ids.get(key)?)?.order.as_deref_mut()
    }

    /// Orders that may be sent, the oldest decision first.
    pub fn orders(&self) -> impl Iterator<Item = &Sendable> {
        self.rows.values().filter_map(|stored| stored.order.as_deref())
    }

    /// Those of a lane.
    pub fn orders_of<'a>(&'a self, lane: &'a LaneKey) -> impl Iterator<Item = &'a Sendable> {
        self.orders().filter(move |o| {
            o.row.account.as_str() == lane.account && o.row.symbol.as_str() == lane.symbol
        })
    }

    /// As a statement reads an order at this moment.
    fn read(&self, order: &Sendable, now: Timestamp) -> OrderRow {
        let mut row = order.row.clone();
        row.read_at = now;
        row.cancel = self.cancels.get(row.key.as_str()).map(|c| c.code.clone());
        if order.never_sent {
            row.send_by = Some(Timestamp::MIN);
        }
        let key = row.key.to_string();
        row.unsure_before = (1..row.attempt_no).any(|no| {
            self.attempts.get(&(key.clone(), no)).is_some_and(|a| a.outcome != Some("not_sent"))
        });
        let attempt = self.attempts.get(&(row.key.to_string(), row.attempt_no));
        row.sent_as = attempt.map(|a| crate::pg::outbox::SentAs {
            client_order_id: a.client_order_id.clone(),
            price_tick: a.price_tick,
        });
        row
    }
}

/// Whether an order of this state still has a sender's attention.
pub fn is_open(state: OrderStatus) -> bool {
    use OrderStatus::*;
    matches!(state, New | Sent | Accepted | PartiallyFilled | Unknown)
}
