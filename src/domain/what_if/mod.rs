//! Owns judging recorded decisions again, with the facts recorded with them, under other policies, and counting what
//! would change. Never reads a table or a topic: decisions come in one by one, a report goes out, and only sums and
//! the orders that change are kept. Invariant: every decision is counted in exactly one place (rejected, not judged,
//! or one cell of the matrix), and the report does not depend on the order in which they come.

mod again;
mod count;
#[cfg(test)]
pub(crate) mod given;
#[cfg(test)]
mod laws;
mod recorded;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

pub use self::again::{Again, CameTo, Change, PolicyAgain, StepAgain, again};
use self::count::Worth;
pub use self::count::{Acted, Effects, Group, Notional, Sum};
use self::recorded::Recorded;
pub use self::recorded::Unjudged;
use self::report::Kept;
pub use self::report::{
    Bucket, Cell, Changed, Currencies, Every, Findings, NotReproduced, OfSymbol, Report,
    Reproduced, RuleActed, Under, Verdict,
};
use super::event::{Action, Step};
use super::judge::{Facts, Judgement, judge};
use super::money::{bounded, plain};
use super::policy::Policies;
use super::policy::instruments::Currency;
use super::request::Side;
use super::risk;
use super::text::Symbol;

/// What became of what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All of it is sent.
    Whole,
    /// A part of it.
    Clamped,
    /// Nothing of it.
    Blocked,
    /// Nothing was asked for: a FLAT, or proposals of which no side wins.
    Nothing,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] =
        [Outcome::Whole, Outcome::Clamped, Outcome::Blocked, Outcome::Nothing];

    fn of(requested: Decimal, decided: Decimal) -> Self {
        match (requested.is_zero(), decided.is_zero()) {
            (true, true) => Outcome::Nothing,
            (false, true) => Outcome::Blocked,
            _ if decided < requested => Outcome::Clamped,
            _ => Outcome::Whole,
        }
    }
}

/// What becomes of an order under the new policies, compared with what was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The same action and the same quantity.
    Same,
    /// It was sent, and nothing of it would be.
    Blocked,
    /// Less of it would be sent.
    Smaller,
    /// It would be sent in the other direction.
    Turned,
    /// More of it would be sent.
    Larger,
    /// Nothing of it was sent, and something would be.
    LetThrough,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Effect; 6] = [
        Effect::Same,
        Effect::Blocked,
        Effect::Smaller,
        Effect::Turned,
        Effect::Larger,
        Effect::LetThrough,
    ];

    fn of(recorded: (Action, Decimal), new: (Action, Decimal)) -> Self {
        match (recorded.1.is_zero(), new.1.is_zero()) {
            (true, true) => Effect::Same,
            (false, true) => Effect::Blocked,
            (true, false) => Effect::LetThrough,
            _ if recorded.0 != new.0 => Effect::Turned,
            _ => match new.1.cmp(&recorded.1) {
                std::cmp::Ordering::Less => Effect::Smaller,
                std::cmp::Ordering::Equal => Effect::Same,
                std::cmp::Ordering::Greater => Effect::Larger,
            },
        }
    }
}

/// What each rule did, recorded and again.
#[derive(Debug, Default)]
struct Rule {
    recorded: Acted,
    new: Acted,
}

/// Judges decisions again and counts.
pub struct WhatIf<'p> {
    base: &'p Policies,
    new: &'p Policies,
    decisions: u64,
    rejected: u64,
    span: Option<(Timestamp, Timestamp)>,
    under: Under,
    reproduced: Reproduced,
    matrix: BTreeMap<(Outcome, Outcome), u64>,
    total: Group,
    rules: BTreeMap<String, Rule>,
    symbols: BTreeMap<Symbol, Group>,
    /// By the hour since 1970.
    hours: BTreeMap<i64, Group>,
    currencies: Currencies,
    changes: Kept<Changed>,
    not_reproduced: Kept<NotReproduced>,
    unjudged: Kept<Unjudged>,
}

impl<'p> WhatIf<'p> {
    /// Nothing is judged yet. `base` are the policies that are in force now; at most so many orders that change, and
    /// findings of a kind, are kept, the worst ones.
    pub fn new(base: &'p Policies, new: &'p Policies, most: usize) -> Self {
        Self {
            base,
            new,
            decisions: 0,
            rejected: 0,
            span: None,
            under: Under::default(),
            reproduced: Reproduced::default(),
            matrix: BTreeMap::new(),
            total: Group::default(),
            rules: BTreeMap::new(),
            symbols: BTreeMap::new(),
            hours: BTreeMap::new(),
            currencies: Currencies::default(),
            changes: Kept::new(most),
            not_reproduced: Kept::new(most),
            unjudged: Kept::new(most),
        }
    }

    /// Takes one decision, the JSON that topic `decisions` has of it; `place` names it if it does not name itself.
    pub fn take(&mut self, place: &str, decision: Value) {
        self.decisions += 1;
        match Recorded::read(place, decision) {
            Ok(recorded) => self.judge(&recorded),
            Err(unjudged) => self.unjudged.keep(unjudged),
        }
    }

    /// A decision that cannot even be read as JSON.
    pub fn unreadable(&mut self, place: &str, why: String) {
        self.decisions += 1;
        self.unjudged.keep(Unjudged { name: place.into(), why });
    }

    fn judge(&mut self, recorded: &Recorded) {
        let written = &recorded.written;
        let at = written.decided_at;
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        self.under.count(&written.policies, &self.new.digests);
        let nothing = Facts::default();
        let facts = recorded.facts.as_ref().unwrap_or(&nothing);
        let again = judge(&recorded.intake, facts, self.new, at);
        self.compare(recorded, &again);
        if written.action == Action::Reject {
            self.rejected += 1;
            return;
        }
        let worth = self.worth(recorded, facts, &again);
        let effect =
            Effect::of((written.action, written.decided_qty), (again.action, again.decided_qty));
        let outcomes = (
            Outcome::of(written.requested_qty, written.decided_qty),
            Outcome::of(again.requested_qty, again.decided_qty),
        );
        *self.matrix.entry(outcomes).or_default() += 1;
        let hour = at.as_second().div_euclid(60 * 60);
        let groups = [
            &mut self.total,
            self.symbols.entry(written.symbol.clone()).or_default(),
            self.hours.entry(hour).or_default(),
        ];
        for group in groups {
            group.orders.count(effect);
            group.recorded.add(written.decided_qty, worth);
            group.new.add(again.decided_qty, worth);
        }
        self.count_rules(&written.steps, worth, |rule| &mut rule.recorded);
        self.count_rules(&again.steps, worth, |rule| &mut rule.new);
        if effect != Effect::Same {
            self.changes.keep(Changed::new(effect, outcomes, written, &again, worth));
        }
    }

    fn count_rules(&mut self, steps: &[Step], worth: Worth, of: fn(&mut Rule) -> &mut Acted) {
        for step in steps {
            let rule = self.rules.entry(step.rule.clone()).or_default();
            let removed = step.before.saturating_sub(step.after);
            of(rule).add(removed, step.after.is_zero(), worth);
        }
    }

    /// A decision made under these very policies must come out the same; so must a REJECT, which no policy changes.
    fn compare(&mut self, recorded: &Recorded, again: &Judgement) {
        let written = &recorded.written;
        let rejects = [written.action, again.action].contains(&Action::Reject);
        if written.policies != self.new.digests && !rejects {
            return;
        }
        let differs = differences(recorded, again);
        self.reproduced.comparable += 1;
        if differs.is_empty() {
            self.reproduced.reproduced += 1;
        } else {
            self.not_reproduced.keep(NotReproduced::new(written, differs));
        }
    }

    /// What a unit is worth: as it was judged, else by the facts and the new policies' price.
    fn worth(&mut self, recorded: &Recorded, facts: &Facts, again: &Judgement) -> Worth {
        let written = &recorded.written;
        let side = match written.action {
            Action::Buy => Side::Buy,
            Action::Sell => Side::Sell,
            Action::Flat | Action::Reject => again.side,
        };
        let now = written.decided_at;
        let by_facts = || risk::worth(&recorded.intake, side, facts, self.new, now);
        // What does not fit for all that was asked counts as unpriced before and after alike.
        let most =
            written.requested_qty.max(again.requested_qty).saturating_add(written.decided_qty);
        let unit = recorded.worth().or_else(by_facts);
        let unit = unit.filter(|unit| most.checked_mul(*unit).is_some());
        Worth { currency: self.currency(recorded), unit }
    }

    /// The currency of the order's account when it was decided, as far as the instruments of that time are at hand.
    fn currency(&mut self, recorded: &Recorded) -> Currency {
        let written = &recorded.written;
        let digest = &written.policies.instruments;
        let (base, new) = (&self.base.instruments, &self.new.instruments);
        if *digest == self.new.digests.instruments {
            return new.account_currency(&written.account);
        }
        if *digest != self.base.digests.instruments {
            self.currencies.unknown += 1;
            return new.account_currency(&written.account);
        }
        let account = base.account_currency(&written.account);
        let pairs = [base, new].map(|instruments| {
            let quoted = instruments.quote_currency(&written.symbol);
            (quoted, instruments.account_currency(&written.account))
        });
        if pairs[0] != pairs[1] {
            self.currencies.changed += 1;
            self.currencies.symbols.insert(written.symbol.clone());
        }
        account
    }

    /// The report.
    pub fn finish(self) -> Report {
        report::of(self)
    }
}

/// How what is judged again differs from what was recorded; the wire's bounds are no difference.
fn differences(recorded: &Recorded, again: &Judgement) -> Vec<String> {
    let written = &recorded.written;
    let mut found = Vec::new();
    if written.action != again.action {
        let (was, is) = (written.action.as_str(), again.action.as_str());
        found.push(format!("action: recorded {was}, again {is}"));
    }
    let (was, is) = (written.decided_qty, again.decided_qty);
    if was != bounded(is) {
        found.push(format!("decided_qty: recorded {}, again {}", plain(was), plain(is)));
    }
    let same = |(was, is): (&Step, &Step)| {
        was.rule == is.rule
            && was.before == bounded(is.before)
            && was.after == bounded(is.after)
            && was.reason == is.reason
    };
    let (was, is) = (&written.steps, &again.steps);
    if was.len() != is.len() || !was.iter().zip(is).all(same) {
        found.push(format!("steps: recorded {}, again {}", told(was), told(is)));
    }
    found
}

/// `risk.max_order_qty 700 → 500 (700 > 500)`, or `none`.
fn told(steps: &[Step]) -> String {
    let one = |step: &Step| {
        format!("{} {} → {} ({})", step.rule, plain(step.before), plain(step.after), step.reason)
    };
    match steps {
        [] => "none".into(),
        _ => steps.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}
