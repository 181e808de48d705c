//! Owns reading `configs/notify.yml`: who is told of what, and how fast.
//! Never holds a secret: a secret in the file is an unknown key. Invariant: what a route names is a receiver.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::digest;
use super::read::{Section, below, scalar, shown};
use super::tree::{self, Node, Value};
use super::violation::{BadPolicy, Violations};
use crate::domain::event::Severity;
use crate::domain::notice::routes::{Heartbeat, Kind, Pace, Receiver, Route, Routes};

/// Allowed form of a receiver's name: its secrets are in variables that are called after it.
pub(super) const NAME: &str = "[a-z][a-z0-9-]{0,31}";
/// Most receivers, and most routes.
const RECEIVERS_MAX: usize = 32;
const ROUTES_MAX: usize = 100;
/// The words for yes and no.
const WHETHER: [(&str, bool); 2] = [("true", true), ("false", false)];
/// The words for severities.
pub(super) const SEVERITIES: [(&str, Severity); 4] = [
    ("LOW", Severity::Low),
    ("MEDIUM", Severity::Medium),
    ("HIGH", Severity::High),
    ("CRITICAL", Severity::Critical),
];

impl Routes {
    /// Reads a file's text; `file` names it in violations.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadPolicy> {
        let mut found = Violations::new(file, text);
        let mut routes = Self::default();
        if let Some(root) = tree::read(text, &mut found) {
            let mut section = Section::of(&root, "", &mut found);
            if let Some(node) = section.take("receivers") {
                routes.receivers = receivers(node, &mut found);
            }
            let known = &routes.receivers;
            let all = section.list("routes", &mut found, |node, path, found| {
                Some(route(node, path, known, found))
            });
            routes.routes = all.over(vec![], vec![]);
            if routes.routes.len() > ROUTES_MAX {
                found.add(root.place, "routes", format!("at most {ROUTES_MAX} are allowed"));
            }
            routes.default = names(&mut section, "default", known, &mut found);
            if let Some(node) = section.take("heartbeat").filter(|node| node.value != Value::Null) {
                routes.heartbeat = heartbeat(node, &mut found);
            }
            if let Some(node) = section.take("pace") {
                routes.pace = pace(node, &mut found);
            }
            section.end(&mut found);
        }
        routes.digest = digest("notify", &routes);
        found.verdict(routes)
    }
}

fn receivers(node: &Node, found: &mut Violations) -> BTreeMap<String, Receiver> {
    let mut all = BTreeMap::new();
    for (key, node) in Section::of(node, "receivers", found).rest() {
        let path = below("receivers", &key.text);
        // NOCTUS_NOTIFY_HEARTBEAT_URL is the heartbeat's.
        if !is_name(&key.text) || key.text == "heartbeat" {
            found.add(key.place, &path, format!("a name must be {NAME} and not heartbeat"));
        }
        if let Some(receiver) = receiver(node, &path, found) {
            all.insert(key.text.clone(), receiver);
        }
    }
    if all.len() > RECEIVERS_MAX {
        found.add(node.place, "receivers", format!("at most {RECEIVERS_MAX} are allowed"));
    }
    all
}

fn is_name(name: &str) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(rest)
}

fn receiver(node: &Node, path: &str, found: &mut Violations) -> Option<Receiver> {
    let mut section = Section::of(node, path, found);
    let kinds = [("slack", Some(Kind::Slack)), ("webhook", Some(Kind::Webhook))];
    let kind = section.word("kind", &kinds, found).over(None, None);
    let (allow_http, allow_private) = allowances(&mut section, found);
    let url = url(&mut section, allow_http, found);
    if kind == Some(Kind::Slack) && url.is_some() {
        let path = section.path("url");
        let what =
            "the address of a Slack webhook is a secret: give it in NOCTUS_NOTIFY_<NAME>_URL";
        found.add(node.place, &path, what);
    }
    if kind.is_none() && !is_given(node, "kind") {
        found.add(node.place, path, "needs a kind: slack or webhook");
    }
    section.end(found);
    Some(Receiver { kind: kind?, url, allow_http, allow_private })
}

fn is_given(node: &Node, key: &str) -> bool {
    matches!(&node.value, Value::Map(entries) if entries.iter().any(|(k, _)| k.text == key))
}

fn allowances(section: &mut Section, found: &mut Violations) -> (bool, bool) {
    let http = section.word("allow_http", &WHETHER, found).over(false, false);
    let private = section.word("allow_private", &WHETHER, found).over(false, false);
    (http, private)
}

/// An address; a place for it that is empty is one that a variable fills.
fn url(section: &mut Section, allow_http: bool, found: &mut Violations) -> Option<String> {
    let path = section.path("url");
    let node = section.take("url").filter(|node| node.value != Value::Null)?;
    address(node, &path, allow_http, found)
}

fn address(node: &Node, path: &str, allow_http: bool, found: &mut Violations) -> Option<String> {
    let good = scalar(node).filter(|text| {
        let is_plain = text.strip_prefix("http://").filter(|_| allow_http);
        let rest = text.strip_prefix("https://").or(is_plain);
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        // A name and a password in an address would be a secret in the file.
        host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    });
    if good.is_none() {
        let http =
            if allow_http { "http:// or https://" } else { "https:// (or allow_http: true)" };
        let what = format!("must be an address with {http}, without a user, found {}", shown(node));
        found.add(node.place, path, what);
    }
    good.map(String::from)
}

fn route(
    node: &Node,
    path: &str,
    known: &BTreeMap<String, Receiver>,
    found: &mut Violations,
) -> Route {
    let mut section = Section::of(node, path, found);
    let severities = section.list("severity", found, |node, path, found| {
        let text = scalar(node);
        let severity = SEVERITIES.iter().find(|(word, _)| text == Some(word));
        if severity.is_none() {
            let what = format!("must be LOW, MEDIUM, HIGH or CRITICAL, found {}", shown(node));
            found.add(node.place, path, what);
        }
        severity.map(|(_, severity)| *severity)
    });
    let route = Route {
        severities: severities.over(vec![], vec![]),
        policies: texts(&mut section, "policy_name", found),
        accounts: texts(&mut section, "account", found),
        symbols: texts(&mut section, "symbol", found),
        to: names(&mut section, "to", known, found),
        goes_on: section.word("continue", &WHETHER, found).over(false, false),
    };
    if !is_given(node, "to") {
        found.add(node.place, path, "needs `to`: receivers, or [] for silence");
    }
    section.end(found);
    route
}

fn texts(section: &mut Section, key: &'static str, found: &mut Violations) -> Vec<String> {
    let all = section.list(key, found, |node, path, found| {
        let text = scalar(node).filter(|text| (1..=100).contains(&text.len()));
        if text.is_none() {
            let what = format!("must be a text of 1 to 100 bytes, found {}", shown(node));
            found.add(node.place, path, what);
        }
        text.map(String::from)
    });
    all.over(vec![], vec![])
}

fn names(
    section: &mut Section,
    key: &'static str,
    known: &BTreeMap<String, Receiver>,
    found: &mut Violations,
) -> Vec<String> {
    let all = section.list(key, found, |node, path, found| {
        let name = scalar(node).filter(|name| known.contains_key(*name));
        if name.is_none() {
            found.add(node.place, path, format!("{} is no receiver", shown(node)));
        }
        name.map(String::from)
    });
    all.over(vec![], vec![])
}

fn heartbeat(node: &Node, found: &mut Violations) -> Option<Heartbeat> {
    let mut section = Section::of(node, "heartbeat", found);
    let (allow_http, allow_private) = allowances(&mut section, found);
    let every_s = seconds(&mut section, "every_s", 60, 5..=86_400, found);
    let url = url(&mut section, allow_http, found);
    // The roles of one's own network, called without a secret.
    let probes =
        section.list("probes", found, |node, path, found| address(node, path, true, found));
    let probes = probes.over(vec![], vec![]);
    section.end(found);
    Some(Heartbeat { every_s, url, probes, allow_http, allow_private })
}

fn pace(node: &Node, found: &mut Violations) -> Pace {
    let mut section = Section::of(node, "pace", found);
    let mut of = |key, before, limits| seconds(&mut section, key, before, limits, found);
    let d = Pace::default();
    let pace = Pace {
        flush_s: of("flush_s", d.flush_s, 1..=600),
        critical_flush_s: of("critical_flush_s", d.critical_flush_s, 0..=60),
        retry_max_s: of("retry_max_s", d.retry_max_s, 1..=3_600),
        give_up_s: of("give_up_s", d.give_up_s, 1..=604_800),
        resolve_after_s: of("resolve_after_s", d.resolve_after_s, 1..=604_800),
        slo_clear_s: of("slo_clear_s", d.slo_clear_s, 0..=86_400),
        remind_after_s: of("remind_after_s", d.remind_after_s, 1..=2_592_000),
        stale_after_s: of("stale_after_s", d.stale_after_s, 60..=2_592_000),
    };
    section.end(found);
    pace
}

fn seconds(
    section: &mut Section,
    key: &'static str,
    before: u32,
    limits: std::ops::RangeInclusive<u32>,
    found: &mut Violations,
) -> u32 {
    let path = section.path(key);
    let Some(node) = section.take(key) else { return before };
    let good = scalar(node).and_then(|text| text.parse().ok()).filter(|n| limits.contains(n));
    if good.is_none() {
        let (least, most) = (limits.start(), limits.end());
        let what = format!("must be whole seconds from {least} to {most}, found {}", shown(node));
        found.add(node.place, &path, what);
    }
    good.unwrap_or(before)
}
