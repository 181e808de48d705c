//! Owns the judgement of one request: expiry → quality → engine → risk, from recorded facts.
//! Never reads a clock, a file or a database: the same input gives the same output, byte for byte.
//! Invariant: the quantity never grows; whatever cannot be judged is FLAT with `risk.gate_error`.

mod late;
#[cfg(test)]
pub(in crate::domain) mod laws;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::late::dispatch_by;
use super::decision::{self, Arm};
use super::event::{
    Action, Candidate, PolicyDigests, Quality, QualityVerdict, Quote, Severity, Step,
};
use super::money::{self, Overflow, fits_wire, plain};
use super::policy::Policies;
use super::request::{Intake, Side};
use super::text::StrategyName;
use super::{quality, risk};

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
    #[serde(deserialize_with = "money::deserialize")]
    pub position: Decimal,
    /// Unfilled quantity of live buys (unknown outcomes count).
    #[serde(deserialize_with = "money::deserialize")]
    pub working_buy: Decimal,
    /// Unfilled quantity of live sells.
    #[serde(deserialize_with = "money::deserialize")]
    pub working_sell: Decimal,
    /// Losing reductions in a row.
    pub consecutive_losses: u32,
    /// Realised profit (loss < 0) of the UTC day of the account.
    #[serde(deserialize_with = "money::deserialize")]
    pub daily_pnl: Decimal,
    /// Opening notional this trace has taken so far.
    #[serde(deserialize_with = "money::deserialize")]
    pub trace_notional: Decimal,
    /// Orders of the (account, symbol) decided with a quantity in the last 60 s.
    pub orders_last_minute: u32,
    /// The quality gate's memory.
    pub quality_state: QualityMemory,
    /// The newest quote, usable or not.
    pub quote: Option<Quote>,
    /// Quote currency to account currency; none = unknown.
    #[serde(deserialize_with = "money::deserialize_option")]
    pub rate: Option<Decimal>,
    /// The strictest halt in force.
    pub halt: Option<Halt>,
    /// Halts of single strategies: held against a proposal set's candidates, and a direct request's own.
    pub strategy_halts: BTreeMap<StrategyName, Halt>,
    /// Which arm opened the oldest lot of the position that is still open.
    pub oldest_lot_arm: Option<Arm>,
    /// Whether its producer has cancelled it before it came.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
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
            strategy_halts: BTreeMap::new(),
            oldest_lot_arm: None,
            cancelled: false,
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
    /// Contract size × rate to the account's currency; none if the rate is unknown.
    pub unit_value: Option<Decimal>,
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
    if let Some(late) = late::refuse_late(intake, now) {
        let of_clock = Fired {
            policy_name: "do.expired".into(),
            severity: Severity::Low,
            reason: format!("{}: {}", late.code, late.why),
            details: json!({"reason": late.code}),
        };
        return reject(of_clock, intake, facts, policies);
    }
    if facts.cancelled {
        return reject(cancelled(), intake, facts, policies);
    }
    let mut draft = Draft::new(intake, facts, policies);
    // Nothing passes because something broke (C-RISK-7): what was found so far stays, the quantity is 0.
    if draft.assess().and_then(|()| draft.choose()).and_then(|()| draft.gate(now)).is_err() {
        draft.fail();
    }
    draft.judgement()
}

/// Cancelled by its producer, and the cancel came first (F16).
fn cancelled() -> Fired {
    Fired {
        policy_name: "do.cancelled_before".into(),
        severity: Severity::Low,
        reason: "cancelled: its producer cancelled it before it came".into(),
        details: json!({"reason": "cancelled"}),
    }
}

/// Too late, too early or cancelled: nothing is judged, one alert tells it, the memory stays.
fn reject(fired: Fired, intake: &Intake, facts: &Facts, policies: &Policies) -> Judgement {
    let mut draft = Draft::new(intake, facts, policies);
    draft.reasons = vec![fired.reason.clone()];
    draft.trail.fired.push(fired);
    draft.qty = Decimal::ZERO;
    Judgement { action: Action::Reject, ..draft.judgement() }
}

/// A judgement while it is being made.
struct Draft<'a> {
    intake: &'a Intake,
    facts: &'a Facts,
    policies: &'a Policies,
    side: Side,
    requested_qty: Decimal,
    qty: Decimal,
    opening: (Decimal, Decimal),
    price: Option<Decimal>,
    unit_value: Option<Decimal>,
    quote: Option<Quote>,
    quality: Option<Quality>,
    next: QualityMemory,
    halt: Option<Halt>,
    score: Option<Decimal>,
    strategy: Option<StrategyName>,
    top: Vec<Candidate>,
    arm: Option<Arm>,
    trail: risk::Trail,
    reasons: Vec<String>,
}

impl<'a> Draft<'a> {
    fn new(intake: &'a Intake, facts: &'a Facts, policies: &'a Policies) -> Self {
        let (side, qty, strategy) = match intake {
            Intake::Order(r) => (r.side, r.qty.normalize(), r.strategy.clone()),
            Intake::Proposals(_) => (Side::Flat, Decimal::ZERO, None),
        };
        // The halt of a direct request's own strategy; a set's are held against its candidates.
        let own_halt = strategy.as_ref().and_then(|s| facts.strategy_halts.get(s)).copied();
        Self {
            intake,
            facts,
            policies,
            side,
            requested_qty: qty,
            qty,
            opening: (Decimal::ZERO, Decimal::ZERO),
            price: None,
            unit_value: None,
            quote: None,
            quality: None,
            next: facts.quality_state,
            halt: facts.halt.max(own_halt),
            score: None,
            strategy,
            top: Vec::new(),
            arm: None,
            trail: risk::Trail::default(),
            reasons: Vec::new(),
        }
    }

    /// Quality: the verdict, before anything is known of the quantity (C-QUAL).
    fn assess(&mut self) -> Result<(), Overflow> {
        let limits = self.policies.quality.for_timeframe(self.intake.timeframe().as_ref());
        let input = self.intake.quality().as_ref();
        let assessed = quality::assess(input, self.facts.quality_state, limits)?;
        self.quality = Some(assessed.quality);
        self.next = assessed.next;
        self.trail.fired.extend(assessed.fired);
        self.reasons.push(assessed.reason);
        Ok(())
    }

    /// Engine: a side and a quantity (C-DEC). A direct request has both.
    fn choose(&mut self) -> Result<(), Overflow> {
        let Intake::Proposals(set) = self.intake else { return Ok(()) };
        let profiles = &self.policies.profiles;
        let halts = &self.facts.strategy_halts;
        let by = |arm: Arm| match (arm, &profiles.cohort) {
            (Arm::Challenger, Some(cohort)) => decision::choose(set, &cohort.challenger, halts),
            _ => decision::choose(set, &profiles.champion, halts),
        };
        let drawn = profiles.cohort.as_ref().map(|c| decision::drawn(c, &set.trace_id));
        self.arm = drawn;
        let mut choice = by(drawn.unwrap_or(Arm::Champion))?;
        // What reduces is judged by who opened it, so that an experiment closes what it opened (C-DEC-8).
        if let (Some(drawn), Some(opener)) = (drawn, self.facts.oldest_lot_arm)
            && drawn != opener
            && self.reduces(choice.side)
        {
            self.arm = Some(opener);
            choice = by(opener)?;
        }
        let rollout = if self.arm == Some(Arm::Challenger) {
            profiles.cohort.as_ref().map_or(Decimal::ZERO, |c| c.challenger.rollout_percent)
        } else {
            profiles.champion.rollout_percent
        };
        self.side = choice.side;
        self.requested_qty = choice.chosen_qty;
        let why = format!("rollout {} %", plain(rollout));
        self.qty = self.trail.change("engine.rollout", choice.chosen_qty, choice.qty, &why);
        self.score = choice.score;
        self.strategy = choice.strategy;
        self.top = choice.top;
        self.halt = self.halt.max(choice.halt);
        self.reasons.push(choice.reason);
        Ok(())
    }

    fn reduces(&self, side: Side) -> bool {
        match side {
            Side::Buy => self.facts.position < Decimal::ZERO,
            Side::Sell => self.facts.position > Decimal::ZERO,
            Side::Flat => false,
        }
    }

    /// Risk: the multiplier on the opening part, then the rules (C-RISK).
    fn gate(&mut self, now: Timestamp) -> Result<(), Overflow> {
        if self.side == Side::Flat {
            return Ok(());
        }
        let symbol = self.intake.symbol();
        let limits = self.policies.risk.for_symbol(symbol);
        let instrument = self.policies.instruments.for_symbol(symbol);
        let case = risk::Case::new(
            self.intake,
            self.side,
            self.halt,
            self.facts,
            limits,
            instrument,
            now,
        )?;
        (self.price, self.quote) = (case.price, case.quote);
        self.unit_value = self.facts.rate.and_then(|r| r.checked_mul(instrument.contract_size));
        if let Some(quality) = self.quality {
            self.qty = risk::scale(
                &case,
                self.qty,
                quality.multiplier,
                &self.reasons[0],
                &mut self.trail,
            )?;
        }
        let qty = risk::gate(&case, self.qty, &mut self.trail)?;
        self.opening = risk::reservation(&case, qty)?;
        let working = match self.side {
            Side::Buy => self.facts.working_buy,
            _ => self.facts.working_sell,
        };
        // What is reserved in all must fit the ledger, as each part does.
        for (held, more) in [(working, qty), (self.facts.trace_notional, self.opening.1)] {
            held.checked_add(more).filter(|sum| fits_wire(*sum)).ok_or(Overflow)?;
        }
        self.qty = qty;
        Ok(())
    }

    /// Something did not fit exact arithmetic: FLAT, and a person is told.
    fn fail(&mut self) {
        let reason = Overflow.to_string();
        let before = self.trail.steps.last().map_or(self.requested_qty, |step| step.after);
        self.qty = self.trail.change("risk.gate_error", before, Decimal::ZERO, &reason);
        self.opening = (Decimal::ZERO, Decimal::ZERO);
        self.quality
            .get_or_insert(Quality { verdict: QualityVerdict::Flat, multiplier: Decimal::ZERO });
        self.trail.fired.push(Fired {
            policy_name: "risk.gate_error".into(),
            severity: Severity::Critical,
            details: json!({"error": reason}),
            reason,
        });
    }

    fn judgement(self) -> Judgement {
        let action = match self.side {
            _ if self.qty.is_zero() => Action::Flat,
            Side::Buy => Action::Buy,
            Side::Sell => Action::Sell,
            Side::Flat => Action::Flat,
        };
        let mut reasons = self.reasons;
        let rules = self.trail.steps.iter().filter(|step| step.rule != "quality");
        reasons.extend(
            rules.map(|step| {
                format!("{} {} → {}", step.rule, plain(step.before), plain(step.after))
            }),
        );
        if action == Action::Flat && self.trail.steps.iter().all(|s| s.rule != "risk.gate_error") {
            // An error without a step still has to be read in the reason.
            let error = self.trail.fired.iter().find(|f| f.policy_name == "risk.gate_error");
            reasons.extend(error.map(|f| format!("risk.gate_error {}", f.reason)));
        }
        Judgement {
            action,
            side: self.side,
            requested_qty: self.requested_qty,
            decided_qty: if action.sends() { self.qty } else { Decimal::ZERO },
            opening_qty: self.opening.0,
            opening_notional: self.opening.1,
            price: self.price,
            unit_value: self.unit_value,
            quote: self.quote,
            steps: self.trail.steps,
            quality: self.quality,
            next_quality_state: self.next,
            score: self.score,
            strategy_name: self.strategy.map(|s| s.to_string()),
            top_candidates: self.top,
            arm: self.arm.map(|arm| arm.as_str().to_string()),
            alerts: self.trail.fired,
            reason: joined(reasons),
            policies: self.policies.digests.clone(),
        }
    }
}

/// The reasons in one line.
fn joined(mut reasons: Vec<String>) -> String {
    match reasons.len() {
        1 => reasons.swap_remove(0),
        _ => reasons.join("; "),
    }
}
