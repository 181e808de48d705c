//! Owns the steps from a tree to a policy: sections, decimals, counts, lists, each with its violation.
//! Never guesses: an unknown key, a wrong kind or a number out of bounds is a violation, and reading goes on.

use rust_decimal::Decimal;

use super::tree::{Key, Node, Value};
use super::violation::Violations;
use crate::domain::money;

/// One section of a file: its entries are taken one by one, and what is left over is unknown.
pub(super) struct Section<'n> {
    path: String,
    entries: Vec<(&'n Key, &'n Node)>,
    known: Vec<&'static str>,
}

/// What a key holds: absent, written as nothing (`null`, which switches off), or a value.
pub(super) enum Given<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// The same with the value changed.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => Given::Value(change(value)),
        }
    }

    /// The value; absent keeps `before`, null is `off`.
    pub(super) fn over(self, before: T, off: T) -> T {
        match self {
            Given::Absent => before,
            Given::Null => off,
            Given::Value(value) => value,
        }
    }
}

/// The limits of a number.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub least: Decimal,
    pub most: Option<Decimal>,
}

impl Bounds {
    /// 0 or more.
    pub(super) const LIMIT: Bounds = Bounds { least: Decimal::ZERO, most: None };
    /// 0..=100.
    pub(super) const PERCENT: Bounds =
        Bounds { least: Decimal::ZERO, most: Some(Decimal::ONE_HUNDRED) };
    /// 0..=1.
    pub(super) const SHARE: Bounds = Bounds { least: Decimal::ZERO, most: Some(Decimal::ONE) };

    fn text(&self) -> String {
        match self.most {
            Some(most) => format!("a number from {} to {most}", self.least),
            None => format!("a number, {} or more", self.least),
        }
    }
}

/// The path of a key below another.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

impl<'n> Section<'n> {
    /// The entries of a map; null is an empty one.
    pub(super) fn of(node: &'n Node, path: &str, found: &mut Violations) -> Self {
        let entries = match &node.value {
            Value::Map(entries) => entries.iter().map(|(k, v)| (k, v)).collect(),
            Value::Null => Vec::new(),
            other => {
                found.add(node.place, path, format!("must be a section, found {}", other.kind()));
                Vec::new()
            }
        };
        Self { path: path.to_string(), entries, known: Vec::new() }
    }

    /// The node of a key, taken out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let at = self.entries.iter().position(|(k, _)| k.text == key)?;
        Some(self.entries.swap_remove(at).1)
    }

    /// Every entry that is left, taken out (for sections whose keys are names).
    pub(super) fn rest(&mut self) -> Vec<(&'n Key, &'n Node)> {
        let mut rest = std::mem::take(&mut self.entries);
        rest.sort_by_key(|(k, _)| k.place);
        rest
    }

    /// The path of one of its keys.
    pub(super) fn path(&self, key: &str) -> String {
        below(&self.path, key)
    }

    /// Refuses what nobody took.
    pub(super) fn end(self, found: &mut Violations) {
        for (key, _) in &self.entries {
            let path = below(&self.path, &key.text);
            found.add(
                key.place,
                &path,
                format!("unknown key; known are {}", self.known.join(", ")),
            );
        }
    }

    pub(super) fn decimal(
        &mut self,
        key: &'static str,
        bounds: Bounds,
        found: &mut Violations,
    ) -> Given<Decimal> {
        let path = self.path(key);
        match self.take(key) {
            None => Given::Absent,
            Some(Node { value: Value::Null, .. }) => Given::Null,
            Some(node) => decimal(node, &path, bounds, found).map_or(Given::Absent, Given::Value),
        }
    }

    pub(super) fn count(&mut self, key: &'static str, found: &mut Violations) -> Given<u32> {
        let path = self.path(key);
        match self.take(key) {
            None => Given::Absent,
            Some(Node { value: Value::Null, .. }) => Given::Null,
            Some(node) => match scalar(node).and_then(|text| text.parse::<u32>().ok()) {
                Some(count) => Given::Value(count),
                None => {
                    let what = format!("must be a whole number, 0 or more, found {}", shown(node));
                    found.add(node.place, &path, what);
                    Given::Absent
                }
            },
        }
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        found: &mut Violations,
    ) -> Given<T> {
        let path = self.path(key);
        match self.take(key) {
            None => Given::Absent,
            Some(Node { value: Value::Null, .. }) => Given::Null,
            Some(node) => {
                let text = scalar(node);
                match words.iter().find(|(word, _)| text == Some(word)) {
                    Some((_, value)) => Given::Value(*value),
                    None => {
                        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                        let what =
                            format!("must be one of {}, found {}", all.join(", "), shown(node));
                        found.add(node.place, &path, what);
                        Given::Absent
                    }
                }
            }
        }
    }

    /// Each item of a list, read by `item`; items that are refused are left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        found: &mut Violations,
        item: impl Fn(&Node, &str, &mut Violations) -> Option<T>,
    ) -> Given<Vec<T>> {
        let path = self.path(key);
        match self.take(key) {
            None => Given::Absent,
            Some(Node { value: Value::Null, .. }) => Given::Null,
            Some(Node { value: Value::List(items), .. }) => {
                let each = items.iter().enumerate();
                Given::Value(
                    each.filter_map(|(i, n)| item(n, &format!("{path}[{i}]"), found)).collect(),
                )
            }
            Some(node) => {
                found.add(node.place, &path, format!("must be a list, found {}", shown(node)));
                Given::Absent
            }
        }
    }
}

/// A scalar's text.
pub(super) fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// What stands there, for a message.
pub(super) fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } => format!("{:?}", text.chars().take(40).collect::<String>()),
        other => other.kind().to_string(),
    }
}

/// A decimal within bounds, read exactly from its text.
pub(super) fn decimal(
    node: &Node,
    path: &str,
    bounds: Bounds,
    found: &mut Violations,
) -> Option<Decimal> {
    let number = scalar(node).and_then(money::read);
    let good = number.filter(|n| *n >= bounds.least && bounds.most.is_none_or(|most| *n <= most));
    if good.is_none() {
        found.add(node.place, path, format!("must be {}, found {}", bounds.text(), shown(node)));
    }
    good
}
