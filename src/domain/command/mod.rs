//! Owns what an order command is (cancel, replace), the shape it must have, and what tells it from others.
//! Never looks at a clock, a policy or an order. What is decided about one is in [`rule`].
//! Invariant: an [`OrderCommand`] that exists has passed every shape rule.

pub mod replace;
pub mod rule;
#[cfg(test)]
mod replace_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::event::EventId;
use super::money::{self, plain};
use super::request::{InvalidShape, optional_price, positive_qty};
use super::text::{Account, IdempotencyKey, Symbol, TraceId};

/// Most characters of a reason.
pub const REASON_MAX: usize = 200;

/// What is to be done with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum CommandAction {
    Cancel,
    Replace,
}

impl CommandAction {
    /// The word on the wire and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandAction::Cancel => "CANCEL",
            CommandAction::Replace => "REPLACE",
        }
    }
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CommandStatus {
    /// It is carried out.
    Accepted,
    /// It never is.
    Refused,
    /// A replacement is in force.
    Done,
    /// A replacement is not, and will not be.
    Failed,
}

impl CommandStatus {
    /// The word on the wire and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            CommandStatus::Accepted => "ACCEPTED",
            CommandStatus::Refused => "REFUSED",
            CommandStatus::Done => "DONE",
            CommandStatus::Failed => "FAILED",
        }
    }
}

fn main_account() -> String {
    "main".into()
}

/// A command as it was written, before its shape was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct CommandDraft {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    pub trace_id: String,
    #[serde(default = "main_account")]
    pub account: String,
    pub symbol: String,
    pub action: CommandAction,
    pub target_key: String,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub qty: Option<Decimal>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit_price: Option<Decimal>,
    pub requested_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    pub idempotency_key: String,
}

/// One signed command about one order, its shape checked. Source: topic `order-commands`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OrderCommand {
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    /// The order's key.
    pub target_key: IdempotencyKey,
    pub wants: Wants,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    /// For a person.
    pub reason: Option<String>,
    /// The command's own.
    pub idempotency_key: IdempotencyKey,
}

/// What a command wants of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// What is not filled never shall be.
    Cancel,
    /// Other terms; at least one of them is given.
    Replace {
        /// The quantity in all, units, what is filled included.
        qty: Option<Decimal>,
        /// The limit price.
        limit_price: Option<Decimal>,
    },
}

impl CommandDraft {
    /// Checks the shape; the first wrong field is named.
    pub fn check(&self) -> Result<OrderCommand, InvalidShape> {
        let key = |field, text: &str| {
            IdempotencyKey::new(text)
                .map_err(|e| InvalidShape::new(field, format!("must be {}", e.allowed)))
        };
        let trace_id = TraceId::new(&self.trace_id)?;
        let account = Account::new(&self.account)?;
        let symbol = Symbol::new(&self.symbol)?;
        let target_key = key("target_key", &self.target_key)?;
        let idempotency_key = key("idempotency_key", &self.idempotency_key)?;
        if idempotency_key == target_key {
            let why = "a command has a key of its own, not that of its order";
            return Err(InvalidShape::new("idempotency_key", why));
        }
        if self.reason.as_ref().is_some_and(|text| text.chars().count() > REASON_MAX) {
            return Err(InvalidShape::new("reason", format!("at most {REASON_MAX} characters")));
        }
        Ok(OrderCommand {
            trace_id,
            account,
            symbol,
            target_key,
            wants: self.wants()?,
            requested_at: self.requested_at,
            valid_until: self.valid_until,
            reason: self.reason.clone(),
            idempotency_key,
        })
    }

    fn wants(&self) -> Result<Wants, InvalidShape> {
        match self.action {
            CommandAction::Cancel if self.qty.is_some() => {
                Err(InvalidShape::new("qty", "CANCEL does not use it"))
            }
            CommandAction::Cancel if self.limit_price.is_some() => {
                Err(InvalidShape::new("limit_price", "CANCEL does not use it"))
            }
            CommandAction::Cancel => Ok(Wants::Cancel),
            CommandAction::Replace if self.qty.is_none() && self.limit_price.is_none() => {
                Err(InvalidShape::new("qty", "REPLACE needs it, or a limit price, or both"))
            }
            CommandAction::Replace => {
                if let Some(qty) = self.qty {
                    positive_qty(qty)?;
                }
                optional_price("limit_price", self.limit_price)?;
                let of = |number: Option<Decimal>| number.map(|n| n.normalize());
                Ok(Wants::Replace { qty: of(self.qty), limit_price: of(self.limit_price) })
            }
        }
    }
}

impl OrderCommand {
    /// What is to be done.
    pub fn action(&self) -> CommandAction {
        match self.wants {
            Wants::Cancel => CommandAction::Cancel,
            Wants::Replace { .. } => CommandAction::Replace,
        }
    }

    /// The terms that a replacement asks for: quantity, limit price.
    pub fn terms(&self) -> (Option<Decimal>, Option<Decimal>) {
        match self.wants {
            Wants::Cancel => (None, None),
            Wants::Replace { qty, limit_price } => (qty, limit_price),
        }
    }

    /// What makes it this command and no other: SHA-256 of `c1` and the RFC 8785 JSON of what is asked; no clock,
    /// no trace, no note (C-KEY-4).
    pub fn digest(&self) -> [u8; 32] {
        let (qty, limit_price) = self.terms();
        let asked = json!({
            "account": self.account,
            "symbol": self.symbol,
            "action": self.action(),
            "target_key": self.target_key,
            "qty": qty.map(plain),
            "limit_price": limit_price.map(plain),
        });
        let canonical = serde_json_canonicalizer::to_vec(&asked)
            .expect("a tree of strings and nulls has a canonical form");
        let mut hash = Sha256::new();
        hash.update(b"c1");
        hash.update(&canonical);
        hash.finalize().into()
    }
}

/// What became of a command. Topic `command-outcomes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CommandOutcome {
    pub event_id: EventId,
    /// The command's.
    pub idempotency_key: IdempotencyKey,
    pub target_key: IdempotencyKey,
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub action: CommandAction,
    pub status: CommandStatus,
    /// Why, a stable code.
    pub reason_code: Option<String>,
    /// Why, for a person.
    pub reason: String,
    /// Where the order was when this was decided.
    pub order_status: Option<String>,
    /// As asked for.
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub qty: Option<Decimal>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit_price: Option<Decimal>,
    pub requested_at: Timestamp,
    pub at: Timestamp,
}
