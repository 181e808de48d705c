//! Owns what people are told of: conditions that alerts and SLO violations tell of, and their changes of state.
//! Never knows who is told or how a call ended. Invariant: a condition's changes are numbered without gap, and the same
//! alerts in the same order at the same times make the same changes.

pub mod attempt;
pub mod letter;
pub mod routes;
pub mod slack;
mod subject;
pub mod webhook;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::subject::{Subject, fingerprint};
use super::event::Severity;

/// Longest reason that is kept of an alert, characters.
pub const REASON_MAX: usize = 500;
/// Longest name of a rule, characters: whoever may write alerts chooses it.
pub const POLICY_NAME_MAX: usize = 100;

/// Where a condition is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Alerts: it is over when none has come for a while.
    Alert,
    /// A row of `obs_slo_violations_24h`: it is over when the row is gone.
    Slo,
}

/// Where a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Never open yet.
    New,
    /// It holds.
    Open,
    /// It no longer does.
    Resolved,
}

/// What a change of state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It holds from now on.
    Open,
    /// It has become worse, or still goes on after a long while.
    Update,
    /// It no longer holds.
    Resolved,
}

impl Kind {
    /// The word in messages and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Update => "update",
            Kind::Resolved => "resolved",
        }
    }
}

/// An alert as far as it matters here, or a violation at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// The rule.
    pub policy_name: String,
    /// What it is about.
    pub subject: Subject,
    /// Where it is from.
    pub source: Source,
    /// How much it matters.
    pub severity: Severity,
    /// For a person.
    pub reason: String,
    /// The trace, to look it up.
    pub trace_id: Option<String>,
    /// When it fired, by its own time.
    pub at: Timestamp,
}

impl Firing {
    /// What stands for its condition, for ever.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.policy_name, &self.subject)
    }
}

/// How long things hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Without another alert for so long it is over.
    pub resolve_after: SignedDuration,
    /// A violation that the view has not shown for so long is over.
    pub slo_clear: SignedDuration,
    /// What still goes on is told again after so long.
    pub remind_after: SignedDuration,
    /// An older alert opens nothing: it is history.
    pub stale_after: SignedDuration,
}

/// One rule and what it is about, with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What stands for it.
    pub fingerprint: String,
    /// The rule.
    pub policy_name: String,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Where it is from.
    pub source: Source,
    /// Where it is.
    pub state: State,
    /// How often its state has changed.
    pub change_no: i64,
    /// The highest since it opened.
    pub severity: Severity,
    /// Alerts since it opened.
    pub alerts: i64,
    /// The first of them, by its own time.
    pub opened_at: Timestamp,
    /// The newest, by its own time.
    pub last_at: Timestamp,
    /// When the last one was read, by the clock that `now` comes from.
    pub seen_at: Timestamp,
    /// When the state changed last, by the same clock.
    pub changed_at: Timestamp,
    /// Of the newest of the highest severity.
    pub reason: String,
    /// Its trace.
    pub trace_id: Option<String>,
}

/// A change of a condition's state: what people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Of which condition.
    pub fingerprint: String,
    /// The n-th of it.
    pub change_no: i64,
    /// What it is.
    pub kind: Kind,
    /// The rule.
    pub policy_name: String,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// The highest since it opened.
    pub severity: Severity,
    /// Alerts since it opened.
    pub alerts: i64,
    /// The first of them, by its own time.
    pub opened_at: Timestamp,
    /// The newest of them, by its own time.
    pub last_at: Timestamp,
    /// For a person.
    pub reason: String,
    /// The trace, to look it up.
    pub trace_id: Option<String>,
}

/// What a firing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// The state changed.
    Changed(Box<Change>),
    /// It was counted.
    Counted,
    /// It was known already: a repeat of what is over.
    Known,
    /// It is too old to open anything.
    Stale,
}

impl Condition {
    /// A condition of which nothing is known yet.
    pub fn new(firing: &Firing, now: Timestamp) -> Self {
        Self {
            fingerprint: firing.fingerprint(),
            policy_name: firing.policy_name.clone(),
            subject: firing.subject.clone(),
            source: firing.source,
            state: State::New,
            change_no: 0,
            severity: firing.severity,
            alerts: 0,
            opened_at: Timestamp::UNIX_EPOCH,
            last_at: Timestamp::UNIX_EPOCH,
            seen_at: now,
            changed_at: now,
            reason: String::new(),
            trace_id: None,
        }
    }

    /// It has fired.
    pub fn fire(&mut self, firing: &Firing, now: Timestamp, terms: &Terms) -> Noted {
        match self.state {
            State::Open => self.fire_again(firing, now, terms),
            // Stages say things at least once: what is over is not opened by a repeat, nor by reading a topic again.
            State::Resolved if firing.at <= self.last_at => Noted::Known,
            _ if now.duration_since(firing.at) > terms.stale_after => Noted::Stale,
            State::New | State::Resolved => {
                self.state = State::Open;
                self.severity = firing.severity;
                self.alerts = 1;
                (self.opened_at, self.last_at, self.seen_at) = (firing.at, firing.at, now);
                self.tell_as(firing);
                Noted::Changed(self.changed(Kind::Open, now).into())
            }
        }
    }

    fn fire_again(&mut self, firing: &Firing, now: Timestamp, terms: &Terms) -> Noted {
        if firing.at < self.opened_at && now.duration_since(firing.at) > terms.stale_after {
            return Noted::Stale;
        }
        self.seen_at = self.seen_at.max(now);
        self.last_at = self.last_at.max(firing.at);
        if self.source == Source::Alert {
            self.alerts = self.alerts.saturating_add(1);
        }
        let is_worse = firing.severity > self.severity;
        if firing.severity >= self.severity {
            self.severity = firing.severity;
            self.tell_as(firing);
        }
        match is_worse || now.duration_since(self.changed_at) >= terms.remind_after {
            true => Noted::Changed(self.changed(Kind::Update, now).into()),
            false => Noted::Counted,
        }
    }

    /// Nothing more was heard of it: whether it is over.
    pub fn rest(&mut self, now: Timestamp, terms: &Terms) -> Option<Change> {
        let patience = match self.source {
            Source::Alert => terms.resolve_after,
            Source::Slo => terms.slo_clear,
        };
        if self.state != State::Open || now.duration_since(self.seen_at) < patience {
            return None;
        }
        self.state = State::Resolved;
        Some(self.changed(Kind::Resolved, now))
    }

    fn tell_as(&mut self, firing: &Firing) {
        self.reason = firing.reason.clone();
        self.trace_id = firing.trace_id.clone();
    }

    fn changed(&mut self, kind: Kind, now: Timestamp) -> Change {
        self.change_no += 1;
        self.changed_at = now;
        Change {
            fingerprint: self.fingerprint.clone(),
            change_no: self.change_no,
            kind,
            policy_name: self.policy_name.clone(),
            subject: self.subject.clone(),
            severity: self.severity,
            alerts: self.alerts,
            opened_at: self.opened_at,
            last_at: self.last_at,
            reason: self.reason.clone(),
            trace_id: self.trace_id.clone(),
        }
    }
}

/// At most so many characters of a text, without what no table keeps and no terminal should act on.
pub fn plain(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() || is_unseen(c) { ' ' } else { c };
    let mut cut: String = text.chars().take(most).map(clean).collect();
    if text.chars().nth(most).is_some() {
        cut.pop();
        cut.push('…');
    }
    cut
}

/// Characters that show nothing, or turn the direction of what follows.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
