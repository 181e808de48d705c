//! PURE. Owns the comparison of two sides, entry by entry, both sorted.
//! Never remembers more than the entries of one id and what was found.
//! Invariant: an entry that must be on the other side, and is not there as it is here, is a finding or is left out for a reason.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Entry, Hour, Short, Standing, Tally};

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The right side does not have it.
    Missing,
    /// The right side does not have it, though it has, or must have, a later one of the same order.
    Gap,
    /// Only the right side has it.
    Extra,
    /// Both have it, and it says something else.
    Different,
    /// The left side has it more than once, with other bytes.
    EmittedOtherwise,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Missing, Self::Gap, Self::Extra, Self::Different, Self::EmittedOtherwise];

    /// The word in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Gap => "gap",
            Kind::Extra => "extra",
            Kind::Different => "different",
            Kind::EmittedOtherwise => "emitted otherwise",
        }
    }
}

/// A finding, as far as entries can tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// Where it counts.
    pub hour: Hour,
    /// The left side's; of an event that was emitted otherwise the first.
    pub left: Option<Entry>,
    /// The right side's; of an event that was emitted otherwise the left side's other one.
    pub right: Option<Entry>,
}

/// Both sides of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Sides {
    pub left: Tally,
    pub right: Tally,
}

/// What is on its way, and so is no finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct InFlight {
    /// Committed, and not in its topic.
    pub owed: u64,
    /// In its topic, and not read by the sink.
    pub unread: u64,
    /// Newer than the moment that is looked at.
    pub newer: u64,
}

/// What is looked at, and what may be absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// The first hour.
    pub from: Option<Hour>,
    /// The first hour that is too late.
    pub to: Option<Hour>,
    /// Up to and with this hour the left side may lack what the right side has.
    pub left_lacks_to: Option<Hour>,
    /// Up to and with this hour the right side may lack what the left side has.
    pub right_lacks_to: Option<Hour>,
    /// Findings of one kind that are kept; all are counted.
    pub examples_max: usize,
    /// The left side is a topic and the right one its table: repeats with other bytes are findings, and so is a second row.
    pub right_is_table: bool,
}

impl Bounds {
    fn has(&self, hour: Hour) -> bool {
        self.from.is_none_or(|from| hour >= from) && self.to.is_none_or(|to| hour < to)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compared {
    /// By hour; what is in flight or left out is in no hour.
    pub hours: BTreeMap<Hour, Sides>,
    /// How many findings of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// Some of them.
    pub examples: Vec<Finding>,
    /// Events that came again.
    pub repeats: u64,
    /// On its way.
    pub in_flight: InFlight,
    /// Events of the right side whose left side is kept no more.
    pub left_gone: u64,
    /// Events of the left side whose right side is kept no more.
    pub right_gone: u64,
}

impl Compared {
    /// Nothing differs.
    pub fn is_equal(&self) -> bool {
        self.counts.values().all(|count| *count == 0)
    }

    /// All findings.
    pub fn findings(&self) -> u64 {
        self.counts.values().sum()
    }

    fn find(&mut self, bounds: &Bounds, finding: Finding) {
        let count = self.counts.entry(finding.kind).or_default();
        *count += 1;
        if *count <= bounds.examples_max as u64 {
            self.examples.push(finding);
        }
    }

    /// All entries of one id.
    fn judge(&mut self, bounds: &Bounds, left: &[Entry], right: &[Entry]) {
        let Some(hour) = left.first().or(right.first()).map(|entry| entry.hour) else { return };
        if !bounds.has(hour) {
            return;
        }
        self.repeats += left.len().saturating_sub(1) as u64;
        if bounds.right_is_table
            && let Some(first) = left.first()
            && let Some(other) = left.iter().find(|entry| entry.bytes != first.bytes)
        {
            let (left, right) = (Some(*first), Some(*other));
            self.find(bounds, Finding { kind: Kind::EmittedOtherwise, hour, left, right });
        }
        match (left.first(), right.first()) {
            (Some(first), None) => self.only_left(bounds, hour, left, first),
            // Each row is one too many; a record that came again is not.
            (None, Some(_)) if bounds.right_is_table => {
                right.iter().for_each(|entry| self.only_right(bounds, hour, entry));
            }
            (None, Some(first)) => {
                let sure = right.iter().find(|entry| entry.standing == Standing::Sure);
                self.only_right(bounds, hour, sure.unwrap_or(first));
            }
            _ => self.both(bounds, hour, left, right),
        }
    }

    fn only_left(&mut self, bounds: &Bounds, hour: Hour, left: &[Entry], first: &Entry) {
        let Some(sure) = left.iter().find(|entry| entry.standing == Standing::Sure) else {
            return self.loose(first.standing);
        };
        if bounds.right_lacks_to.is_some_and(|to| hour <= to) {
            self.right_gone += 1;
            return;
        }
        let kind = if sure.is_inner { Kind::Gap } else { Kind::Missing };
        self.hours.entry(hour).or_default().left.add(sure.content);
        self.find(bounds, Finding { kind, hour, left: Some(*sure), right: None });
    }

    fn only_right(&mut self, bounds: &Bounds, hour: Hour, entry: &Entry) {
        if entry.standing != Standing::Sure {
            return self.loose(entry.standing);
        }
        if bounds.left_lacks_to.is_some_and(|to| hour <= to) {
            self.left_gone += 1;
            return;
        }
        self.hours.entry(hour).or_default().right.add(entry.content);
        self.find(bounds, Finding { kind: Kind::Extra, hour, left: None, right: Some(*entry) });
    }

    fn both(&mut self, bounds: &Bounds, hour: Hour, left: &[Entry], right: &[Entry]) {
        if right.iter().all(|entry| entry.standing == Standing::Owed) {
            return self.loose(Standing::Owed);
        }
        let says = |content: Short| left.iter().find(move |entry| entry.content == content);
        let is_said = |entry: &Entry| says(entry.content).is_some();
        let matched = right.iter().position(is_said).unwrap_or(0);
        let sides = self.hours.entry(hour).or_default();
        sides.left.add(says(right[matched].content).unwrap_or(&left[0]).content);
        sides.right.add(right[matched].content);
        let different = |entry: &Entry| {
            let (left, right) = (Some(left[0]), Some(*entry));
            Finding { kind: Kind::Different, hour, left, right }
        };
        if !bounds.right_is_table {
            // Of records of one id each says what the left side says.
            if let Some(other) = right.iter().find(|entry| !is_said(entry)) {
                self.find(bounds, different(other));
            }
            return;
        }
        // Of rows of one id one does, and there is no other.
        for (at, entry) in right.iter().enumerate() {
            if at != matched {
                self.hours.entry(hour).or_default().right.add(entry.content);
                let (left, right) = (None, Some(*entry));
                self.find(bounds, Finding { kind: Kind::Extra, hour, left, right });
            } else if !is_said(entry) {
                self.find(bounds, different(entry));
            }
        }
    }

    fn loose(&mut self, standing: Standing) {
        let at = &mut self.in_flight;
        match standing {
            Standing::Owed => at.owed += 1,
            Standing::Unread => at.unread += 1,
            Standing::Young | Standing::Sure => at.newer += 1,
        }
    }
}

/// Compares two sides, each sorted.
pub fn compare<E>(
    left: impl IntoIterator<Item = Result<Entry, E>>,
    right: impl IntoIterator<Item = Result<Entry, E>>,
    bounds: &Bounds,
) -> Result<Compared, E> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let (mut next_left, mut next_right) = (left.next().transpose()?, right.next().transpose()?);
    let mut compared = Compared::default();
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    loop {
        let ids = next_left.iter().chain(&next_right).map(|entry| entry.id);
        let Some(id) = ids.min() else { return Ok(compared) };
        lefts.clear();
        rights.clear();
        while let Some(entry) = next_left.take_if(|entry| entry.id == id) {
            lefts.push(entry);
            next_left = left.next().transpose()?;
        }
        while let Some(entry) = next_right.take_if(|entry| entry.id == id) {
            rights.push(entry);
            next_right = right.next().transpose()?;
        }
        compared.judge(bounds, &lefts, &rights);
    }
}

#[cfg(test)]
mod tests;
