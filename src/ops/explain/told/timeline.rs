//! The trace as a picture: every hop, how long after the first one, and how long until it was written.

use jiff::Timestamp;

use super::pen::{Pen, at, ms, say, took};
use crate::pg::story::{Hop, Owed};

/// Columns of the picture.
const WIDTH: usize = 24;

pub(super) fn timeline(pen: Pen, hops: &[Hop]) -> Vec<String> {
    let times = || hops.iter().map(|hop| hop.ts);
    let (Some(start), Some(end)) = (times().min(), times().max()) else {
        return vec![say!(
            pen,
            "timeline: nothing is written yet",
            "時系列: まだ何も書かれていない"
        )];
    };
    let (from, all) = (at(start), took(ms(start, end)));
    let heading = say!(
        pen,
        "timeline, ms since {from}, {all} in all; + is until the sink had written it",
        "時系列、{from} からの ms、全体 {all}。+ は sink が書くまで"
    );
    let mut out = vec![pen.ink.bold(&heading)];
    let mut before = 0;
    for hop in hops {
        let us = hop.ts.as_microsecond() - start.as_microsecond();
        let column = column(hop.ts, start, end);
        let offset = format!("{}.{:03}", us / 1_000, us % 1_000);
        let written = hop.ingested_at.map(|at| format!("+{}", took(ms(hop.ts, at))));
        let line = format!(
            "{offset:>14}  {}  {:>9}  {}",
            pen.ink.dim(&bar(before, column)),
            written.unwrap_or_default(),
            said(pen, hop)
        );
        out.push(line.trim_end().to_string());
        before = column;
    }
    out
}

fn column(ts: Timestamp, start: Timestamp, end: Timestamp) -> usize {
    let since = |at: Timestamp| i128::from(at.as_microsecond() - start.as_microsecond());
    let all = since(end).max(1);
    usize::try_from(since(ts) * (WIDTH as i128 - 1) / all).unwrap_or(0).min(WIDTH - 1)
}

/// From the hop before to this one.
fn bar(before: usize, now: usize) -> String {
    let before = before.min(now);
    let (gap, line) = (" ".repeat(before), "─".repeat(now - before));
    format!("{gap}{line}●{}", " ".repeat(WIDTH - 1 - now))
}

fn said(pen: Pen, hop: &Hop) -> String {
    let action = hop.action.as_deref().unwrap_or_default();
    let reason = || hop.payload["reason"].as_str().unwrap_or_default().to_string();
    let more = match hop.kind.as_str() {
        "ALERT" | "COMMAND" => reason(),
        "EXEC" => {
            let nth = &hop.payload["exec_seq"];
            say!(pen, "step {nth}", "第 {nth} 段階")
        }
        "DEAD_LETTER" | "NOTIFIED" => {
            let part = |name: &str| hop.payload[name].to_string().replace('"', "");
            match hop.kind.as_str() {
                "NOTIFIED" => format!("{} {}", part("receiver"), part("state")),
                _ => format!("{}/{}/{}", part("topic"), part("partition"), part("offset")),
            }
        }
        _ => String::new(),
    };
    match action {
        "" => hop.kind.clone(),
        action => format!("{} {action}  {}", hop.kind, pen.ink.dim(&more)),
    }
}

pub(super) fn owed(pen: Pen, owed: &[Owed], now: Timestamp) -> Vec<String> {
    let line = |o: &Owed| {
        let (events, topic, age) = (o.events, &o.topic, ms(o.oldest, now));
        let what = pen.ink.yellow(&say!(
            pen,
            "{events} event(s) owed to {topic}, for {age} ms",
            "{topic} へ未送達 {events} 件、{age} ms 前から"
        ));
        say!(
            pen,
            "{what} (committed, not yet acknowledged by Kafka)",
            "{what} (確定済み、Kafka の受領待ち)"
        )
    };
    owed.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_reaches_from_the_hop_before_to_this_one() {
        let at = |us| Timestamp::from_microsecond(us).expect("in range");
        let columns = [0, 10, 50, 100].map(|us| column(at(us), at(0), at(100)));
        assert_eq!(columns, [0, 2, 11, 23]);
        assert_eq!(column(at(5), at(5), at(5)), 0, "a single hop");
        assert_eq!(bar(2, 5).trim_end(), "  ───●");
        assert_eq!(bar(5, 2).trim_end(), "  ●", "an earlier one stands where it is");
        assert!((0..WIDTH).all(|now| bar(1, now).chars().count() == WIDTH));
    }
}
