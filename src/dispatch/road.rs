//! Owns what earlier answers of a lane's batch leave to the orders behind them. Pure.
//! Invariant (C-OUT-4, C-OUT-5): nothing overtakes an order that was not sent; only what reduces overtakes one of
//! unknown outcome.

use super::broker::Placed;
use super::door::STOPPING;
use crate::pg::outbox::OrderRow;

/// What the orders behind may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Road {
    /// Go.
    #[default]
    Free,
    /// An outcome is unknown: only what reduces may go.
    Held,
    /// An order was not sent: nothing may overtake it.
    Closed,
}

/// The code of an order that waits behind one of unknown outcome.
const BEHIND_UNKNOWN: &str = "behind_unknown";

impl Road {
    /// Why the next order of the batch must not be sent.
    pub fn refuses(self, row: &OrderRow, stopping: bool) -> Option<&'static str> {
        match self {
            Road::Closed => Some("behind_unsent"),
            Road::Held if !row.opening_qty.is_zero() => Some(BEHIND_UNKNOWN),
            _ if stopping => Some(STOPPING),
            _ => None,
        }
    }

    /// The road behind an order that ended so.
    pub fn after(self, placed: &Placed) -> Self {
        match placed {
            Placed::Known(_) | Placed::Refused { .. } => self,
            Placed::Unknown { .. } | Placed::Mismatch(_) => Road::Held,
            Placed::NotSent { code } if *code == BEHIND_UNKNOWN => self,
            Placed::NotSent { .. } => Road::Closed,
        }
    }
}
