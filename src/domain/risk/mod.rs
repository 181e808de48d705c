//! Owns the risk gate (C-RISK): a fold of rules over one quantity, in the contract's order.
//! Never lets a quantity grow. With d the worst-case position in the order's direction, the part of an
//! order up to max(0, −d) reduces and the rest opens. Invariant: (max(0, d) + opening) · price ≤ cap.

mod price;
mod rules;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::{Value, json};

pub use self::price::{is_ahead, is_usable, rate};
use super::event::{Quote, Severity, Step};
use super::exact::Exact;
use super::judge::{Facts, Fired, Halt};
use super::money::{Overflow, QTY_DECIMALS, WIRE_DECIMALS, fits_wire, floor_qty, plain};
use super::policy::Policies;
use super::policy::instruments::Instrument;
use super::policy::risk::RiskLimits;
use super::request::{Intake, Side};

/// The window of the order rate (rule 7).
pub const RATE_WINDOW: SignedDuration = SignedDuration::from_secs(60);
/// Times of orders kept although no rule needs them, so that one switched on later finds them.
pub const RECENT_KEPT: usize = 64;

/// What the rules look at.
pub(super) struct Case<'a> {
    pub intake: &'a Intake,
    /// BUY or SELL.
    pub side: Side,
    pub facts: &'a Facts,
    pub limits: &'a RiskLimits,
    pub instrument: &'a Instrument,
    /// The strictest halt in force for this order.
    pub halt: Option<Halt>,
    pub now: Timestamp,
    /// The quote if it is usable.
    pub quote: Option<Quote>,
    /// The price that notionals use.
    pub price: Option<Decimal>,
    /// Notional of one unit, if it is known.
    pub unit: Option<Exact>,
    /// Worst-case position in the order's direction, when it is above 0.
    pub held: Exact,
    /// Units that an order may have and only reduce.
    pub reducible: Decimal,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        intake: &'a Intake,
        side: Side,
        halt: Option<Halt>,
        facts: &'a Facts,
        limits: &'a RiskLimits,
        instrument: &'a Instrument,
        now: Timestamp,
    ) -> Result<Self, Overflow> {
        let position = Exact::from(facts.position);
        let direction = match side {
            Side::Sell => Exact::from(facts.working_sell).minus(position)?,
            _ => position.plus(facts.working_buy.into())?,
        };
        // Finer than the wire it is cut, so that less reduces and more opens.
        let reducible = Exact::ZERO.minus(direction)?.max(Exact::ZERO).cut(WIRE_DECIMALS)?;
        let quote = facts.quote.filter(|q| is_usable(q, limits.max_quote_age_s, now));
        let mut case = Self {
            intake,
            side,
            facts,
            limits,
            instrument,
            halt,
            now,
            quote,
            price: None,
            unit: None,
            held: direction.max(Exact::ZERO),
            reducible,
        };
        (case.price, case.unit) = price::of(&case)?;
        Ok(case)
    }
}

/// A quantity on its way through the rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taking {
    pub qty: Decimal,
    /// How much of it may reduce.
    pub reducible: Decimal,
}

impl Taking {
    pub(super) fn reducing(&self) -> Decimal {
        self.qty.min(self.reducible)
    }
    pub(super) fn opening(&self) -> Decimal {
        // Both are within 0..=qty, so this neither overflows nor goes below 0.
        self.qty - self.reducing()
    }
    /// What reduces and so much that opens, cut to what a quantity may have: a sum of decimals would
    /// round to the nearest.
    fn with_opening(&self, opening: Exact) -> Result<Decimal, Overflow> {
        Exact::from(self.reducing()).plus_down(opening)?.cut(QTY_DECIMALS)
    }
}

/// What a rule wants of the quantity. It cannot make it larger: the fold takes the smaller.
pub(super) enum Effect {
    /// Nothing of it.
    Stop,
    /// The reducing part only.
    Reduce,
    /// At most so many units that open.
    Opening(Decimal),
    /// At most so many units, the opening part cut first.
    Clamp(Decimal),
}

/// An effect and why.
pub(super) struct Cut {
    pub effect: Effect,
    pub reason: String,
    pub details: Value,
}

/// One rule of the contract's table. None: it has nothing against the order.
pub(super) struct Rule {
    pub name: &'static str,
    pub severity: Severity,
    pub apply: fn(&Case, Taking) -> Result<Option<Cut>, Overflow>,
}

/// Every rule's policy_name and severity, in the order in which they act; what the instrument asks for comes after them.
pub(in crate::domain) fn rule_names() -> impl Iterator<Item = (&'static str, Severity)> {
    rules::TABLE.iter().map(|rule| (rule.name, rule.severity))
}

/// What one unit of an order is worth in the account's currency by the price of note 3, also where limits go by the
/// quantity alone; none without a price or a rate.
pub fn worth(
    intake: &Intake,
    side: Side,
    facts: &Facts,
    policies: &Policies,
    now: Timestamp,
) -> Option<Decimal> {
    if side == Side::Flat {
        return None;
    }
    let symbol = intake.symbol();
    let limits = policies.risk.for_symbol(symbol);
    let instrument = policies.instruments.for_symbol(symbol);
    let case = Case::new(intake, side, None, facts, limits, instrument, now).ok()?;
    let rate = facts.rate.filter(|rate| *rate > Decimal::ZERO)?;
    price::price(&case)?.checked_mul(instrument.contract_size)?.checked_mul(rate)
}

/// What became of a quantity, and by which rules.
#[derive(Debug, Default)]
pub(super) struct Trail {
    pub steps: Vec<Step>,
    pub fired: Vec<Fired>,
}

impl Trail {
    /// Records a change of the quantity; the new one is rounded down to 6 decimals and never larger.
    pub(super) fn change(
        &mut self,
        rule: &str,
        before: Decimal,
        after: Decimal,
        why: &str,
    ) -> Decimal {
        let after = floor_qty(after.min(before)).max(Decimal::ZERO);
        if after != before {
            self.steps.push(Step { rule: rule.into(), before, after, reason: why.into() });
        }
        after
    }
}

/// Multiplies the opening part with the quality gate's multiplier; the reducing part stays.
pub(super) fn scale(
    case: &Case,
    qty: Decimal,
    multiplier: Decimal,
    why: &str,
    trail: &mut Trail,
) -> Result<Decimal, Overflow> {
    let taking = Taking { qty, reducible: case.reducible };
    let opening = Exact::from(taking.opening()).times_down(multiplier.into())?;
    Ok(trail.change("quality", qty, taking.with_opening(opening)?, why))
}

/// Folds the rules over a quantity (note 2: a rule fires only if it changed it). An error keeps the trail.
pub(super) fn gate(case: &Case, qty: Decimal, trail: &mut Trail) -> Result<Decimal, Overflow> {
    let mut taking = Taking { qty, reducible: case.reducible };
    for rule in rules::TABLE {
        if taking.qty.is_zero() {
            break;
        }
        let Some(cut) = (rule.apply)(case, taking)? else { continue };
        let before = taking.qty;
        let wanted = match cut.effect {
            Effect::Stop => Decimal::ZERO,
            Effect::Reduce => taking.reducing(),
            Effect::Opening(most) => {
                let opening = taking.opening().min(most.max(Decimal::ZERO));
                taking.with_opening(opening.into())?
            }
            Effect::Clamp(most) => most,
        };
        taking.qty = trail.change(rule.name, before, wanted, &cut.reason);
        if taking.qty != before {
            let mut details = json!({"before": plain(before), "after": plain(taking.qty)});
            merge(&mut details, cut.details);
            trail.fired.push(Fired {
                policy_name: rule.name.into(),
                severity: rule.severity,
                reason: cut.reason,
                details,
            });
        }
    }
    rules::fit_instrument(case, taking.qty, trail)
}

fn merge(details: &mut Value, more: Value) {
    if let (Value::Object(details), Value::Object(more)) = (details, more) {
        details.extend(more);
    }
}

/// The opening part of a quantity, and its notional to reserve (rounded up; 0 without a price).
pub(super) fn reservation(case: &Case, qty: Decimal) -> Result<(Decimal, Decimal), Overflow> {
    let opening = Taking { qty, reducible: case.reducible }.opening();
    let notional = match case.unit {
        Some(unit) => Exact::from(opening).times_up(unit)?.raised(WIRE_DECIMALS)?,
        None => Decimal::ZERO,
    };
    if fits_wire(notional) { Ok((opening, notional)) } else { Err(Overflow) }
}
