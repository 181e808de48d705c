//! Owns which proposals count, and their score and order (C-DEC-1, C-DEC-2).
//! Invariant: at most one candidate per strategy, the last it proposed; a bad last one withdraws the earlier.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use crate::domain::event::Candidate;
use crate::domain::exact::Exact;
use crate::domain::judge::Halt;
use crate::domain::money::{Overflow, QTY_DECIMALS, has_at_most, plain};
use crate::domain::policy::profiles::Profile;
use crate::domain::quality::{shortest, shortest_down};
use crate::domain::request::{Intent, Proposal, Side};
use crate::domain::text::StrategyName;

/// A proposal that counts.
#[derive(Debug)]
pub(super) struct Scored<'p> {
    pub strategy: StrategyName,
    pub proposal: &'p Proposal,
    pub weight: Exact,
    pub confidence: Exact,
    /// (1 − α)·weight·confidence.
    pub confidence_term: Exact,
    /// α·(1 − risk_score).
    pub risk_term: Exact,
    pub score: Exact,
    /// Its strategy's halt, if it only may reduce.
    pub halt: Option<Halt>,
}

impl Scored<'_> {
    pub(super) fn side(&self) -> Side {
        super::side_of(self.proposal.intent)
    }

    /// As a decision names it.
    pub(super) fn told(&self) -> Result<Candidate, Overflow> {
        Ok(Candidate {
            strategy: self.strategy.to_string(),
            intent: self.proposal.intent,
            qty_raw: self.proposal.qty_raw.normalize(),
            score: self.score.cut(28)?,
            confidence_term: self.confidence_term.cut(28)?,
            risk_term: self.risk_term.cut(28)?,
            weight: self.weight.cut(28)?,
            confidence: self.proposal.confidence,
            risk_score: self.proposal.risk_score,
        })
    }
}

/// The candidates, best first, and why the others were dropped.
pub(super) fn score<'p>(
    proposals: &'p [Proposal],
    profile: &Profile,
    halts: &BTreeMap<StrategyName, Halt>,
) -> Result<(Vec<Scored<'p>>, Vec<String>), Overflow> {
    let mut seen = BTreeSet::new();
    let last_first = proposals.iter().rev().filter(|p| seen.insert(p.strategy.as_str()));
    let (mut scored, mut dropped) = (Vec::new(), Vec::new());
    for proposal in last_first {
        match counts(proposal, profile, halts) {
            Ok(counted) => scored.push(terms(proposal, counted, profile)?),
            Err(why) => dropped.push(why),
        }
    }
    dropped.reverse();
    scored.sort_by(|a, b| {
        b.score
            .cmp(&a.score)
            .then_with(|| b.weight.cmp(&a.weight))
            .then_with(|| a.strategy.cmp(&b.strategy))
    });
    Ok((scored, dropped))
}

/// What a proposal that counts was read as.
struct Counted {
    strategy: StrategyName,
    weight: Decimal,
    confidence: Decimal,
    risk_score: Decimal,
    halt: Option<Halt>,
}

fn counts(
    proposal: &Proposal,
    profile: &Profile,
    halts: &BTreeMap<StrategyName, Halt>,
) -> Result<Counted, String> {
    let share = |number: Option<Decimal>| number.filter(|d| *d <= Decimal::ONE);
    // A name that is not one is not repeated: it may hold anything.
    let strategy = StrategyName::new(&proposal.strategy).map_err(|_| "(invalid strategy name)")?;
    let drop = |why: String| Err(format!("{strategy} ({why})"));
    if proposal.intent == Intent::Flat {
        return drop("FLAT".into());
    }
    let Some(weight) = profile.weights.get(&strategy).copied() else {
        return drop("unknown strategy".into());
    };
    if weight <= Decimal::ZERO {
        return drop("weight 0".into());
    }
    let Some(confidence) = share(shortest_down(proposal.confidence)) else {
        return drop(format!("confidence {} is outside 0 to 1", proposal.confidence));
    };
    let Some(risk_score) = share(shortest(proposal.risk_score)) else {
        return drop(format!("risk_score {} is outside 0 to 1", proposal.risk_score));
    };
    if confidence < profile.min_confidence {
        let (is, least) = (plain(confidence), plain(profile.min_confidence));
        return drop(format!("confidence {is} < {least}"));
    }
    if proposal.qty_raw <= Decimal::ZERO {
        return drop("qty_raw is not above 0".into());
    }
    if !has_at_most(proposal.qty_raw, QTY_DECIMALS) {
        return drop("qty_raw has more than 6 decimals".into());
    }
    let halt = halts.get(&strategy).copied();
    if halt == Some(Halt::Halted) {
        return drop("halted".into());
    }
    Ok(Counted { strategy, weight, confidence, risk_score, halt })
}

fn terms<'p>(
    proposal: &'p Proposal,
    counted: Counted,
    profile: &Profile,
) -> Result<Scored<'p>, Overflow> {
    let alpha = Exact::from(profile.alpha_risk);
    let weight = Exact::from(counted.weight);
    let confidence = Exact::from(counted.confidence);
    let safety = Exact::ONE.minus(counted.risk_score.into())?;
    let confidence_term = Exact::ONE.minus(alpha)?.times_down(weight)?.times_down(confidence)?;
    let risk_term = alpha.times_down(safety)?;
    Ok(Scored {
        proposal,
        weight,
        confidence,
        confidence_term,
        risk_term,
        score: confidence_term.plus_down(risk_term)?,
        halt: counted.halt,
        strategy: counted.strategy,
    })
}
