//! Owns how the comparison of the risk state reads, for a person and as JSON.

use jiff::Timestamp;
use serde_json::json;

use super::super::table::table;
use super::Verdict;
use super::events::{Shortened, Unreadable};
use crate::domain::risk_state::{Compared, Counts, Difference, Gap};

/// Rows of one table that are shown; JSON has all.
const ROWS_MAX: usize = 100;

/// Everything that was found.
pub struct Found {
    /// When the tables were read.
    pub taken_at: Timestamp,
    pub compared: Compared,
    /// Batches of events that are still owed, though not all events are there.
    pub still_owed: i64,
    pub shortened: Vec<Shortened>,
    pub unreadable: Vec<Unreadable>,
}

impl Found {
    pub fn verdict(self) -> Verdict {
        let is_equal = self.compared.is_equal();
        Verdict { name: "risk", is_equal, text: self.text(), json: self.json() }
    }

    fn json(&self) -> serde_json::Value {
        let Compared { stored, left_out, decisions, events, differences, gaps } = &self.compared;
        json!({
            "equal": self.compared.is_equal(),
            "as_of": self.taken_at,
            "stored": stored,
            "decisions": decisions,
            "exec_events": events,
            "differences": differences,
            "gaps": gaps,
            "left_out": left_out,
            "still_owed": self.still_owed,
            "shortened": self.shortened,
            "unreadable": self.unreadable,
        })
    }

    fn text(&self) -> String {
        let Compared { stored, decisions, events, differences, gaps, .. } = &self.compared;
        let mut lines = vec![format!(
            "as of {}: {}; told by {decisions} decisions and {events} exec events",
            self.taken_at,
            told(stored)
        )];
        lines.extend(rows(&DIFFERENCE, differences, difference));
        lines.extend(rows(&GAP, gaps, gap));
        lines.extend(self.notes());
        lines.push(match (differences.len(), gaps.len()) {
            (0, 0) if self.compared.is_equal() => "risk: equal".into(),
            (differences, gaps) => format!(
                "risk: {differences} difference(s), {gaps} gap(s); not compared: {}",
                told(&self.compared.left_out)
            ),
        });
        lines.join("\n")
    }

    /// What explains gaps.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.still_owed > 0 {
            notes.push(format!(
                "{} batch(es) of events are still owed: is a gate or a dispatch running, and Kafka up? \
                 --wait waits longer",
                self.still_owed
            ));
        }
        let is_whole = self.compared.gaps.is_empty();
        for Shortened { topic, partition, begins_at } in self.shortened.iter().filter(|_| !is_whole)
        {
            notes.push(format!(
                "{topic}/{partition} begins at offset {begins_at}: Kafka has removed what was before, and \
                 what that told cannot be compared"
            ));
        }
        for Unreadable { topic, partition, offset, why } in self.unreadable.iter().take(ROWS_MAX) {
            notes.push(format!("{topic}/{partition}/{offset} cannot be read: {why}"));
        }
        notes
    }
}

fn told(counts: &Counts) -> String {
    let Counts { orders, lanes, accounts, traces } = counts;
    format!("{orders} order(s), {lanes} position(s), {accounts} account(s), {traces} trace(s)")
}

const DIFFERENCE: [&str; 7] =
    ["what", "account", "symbol", "trace or key", "field", "stored", "rebuilt"];

fn difference(d: &Difference) -> Vec<String> {
    let name = d.idempotency_key.as_ref().map(ToString::to_string);
    let name = name.or(d.trace_id.as_ref().map(ToString::to_string));
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
    vec![
        d.what.as_str().into(),
        d.account.to_string(),
        d.symbol.as_ref().map_or("-".into(), ToString::to_string),
        name.unwrap_or_else(|| "-".into()),
        d.field.into(),
        value(&d.stored),
        value(&d.rebuilt),
    ]
}

const GAP: [&str; 4] = ["account", "symbol", "key", "what the topics lack"];

fn gap(gap: &Gap) -> Vec<String> {
    vec![
        gap.account.to_string(),
        gap.symbol.to_string(),
        gap.idempotency_key.as_ref().map_or("-".into(), ToString::to_string),
        gap.lack.to_string(),
    ]
}

fn rows<T>(columns: &[&str], all: &[T], row: impl Fn(&T) -> Vec<String>) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![table(columns, all.iter().take(ROWS_MAX).map(row)).to_string()];
    if let Some(more @ 1..) = all.len().checked_sub(ROWS_MAX) {
        lines.push(format!("… and {more} more; --json tells all"));
    }
    lines
}
