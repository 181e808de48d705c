//! Owns the decision engine's profiles (`configs/profiles.yaml`, C-DEC): how proposals become one order.
//! Invariant: a challenger is complete; what its section does not say is as in the champion's.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::read::{Bounds, Section, below, decimal, scalar, shown};
use super::tree::{self, Node};
use super::violation::{BadPolicy, Violations};
use crate::domain::text::StrategyName;

/// How the candidates of one side become one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Per side Σ qty_raw · weight · confidence; the larger side wins with its own sum.
    WeightedSum,
    /// The best candidate's side and quantity.
    BestOne,
}

/// One way to decide.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Share of the quantity that is traded, 0..=100.
    pub rollout_percent: Decimal,
    /// A proposal below it is dropped, 0..=1.
    pub min_confidence: Decimal,
    /// How candidates are combined.
    pub combine: Combine,
    /// How much safety counts against confidence, 0..=1.
    pub alpha_risk: Decimal,
    /// Weight per strategy; one that is not here is unknown.
    pub weights: BTreeMap<StrategyName, Decimal>,
}

impl Default for Profile {
    fn default() -> Self {
        let weight = |name: &str, tenths| {
            let name = StrategyName::new(name).expect("the plan's strategies have valid names");
            (name, Decimal::new(tenths, 1).normalize())
        };
        Self {
            rollout_percent: Decimal::from(30),
            min_confidence: Decimal::new(4, 1),
            combine: Combine::WeightedSum,
            alpha_risk: Decimal::new(35, 2),
            weights: BTreeMap::from([
                weight("Aurus", 8),
                weight("Levia", 7),
                weight("Prometheus", 9),
                weight("Veritas", 10),
            ]),
        }
    }
}

/// A share of traces that is decided by another profile (C-DEC-8).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cohort {
    /// Share of traces, 0..=100 with at most 4 decimals.
    pub percent: Decimal,
    /// Makes this experiment's draw independent of others'.
    pub salt: String,
    /// Which draw: a new version draws anew.
    pub version: u32,
    /// What the drawn traces are decided by.
    pub challenger: Profile,
}

/// The decision engine's policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ProfilesPolicy {
    /// What traces are decided by, unless they are drawn.
    pub champion: Profile,
    /// The experiment that runs, if any.
    pub cohort: Option<Cohort>,
}

impl ProfilesPolicy {
    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut policy = Self::default();
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            policy.champion = profile(&mut section, Profile::default(), &mut found);
            if let Some(node) = section.take("cohort") {
                policy.cohort = cohort(node, &policy.champion, &mut found);
            }
            section.end(&mut found);
        }
        found.verdict(policy)
    }
}

/// The profile that the keys `default` and `weights` of a section say.
fn profile(section: &mut Section, base: Profile, found: &mut Violations) -> Profile {
    let mut profile = base;
    if let Some(node) = section.take("default") {
        let path = section.path("default");
        let mut inner = Section::of(node, &path, found);
        let mut number =
            |key, bounds, before: Decimal| inner.decimal(key, bounds, found).over(before, before);
        profile.rollout_percent =
            number("rollout_percent", Bounds::PERCENT, profile.rollout_percent);
        profile.min_confidence = number("min_confidence", Bounds::SHARE, profile.min_confidence);
        profile.alpha_risk = number("alpha_risk", Bounds::SHARE, profile.alpha_risk);
        let words = [("weighted_sum", Combine::WeightedSum), ("best_one", Combine::BestOne)];
        profile.combine =
            inner.word("combine", &words, found).over(profile.combine, profile.combine);
        inner.end(found);
    }
    if let Some(node) = section.take("weights") {
        profile.weights = weights(node, &section.path("weights"), found);
    }
    profile
}

fn weights(node: &Node, path: &str, found: &mut Violations) -> BTreeMap<StrategyName, Decimal> {
    let mut all = BTreeMap::new();
    for (key, node) in Section::of(node, path, found).rest() {
        let path = below(path, &key.text);
        let weight = decimal(node, &path, Bounds::LIMIT, found);
        match StrategyName::new(&key.text) {
            Ok(name) => drop(weight.map(|w| all.insert(name, w))),
            Err(wrong) => found.add(key.place, &path, wrong.to_string()),
        }
    }
    all
}

/// Most characters of a salt.
const SALT_MAX: usize = 64;

fn cohort(node: &Node, champion: &Profile, found: &mut Violations) -> Option<Cohort> {
    if node.value == tree::Value::Null {
        return None;
    }
    let mut section = Section::of(node, "cohort", found);
    let percent = section.decimal("percent", Bounds::PERCENT, found).map(Some).over(None, None);
    let salt = section.take("salt").and_then(|node| {
        let text = scalar(node).filter(|t| !t.is_empty() && t.len() <= SALT_MAX);
        if text.is_none() {
            let what = format!("must be a text of 1 to {SALT_MAX} bytes, found {}", shown(node));
            found.add(node.place, "cohort.salt", what);
        }
        text.map(String::from)
    });
    let version = section.count("version", found).over(1, 1);
    let challenger = match section.take("challenger") {
        Some(node) => {
            let mut inner = Section::of(node, "cohort.challenger", found);
            let challenger = profile(&mut inner, champion.clone(), found);
            inner.end(found);
            Some(challenger)
        }
        None => None,
    };
    for (missing, key) in [
        (percent.is_none(), "percent"),
        (salt.is_none(), "salt"),
        (challenger.is_none(), "challenger"),
    ] {
        if missing {
            found.add(node.place, &below("cohort", key), "is needed in a cohort");
        }
    }
    if percent.is_some_and(|p| p.normalize().scale() > 4) {
        found.add(node.place, "cohort.percent", "has at most 4 decimals");
    }
    section.end(found);
    Some(Cohort { percent: percent?, salt: salt?, version, challenger: challenger? })
}
