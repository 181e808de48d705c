//! A message as Slack's incoming webhooks take it: blocks, and a text for where blocks are not shown.
//! Never lets a text from outside be markup: `&`, `<` and `>` are escaped, so nobody is mentioned and nothing is a link.
//! Invariant: within Slack's limits, however much there is to tell.

use serde_json::json;

use super::letter::{Group, Letter, Named};
use super::{Kind, plain};
use crate::domain::event::Severity;

/// Slack's: characters of a header, of a section, and blocks; each with some room.
const HEADER_MAX: usize = 140;
const SECTION_MAX: usize = 2_900;
const BLOCKS_MAX: usize = 40;
/// Characters of the fallback.
const TEXT_MAX: usize = 2_000;
/// Characters of a condition's reason.
const REASON_MAX: usize = 160;
/// Conditions shown of one group.
const SHOWN_MAX: usize = 20;

/// The JSON body. `is_again`: an earlier attempt may have arrived.
pub fn body(letter: &Letter, is_again: bool) -> Vec<u8> {
    let headline = plain(&letter.headline(), HEADER_MAX);
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": format!("{} {headline}", sign(letter)), "emoji": true},
    })];
    let room = BLOCKS_MAX - 2;
    for group in letter.groups.iter().take(room) {
        let text = section(group);
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    let hidden = letter.groups.len().saturating_sub(room);
    let mut context = format!("`{}` · {}", letter.id, letter.at.strftime("%Y-%m-%d %H:%M:%S UTC"));
    if hidden > 0 {
        context += &format!(" · {hidden} more rules: `noctus notify list`");
    }
    if is_again {
        context += " · may have been sent before";
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}));
    let text = escaped(&plain(&fallback(letter), TEXT_MAX));
    json!({"text": text, "blocks": blocks}).to_string().into_bytes()
}

/// Text from outside, harmless within mrkdwn.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn sign(letter: &Letter) -> &'static str {
    let [opened, updated, resolved, _] = letter.counts();
    match letter.severity {
        _ if letter.is_test => "🔔",
        _ if opened + updated == 0 && resolved > 0 => "✅",
        Severity::Critical => "🔴",
        Severity::High => "🟠",
        Severity::Medium => "🟡",
        Severity::Low => "🔵",
    }
}

fn fallback(letter: &Letter) -> String {
    let first = letter.groups.iter().flat_map(|group| &group.conditions).next();
    match first {
        Some(named) => format!("{} — {} {}", letter.headline(), named.subject.text, named.reason),
        None => letter.headline(),
    }
}

/// One group: a line about it, and one for each condition shown, as many as fit.
fn section(group: &Group) -> String {
    let parts =
        [(group.opened, "open"), (group.updated, "still open"), (group.resolved, "resolved")];
    let told: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let name = code(&group.policy_name, 100);
    let severity = group.severity.as_str();
    let plural = if group.alerts == 1 { "" } else { "s" };
    let told = told.join(", ");
    let mut text = format!("*{severity}* {name} — {told}, {} alert{plural}", group.alerts);
    let mut left = group.more;
    for (at, named) in group.conditions.iter().enumerate() {
        let line = line(named);
        if at >= SHOWN_MAX || text.chars().count() + line.chars().count() > SECTION_MAX - 60 {
            left += u64::try_from(group.conditions.len() - at).unwrap_or(0);
            break;
        }
        text += &line;
    }
    if left > 0 {
        text += &format!("\n… and {left} more: `noctus notify list`");
    }
    text
}

fn line(named: &Named) -> String {
    let state = match (named.kind, named.is_new) {
        (Kind::Resolved, _) => "resolved",
        (_, true) => "open",
        (_, false) => "still open",
    };
    let about = match named.subject.text.as_str() {
        "" => String::new(),
        text => format!(" {}", code(text, 200)),
    };
    let trace = named.trace_id.as_ref().map(|t| format!(" {}", code(t, 128))).unwrap_or_default();
    let reason = escaped(&plain(&named.reason, REASON_MAX));
    format!("\n• {state}{about} ×{} {reason}{trace}", named.alerts)
}

/// Text as code: what is in it is no markup, and it cannot end the code.
fn code(text: &str, most: usize) -> String {
    format!("`{}`", escaped(&plain(text, most).replace('`', "'")))
}
