//! Owns the limits of the quality gate (`configs/quality_policy.yml`, C-QUAL): for all, and per timeframe.
//! Invariant: a timeframe's limits are complete; what its section does not say is as for all.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::read::{Bounds, Section, below};
use super::tree::{self, Node};
use super::violation::{BadPolicy, Violations};
use crate::domain::text::Timeframe;

/// What an unknown metric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The verdict is FLAT.
    Flat,
    /// The unknown metric counts as ok.
    Ok,
}

/// The limits under which data is judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityLimits {
    /// Data older than this (minutes) is FLAT.
    pub max_data_lag_min: Decimal,
    /// A larger share of missing data scales the order.
    pub max_missing_ratio: Decimal,
    /// How much of the order goes per share missing above the limit.
    pub slope: Decimal,
    /// The least multiplier of SCALE.
    pub floor: Decimal,
    /// A larger share of missing data is FLAT.
    pub flat_missing_ratio: Decimal,
    /// A state is left at its limit × this.
    pub exit_ratio: Decimal,
    /// What an unknown metric does.
    pub on_unknown: OnUnknown,
}

impl Default for QualityLimits {
    fn default() -> Self {
        Self {
            max_data_lag_min: Decimal::from(30),
            max_missing_ratio: Decimal::new(5, 2),
            slope: Decimal::TWO,
            floor: Decimal::new(3, 1),
            flat_missing_ratio: Decimal::new(4, 1),
            exit_ratio: Decimal::new(8, 1),
            on_unknown: OnUnknown::Flat,
        }
    }
}

/// The quality gate's policy.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct QualityPolicy {
    /// For every timeframe that has no limits of its own.
    pub limits: QualityLimits,
    /// Limits of single timeframes (daily bars lag).
    pub timeframes: BTreeMap<Timeframe, QualityLimits>,
}

impl QualityPolicy {
    /// The limits for a timeframe.
    pub fn for_timeframe(&self, timeframe: Option<&Timeframe>) -> &QualityLimits {
        timeframe.and_then(|t| self.timeframes.get(t)).unwrap_or(&self.limits)
    }

    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut policy = Self::default();
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            policy.limits = limits(&mut section, QualityLimits::default(), &mut found);
            if let Some(node) = section.take("timeframes") {
                policy.timeframes = timeframes(node, &policy.limits, &mut found);
            }
            section.end(&mut found);
        }
        found.verdict(policy)
    }
}

fn timeframes(
    node: &Node,
    base: &QualityLimits,
    found: &mut Violations,
) -> BTreeMap<Timeframe, QualityLimits> {
    let mut all = BTreeMap::new();
    for (key, node) in Section::of(node, "timeframes", found).rest() {
        let path = below("timeframes", &key.text);
        let mut section = Section::of(node, &path, found);
        let limits = limits(&mut section, base.clone(), found);
        section.end(found);
        match Timeframe::new(&key.text) {
            Ok(timeframe) => {
                all.insert(timeframe, limits);
            }
            Err(wrong) => found.add(key.place, &path, wrong.to_string()),
        }
    }
    all
}

/// The limits a section says, each key that is absent or null as in `base`.
fn limits(section: &mut Section, base: QualityLimits, found: &mut Violations) -> QualityLimits {
    let mut number =
        |key, bounds, before: Decimal| section.decimal(key, bounds, found).over(before, before);
    let mut limits = QualityLimits {
        max_data_lag_min: number("max_data_lag_min", Bounds::LIMIT, base.max_data_lag_min),
        max_missing_ratio: number("max_missing_ratio", Bounds::SHARE, base.max_missing_ratio),
        slope: number("slope", Bounds::LIMIT, base.slope),
        floor: number("floor", Bounds::SHARE, base.floor),
        flat_missing_ratio: number("flat_missing_ratio", Bounds::SHARE, base.flat_missing_ratio),
        exit_ratio: number("exit_ratio", Bounds::SHARE, base.exit_ratio),
        on_unknown: base.on_unknown,
    };
    let words = [("flat", OnUnknown::Flat), ("ok", OnUnknown::Ok)];
    limits.on_unknown =
        section.word("on_unknown", &words, found).over(base.on_unknown, base.on_unknown);
    limits
}
