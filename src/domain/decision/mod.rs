//! Owns the decision engine (C-DEC): from the proposals of a set to one side and one quantity.
//! Never looks at a position, a price or the data's quality.
//! Invariant: deterministic; a proposal that is dropped is dropped with a reason.

mod candidates;
mod cohort;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rust_decimal::Decimal;

pub use self::cohort::Arm;
pub(super) use self::cohort::drawn;
use super::event::Candidate;
use super::exact::Exact;
use super::judge::Halt;
use super::money::{Overflow, QTY_DECIMALS, fits_wire, plain};
use super::policy::profiles::{Combine, Profile};
use super::request::{Intent, ProposalSet, Side};
use super::text::StrategyName;

use self::candidates::Scored;

/// Most candidates that a decision names.
const TOP_MAX: usize = 5;

/// What the engine makes of a proposal set.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The winning side; FLAT if there is none.
    pub side: Side,
    /// Units before rollout, cut to 6 decimals.
    pub chosen_qty: Decimal,
    /// Units after rollout.
    pub qty: Decimal,
    /// Of the best candidate on the winning side.
    pub score: Option<Decimal>,
    /// Likewise.
    pub strategy: Option<StrategyName>,
    /// A halt of a strategy that this quantity comes from.
    pub halt: Option<Halt>,
    /// The best five, whatever won.
    pub top: Vec<Candidate>,
    /// What was chosen, and what was dropped and why.
    pub reason: String,
}

/// Chooses by a profile (C-DEC-1..4, 6, 7).
pub fn choose(
    set: &ProposalSet,
    profile: &Profile,
    halts: &BTreeMap<StrategyName, Halt>,
) -> Result<Choice, Overflow> {
    let (scored, dropped) = candidates::score(&set.proposals, profile, halts)?;
    let (side, raw) = match profile.combine {
        Combine::BestOne => best_one(&scored),
        Combine::WeightedSum => weighted_sum(&scored)?,
    };
    let winners = || scored.iter().filter(|c| c.side() == side);
    let best = winners().next();
    let halt = match profile.combine {
        Combine::BestOne => best.and_then(|c| c.halt),
        Combine::WeightedSum => winners().filter_map(|c| c.halt).max(),
    };
    let rolled = raw.times_down(profile.rollout_percent.into())?.per_cent();
    let (chosen_qty, qty) = (raw.cut(QTY_DECIMALS)?, rolled.cut(QTY_DECIMALS)?);
    if !fits_wire(chosen_qty) {
        return Err(Overflow);
    }
    let score = best.map(|c| c.score.cut(28)).transpose()?;
    let reason = reason(profile, chosen_qty, best, score, &dropped);
    let top = scored.iter().take(TOP_MAX).map(Scored::told).collect::<Result<_, _>>()?;
    let strategy = best.map(|c| c.strategy.clone());
    Ok(Choice { side, chosen_qty, qty, score, strategy, halt, top, reason })
}

fn best_one(scored: &[Scored]) -> (Side, Exact) {
    match scored.first() {
        Some(best) => (best.side(), best.proposal.qty_raw.into()),
        None => (Side::Flat, Exact::ZERO),
    }
}

/// Σ qty_raw · weight · confidence of one side: at least, and at most. They are one number unless it has more
/// digits than arithmetic holds.
#[derive(Clone, Copy)]
struct Sum {
    least: Exact,
    most: Exact,
}

impl Sum {
    const ZERO: Sum = Sum { least: Exact::ZERO, most: Exact::ZERO };

    fn plus(self, candidate: &Scored) -> Result<Self, Overflow> {
        let (weight, confidence) = (candidate.weight, candidate.confidence);
        let qty = Exact::from(candidate.proposal.qty_raw);
        let least = weight.times_down(confidence)?.times_down(qty)?;
        let most = weight.times_up(confidence)?.times_up(qty)?;
        Ok(Self { least: self.least.plus_down(least)?, most: self.most.plus_up(most)? })
    }
}

/// The larger side wins with its own sum, a tie is FLAT. Sums too long to tell which is larger are an error.
fn weighted_sum(scored: &[Scored]) -> Result<(Side, Exact), Overflow> {
    let (mut buy, mut sell) = (Sum::ZERO, Sum::ZERO);
    for candidate in scored {
        let sum = if candidate.side() == Side::Buy { &mut buy } else { &mut sell };
        *sum = sum.plus(candidate)?;
    }
    if buy.least > sell.most {
        Ok((Side::Buy, buy.least))
    } else if sell.least > buy.most {
        Ok((Side::Sell, sell.least))
    } else if buy.least == buy.most && sell.least == sell.most {
        Ok((Side::Flat, Exact::ZERO))
    } else {
        Err(Overflow)
    }
}

fn reason(
    profile: &Profile,
    chosen_qty: Decimal,
    best: Option<&Scored>,
    score: Option<Decimal>,
    dropped: &[String],
) -> String {
    let combine = match profile.combine {
        Combine::BestOne => "best_one",
        Combine::WeightedSum => "weighted_sum",
    };
    let mut text = match (best, score) {
        (Some(best), Some(score)) => format!(
            "engine={combine} {} {} best={}({})",
            best.side().as_str(),
            plain(chosen_qty),
            best.strategy,
            plain(score)
        ),
        _ => format!("engine={combine} FLAT: no side wins"),
    };
    if !dropped.is_empty() {
        // At most as many as a set has proposals.
        text.push_str(&format!(" dropped: {}", dropped.join(", ")));
    }
    text
}

/// The side that an intent takes.
fn side_of(intent: Intent) -> Side {
    match intent {
        Intent::Long => Side::Buy,
        Intent::Short => Side::Sell,
        Intent::Flat => Side::Flat,
    }
}
