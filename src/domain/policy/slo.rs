//! Owns what is promised (`configs/slo.yml`, C-OBS 4): service levels, their windows, thresholds and least samples.
//! Never measures one: Postgres does, from the rows that these become (`obs_slo`).
//! Invariant: an objective has a threshold, and at least one sample is needed to judge it.

mod burn;
#[cfg(test)]
mod tests;

use rust_decimal::Decimal;
use serde::Serialize;

use super::read::{Bounds, Section, below, decimal, scalar, shown};
use super::tree::{self, Node};
use super::violation::{BadPolicy, Violations};
use crate::domain::event::Severity;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Indicator {
    /// A percentile: from a trace's first PLAN step to its first send.
    PlanToExecMs,
    /// A percentile: from the decision to the broker's acceptance.
    DecisionToAcceptMs,
    /// Of the orders that were sent and are over, the share that failed.
    FailedShare,
    /// The share that did not.
    Availability,
    /// How many times faster than an availability allows orders fail; made of `burn`, never written.
    BurnRate,
}

impl Indicator {
    /// Those that a file may name.
    pub const WRITTEN: [(&'static str, Indicator); 4] = [
        ("plan_to_exec_ms", Indicator::PlanToExecMs),
        ("decision_to_accept_ms", Indicator::DecisionToAcceptMs),
        ("failed_share", Indicator::FailedShare),
        ("availability", Indicator::Availability),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        let written = Self::WRITTEN.iter().find(|(_, indicator)| *indicator == self);
        written.map_or("burn_rate", |(name, _)| name)
    }

    fn is_of_time(self) -> bool {
        matches!(self, Indicator::PlanToExecMs | Indicator::DecisionToAcceptMs)
    }
}

/// A stretch of time, as it is written and in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Span {
    pub text: String,
    pub seconds: u32,
}

impl Span {
    /// How one is written.
    pub(super) const ALLOWED: &'static str = "[1-9][0-9]{0,5}[mhd]";
    const LONGEST_S: u32 = 31 * 86_400;

    fn read(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit_s: u32 = match unit {
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        let number: u32 = number.parse().ok().filter(|_| plain)?;
        let seconds = number.checked_mul(unit_s).filter(|s| *s <= Self::LONGEST_S)?;
        Some(Self { text: text.to_string(), seconds })
    }
}

/// The threshold of each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Levels {
    pub low: Option<Decimal>,
    pub medium: Option<Decimal>,
    pub high: Option<Decimal>,
    pub critical: Option<Decimal>,
}

impl Levels {
    fn slot(&mut self, severity: Severity) -> &mut Option<Decimal> {
        match severity {
            Severity::Low => &mut self.low,
            Severity::Medium => &mut self.medium,
            Severity::High => &mut self.high,
            Severity::Critical => &mut self.critical,
        }
    }

    /// Those that are set, the mildest first.
    pub fn set(&self) -> impl Iterator<Item = (Severity, Decimal)> {
        let all = [
            (Severity::Low, self.low),
            (Severity::Medium, self.medium),
            (Severity::High, self.high),
            (Severity::Critical, self.critical),
        ];
        all.into_iter().filter_map(|(severity, level)| Some((severity, level?)))
    }
}

/// One thing that is promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objective {
    /// Its name.
    pub slo: String,
    /// What it is about, for a person.
    pub about: String,
    /// What is measured.
    pub indicator: Indicator,
    /// Of an indicator in milliseconds.
    pub percentile: Option<Decimal>,
    /// Over which time; of a burn rate the long one.
    pub window: Span,
    /// Of a burn rate the short one.
    pub short: Option<Span>,
    /// Of a burn rate: the availability that is promised.
    pub goal: Option<Decimal>,
    /// Violated below its thresholds, not above.
    pub is_floor: bool,
    /// The thresholds.
    pub levels: Levels,
    /// With fewer samples there is no data.
    pub min_samples: u32,
    /// How bad that is; none: no violation (burn rates).
    pub no_data: Option<Severity>,
}

impl Objective {
    /// The window as it is shown: `24h`, of a burn rate `1h/5m`.
    pub fn shown_window(&self) -> String {
        match &self.short {
            Some(short) => format!("{}/{}", self.window.text, short.text),
            None => self.window.text.clone(),
        }
    }
}

/// Everything that is promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slos {
    /// In the order of the file.
    pub objectives: Vec<Objective>,
}

/// The file as it is shipped.
pub const SHIPPED: &str = include_str!("../../../configs/slo.yml");
/// How a service level may be called.
pub(super) const NAME: &str = "[a-z][a-z0-9_]{0,47}";
const OBJECTIVES_MAX: usize = 64;
const ABOUT_MAX: usize = 200;

impl Default for Slos {
    fn default() -> Self {
        Self::parse("configs/slo.yml", SHIPPED).expect("the shipped file is good")
    }
}

impl Slos {
    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut objectives = Vec::new();
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            match section.take("slos") {
                Some(node) => objectives = all(node, &mut found),
                None => found.add(root.place, "slos", "is missing; slos: {} promises nothing"),
            }
            section.end(&mut found);
        }
        found.verdict(Self { objectives })
    }

    /// SHA-256 (lower hex) of what it means.
    pub fn digest(&self) -> String {
        super::digest("slo", self)
    }
}

fn all(node: &Node, found: &mut Violations) -> Vec<Objective> {
    let mut objectives = Vec::new();
    for (key, node) in Section::of(node, "slos", found).rest() {
        let path = below("slos", &key.text);
        if !is_name(&key.text) {
            found.add(key.place, &path, format!("must be called {NAME}"));
        }
        objectives.extend(objective(node, &key.text, &path, found));
    }
    if objectives.len() > OBJECTIVES_MAX {
        found.add(
            node.place,
            "slos",
            format!("are more than {OBJECTIVES_MAX}, burn rates counted"),
        );
    }
    objectives
}

fn is_name(text: &str) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=48).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(rest)
}

/// One objective, and its burn rates behind it.
fn objective(node: &Node, name: &str, path: &str, found: &mut Violations) -> Vec<Objective> {
    let mut section = Section::of(node, path, found);
    let indicator = match section.take("indicator").map(|node| (node, scalar(node))) {
        Some((node, text)) => {
            let named = Indicator::WRITTEN.iter().find(|(word, _)| text == Some(word));
            if named.is_none() {
                let words = Indicator::WRITTEN.map(|(word, _)| word).join(", ");
                let what = format!("must be one of {words}, found {}", shown(node));
                found.add(node.place, &below(path, "indicator"), what);
            }
            named.map(|(_, indicator)| *indicator)
        }
        None => {
            found.add(node.place, &below(path, "indicator"), "is missing");
            None
        }
    };
    let percentile = percentile(&mut section, node, indicator, found);
    let window = span(&mut section, node, "window", found);
    let (is_floor, levels) = levels(&mut section, node, indicator, found);
    let min_samples = min_samples(&mut section, found);
    let no_data = match section.take("no_data") {
        Some(node) => severity(node, &below(path, "no_data"), found),
        None => Severity::Medium,
    };
    let about = about(&mut section, found);
    let burn = section.take("burn");
    section.end(found);
    let (Some(indicator), Some(window)) = (indicator, window) else { return Vec::new() };
    let objective = Objective {
        slo: name.to_string(),
        about,
        indicator,
        percentile,
        window,
        short: None,
        goal: None,
        is_floor,
        levels,
        min_samples,
        no_data: Some(no_data),
    };
    let mut objectives = vec![objective];
    if let Some(node) = burn {
        let rates = burn::rates(node, &objectives[0], &below(path, "burn"), found);
        objectives.extend(rates);
    }
    objectives
}

fn percentile(
    section: &mut Section,
    node: &Node,
    indicator: Option<Indicator>,
    found: &mut Violations,
) -> Option<Decimal> {
    let path = section.path("percentile");
    let given = section.take("percentile");
    let is_of_time = indicator?.is_of_time();
    match given {
        Some(node) if !is_of_time => {
            found.add(node.place, &path, "is only for indicators in milliseconds");
            None
        }
        Some(node) => {
            let percentile = decimal(node, &path, Bounds::PERCENT, found)?;
            let is_inside = !percentile.is_zero() && percentile < Decimal::ONE_HUNDRED;
            if !is_inside {
                found.add(node.place, &path, "must be above 0 and below 100");
            }
            Some(percentile.normalize())
        }
        None if is_of_time => {
            found.add(node.place, &path, "is missing");
            None
        }
        None => None,
    }
}

/// A stretch of time that must be there; what is wrong with its absence is said at `whole`.
fn span(
    section: &mut Section,
    whole: &Node,
    key: &'static str,
    found: &mut Violations,
) -> Option<Span> {
    let path = section.path(key);
    let Some(node) = section.take(key) else {
        found.add(whole.place, &path, "is missing");
        return None;
    };
    let span = scalar(node).and_then(Span::read);
    if span.is_none() {
        let what =
            format!("must be a time such as 5m, 24h or 30d, at most 31d, found {}", shown(node));
        found.add(node.place, &path, what);
    }
    span
}

/// The thresholds, and whether they are floors.
fn levels(
    section: &mut Section,
    whole: &Node,
    indicator: Option<Indicator>,
    found: &mut Violations,
) -> (bool, Levels) {
    let is_floor = indicator == Some(Indicator::Availability);
    let (wanted, other) = if is_floor { ("below", "above") } else { ("above", "below") };
    let path = section.path(wanted);
    let given = section.take(other);
    if indicator.is_some()
        && let Some(node) = given
    {
        let what = format!("this indicator is violated {wanted} its thresholds: say {wanted}");
        found.add(node.place, &section.path(other), what);
    }
    let Some(node) = section.take(wanted) else {
        if indicator.is_some() {
            found.add(whole.place, &path, "is missing, with a threshold for at least one severity");
        }
        return (is_floor, Levels::default());
    };
    let bounds = match indicator {
        Some(Indicator::FailedShare | Indicator::Availability) => Bounds::SHARE,
        _ => Bounds::LIMIT,
    };
    let mut levels = Levels::default();
    let entries = Section::of(node, &path, found).rest();
    if entries.is_empty() {
        found.add(node.place, &path, "needs a threshold for at least one severity");
    }
    for (key, value) in entries {
        let at = below(&path, &key.text);
        let Some(level) = decimal(value, &at, bounds, found) else { continue };
        let severity = Severity::read(&key.text);
        if levels.slot(severity).replace(level.normalize()).is_some() {
            let what = format!("{} has a threshold already, under another word", severity.as_str());
            found.add(key.place, &at, what);
        }
    }
    let set: Vec<Decimal> = levels.set().map(|(_, level)| level).collect();
    let falls = set.windows(2).any(|w| if is_floor { w[1] >= w[0] } else { w[1] <= w[0] });
    if falls {
        found.add(
            node.place,
            &path,
            "what is worse must need more: the thresholds are out of order",
        );
    }
    (is_floor, levels)
}

fn min_samples(section: &mut Section, found: &mut Violations) -> u32 {
    let path = section.path("min_samples");
    let Some(node) = section.take("min_samples") else { return 1 };
    match scalar(node).and_then(|text| text.parse::<u32>().ok()).filter(|n| *n > 0) {
        Some(count) => count,
        None => {
            let what = format!("must be a whole number, 1 or more, found {}", shown(node));
            found.add(node.place, &path, what);
            1
        }
    }
}

/// Another system's words, too (C-OBS 5): one that is unknown is MEDIUM.
fn severity(node: &Node, path: &str, found: &mut Violations) -> Severity {
    match scalar(node) {
        Some(word) => Severity::read(word),
        None => {
            found.add(node.place, path, format!("must be a severity, found {}", shown(node)));
            Severity::Medium
        }
    }
}

fn about(section: &mut Section, found: &mut Violations) -> String {
    let path = section.path("about");
    let Some(node) = section.take("about") else { return String::new() };
    let short =
        |text: &&str| text.chars().count() <= ABOUT_MAX && !text.chars().any(char::is_control);
    match scalar(node).filter(short) {
        Some(text) => text.to_string(),
        None => {
            let what = format!("must be one line of at most {ABOUT_MAX} characters");
            found.add(node.place, &path, what);
            String::new()
        }
    }
}
