//! One recorded decision beside what would be decided of it now: step by step, the same or different.

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

use super::recorded::{Recorded, Unjudged};
use super::{Effect, differences};
use crate::domain::event::{Action, Step};
use crate::domain::judge::{Facts, judge};
use crate::domain::money::bounded;
use crate::domain::policy::Policies;

/// A decision judged again by the facts that were recorded with it, at its own time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Again {
    /// Whether action, quantity and every step come out the same.
    pub same: bool,
    /// What becomes of the order, compared with what was decided.
    pub effect: Effect,
    /// What was decided.
    pub recorded: CameTo,
    /// What would be decided.
    pub now: CameTo,
    /// The policies of then and now, by kind.
    pub policies: Vec<PolicyAgain>,
    /// Every step of either, in the order of the gate.
    pub steps: Vec<StepAgain>,
}

/// What a judgement comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CameTo {
    pub action: Action,
    #[serde(with = "rust_decimal::serde::str")]
    pub decided_qty: Decimal,
}

/// One kind of policy by its digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PolicyAgain {
    pub kind: &'static str,
    pub recorded: String,
    pub now: String,
    pub same: bool,
}

/// One step: recorded, again, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct StepAgain {
    pub rule: String,
    pub same: bool,
    pub recorded: Option<Change>,
    pub now: Option<Change>,
}

/// What a step changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Change {
    #[serde(with = "rust_decimal::serde::str")]
    pub before: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub after: Decimal,
    pub reason: String,
}

/// Judges one decision again, the JSON that topic `decisions` has of it.
pub fn again(place: &str, decision: Value, new: &Policies) -> Result<Again, Unjudged> {
    let recorded = Recorded::read(place, decision)?;
    let written = &recorded.written;
    let nothing = Facts::default();
    let facts = recorded.facts.as_ref().unwrap_or(&nothing);
    let judged = judge(&recorded.intake, facts, new, written.decided_at);
    let (was, is) = (&written.policies, &new.digests);
    let policies = [
        ("quality", &was.quality, &is.quality),
        ("profiles", &was.profiles, &is.profiles),
        ("risk", &was.risk, &is.risk),
        ("instruments", &was.instruments, &is.instruments),
    ];
    let policy = |(kind, recorded, now): (&'static str, &String, &String)| PolicyAgain {
        kind,
        same: recorded == now,
        recorded: recorded.clone(),
        now: now.clone(),
    };
    let now = bounded(judged.decided_qty);
    Ok(Again {
        same: differences(&recorded, &judged).is_empty(),
        effect: Effect::of((written.action, written.decided_qty), (judged.action, now)),
        recorded: CameTo { action: written.action, decided_qty: written.decided_qty },
        now: CameTo { action: judged.action, decided_qty: now },
        policies: policies.map(policy).into(),
        steps: side_by_side(&written.steps, &judged.steps),
    })
}

/// Steps of one rule stand beside each other; the order of both is kept.
fn side_by_side(was: &[Step], is: &[Step]) -> Vec<StepAgain> {
    let mut steps = Vec::with_capacity(was.len().max(is.len()));
    let mut left = is;
    for old in was {
        match left.iter().position(|new| new.rule == old.rule) {
            Some(at) => {
                steps.extend(left[..at].iter().map(|new| step(None, Some(new))));
                steps.push(step(Some(old), Some(&left[at])));
                left = &left[at + 1..];
            }
            None => steps.push(step(Some(old), None)),
        }
    }
    steps.extend(left.iter().map(|new| step(None, Some(new))));
    steps
}

fn step(was: Option<&Step>, is: Option<&Step>) -> StepAgain {
    let change = |step: &Step| Change {
        before: bounded(step.before),
        after: bounded(step.after),
        reason: step.reason.clone(),
    };
    let (recorded, now) = (was.map(change), is.map(change));
    let rule = was.or(is).map_or_else(String::new, |step| step.rule.clone());
    StepAgain { rule, same: recorded == now, recorded, now }
}
