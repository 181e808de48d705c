//! Owns how a story reads in a terminal, in English or Japanese.
//! Never looks anything up. Invariant: without colour the text says the same.

mod again;
mod decided;
mod now;
pub(super) mod pen;
mod timeline;
mod way;

use self::pen::{Pen, say};
use super::Explained;
use crate::demo::report::Ink;
use crate::pg::story::{Alert, DeadLetter, Order};

/// The whole story.
pub fn story(ink: Ink, explained: &Explained) -> String {
    let Explained { story, language, again } = explained;
    let (pen, trace) = (Pen { ink, language: *language }, &story.trace_id);
    let mut out = vec![ink.bold(&say!(pen, "trace {trace}", "トレース {trace}"))];
    if story.orders.is_empty() {
        out.push(say!(pen, "  no order of it has been decided", "  判定された注文は無い"));
    }
    for (order, again) in story.orders.iter().zip(again) {
        let key = &order.idempotency_key;
        out.push(String::new());
        out.push(ink.bold(&say!(pen, "order {key}", "注文 {key}")));
        out.extend(decided::asked(pen, order));
        out.extend(decided::decided(pen, order));
        out.extend(way::way(pen, order));
        let fired = story.alerts.iter().filter(|a| a.idempotency_key.as_ref() == Some(key));
        out.extend(fired.flat_map(|a| alert(pen, a, Some(order), &story.dead_letters)));
        out.extend(now::now(pen, order));
        out.extend(again::again(pen, again));
    }
    let known = |a: &&Alert| {
        let of = |o: &Order| Some(&o.idempotency_key) == a.idempotency_key.as_ref();
        story.orders.iter().any(of)
    };
    let mut others = story.alerts.iter().filter(|a| !known(a)).peekable();
    if others.peek().is_some() {
        out.push(String::new());
        out.extend(others.flat_map(|a| alert(pen, a, None, &story.dead_letters)));
    }
    if !story.notifications.is_empty() {
        out.push(String::new());
        out.extend(story.notifications.iter().map(|told| way::notified(pen, told)));
    }
    out.push(String::new());
    out.extend(timeline::timeline(pen, &story.timeline));
    out.extend(timeline::owed(pen, &story.owed, story.told_at));
    out.join("\n")
}

/// An alert, and the dead letter that it is about.
fn alert(pen: Pen, alert: &Alert, of: Option<&Order>, letters: &[DeadLetter]) -> Vec<String> {
    let steps = of.and_then(|order| order.decision["steps"].as_array());
    let is_explained = steps.into_iter().flatten().any(|s| s["rule"] == *alert.policy_name);
    let offset = alert.details.get("offset").and_then(serde_json::Value::as_i64);
    let is_its = |l: &&DeadLetter| l.policy_name == alert.policy_name && Some(l.offset) == offset;
    let letter = letters.iter().find(is_its);
    let mut out = way::alert(pen, alert, is_explained);
    out.extend(letter.into_iter().flat_map(|letter| way::letter(pen, letter)));
    out
}
