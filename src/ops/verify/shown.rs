//! Owns how the comparisons of contents read, for a person and as JSON.

use serde_json::{Value, json};

use super::super::table::{numbers, table};
use super::Verdict;
use super::contents::{Comparison, Contents};
use super::examples::Example;
use super::topics::Read;
use crate::domain::truth::Hour;
use crate::domain::truth::compare::{Kind, Sides};

/// Hours of one comparison that are shown to a person; JSON has all.
const HOURS_MAX: usize = 24;
/// Longest value of a field that is shown to a person, characters.
const VALUE_MAX: usize = 60;

/// The verdict of a part.
pub fn verdict(name: &'static str, contents: &Contents, all: &[Comparison]) -> Verdict {
    let is_equal = all.iter().all(|one| one.compared.is_equal());
    Verdict { name, is_equal, text: text(name, contents, all), json: json_of(contents, all) }
}

fn json_of(contents: &Contents, all: &[Comparison]) -> Value {
    let reads: Vec<&Read> = all.iter().filter_map(|one| read_of(contents, one)).collect();
    let unreadable: Vec<_> = reads.iter().flat_map(|read| &read.unreadable).collect();
    json!({
        "equal": all.iter().all(|one| one.compared.is_equal()),
        "as_of": contents.at,
        "comparisons": all.iter().map(comparison).collect::<Vec<_>>(),
        "shortened": reads.iter().flat_map(|read| &read.shortened).collect::<Vec<_>>(),
        "unreadable": unreadable,
        "unreadable_count": reads.iter().map(|read| read.unreadable_count).sum::<u64>(),
    })
}

/// What was read of the topic that is a side of it.
fn read_of<'c>(contents: &'c Contents, one: &Comparison) -> Option<&'c Read> {
    contents.reads.get(one.left.as_str()).or_else(|| contents.reads.get(one.right.as_str()))
}

fn comparison(one: &Comparison) -> Value {
    let compared = &one.compared;
    let hour = |(hour, sides): (&Hour, &Sides)| json!({"hour": hour, "left": sides.left, "right": sides.right, "equal": sides.left == sides.right});
    let count = |kind: &Kind| {
        let name = kind.as_str().replace(' ', "_");
        (name, json!(compared.counts.get(kind).copied().unwrap_or(0)))
    };
    json!({
        "left": one.left,
        "right": one.right,
        "equal": compared.is_equal(),
        "hours": compared.hours.iter().map(hour).collect::<Vec<_>>(),
        "differences": Kind::ALL.iter().map(count).collect::<serde_json::Map<_, _>>(),
        "examples": one.examples,
        "repeats": compared.repeats,
        "in_flight": compared.in_flight,
        "left_out": {
            "not_in_left": {"events": compared.left_gone, "to": one.left_lacks_to},
            "not_in_right": {"events": compared.right_gone, "to": one.right_lacks_to},
        },
    })
}

fn text(name: &str, contents: &Contents, all: &[Comparison]) -> String {
    let mut lines = vec![format!("as of {}", contents.at), summary(all)];
    for one in all {
        lines.extend(hours(one));
        lines.extend(examples(one));
    }
    for one in all {
        lines.extend(left_out(one));
        let Some(read) = read_of(contents, one) else { continue };
        for shortened in &read.shortened {
            lines.push(format!(
                "{}/{} begins at offset {}: Kafka has removed what was before",
                shortened.topic, shortened.partition, shortened.begins_at
            ));
        }
        if let Some(first) = read.unreadable.first() {
            lines.push(format!(
                "{} record(s) of {} are no events, and no rows: {}/{} {}",
                read.unreadable_count, first.topic, first.partition, first.offset, first.why
            ));
        }
    }
    let findings: u64 = all.iter().map(|one| one.compared.findings()).sum();
    lines.push(match findings {
        0 => format!("{name}: equal"),
        findings => format!("{name}: {findings} difference(s)"),
    });
    lines.join("\n")
}

fn summary(all: &[Comparison]) -> String {
    let row = |one: &Comparison| {
        let compared = &one.compared;
        let sum = |of: fn(&Sides) -> u64| compared.hours.values().map(of).sum::<u64>().to_string();
        let flight = &compared.in_flight;
        vec![
            one.left.clone(),
            one.right.clone(),
            sum(|sides| sides.left.events),
            sum(|sides| sides.right.events),
            compared.hours.len().to_string(),
            compared.findings().to_string(),
            compared.repeats.to_string(),
            (flight.owed + flight.unread + flight.newer).to_string(),
        ]
    };
    let columns =
        ["left", "right", "left has", "right has", "hours", "differ", "came again", "in flight"];
    numbers(table(&columns, all.iter().map(row)), 2..8).to_string()
}

fn hours(one: &Comparison) -> Vec<String> {
    let differing: Vec<_> =
        one.compared.hours.iter().filter(|(_, sides)| sides.left != sides.right).collect();
    if differing.is_empty() {
        return Vec::new();
    }
    let row = |(hour, sides): &(&Hour, &Sides)| {
        vec![
            hour.to_string(),
            sides.left.events.to_string(),
            sides.right.events.to_string(),
            format!("{:032x}", sides.left.hash),
            format!("{:032x}", sides.right.hash),
        ]
    };
    let columns = ["hour that differs", "left", "right", "hash of the left", "hash of the right"];
    let shown = table(&columns, differing.iter().take(HOURS_MAX).map(row));
    let mut lines = vec![format!("{} ≢ {}", one.left, one.right), shown.to_string()];
    lines.extend(more(differing.len() as u64, HOURS_MAX as u64, "hour(s)"));
    lines
}

fn examples(one: &Comparison) -> Vec<String> {
    if one.examples.is_empty() {
        return Vec::new();
    }
    let lacks = |kind: Kind| match kind {
        Kind::Missing | Kind::Gap => format!("not in {}", one.right),
        Kind::Extra => format!("not in {}", one.left),
        Kind::Different => "says something else".into(),
        Kind::EmittedOtherwise => "came again with other bytes".into(),
    };
    let row = |example: &Example| {
        let step = example.exec_seq.map_or_else(String::new, |seq| format!(" step {seq}"));
        let order = example.idempotency_key.as_ref().or(example.trace_id.as_ref());
        let place =
            |r: &super::examples::Located| format!("{}/{}/{}", r.topic, r.partition, r.offset);
        vec![
            example.kind.as_str().into(),
            lacks(example.kind),
            format!("{}{step}", order.map_or("-", |order| order.as_str())),
            example.event_id.clone().unwrap_or_else(|| "-".into()),
            example.records.iter().map(place).collect::<Vec<_>>().join(" "),
            fields(example),
        ]
    };
    let columns = ["what", "how", "order or trace", "event", "record", "fields"];
    let mut lines = vec![table(&columns, one.examples.iter().map(row)).to_string()];
    let (all, shown) = (one.compared.findings(), one.examples.len() as u64);
    lines.extend(more(all, shown, "difference(s); --examples tells more of them"));
    lines
}

fn fields(example: &Example) -> String {
    let value = |value: &Option<Value>| {
        let text = value.as_ref().map_or_else(|| "nothing".to_string(), Value::to_string);
        match text.char_indices().nth(VALUE_MAX) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    let one = |f: &crate::domain::truth::fields::Field| {
        format!("{}: {} / {}", f.field, value(&f.left), value(&f.right))
    };
    example.fields.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn more(all: u64, shown: u64, what: &str) -> Option<String> {
    (all > shown).then(|| format!("… and {} more {what}", all - shown))
}

fn left_out(one: &Comparison) -> Vec<String> {
    let sides = [
        (one.compared.left_gone, &one.left, &one.right, one.left_lacks_to),
        (one.compared.right_gone, &one.right, &one.left, one.right_lacks_to),
    ];
    let told = |(count, gone, kept, to): (u64, &String, &String, Option<Hour>)| {
        let to = to.map_or_else(String::new, |hour| format!(" up to {}", hour.next()));
        (count > 0).then(|| {
            format!("{count} event(s) of {kept}{to} are not compared: {gone} keeps them no more")
        })
    };
    sides.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::truth::compare::{Compared, InFlight};
    use crate::domain::truth::fields::Field;
    use crate::domain::truth::{Short, Tally};

    fn comparison_with(findings: u64) -> Comparison {
        let mut left = Tally::default();
        left.add(Short::of(b"one"));
        let right = if findings == 0 { left } else { Tally::default() };
        Comparison {
            left: "decisions".into(),
            right: "obs_decisions".into(),
            compared: Compared {
                hours: BTreeMap::from([(Hour(0), Sides { left, right })]),
                counts: BTreeMap::from([(Kind::Missing, findings)]),
                repeats: 2,
                in_flight: InFlight { unread: 3, ..InFlight::default() },
                right_gone: 4,
                ..Compared::default()
            },
            examples: vec![],
            left_lacks_to: None,
            right_lacks_to: Some(Hour(1)),
        }
    }

    fn contents() -> Contents {
        let (at, reads) = (Timestamp::UNIX_EPOCH, BTreeMap::new());
        Contents { at, ledger: None, tables: None, reads }
    }

    #[test]
    fn equal_sides_are_told_with_what_is_in_flight_and_what_is_kept_no_more() {
        let told = verdict("tables", &contents(), &[comparison_with(0)]);
        assert!(told.is_equal);
        assert!(told.text.ends_with("\ntables: equal"), "{}", told.text);
        let gone = "4 event(s) of decisions up to 1970-01-01T02:00:00Z are not compared: obs_decisions keeps them no more";
        assert!(told.text.contains(gone), "{}", told.text);
        let one = &told.json["comparisons"][0];
        assert_eq!(one["in_flight"], json!({"owed": 0, "unread": 3, "newer": 0}));
        assert_eq!(one["hours"][0]["hour"], json!("1970-01-01T00:00:00Z"));
        assert_eq!(one["hours"][0]["equal"], json!(true));
    }

    #[test]
    fn differences_are_counted_by_kind_and_examples_name_the_fields() {
        let mut one = comparison_with(3);
        one.examples = vec![Example {
            kind: Kind::Missing,
            hour: Hour(0),
            event_id: Some("ab".into()),
            idempotency_key: Some("key-00001".into()),
            exec_seq: Some(2),
            trace_id: None,
            records: vec![],
            fields: vec![Field {
                field: "status".into(),
                left: Some(json!("SENT")),
                right: Some(json!("x".repeat(100))),
            }],
        }];
        let told = verdict("tables", &contents(), &[one]);
        assert!(!told.is_equal);
        for part in [
            "key-00001 step 2",
            "status: \"SENT\" / \"xxx",
            "… and 2 more",
            "tables: 3 difference(s)",
        ] {
            assert!(told.text.contains(part), "{part}: {}", told.text);
        }
        let differences = &told.json["comparisons"][0]["differences"];
        assert_eq!(differences["missing"], json!(3));
        assert_eq!(differences["emitted_otherwise"], json!(0));
    }
}
