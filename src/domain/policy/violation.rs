//! Owns how a refused policy says what is wrong with it: every violation, each with its place and a caret.
//! Never stops at the first one. Invariant: a file with a violation gives no policy (C-RISK-6).

use std::fmt;

/// Where something stands in a text: line and column from 1, width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

impl Place {
    /// The first character.
    pub const START: Place = Place { line: 1, column: 1, width: 1 };
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file, as it was named.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// The key, e.g. `default.max_order_qty`; empty if it is about the whole text.
    pub path: String,
    /// What is wrong and what is allowed.
    pub what: String,
    /// The line it stands on.
    pub source: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, width } = self.place;
        write!(f, "{}:{line}:{column}: ", self.file)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        writeln!(f, "{}", self.what)?;
        let source = window(&self.source, column);
        let margin = " ".repeat(line.to_string().len());
        writeln!(f, "{margin} |")?;
        writeln!(f, "{line} | {}", source.text)?;
        let width = width.min(source.text.chars().count().saturating_sub(source.column - 1)).max(1);
        write!(f, "{margin} | {}{}", " ".repeat(source.column - 1), "^".repeat(width))
    }
}

/// The part of a line that is shown, and where the column is in it.
struct Window {
    text: String,
    column: usize,
}

/// Most characters of a line that are shown (a policy in JSON may be one long line).
pub(crate) const SHOWN_MAX: usize = 100;

fn window(line: &str, column: usize) -> Window {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let skip = if column > SHOWN_MAX { column - SHOWN_MAX / 2 } else { 0 };
    let text = line.chars().skip(skip).take(SHOWN_MAX).map(clean).collect();
    Window { text, column: column - skip }
}

/// A policy that cannot be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPolicy(pub Vec<Violation>);

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy has {} violation(s)", self.0.len())?;
        self.0.iter().try_for_each(|v| write!(f, "\n{v}"))
    }
}

impl std::error::Error for BadPolicy {}

/// What was found wrong with one text so far.
pub(super) struct Violations<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<Violation>,
}

impl<'t> Violations<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    pub(super) fn add(&mut self, place: Place, path: &str, what: impl Into<String>) {
        let source = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        self.found.push(Violation {
            file: self.file.to_string(),
            place,
            path: path.to_string(),
            what: what.into(),
            source: source.to_string(),
        });
    }

    /// The policy, unless something is wrong with it.
    pub(super) fn verdict<T>(mut self, policy: T) -> Result<T, BadPolicy> {
        if self.found.is_empty() {
            return Ok(policy);
        }
        self.found.sort_by_key(|v| v.place);
        Err(BadPolicy(self.found))
    }
}
