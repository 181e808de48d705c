//! Owns how a played scenario reads: what went in, what was decided and why, what reached the broker, ✓ and ✗.
//! Never looks anything up: it is given the evidence, and gives text.
//! Invariant: without colour the text says the same.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::player::{Played, Sent};
use crate::domain::money::plain;
use crate::pg::acceptance::Answer;

/// The width the report is written for.
const WIDTH: usize = 100;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Ink(bool);

macro_rules! inks {
    ($($(#[$doc:meta])* $name:ident = $code:literal),+ $(,)?) => {
        impl Ink {
            $($(#[$doc])*
            pub fn $name(self, text: &str) -> String {
                match self.0 {
                    true => format!(concat!("\u{1b}[", $code, "m{}\u{1b}[0m"), text),
                    false => text.to_string(),
                }
            })+
        }
    };
}

inks! {
    /// Headings.
    bold = "1",
    /// Less important.
    dim = "2",
    /// Good.
    green = "32",
    /// Bad.
    red = "31",
    /// Look here.
    yellow = "33",
}

impl Ink {
    /// Colours if the output is a terminal and `NO_COLOR` is not set.
    pub fn of(terminal: bool) -> Self {
        Self(terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
    }

    /// No colours.
    pub fn none() -> Self {
        Self(false)
    }
}

/// The heading of a scenario.
pub fn heading(ink: Ink, nth: usize, of: usize, name: &str) -> String {
    let text = format!("── {nth}/{of} {name} ");
    let line = "─".repeat(WIDTH.saturating_sub(text.chars().count()));
    ink.bold(&format!("{text}{line}"))
}

/// One scenario.
pub fn scenario(ink: Ink, played: &Played) -> String {
    let mut out = vec![ink.bold(&played.scenario.title)];
    out.extend(wrapped(&played.scenario.about).into_iter().map(|line| ink.dim(&line)));
    for sent in &played.sent {
        out.push(String::new());
        out.extend(request(ink, sent));
        out.extend(decided(ink, sent, played));
        out.extend(received(sent, played));
    }
    out.push(String::new());
    for check in &played.checks {
        out.push(match check.ok {
            true => format!("  {} {}", ink.green("✓"), check.what),
            false => {
                format!(
                    "  {} {}, {}",
                    ink.red("✗"),
                    check.what,
                    ink.red(&format!("but: {}", check.found))
                )
            }
        });
    }
    if let Some(restless) = &played.restless {
        out.push(format!("  {} {}", ink.red("✗"), ink.red(restless)));
    }
    out.join("\n")
}

/// What went in.
fn request(ink: Ink, sent: &Sent) -> Vec<String> {
    let r = &sent.request;
    let mut asked = format!("{} {} {}", r.side.as_str(), plain(r.qty), r.symbol);
    asked.push_str(&format!(" {}", r.order_type.as_str()));
    let prices =
        [("limit", r.limit_price), ("stop", r.stop_price), ("reference", r.reference_price)];
    for (name, price) in prices {
        if let Some(price) = price {
            asked.push_str(&format!(" {name} {}", plain(price)));
        }
    }
    if let Some(quality) = r.quality {
        let number = |n: Option<f64>| n.map_or("?".to_string(), |n| n.to_string());
        let (missing, lag) = (number(quality.missing_ratio), number(quality.data_lag_min));
        asked.push_str(&format!(" · missing {missing}, lag {lag} min"));
    }
    let places: Vec<String> = sent.places.iter().map(|(p, o)| format!("{p}/{o}")).collect();
    vec![
        format!("  in        {} {asked}", ink.bold(&format!("{}:", sent.label))),
        ink.dim(&format!("            {}; at partition/offset {}", sent.how, places.join(" "))),
        ink.dim(&format!("            key {}  trace {}", short(&sent.key), r.trace_id)),
    ]
}

/// What was decided, and why.
fn decided(ink: Ink, sent: &Sent, played: &Played) -> Vec<String> {
    let mut out = Vec::new();
    let seen = &played.evidence;
    let letters = seen.dead_letters.get(&sent.label).map(Vec::as_slice).unwrap_or_default();
    for letter in letters {
        let place = format!("{}/{}", letter.partition, letter.offset);
        out.push(format!("  refused   {}: dead letter of {place}", ink.yellow(&letter.reason)));
        if !letter.detail.is_empty() {
            out.push(ink.dim(&format!("            {}", letter.detail)));
        }
    }
    match seen.decisions.get(&sent.label) {
        Some(decision) if letters.is_empty() => {
            let text = |name: &str| decision[name].as_str().unwrap_or_default().to_string();
            let action = text("action");
            let qty = short_number(&text("decided_qty"));
            let coloured = match action.as_str() {
                "BUY" | "SELL" => ink.green(&format!("{action} {qty}")),
                _ => ink.yellow(&action),
            };
            out.push(format!("  decided   {coloured}"));
            for step in decision["steps"].as_array().into_iter().flatten() {
                let part = |name: &str| step[name].as_str().unwrap_or_default().to_string();
                let (before, after) = (short_number(&part("before")), short_number(&part("after")));
                out.push(format!("            {before} → {after}  {}", part("rule")));
                out.push(ink.dim(&format!("              {}", part("reason"))));
            }
            out.push(ink.dim(&format!("            because: {}", text("reason"))));
        }
        Some(_) => {}
        None if letters.is_empty() => out.push(format!("  decided   {}", ink.red("nothing"))),
        None => {}
    }
    for alert in seen.alerts.get(&sent.label).into_iter().flatten() {
        let name = ink.yellow(&format!("{} {}", alert.severity, alert.policy_name));
        out.push(format!("  alert     {name}: {}", alert.reason));
    }
    out
}

/// What reached the broker, by its own ledger.
fn received(sent: &Sent, played: &Played) -> Vec<String> {
    let seen = &played.evidence;
    if seen.dead_letters.get(&sent.label).is_some_and(|letters| !letters.is_empty()) {
        return Vec::new();
    }
    let orders = seen.broker.get(&sent.label).map(Vec::as_slice).unwrap_or_default();
    if orders.is_empty() {
        return vec!["  broker    received nothing".into()];
    }
    let line = |order: &super::player::BrokerOrder| {
        let o = &order.order;
        let fills: Vec<String> =
            order.fills.iter().map(|f| format!("{} at {}", plain(f.qty), plain(f.px))).collect();
        let asked = format!("{} {} {}", o.side.as_str(), plain(o.qty), o.symbol);
        let status = format!("{:?}", order.status).to_lowercase();
        format!("  broker    {}: {asked}, {status} {}", order.order_ref, fills.join(", "))
    };
    let statuses = seen.statuses.get(&sent.label).map(|s| s.join(" → ")).unwrap_or_default();
    orders.iter().map(line).chain([format!("            {statuses}")]).collect()
}

/// A query and its answer, as psql would show them.
pub fn answered(ink: Ink, query: &str, answer: &Answer) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(&answer.columns);
    for row in &answer.rows {
        table.add_row(row.iter().map(|v| v.as_deref().map_or("", shorter)).collect::<Vec<_>>());
    }
    let rows = match answer.rows.len() {
        0 => "  (0 rows)".to_string(),
        _ => table
            .to_string()
            .lines()
            .map(|l| format!("  {}", l.trim_end()))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    format!("{}\n{rows}", ink.dim(&format!("  {query}")))
}

/// Only so much of a value that a table stays readable.
fn shorter(value: &str) -> &str {
    value.char_indices().nth(48).map_or(value, |(at, _)| &value[..at])
}

/// The last line.
pub fn summary(ink: Ink, played: &[Played], seconds: f64) -> String {
    let checks: usize = played.iter().map(|p| p.checks.len()).sum();
    let bad: usize = played
        .iter()
        .map(|p| p.checks.iter().filter(|c| !c.ok).count() + usize::from(p.restless.is_some()))
        .sum();
    let text =
        format!("{} scenario(s), {checks} expectation(s), {bad} ✗, {seconds:.1} s", played.len());
    match bad {
        0 => ink.green(&format!("✓ {text}")),
        _ => {
            let names: Vec<&str> =
                played.iter().filter(|p| !p.holds()).map(|p| &*p.scenario.name).collect();
            ink.red(&format!("✗ {text}: {}", names.join(", ")))
        }
    }
}

fn short(key: &str) -> String {
    match key.get(..12) {
        Some(head) if key.len() > 16 => format!("{head}…"),
        _ => key.to_string(),
    }
}

/// `430.000000000` as `430`.
fn short_number(text: &str) -> String {
    super::player::decimal(&Value::String(text.into())).map_or(text.into(), plain)
}

/// Lines of at most the report's width.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_words_and_nothing_is_lost() {
        let text = "one two three ".repeat(30);
        let lines = wrapped(&text);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim());
    }

    #[test]
    fn an_answer_without_rows_says_so_and_one_with_rows_shows_them() {
        let columns = vec!["ts".to_string(), "kind".to_string()];
        let mut answer = Answer { columns, rows: Vec::new() };
        assert!(answered(Ink::none(), "SELECT 1;", &answer).ends_with("(0 rows)"));
        answer.rows.push(vec![Some("12:00".into()), None]);
        let shown = answered(Ink::none(), "SELECT 1;", &answer);
        assert!(shown.contains("ts") && shown.contains("12:00"), "{shown}");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        assert_eq!(Ink(true).red("x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Ink::none().red("x"), "x");
    }
}
