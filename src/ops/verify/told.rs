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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::risk_state::{Lack, What};
    use crate::domain::text::{Account, IdempotencyKey, Symbol};

    fn found() -> Found {
        let account = Account::new("main").expect("an account");
        let symbol = Symbol::new("USDJPY").expect("a symbol");
        let key = IdempotencyKey::new("order-0001").expect("a key");
        let difference = Difference {
            what: What::Position,
            account: account.clone(),
            symbol: Some(symbol.clone()),
            trace_id: None,
            idempotency_key: None,
            field: "avg_price",
            stored: None,
            rebuilt: Some("147.25".into()),
        };
        let lack = Lack::Events { from: 3, to: 4 };
        let gap = Gap { account, symbol, idempotency_key: Some(key), lack };
        let one = Counts { orders: 1, ..Counts::default() };
        let compared = Compared {
            stored: Counts { orders: 2, lanes: 1, accounts: 1, traces: 2 },
            left_out: one,
            decisions: 2,
            events: 5,
            differences: vec![difference],
            gaps: vec![gap],
        };
        let shortened = Shortened { topic: "exec-events".into(), partition: 3, begins_at: 17 };
        let taken_at = Timestamp::UNIX_EPOCH;
        Found { taken_at, compared, still_owed: 2, shortened: vec![shortened], unreadable: vec![] }
    }

    #[test]
    fn what_was_found_reads_as_tables_with_what_explains_it_and_a_last_line_that_sums_up() {
        let lines: Vec<String> = found().text().lines().map(|l| l.trim_end().to_string()).collect();
        assert_eq!(
            lines,
            [
                "as of 1970-01-01T00:00:00Z: 2 order(s), 1 position(s), 1 account(s), 2 trace(s); told by \
                 2 decisions and 5 exec events",
                " what      account  symbol  trace or key  field      stored  rebuilt",
                " position  main     USDJPY  -             avg_price  none    147.25",
                " account  symbol  key         what the topics lack",
                " main     USDJPY  order-0001  exec events 3 to 4",
                "2 batch(es) of events are still owed: is a gate or a dispatch running, and Kafka up? \
                 --wait waits longer",
                "exec-events/3 begins at offset 17: Kafka has removed what was before, and what that told \
                 cannot be compared",
                "risk: 1 difference(s), 1 gap(s); not compared: 1 order(s), 0 position(s), 0 account(s), \
                 0 trace(s)",
            ]
        );
    }

    #[test]
    fn equal_states_read_as_one_word_and_a_shortened_topic_that_nothing_needs_is_not_told() {
        let mut found = found();
        found.still_owed = 0;
        found.compared = Compared { stored: found.compared.stored, ..Compared::default() };
        let text = found.text();
        assert!(text.ends_with("\nrisk: equal") && text.lines().count() == 2, "{text}");
        assert_eq!(found.verdict().json["equal"], json!(true));
    }
}
