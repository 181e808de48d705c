//! Owns opening differences: of some of them both sides are read again, and every field that differs is named.
//! Never reads more than the differences it was given.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::content::{Told, event_id, of_command, of_order, of_payload};
use super::contents::Work;
use crate::domain::truth::compare::{Compared, Finding, Kind};
use crate::domain::truth::fields::{Field, differing};
use crate::domain::truth::{Entry, Hour, Short};
use crate::pg::obs::tables::Table;
use crate::wire::Subject;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Located {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A difference that was opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// What is wrong.
    pub kind: Kind,
    /// The hour where it counts.
    pub hour: Hour,
    /// The event, if its id is known.
    pub event_id: Option<String>,
    /// The order or the command, if it is about one.
    pub idempotency_key: Option<String>,
    /// Which of the order's steps.
    pub exec_seq: Option<i64>,
    /// The trace, if it has one.
    pub trace_id: Option<String>,
    /// The record, and of an event that was emitted otherwise the second one too.
    pub records: Vec<Located>,
    /// Every field that is not the same.
    pub fields: Vec<Field>,
}

/// What one side says of an event.
#[derive(Debug, Clone, Default)]
struct Said {
    event_id: Option<String>,
    content: Option<Value>,
}

impl Said {
    fn by(told: Option<Told>, of_ledger: bool) -> Self {
        let Some(told) = told else { return Self::default() };
        let event_id = Some(told.row.event_id().to_string());
        let content = if of_ledger { told.ledger } else { Some(told.row_json()) };
        Self { event_id, content }
    }
}

fn example(finding: &Finding, left: Said, right: Said, records: Vec<Located>) -> Example {
    let fields = match (&left.content, &right.content) {
        (Some(left), Some(right)) => differing(left, right),
        _ => Vec::new(),
    };
    let one = left.content.as_ref().or(right.content.as_ref());
    let text = |name: &str| {
        let found = one?.get(name).or_else(|| one?.get("decision")?.get(name));
        found?.as_str().map(String::from)
    };
    let (idempotency_key, trace_id) = (text("idempotency_key"), text("trace_id"));
    Example {
        kind: finding.kind,
        hour: finding.hour,
        idempotency_key,
        exec_seq: one.and_then(|one| one.get("exec_seq")?.as_i64()),
        trace_id,
        records,
        fields,
        event_id: left.event_id.or(right.event_id),
    }
}

impl Work<'_> {
    async fn record(
        &self,
        subject: Subject,
        entry: &Entry,
    ) -> anyhow::Result<(Option<Told>, Located)> {
        let (partition, offset) = (entry.place.part, entry.place.at);
        let services = (self.config, &self.registry);
        let told = self.topics.again(services, subject, partition, offset).await?;
        let topic = self.topics.of(subject)?.name.to_string();
        Ok((told, Located { topic, partition, offset }))
    }
}

/// Of a topic (left) and its table (right).
pub(super) async fn of_table(
    work: &Work<'_>,
    subject: Subject,
    table: &Table,
    compared: &Compared,
) -> anyhow::Result<Vec<Example>> {
    let rows = rows(work, table, compared).await?;
    let mut opened = Vec::new();
    for finding in &compared.examples {
        let (mut records, mut said) = (Vec::new(), Vec::new());
        let right = finding.right.filter(|_| finding.kind == Kind::EmittedOtherwise);
        for entry in [finding.left, right].iter().flatten() {
            let (told, located) = work.record(subject, entry).await?;
            records.push(located);
            said.push(Said::by(told, false));
        }
        if finding.kind != Kind::EmittedOtherwise {
            said.resize(1, Said::default());
            said.push(finding.right.and_then(|entry| row(&rows, &entry)).unwrap_or_default());
        }
        let right = said.pop().unwrap_or_default();
        opened.push(example(finding, said.pop().unwrap_or_default(), right, records));
    }
    Ok(opened)
}

/// The rows that findings are about, by the digests of their ids.
type Rows = HashMap<Short, Vec<(String, Value)>>;

async fn rows(work: &Work<'_>, table: &Table, compared: &Compared) -> anyhow::Result<Rows> {
    let of_rows = compared.examples.iter().filter(|f| f.kind != Kind::EmittedOtherwise);
    let ids: Vec<Vec<u8>> = of_rows.filter_map(|f| Some(f.right?.id.0.to_vec())).collect();
    let mut found = Rows::new();
    if !ids.is_empty() {
        for (id, row) in work.moment.rows_of(table, &ids).await? {
            found.entry(Short::of(id.as_bytes())).or_default().push((id, row));
        }
    }
    Ok(found)
}

/// Of rows of one id the one that is meant.
fn row(rows: &Rows, entry: &Entry) -> Option<Said> {
    let of_id = rows.get(&entry.id)?;
    let meant = of_id.iter().find(|(_, row)| Short::of_json(row) == entry.content);
    let (id, row) = meant.or(of_id.first())?;
    Some(Said { event_id: Some(id.clone()), content: Some(row.clone()) })
}

/// Of the ledger (left) and a topic (right).
pub(super) async fn of_ledger(
    work: &Work<'_>,
    subject: Subject,
    compared: &Compared,
) -> anyhow::Result<Vec<Example>> {
    let mut commands = HashMap::new();
    if subject == Subject::CommandOutcome && !compared.examples.is_empty() {
        let wanted = |nth: &i64| {
            compared.examples.iter().any(|f| f.left.is_some_and(|entry| entry.place.at == *nth))
        };
        let mut nth = 0;
        let take = |command| {
            if wanted(&nth) {
                commands.insert(nth, command);
            }
            nth += 1;
        };
        work.moment.commands(take).await?;
    }
    let mut opened = Vec::new();
    for finding in &compared.examples {
        let left = match finding.left {
            None => Said::default(),
            Some(entry) if subject == Subject::Decision => {
                let payload = work.moment.decision(entry.place.at).await?.unwrap_or_default();
                let (event_id, content) = of_payload(&payload);
                Said { event_id, content: Some(content) }
            }
            Some(entry) if subject == Subject::ExecEvent => {
                let order = work.moment.order(entry.place.at).await?;
                order.map_or_else(Said::default, |order| {
                    let ordinal = u32::try_from(entry.place.part).unwrap_or(0);
                    Said {
                        event_id: event_id(&order.idempotency_key, "exec", ordinal),
                        content: Some(of_order(&order, entry.place.part)),
                    }
                })
            }
            Some(entry) => {
                let told = commands.get(&entry.place.at).map(of_command).unwrap_or_default();
                let part = usize::try_from(entry.place.part).unwrap_or(0);
                let one = told.into_iter().nth(part);
                let of = |(event_id, content)| Said { event_id, content: Some(content) };
                one.map_or_else(Said::default, of)
            }
        };
        let (mut records, mut right) = (Vec::new(), Said::default());
        if let Some(entry) = &finding.right {
            let (told, located) = work.record(subject, entry).await?;
            records.push(located);
            right = Said::by(told, true);
        }
        opened.push(example(finding, left, right, records));
    }
    Ok(opened)
}

/// Of what steps make (left) and what is kept of it (right).
pub(super) async fn of_metrics(
    work: &Work<'_>,
    table: &Table,
    compared: &Compared,
) -> anyhow::Result<Vec<Example>> {
    let rows = rows(work, table, compared).await?;
    let mut made: HashMap<Short, (String, Value)> = HashMap::new();
    if compared.examples.iter().any(|finding| finding.left.is_some()) {
        let take = |_: bool, id: &str, _: Timestamp, content| {
            let short = Short::of(id.as_bytes());
            if compared.examples.iter().any(|f| f.left.is_some_and(|entry| entry.id == short)) {
                made.insert(short, (id.to_string(), content));
            }
        };
        work.measured(take).await?;
    }
    let open = |finding: &Finding| {
        let left = finding.left.and_then(|entry| made.get(&entry.id));
        let left = left.map_or_else(Said::default, |(id, content)| Said {
            event_id: Some(id.clone()),
            content: Some(content.clone()),
        });
        let right = finding.right.and_then(|entry| row(&rows, &entry)).unwrap_or_default();
        example(finding, left, right, Vec::new())
    };
    Ok(compared.examples.iter().map(open).collect())
}
