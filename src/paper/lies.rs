//! Owns the ways in which the paper broker misbehaves when asked to. Pure.
//! Never lies unasked. Invariant: what really happened is in the ledger, whatever was answered.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What goes wrong; 0, false and empty = never. Also settable at run time: `POST /lies`.
///
/// `…_every` counts the orders placed since the lies were set. Those that are about the connection or the
/// answer count cancels and replaces likewise, by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Lies {
    /// Reset the connection at every N-th order before applying it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub reset_before_apply_every: u64,
    /// Answer every N-th order with 429 and Retry-After, and do not apply it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rate_limit_every: u64,
    /// Answer every N-th order with 500, and do not apply it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub error_before_every: u64,
    /// Reject every N-th order (no_margin)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub reject_every: u64,
    /// Apply every N-th order, then reset the connection instead of answering
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub drop_answer_every: u64,
    /// Apply every N-th order, then answer with 500
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub error_after_every: u64,
    /// Apply every N-th order, then answer a byte a second
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub drip_every: u64,
    /// Apply every N-th order, then answer with half of the JSON
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub malformed_every: u64,
    /// Apply every N-th order, then answer with 8 MiB
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub huge_every: u64,
    /// Answer this much later, milliseconds (the order is applied at once)
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay_ms: u64,
    /// Fill in this many parts (0 and 1: in one)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fill_parts: u32,
    /// Tell every fill of every N-th order twice
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub duplicate_fill_every: u64,
    /// Fill every N-th order after it was cancelled or has expired
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub late_fill_every: u64,
    /// Fill more than every N-th order asked for
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub over_fill_every: u64,
    /// Queries say unknown_order until an order is this old, milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub visible_after_ms: u64,
    /// The same client order id makes another order each time it comes
    #[arg(long)]
    pub no_dedupe: bool,
    /// Orders cannot be asked about
    #[arg(long)]
    pub no_query: bool,
    /// Orders cannot be replaced
    #[arg(long)]
    pub no_replace: bool,
    /// Refuse every N-th cancel (cannot_cancel); the order goes on working
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub refuse_cancel_every: u64,
    /// Say that so many orders, cancels and replaces a second are taken; 0: say nothing of it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub orders_per_s: u32,
    /// Answer every call of the contract with 503 and Retry-After, and do not apply it
    #[arg(long)]
    pub maintenance: bool,
    /// No event is told
    #[arg(long)]
    pub no_events: bool,
    /// Never tell every N-th event
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub drop_event_every: u64,
    /// Tell every N-th event twice
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub duplicate_event_every: u64,
    /// Tell events this much later, milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub delay_event_ms: u64,
    /// Tell events in pairs, the later one first
    #[arg(long)]
    pub reorder_events: bool,
    /// Positions are told with this much too much, e.g. USDJPY=100,EURUSD=-5
    #[arg(long, default_value = "", hide_default_value = true, value_name = "SYMBOL=QTY")]
    pub position_offset: Offsets,
}

/// What is added to positions, by symbol.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Offsets(pub BTreeMap<String, Decimal>);

impl std::str::FromStr for Offsets {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let offset = |pair: &str| {
            let (symbol, qty) = pair.split_once('=').ok_or("SYMBOL=QTY")?;
            Ok((symbol.to_string(), qty.parse().map_err(|e| format!("{qty}: {e}"))?))
        };
        text.split(',')
            .filter(|pair| !pair.is_empty())
            .map(offset)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What happens to a call instead of being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Before {
    Reset,
    RateLimited,
    Error,
}

/// What happens to the answer to a call that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum After {
    Reset,
    Error,
    Drip,
    Malformed,
    Huge,
}

/// How the broker treats one order for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Mischief {
    pub rejected: bool,
    pub fills_twice: bool,
    pub fills_late: bool,
    pub fills_too_much: bool,
}

/// Whether the `nth` (1, 2, …) is one of every `n`.
fn one_of(n: u64, nth: u64) -> bool {
    n > 0 && nth.is_multiple_of(n)
}

impl Before {
    /// Its name in the ledger and in the counts.
    pub fn name(self) -> &'static str {
        match self {
            Before::Reset => "reset_before_apply",
            Before::RateLimited => "rate_limit",
            Before::Error => "error_before",
        }
    }
}

impl After {
    /// Its name in the counts.
    pub fn name(self) -> &'static str {
        match self {
            After::Reset => "drop_answer",
            After::Error => "error_after",
            After::Drip => "drip",
            After::Malformed => "malformed",
            After::Huge => "huge",
        }
    }
}

impl Lies {
    /// What keeps the `nth` call from being carried out; of several the first in the order of the options.
    pub fn before(&self, nth: u64) -> Option<Before> {
        [
            (self.reset_before_apply_every, Before::Reset),
            (self.rate_limit_every, Before::RateLimited),
            (self.error_before_every, Before::Error),
        ]
        .into_iter()
        .find_map(|(n, lie)| one_of(n, nth).then_some(lie))
    }

    /// What becomes of the answer to the `nth` call.
    pub fn after(&self, nth: u64) -> Option<After> {
        [
            (self.drop_answer_every, After::Reset),
            (self.error_after_every, After::Error),
            (self.drip_every, After::Drip),
            (self.malformed_every, After::Malformed),
            (self.huge_every, After::Huge),
        ]
        .into_iter()
        .find_map(|(n, lie)| one_of(n, nth).then_some(lie))
    }

    /// Whether the `nth` cancel is refused.
    pub fn refuses_cancel(&self, nth: u64) -> bool {
        one_of(self.refuse_cancel_every, nth)
    }

    /// How the `nth` order is treated.
    pub fn mischief(&self, nth: u64) -> Mischief {
        Mischief {
            rejected: one_of(self.reject_every, nth),
            fills_twice: one_of(self.duplicate_fill_every, nth),
            fills_late: one_of(self.late_fill_every, nth),
            fills_too_much: one_of(self.over_fill_every, nth),
        }
    }

    /// How often the `nth` event is told.
    pub fn tellings(&self, nth: u64) -> u8 {
        if one_of(self.drop_event_every, nth) {
            0
        } else if one_of(self.duplicate_event_every, nth) {
            2
        } else {
            1
        }
    }
}
