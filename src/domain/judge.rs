//! Owns the judgement of one request: expiry → quality → engine → risk, from recorded facts.
//! Never reads a clock, a file or a database: the same input gives the same output, byte for byte.
//! Invariant: the quantity never grows; whatever cannot be judged is FLAT with `risk.gate_error`.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::event::{Action, Candidate, PolicyDigests, Quality, Quote, Severity, Step};
use super::policy::Policies;
use super::request::{Intake, Side};

/// What the lag metric was judged to be, last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LagMemory {
    #[default]
    Ok,
    Flat,
}

/// What the missing metric was judged to be, last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum MissingMemory {
    #[default]
    Ok,
    Scale,
    Flat,
}

/// The quality gate's memory per (account, symbol, timeframe or `-`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct QualityMemory {
    pub lag: LagMemory,
    pub missing: MissingMemory,
}

/// A halt in force, the strictest of those whose scope covers the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Halt {
    ReduceOnly,
    Halted,
}

/// What is known at the moment of judging, read under lock. Quantities in units, money in the account currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Net position: long > 0, short < 0.
    pub position: Decimal,
    /// Unfilled quantity of live buys (unknown outcomes count).
    pub working_buy: Decimal,
    /// Unfilled quantity of live sells.
    pub working_sell: Decimal,
    /// Losing reductions in a row.
    pub consecutive_losses: u32,
    /// Realised profit (loss < 0) of the UTC day of the account.
    pub daily_pnl: Decimal,
    /// Opening notional this trace has taken so far.
    pub trace_notional: Decimal,
    /// Orders of the (account, symbol) decided with a quantity in the last 60 s.
    pub orders_last_minute: u32,
    /// The quality gate's memory.
    pub quality_state: QualityMemory,
    /// The newest quote, usable or not.
    pub quote: Option<Quote>,
    /// Quote currency to account currency; none = unknown.
    pub rate: Option<Decimal>,
    /// The strictest halt in force.
    pub halt: Option<Halt>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            position: Decimal::ZERO,
            working_buy: Decimal::ZERO,
            working_sell: Decimal::ZERO,
            consecutive_losses: 0,
            daily_pnl: Decimal::ZERO,
            trace_notional: Decimal::ZERO,
            orders_last_minute: 0,
            quality_state: QualityMemory::default(),
            quote: None,
            rate: Some(Decimal::ONE),
            halt: None,
        }
    }
}

/// One rule that fired, before it has an event id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Fired {
    pub policy_name: String,
    pub severity: Severity,
    pub reason: String,
    /// A JSON object: the numbers that made it fire.
    pub details: serde_json::Value,
}

/// What was decided, as data; the shell makes events and rows of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// BUY, SELL, FLAT or REJECT.
    pub action: Action,
    /// The side judged, also when the action became FLAT.
    pub side: Side,
    /// Units asked for (for a proposal set: what the engine chose, before rollout).
    pub requested_qty: Decimal,
    /// Units decided; 0 unless BUY or SELL.
    pub decided_qty: Decimal,
    /// How much of `decided_qty` opens risk.
    pub opening_qty: Decimal,
    /// `opening_qty` as notional in the account currency, at `price`; 0 without a price.
    pub opening_notional: Decimal,
    /// The price that notional limits used (before contract size and rate).
    pub price: Option<Decimal>,
    /// The quote if it was usable.
    pub quote: Option<Quote>,
    /// Every change of the quantity.
    pub steps: Vec<Step>,
    /// None for REJECT.
    pub quality: Option<Quality>,
    /// The memory to store; unchanged for REJECT.
    pub next_quality_state: QualityMemory,
    /// Of the best candidate on the winning side.
    pub score: Option<Decimal>,
    /// Likewise.
    pub strategy_name: Option<String>,
    /// At most 5.
    pub top_candidates: Vec<Candidate>,
    /// `champion` or `challenger`, when a cohort is configured.
    pub arm: Option<String>,
    /// Fired rules in the order in which they fired.
    pub alerts: Vec<Fired>,
    /// One line for `obs_decisions.reason`.
    pub reason: String,
    /// Digests of the policies used.
    pub policies: PolicyDigests,
}

/// Judges one request at `now` (the decision's decided_at).
pub fn judge(intake: &Intake, facts: &Facts, policies: &Policies, now: Timestamp) -> Judgement {
    let _ = (intake, facts, policies, now);
    unimplemented!("the domain is being written")
}
