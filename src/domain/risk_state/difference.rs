//! Owns how a difference between two risk states is told, and what the events lack to make one of them again.

use serde::Serialize;

use super::LaneName;
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A row of `risk_positions`.
    Position,
    /// A row of `risk_accounts`.
    Account,
    /// A row of `risk_traces`.
    Trace,
    /// A row of `outbox_orders`.
    Order,
}

impl What {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Position => "position",
            What::Account => "account",
            What::Trace => "trace",
            What::Order => "order",
        }
    }
}

/// One field that is stored otherwise than the events tell it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct Difference {
    pub what: What,
    pub account: Account,
    pub symbol: Option<Symbol>,
    pub trace_id: Option<TraceId>,
    pub idempotency_key: Option<IdempotencyKey>,
    /// The column, or `row`.
    pub field: &'static str,
    /// None: null, or no row.
    pub stored: Option<String>,
    /// Likewise.
    pub rebuilt: Option<String>,
}

/// What the events do not tell, or tell so that it cannot be booked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct Gap {
    pub account: Account,
    pub symbol: Symbol,
    /// None: it is about the lane.
    pub idempotency_key: Option<IdempotencyKey>,
    #[serde(flatten)]
    pub lack: Lack,
}

impl Gap {
    pub(super) fn of(lane: &LaneName, key: Option<IdempotencyKey>, lack: Lack) -> Self {
        Self { account: lane.0.clone(), symbol: lane.1.clone(), idempotency_key: key, lack }
    }
}

/// What is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "lack", rename_all = "snake_case")]
pub enum Lack {
    /// The ledger has an order whose decision was not told.
    Decision,
    /// A build decided that did not tell what it reserved.
    Reservation,
    /// The ledger counts exec events that were not told.
    Events {
        /// The first exec_seq of the stretch.
        from: i64,
        /// Its last.
        to: i64,
    },
    /// The table counts moves of the lane that no order of the ledger told.
    Moves {
        /// The first lane_seq of the stretch.
        from: i64,
        /// Its last.
        to: i64,
    },
    /// An exec event moves its lane and has no number: an older build wrote it.
    Number {
        /// The event.
        exec_seq: i32,
    },
    /// Two exec events have the same number in their lane.
    Taken {
        /// The one that was read later.
        exec_seq: i32,
        /// The number.
        lane_seq: i64,
    },
    /// A fill's numbers do not fit exact arithmetic.
    Sum {
        /// Which move of the lane.
        lane_seq: i64,
    },
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lack::Decision => write!(f, "its decision"),
            Lack::Reservation => write!(f, "what its decision reserved (an older build decided)"),
            Lack::Events { from, to } if from == to => write!(f, "exec event {from}"),
            Lack::Events { from, to } => write!(f, "exec events {from} to {to}"),
            Lack::Moves { from, to } if from == to => write!(f, "move {from} of the lane"),
            Lack::Moves { from, to } => write!(f, "moves {from} to {to} of the lane"),
            Lack::Number { exec_seq } => {
                write!(
                    f,
                    "the number of exec event {exec_seq} in its lane (an older build wrote it)"
                )
            }
            Lack::Taken { exec_seq, lane_seq } => {
                write!(
                    f,
                    "a number of its own: exec event {exec_seq} is move {lane_seq}, as another one is"
                )
            }
            Lack::Sum { lane_seq } => {
                write!(f, "room for move {lane_seq}: its numbers do not fit exact arithmetic")
            }
        }
    }
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Counts {
    pub orders: u64,
    pub lanes: u64,
    pub accounts: u64,
    pub traces: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// What is stored.
    pub stored: Counts,
    /// What of it could not be made again, so was not compared.
    pub left_out: Counts,
    /// Decisions used.
    pub decisions: u64,
    /// Exec events used.
    pub events: u64,
    /// Every field that differs.
    pub differences: Vec<Difference>,
    /// What the events lack.
    pub gaps: Vec<Gap>,
}

impl Compared {
    /// Everything could be compared, and is equal.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.gaps.is_empty() && self.left_out == Counts::default()
    }
}
