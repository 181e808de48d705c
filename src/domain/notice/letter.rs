//! What one message says: changes gathered, grouped by rule and severity, with counts and some of what they are about.
//! Never leaves out a change from the counts, nor anything CRITICAL from what is named.
//! Invariant: its id is a function of the receiver and of the changes that it tells, whatever their order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::subject::digest;
use super::{Change, Kind, Subject};
use crate::domain::event::Severity;

/// Most changes in one message that is about something CRITICAL: each is named.
pub const CRITICAL_MAX: usize = 200;
/// Most changes in one message of the others.
pub const CHANGES_MAX: usize = 10_000;
/// Conditions named of a group that is not CRITICAL.
const EXAMPLES_MAX: usize = 5;
/// Groups told apart; the rules of the others are only counted.
const GROUPS_MAX: usize = 40;
/// What stands for the rules of the others.
const OTHERS: &str = "(others)";

/// One message for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The same for every attempt.
    pub id: String,
    /// Who is told.
    pub receiver: String,
    /// When it was written.
    pub at: Timestamp,
    /// The highest severity in it.
    pub severity: Severity,
    /// A trial, about nothing.
    #[serde(default)]
    pub is_test: bool,
    /// The worst first.
    pub groups: Vec<Group>,
}

/// What one rule did at one severity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The rule.
    pub policy_name: String,
    /// The severity.
    pub severity: Severity,
    /// Conditions that hold since the last message.
    pub opened: u64,
    /// Conditions that have become worse or go on.
    pub updated: u64,
    /// Conditions that no longer hold.
    pub resolved: u64,
    /// Alerts of these conditions, each since it opened.
    pub alerts: u64,
    /// Some of them; all if it is CRITICAL.
    pub conditions: Vec<Named>,
    /// How many are not named.
    pub more: u64,
}

/// A condition and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What stands for it.
    pub fingerprint: String,
    /// Which of its changes this is: the higher one is the newer.
    pub change: i64,
    /// What changed.
    pub kind: Kind,
    /// It was opened since the last message, whatever became of it.
    pub is_new: bool,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Alerts since it opened.
    pub alerts: i64,
    /// The first of them.
    pub opened_at: Timestamp,
    /// The newest.
    pub last_at: Timestamp,
    /// For a person.
    pub reason: String,
    /// The trace, to look it up.
    pub trace_id: Option<String>,
}

/// The id of a message: a function of who is told and of what.
pub fn id_of(receiver: &str, changes: &[Change]) -> String {
    let mut told: Vec<String> = changes
        .iter()
        .map(|c| format!("{} {} {}", c.fingerprint, c.opened_at, c.change_no))
        .collect();
    told.sort_unstable();
    let parts: Vec<&[u8]> = std::iter::once(receiver)
        .chain(told.iter().map(String::as_str))
        .map(str::as_bytes)
        .collect();
    format!("msg_{}", digest("noctus-message-v1", &parts))
}

/// One message of these changes; none of no change.
pub fn compose(receiver: &str, changes: &[Change], at: Timestamp) -> Option<Letter> {
    let severity = changes.iter().map(|change| change.severity).max()?;
    // Of a condition that changed several times only where it is now is told.
    let mut last: BTreeMap<&str, (&Change, bool)> = BTreeMap::new();
    for change in changes {
        let is_new = change.kind == Kind::Open;
        let known = last.entry(&change.fingerprint).or_insert((change, false));
        known.1 |= is_new;
        if change.change_no > known.0.change_no {
            known.0 = change;
        }
    }
    let mut groups: BTreeMap<(std::cmp::Reverse<Severity>, &str), Group> = BTreeMap::new();
    let mut named: Vec<(&Change, bool)> = last.into_values().collect();
    named.sort_by(|(a, _), (b, _)| {
        (b.severity, &a.policy_name, a.opened_at, &a.fingerprint).cmp(&(
            a.severity,
            &b.policy_name,
            b.opened_at,
            &b.fingerprint,
        ))
    });
    for (change, is_new) in named {
        let key = (std::cmp::Reverse(change.severity), change.policy_name.as_str());
        let is_full = groups.len() >= GROUPS_MAX && !groups.contains_key(&key);
        let key = if is_full { (key.0, OTHERS) } else { key };
        let group = groups.entry(key).or_insert_with(|| Group::of(key.1, change.severity));
        group.add(change, is_new);
    }
    Some(Letter {
        id: id_of(receiver, changes),
        receiver: receiver.to_string(),
        at,
        severity,
        is_test: false,
        groups: groups.into_values().collect(),
    })
}

impl Letter {
    /// A message that says nothing but that it arrived.
    pub fn test(receiver: &str, nonce: &str, at: Timestamp) -> Self {
        let id =
            format!("msg_{}", digest("noctus-test-v1", &[receiver.as_bytes(), nonce.as_bytes()]));
        let receiver = receiver.to_string();
        Self { id, receiver, at, severity: Severity::Low, is_test: true, groups: vec![] }
    }

    /// Whether it tells that something CRITICAL holds.
    pub fn is_critical(&self) -> bool {
        let is_critical = |group: &Group| group.severity == Severity::Critical;
        self.groups.iter().any(|g| is_critical(g) && g.opened + g.updated > 0)
    }

    /// Conditions opened, updated, resolved; and alerts.
    pub fn counts(&self) -> [u64; 4] {
        let sum = |of: fn(&Group) -> u64| self.groups.iter().map(of).sum();
        [sum(|g| g.opened), sum(|g| g.updated), sum(|g| g.resolved), sum(|g| g.alerts)]
    }

    /// The message in one line.
    pub fn headline(&self) -> String {
        if self.is_test {
            return format!("Noctus: a test for {}", self.receiver);
        }
        let [opened, updated, resolved, alerts] = self.counts();
        let parts = [(opened, "open"), (updated, "still open"), (resolved, "resolved")];
        let told: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let rules = match self.groups.as_slice() {
            [one] => one.policy_name.clone(),
            several => format!("{} rules", several.len()),
        };
        let plural = if alerts == 1 { "" } else { "s" };
        let severity = self.severity.as_str();
        format!("{severity} {rules}: {} ({alerts} alert{plural})", told.join(", "))
    }
}

impl Group {
    fn of(policy_name: &str, severity: Severity) -> Self {
        let policy_name = policy_name.to_string();
        Self {
            policy_name,
            severity,
            opened: 0,
            updated: 0,
            resolved: 0,
            alerts: 0,
            conditions: vec![],
            more: 0,
        }
    }

    fn add(&mut self, change: &Change, is_new: bool) {
        match (change.kind, is_new) {
            (Kind::Resolved, _) => self.resolved += 1,
            (_, true) => self.opened += 1,
            (_, false) => self.updated += 1,
        }
        self.alerts += u64::try_from(change.alerts).unwrap_or(0);
        if self.severity != Severity::Critical && self.conditions.len() >= EXAMPLES_MAX {
            self.more += 1;
            return;
        }
        self.conditions.push(Named {
            fingerprint: change.fingerprint.clone(),
            change: change.change_no,
            kind: change.kind,
            is_new,
            subject: change.subject.clone(),
            alerts: change.alerts,
            opened_at: change.opened_at,
            last_at: change.last_at,
            reason: change.reason.clone(),
            trace_id: change.trace_id.clone(),
        });
    }
}
