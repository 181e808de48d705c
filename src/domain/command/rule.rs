//! Owns what is decided about a command: accepted or refused, and what an accepted one leaves to be done.
//! Never ends an order: an accepted cancel is a wish, and the order's end is what dispatch or the broker says.
//! Invariant: every command is decided, and for a reason with a stable code if it is refused.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::replace::Terms;
use super::{CommandStatus, OrderCommand, Wants};
use crate::domain::event::OrderStatus;

/// What a cancel may be old: what it wants gone is not wanted a day later either.
const CANCEL_MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// What a replacement may be old: its terms are of a market that moves on.
const REPLACE_MAX_AGE: SignedDuration = SignedDuration::from_mins(5);
/// How far ahead of us a producer's clock may be.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// The order of a command, as it is under lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The ledger does not have its key.
    Unknown,
    /// The key is that of an order of another account or symbol.
    OtherLane,
    /// It was decided FLAT or REJECT.
    NotSent,
    /// It is an order, and it is here.
    Order(OrderStatus),
}

/// What an accepted command leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was refused.
    None,
    /// The order is wanted cancelled.
    Cancel,
    /// The key is taken: an order that comes under it is never sent (F16).
    Tombstone,
    /// The order is to have these terms.
    Replace {
        /// The terms.
        terms: Box<Terms>,
        /// What the trace holds for them on top of what it holds for the terms in force.
        reserved: Decimal,
    },
}

/// What was decided about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Verdict {
    pub status: CommandStatus,
    pub code: Option<&'static str>,
    /// For a person.
    pub reason: String,
    pub effect: Effect,
}

impl Verdict {
    /// A refusal: a stable code, and why for a person.
    pub fn refused(code: &'static str, reason: impl Into<String>) -> Self {
        let (status, effect) = (CommandStatus::Refused, Effect::None);
        Self { status, code: Some(code), reason: reason.into(), effect }
    }

    pub(super) fn accepted(
        effect: Effect,
        code: Option<&'static str>,
        reason: impl Into<String>,
    ) -> Self {
        Self { status: CommandStatus::Accepted, code, reason: reason.into(), effect }
    }
}

/// Decides a command about an order that stands so; `replace` is asked about a REPLACE of an order that has not ended.
pub fn decide(
    command: &OrderCommand,
    target: Target,
    now: Timestamp,
    replace: impl FnOnce() -> Verdict,
) -> Verdict {
    if let Some(late) = late(command, now) {
        return late;
    }
    let status = match (target, command.wants) {
        (Target::OtherLane, _) => {
            let why = "its key is that of an order of another account or symbol";
            return Verdict::refused("other_lane", why);
        }
        (Target::NotSent, _) => {
            return Verdict::refused("never_sent", "the order was decided FLAT or REJECT");
        }
        (Target::Unknown, Wants::Cancel) => {
            let why = "no such order yet: one that comes under this key is not sent";
            return Verdict::accepted(Effect::Tombstone, Some("before_its_order"), why);
        }
        (Target::Unknown, Wants::Replace { .. }) => {
            return Verdict::refused("unknown_order", "no order is known under this key");
        }
        (Target::Order(status), _) if status.is_final() => {
            return Verdict::refused("too_late", format!("the order is {}", status.as_str()));
        }
        (Target::Order(status), _) => status,
    };
    match command.wants {
        Wants::Cancel => {
            let reason = format!("the order is {}: {}", status.as_str(), cancelled_how(status));
            Verdict::accepted(Effect::Cancel, None, reason)
        }
        Wants::Replace { .. } => replace(),
    }
}

/// What becomes of an order in this state that is wanted cancelled.
fn cancelled_how(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::New => "it ends without being sent",
        OrderStatus::Sent | OrderStatus::Unknown => {
            "the broker is asked to cancel it once it is known to have it"
        }
        OrderStatus::Parked => "the broker is asked to cancel it if it turns out to have it",
        _ => "the broker is asked to cancel it",
    }
}

/// Too late or too early (C-KEY-5); limits are inclusive.
fn late(command: &OrderCommand, now: Timestamp) -> Option<Verdict> {
    let age = now.duration_since(command.requested_at);
    let most = match command.wants {
        Wants::Cancel => CANCEL_MAX_AGE,
        Wants::Replace { .. } => REPLACE_MAX_AGE,
    };
    if -age > MAX_AHEAD {
        let why = format!("requested_at is {} s ahead, more than 5 s", (-age).as_secs());
        return Some(Verdict::refused("from_the_future", why));
    }
    if age > most {
        let why = format!("requested {} s ago, more than {} s", age.as_secs(), most.as_secs());
        return Some(Verdict::refused("expired", why));
    }
    let until = command.valid_until.filter(|until| now > *until)?;
    Some(Verdict::refused("expired", format!("valid until {until}, decided at {now}")))
}
