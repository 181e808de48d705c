//! Owns what a what-if reports, in the shape of its JSON. Decimals are written as texts.
//! Never holds more orders than asked for: of what is more, only the count stays.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;

use super::count::Worth;
use super::recorded::Written;
use super::{Acted, Effect, Group, Outcome, Unjudged, WhatIf};
use crate::domain::event::{Action, PolicyDigests, Step};
use crate::domain::judge::Judgement;
use crate::domain::policy::instruments::Currency;
use crate::domain::risk::rule_names;
use crate::domain::text::{Account, Symbol};

/// What would have become of recorded decisions under other policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Decisions that were read.
    pub decisions: u64,
    /// When the first of them was made.
    pub first_at: Option<Timestamp>,
    /// When the last of them was made.
    pub last_at: Option<Timestamp>,
    /// Decided REJECT: too late or too early, which no policy changes.
    pub rejected: u64,
    /// Could not be judged again.
    #[serde(rename = "not_judged")]
    pub unjudged: u64,
    /// How many were decided under the same policy as the new one, by kind.
    #[serde(skip)]
    pub recorded_under: Under,
    /// Decisions that must come out the same, and did.
    pub reproduced: Reproduced,
    /// Orders by what became of them, recorded and new; together with `rejected` and `unjudged` all decisions.
    pub outcomes: Vec<Cell>,
    /// All orders.
    pub total: Group,
    /// By rule, in the order in which they act.
    pub rules: Vec<RuleActed>,
    /// By symbol.
    pub symbols: Vec<OfSymbol>,
    /// How long a bucket of `buckets` is.
    pub bucket: Every,
    /// Over time; a stretch without orders is left out.
    pub buckets: Vec<Bucket>,
    /// Whether the new instruments speak of other currencies than the recorded rates.
    pub currencies: Currencies,
    /// Orders that change.
    pub changed: u64,
    /// Those of them that are kept, the worst first: by money, those without a price after the others.
    pub changes: Vec<Changed>,
    /// What is to be looked into.
    pub findings: Findings,
}

/// What is to be looked into; of many, those that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Findings {
    /// Decisions that did not come out the same.
    pub not_reproduced: Vec<NotReproduced>,
    /// Decisions that could not be judged again.
    #[serde(rename = "not_judged")]
    pub unjudged: Vec<Unjudged>,
}

/// How many decisions were made under the same policy, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Under {
    pub quality: u64,
    pub profiles: u64,
    pub risk: u64,
    pub instruments: u64,
}

impl Under {
    pub(super) fn count(&mut self, recorded: &PolicyDigests, new: &PolicyDigests) {
        self.quality += u64::from(recorded.quality == new.quality);
        self.profiles += u64::from(recorded.profiles == new.profiles);
        self.risk += u64::from(recorded.risk == new.risk);
        self.instruments += u64::from(recorded.instruments == new.instruments);
    }
}

/// Decisions made under the very policies they are judged by again, REJECT included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Reproduced {
    /// Those that must come out the same.
    pub comparable: u64,
    /// Those that did: the same action, quantity and steps.
    pub reproduced: u64,
}

impl Reproduced {
    /// Whether every one of them did.
    pub fn all(&self) -> bool {
        self.comparable == self.reproduced
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Cell {
    pub recorded: Outcome,
    pub new: Outcome,
    pub orders: u64,
}

/// A rule: what it did, and what it would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RuleActed {
    pub rule: String,
    pub recorded: Acted,
    pub new: Acted,
}

/// The orders of a symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct OfSymbol {
    pub symbol: Symbol,
    #[serde(flatten)]
    pub group: Group,
}

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Every {
    Hour,
    Day,
}

impl Every {
    /// Its length.
    pub fn hours(self) -> i64 {
        match self {
            Every::Hour => 1,
            Every::Day => 24,
        }
    }
}

/// The orders decided in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// When it begins (UTC).
    pub from: Timestamp,
    /// Its orders.
    #[serde(flatten)]
    pub group: Group,
}

/// What the new instruments change about currencies. A recorded rate stays what it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Currencies {
    /// Orders whose price or account is in another currency by the new instruments.
    pub changed: u64,
    /// Their symbols.
    pub symbols: BTreeSet<Symbol>,
    /// Orders decided under instruments that are neither the new ones nor those in force: whether it changes is not
    /// known.
    pub unknown: u64,
}

/// What was decided about an order, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Verdict {
    pub outcome: Outcome,
    pub action: Action,
    pub requested_qty: Decimal,
    pub decided_qty: Decimal,
    pub reason: String,
}

/// An order that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// What becomes of it.
    pub effect: Effect,
    /// How many units are moved: what it becomes less what it was, without a sign.
    pub units: Decimal,
    /// What they are worth; none without a price.
    pub notional: Option<Decimal>,
    /// In the currency of the account.
    pub currency: Currency,
    /// When it was decided.
    pub decided_at: Timestamp,
    #[allow(missing_docs)]
    pub idempotency_key: String,
    #[allow(missing_docs)]
    pub trace_id: String,
    #[allow(missing_docs)]
    pub account: Account,
    #[allow(missing_docs)]
    pub symbol: Symbol,
    /// The rules that take away more or less than they did.
    pub rules: Vec<String>,
    /// As it was recorded.
    pub recorded: Verdict,
    /// Under the new policies.
    pub new: Verdict,
}

impl Changed {
    pub(super) fn new(
        effect: Effect,
        outcomes: (Outcome, Outcome),
        written: &Written,
        again: &Judgement,
        worth: Worth,
    ) -> Self {
        let units = match effect {
            Effect::Turned => written.decided_qty.saturating_add(again.decided_qty),
            _ => written.decided_qty.saturating_sub(again.decided_qty).abs(),
        };
        Self {
            effect,
            units: units.normalize(),
            notional: worth.of(units),
            currency: worth.currency,
            decided_at: written.decided_at,
            idempotency_key: written.idempotency_key.clone(),
            trace_id: written.trace_id.clone(),
            account: written.account.clone(),
            symbol: written.symbol.clone(),
            rules: moved(&written.steps, &again.steps),
            recorded: Verdict {
                outcome: outcomes.0,
                action: written.action,
                requested_qty: written.requested_qty.normalize(),
                decided_qty: written.decided_qty.normalize(),
                reason: written.reason.clone(),
            },
            new: Verdict {
                outcome: outcomes.1,
                action: again.action,
                requested_qty: again.requested_qty.normalize(),
                decided_qty: again.decided_qty.normalize(),
                reason: again.reason.clone(),
            },
        }
    }
}

/// Rules that take away another quantity than they did; those that would act first.
fn moved(was: &[Step], is: &[Step]) -> Vec<String> {
    let removed = |steps: &[Step], rule: &str| {
        let of_rule = steps.iter().filter(|step| step.rule == rule);
        of_rule
            .map(|s| s.before.saturating_sub(s.after))
            .fold(Decimal::ZERO, Decimal::saturating_add)
    };
    let mut rules: Vec<String> = Vec::new();
    for step in is.iter().chain(was) {
        let rule = &step.rule;
        if !rules.contains(rule) && removed(was, rule) != removed(is, rule) {
            rules.push(rule.clone());
        }
    }
    rules
}

impl Ord for Changed {
    /// The worst first: most money, then most units; what has no price comes after what has one.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |c: &Self| (c.notional, c.units);
        let names = |c: &Self| (c.decided_at, c.idempotency_key.clone(), c.trace_id.clone());
        key(other).cmp(&key(self)).then_with(|| names(self).cmp(&names(other)))
    }
}

impl PartialOrd for Changed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A decision that came out otherwise under the very policies it was made under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct NotReproduced {
    pub decided_at: Timestamp,
    pub idempotency_key: String,
    pub trace_id: String,
    pub symbol: Symbol,
    /// The build that decided.
    pub engine_version: String,
    /// What differs.
    pub differs: Vec<String>,
}

impl NotReproduced {
    pub(super) fn new(written: &Written, differs: Vec<String>) -> Self {
        Self {
            decided_at: written.decided_at,
            idempotency_key: written.idempotency_key.clone(),
            trace_id: written.trace_id.clone(),
            symbol: written.symbol.clone(),
            engine_version: written.engine_version.clone(),
            differs,
        }
    }
}

/// The first so many of what comes, by its order, and how many came.
#[derive(Debug)]
pub(super) struct Kept<T> {
    most: usize,
    seen: u64,
    first: BTreeSet<(T, u64)>,
}

impl<T: Ord> Kept<T> {
    pub fn new(most: usize) -> Self {
        Self { most, seen: 0, first: BTreeSet::new() }
    }

    pub fn keep(&mut self, one: T) {
        self.seen += 1;
        // The number keeps equals apart: none is dropped.
        self.first.insert((one, self.seen));
        if self.first.len() > self.most {
            self.first.pop_last();
        }
    }

    fn end(self) -> (u64, Vec<T>) {
        (self.seen, self.first.into_iter().map(|(one, _)| one).collect())
    }
}

/// Where a rule stands in the order in which they act. The instrument's step and an error come last.
fn place(rule: &str) -> usize {
    let before = ["engine.rollout", "quality"].into_iter();
    let mut all = before.chain(rule_names().map(|(name, _)| name));
    all.position(|known| known == rule).unwrap_or(usize::MAX)
}

/// Most hours that are shown hour by hour.
const HOURS_MAX: i64 = 48;

pub(super) fn of(what_if: WhatIf<'_>) -> Report {
    let (bucket, buckets) = buckets(what_if.hours);
    let (changed, changes) = what_if.changes.end();
    let (_, not_reproduced) = what_if.not_reproduced.end();
    let (unjudged, of_unjudged) = what_if.unjudged.end();
    let mut rules: Vec<RuleActed> = what_if
        .rules
        .into_iter()
        .map(|(rule, acted)| RuleActed { rule, recorded: acted.recorded, new: acted.new })
        .collect();
    rules.sort_by_key(|acted| place(&acted.rule));
    let cells = Outcome::ALL.into_iter().flat_map(|was| Outcome::ALL.map(|is| (was, is)));
    Report {
        decisions: what_if.decisions,
        first_at: what_if.span.map(|(first, _)| first),
        last_at: what_if.span.map(|(_, last)| last),
        rejected: what_if.rejected,
        unjudged,
        recorded_under: what_if.under,
        reproduced: what_if.reproduced,
        outcomes: cells
            .map(|(recorded, new)| {
                let orders = what_if.matrix.get(&(recorded, new)).copied().unwrap_or(0);
                Cell { recorded, new, orders }
            })
            .collect(),
        total: what_if.total,
        rules,
        symbols: what_if
            .symbols
            .into_iter()
            .map(|(symbol, group)| OfSymbol { symbol, group })
            .collect(),
        bucket,
        buckets,
        currencies: what_if.currencies,
        changed,
        changes,
        findings: Findings { not_reproduced, unjudged: of_unjudged },
    }
}

/// Hours, or days if they are too many.
fn buckets(hours: std::collections::BTreeMap<i64, Group>) -> (Every, Vec<Bucket>) {
    let span = match (hours.first_key_value(), hours.last_key_value()) {
        (Some((first, _)), Some((last, _))) => last - first + 1,
        _ => 0,
    };
    let every = if span > HOURS_MAX { Every::Day } else { Every::Hour };
    let mut buckets: Vec<Bucket> = Vec::new();
    for (hour, group) in hours {
        let start = hour.div_euclid(every.hours()) * every.hours();
        let from = Timestamp::from_second(start * 60 * 60).unwrap_or(Timestamp::MIN);
        match buckets.last_mut().filter(|bucket| bucket.from == from) {
            Some(bucket) => bucket.group.plus(&group),
            None => buckets.push(Bucket { from, group }),
        }
    }
    (every, buckets)
}
