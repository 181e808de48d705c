//! Who is told of what: receivers, and the routes to them.
//! Never holds a secret. Invariant: every receiver that a route names is there.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Serialize;

use super::{Change, Terms};
use crate::domain::event::Severity;

/// How a receiver is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An incoming webhook of Slack's; its address is a secret.
    Slack,
    /// A webhook signed as Standard Webhooks say.
    Webhook,
}

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receiver {
    /// How it is called.
    pub kind: Kind,
    /// Its address, unless that is a secret too.
    pub url: Option<String>,
    /// Plain HTTP may be used.
    pub allow_http: bool,
    /// Addresses of this machine and of private networks may be called.
    pub allow_private: bool,
}

/// What leads to receivers, if all of it holds; a part that says nothing always holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Route {
    /// These severities.
    pub severities: Vec<Severity>,
    /// These rules; `*` stands for anything.
    pub policies: Vec<String>,
    /// These accounts.
    pub accounts: Vec<String>,
    /// These symbols.
    pub symbols: Vec<String>,
    /// Who is told; nobody is silence.
    pub to: Vec<String>,
    /// The routes after this one are looked at, too.
    pub goes_on: bool,
}

/// Told again and again that all is well, so that silence is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// How often, seconds.
    pub every_s: u32,
    /// Its address, unless that is a secret.
    pub url: Option<String>,
    /// Addresses that must answer 200 before: roles' `/readyz`.
    pub probes: Vec<String>,
    /// As of a receiver.
    pub allow_http: bool,
    /// As of a receiver.
    pub allow_private: bool,
}

/// How fast messages follow each other, and for how long one is tried; seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// Changes are gathered for so long, and messages to one receiver are at least so far apart.
    pub flush_s: u32,
    /// What is CRITICAL waits for no more than this after a quiet time.
    pub critical_flush_s: u32,
    /// Longest pause between two attempts, unless the receiver asks for more.
    pub retry_max_s: u32,
    /// A message not delivered after this long has failed.
    pub give_up_s: u32,
    /// Without another alert for so long a condition is over.
    pub resolve_after_s: u32,
    /// A violation not shown for so long is over.
    pub slo_clear_s: u32,
    /// What still goes on is told again after so long.
    pub remind_after_s: u32,
    /// An older alert opens nothing.
    pub stale_after_s: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            flush_s: 10,
            critical_flush_s: 1,
            retry_max_s: 60,
            give_up_s: 21_600,
            resolve_after_s: 900,
            slo_clear_s: 60,
            remind_after_s: 14_400,
            stale_after_s: 86_400,
        }
    }
}

impl Pace {
    /// How long conditions hold.
    pub fn terms(&self) -> Terms {
        let seconds = |s: u32| SignedDuration::from_secs(i64::from(s));
        Terms {
            resolve_after: seconds(self.resolve_after_s),
            slo_clear: seconds(self.slo_clear_s),
            remind_after: seconds(self.remind_after_s),
            stale_after: seconds(self.stale_after_s),
        }
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Routes {
    /// Who can be told, by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// Looked at in this order; the first that holds decides.
    pub routes: Vec<Route>,
    /// Who is told of what no route holds for.
    pub default: Vec<String>,
    /// The dead man's switch.
    pub heartbeat: Option<Heartbeat>,
    /// How fast.
    pub pace: Pace,
    /// SHA-256 of what the file means.
    #[serde(skip)]
    pub digest: String,
}

impl Routes {
    /// Whether nobody is ever told.
    pub fn lead_nowhere(&self) -> bool {
        self.default.is_empty() && self.routes.iter().all(|route| route.to.is_empty())
    }

    /// Who is told of a change, each once. What is about a receiver's own trouble is not told to it.
    pub fn receivers_of(&self, change: &Change) -> Vec<&str> {
        let mut told: Vec<&str> = Vec::new();
        let mut is_routed = false;
        for route in self.routes.iter().filter(|route| route.holds(change)) {
            is_routed = true;
            told.extend(route.to.iter().map(String::as_str));
            if !route.goes_on {
                break;
            }
        }
        if !is_routed {
            told.extend(self.default.iter().map(String::as_str));
        }
        told.sort_unstable();
        told.dedup();
        let own = own_trouble(change);
        told.retain(|name| own != Some(*name));
        told
    }
}

/// The receiver whose trouble a change is about, if it is about one.
fn own_trouble(change: &Change) -> Option<&str> {
    change.subject.text.split(' ').find_map(|part| part.strip_prefix("receiver="))
}

impl Route {
    fn holds(&self, change: &Change) -> bool {
        let among = |names: &[String], name: &Option<String>| {
            names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name))
        };
        let policies = &self.policies;
        (self.severities.is_empty() || self.severities.contains(&change.severity))
            && (policies.is_empty() || policies.iter().any(|p| fits(p, &change.policy_name)))
            && among(&self.accounts, &change.subject.account)
            && among(&self.symbols, &change.subject.symbol)
    }
}

/// Whether a name fits a pattern in which `*` stands for anything.
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| name.strip_prefix(start)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(end) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        // The first place is as good as any: what is before it fits the star.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}
