//! `noctus verify`, the parts `ledger` and `tables`: what the ledger, the topics and the obs_* tables say of each event.
//!
//! The ends of the topics are asked for, then the database's moment begins, then the ends are asked for again: what was in a
//! topic at the first time the ledger has at that moment, and what the ledger has is in a topic at the second time, or owed.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;

use super::content::{of_command, of_order, of_payload};
use super::examples::{self, Example};
use super::spill::Spill;
use super::topics::{Event, Read, Topics, value_of};
use super::{Desk, Window};
use crate::demo::progress::Progress;
use crate::domain::truth::compare::{Bounds, Compared, compare};
use crate::domain::truth::{Entry, Hour, Place, Short, Standing};
use crate::kafka::registry::Registry;
use crate::pg::PoolError;
use crate::pg::obs::tables::{Table, named};
use crate::pg::truth::{Commanded, Decided, Moment, Ordered};
use crate::runtime::config::Config;
use crate::sink::project::SUBJECTS;
use crate::sink::project::measure::{Step, measure};
use crate::wire::Subject;

/// The reader whose positions say what the sink has read.
const SINK: &str = "sink";

/// Two sides that were compared.
pub struct Comparison {
    pub left: String,
    pub right: String,
    pub compared: Compared,
    pub examples: Vec<Example>,
    /// Up to and with this hour the left side may lack what the right side has, and the other way round.
    pub left_lacks_to: Option<Hour>,
    pub right_lacks_to: Option<Hour>,
}

/// What the two parts came to.
pub struct Contents {
    pub at: Timestamp,
    pub ledger: Option<Vec<Comparison>>,
    pub tables: Option<Vec<Comparison>>,
    /// What was read of each topic.
    pub reads: BTreeMap<&'static str, Read>,
}

/// What is compared with what.
pub(super) struct Work<'c> {
    pub(super) config: &'c Config,
    pub(super) registry: Registry,
    pub(super) progress: &'c Progress,
    pub(super) window: Window,
    pub(super) examples_max: usize,
    pub(super) topics: Topics,
    pub(super) moment: Moment<'c>,
}

/// Compares; `ledger` and `tables` say which parts are asked for.
pub async fn contents(desk: &Desk, ledger: bool, tables: bool) -> anyhow::Result<Contents> {
    let config = &desk.config;
    let mut topics = Topics::before(config).await?;
    let mut client = desk.pool.get().await.map_err(PoolError::from)?;
    let moment = Moment::begin(&mut client).await.context("the tables cannot be read")?;
    topics.after(config).await?;
    let registry = Registry::new(&config.registry)?;
    let (progress, window, examples_max) = (&desk.progress, desk.window, desk.examples_max);
    let work = Work { config, registry, progress, window, examples_max, topics, moment };
    let mut contents = Contents {
        at: work.moment.at,
        ledger: ledger.then(Vec::new),
        tables: tables.then(Vec::new),
        reads: BTreeMap::new(),
    };
    for subject in SUBJECTS {
        if tables || has_ledger(subject) {
            work.subject(subject, &mut contents).await?;
        }
    }
    if let Some(found) = &mut contents.tables {
        found.push(work.metrics().await?);
    }
    Ok(contents)
}

fn has_ledger(subject: Subject) -> bool {
    matches!(subject, Subject::Decision | Subject::ExecEvent | Subject::CommandOutcome)
}

/// The table that events of this subject become rows of.
fn table_of(subject: Subject) -> anyhow::Result<&'static Table> {
    let name = format!("obs_{}", subject.topic().replace('-', "_"));
    named(&name).with_context(|| format!("no table {name}"))
}

/// An event of a topic, for both parts.
struct Sides {
    for_ledger: Option<Spill>,
    for_table: Option<Spill>,
}

impl Work<'_> {
    async fn subject(&self, subject: Subject, contents: &mut Contents) -> anyhow::Result<()> {
        let sunk = self.moment.positions(SINK).await?;
        let topic_id = self.topics.of(subject)?.id.to_string();
        let with_ledger = contents.ledger.is_some() && has_ledger(subject);
        let mut sides = Sides {
            for_ledger: with_ledger.then(Spill::default),
            for_table: contents.tables.is_some().then(Spill::default),
        };
        let tell = |what: String| self.progress.waiting(&what);
        let take = |event: Event<'_>| {
            let place = (topic_id.clone(), event.record.partition);
            let is_read = sunk.get(&place).is_some_and(|next| event.record.offset < *next);
            sides.take(&event, is_read)
        };
        let services = (self.config, &self.registry);
        let since = (self.window.from.map(Hour::start), self.moment.at);
        let read = self.topics.read(services, subject, since, tell, take).await?;
        let Sides { for_ledger, for_table } = sides;
        if let (Some(left), Some(found)) = (for_table, &mut contents.tables) {
            found.push(self.table(subject, left, &read).await?);
        }
        if let (Some(mut right), Some(found)) = (for_ledger, &mut contents.ledger) {
            self.owed(subject, &mut right).await?;
            found.push(self.ledger(subject, right, &read).await?);
        }
        contents.reads.insert(subject.topic(), read);
        Ok(())
    }

    fn bounds(&self) -> Bounds {
        let (from, to) = (self.window.from, self.window.to);
        Bounds { from, to, examples_max: self.examples_max, ..Bounds::default() }
    }

    /// A topic and its table.
    async fn table(
        &self,
        subject: Subject,
        left: Spill,
        read: &Read,
    ) -> anyhow::Result<Comparison> {
        let table = table_of(subject)?;
        self.progress.waiting(&format!("reading {}", table.name));
        let right = self.rows(table).await?;
        // A month before the oldest that the table has was dropped; one that is missing between others was not.
        let oldest = self.moment.oldest_month(table).await?;
        let bounds = Bounds {
            left_lacks_to: read.gone_to,
            right_lacks_to: oldest.map(|at| Hour(Hour::of(at).0 - 1)),
            right_is_table: true,
            ..self.bounds()
        };
        let compared = compare(left.sorted()?, right.sorted()?, &bounds)?;
        let examples = examples::of_table(self, subject, table, &compared).await?;
        let (left, right) = (subject.topic().to_string(), table.name.to_string());
        Ok(Comparison::new(left, right, compared, examples, &bounds))
    }

    async fn rows(&self, table: &Table) -> anyhow::Result<Spill> {
        let (mut rows, mut failed) = (Spill::default(), Ok(()));
        let hours = (self.window.from.map(Hour::start), self.window.to.map(Hour::start));
        let take = |id: &str, at, row| {
            if failed.is_ok() {
                failed = rows.push(row_entry(id, at, Short::of_json(&row)));
            }
        };
        self.moment.rows(table, hours, take).await?;
        failed?;
        Ok(rows)
    }

    /// The ledger and a topic.
    async fn ledger(
        &self,
        subject: Subject,
        right: Spill,
        read: &Read,
    ) -> anyhow::Result<Comparison> {
        let name = match subject {
            Subject::Decision => "outbox_orders",
            Subject::ExecEvent => "outbox_orders.exec_seq",
            _ => "order_commands",
        };
        self.progress.waiting(&format!("reading {name}"));
        let left = self.ledger_side(subject).await?;
        let bounds = Bounds { right_lacks_to: read.gone_to, ..self.bounds() };
        let compared = compare(left.sorted()?, right.sorted()?, &bounds)?;
        let examples = examples::of_ledger(self, subject, &compared).await?;
        let (left, right) = (name.to_string(), subject.topic().to_string());
        Ok(Comparison::new(left, right, compared, examples, &bounds))
    }

    /// What a topic of these events must have.
    async fn ledger_side(&self, subject: Subject) -> anyhow::Result<Spill> {
        let mut left = Spill::default();
        let mut failed = Ok(());
        let mut push = |entry: Entry| {
            if failed.is_ok() {
                failed = left.push(entry);
            }
        };
        match subject {
            Subject::Decision => {
                let take = |row: Decided| {
                    let (id, content) = of_payload(&row.payload);
                    let place = Place { part: 0, at: row.id };
                    push(ledger_entry(id, place, row.decided_at, Short::of_json(&content)));
                };
                self.moment.decisions(take).await?;
            }
            Subject::ExecEvent => {
                let take = |order: Ordered| {
                    order_entries(&order).for_each(&mut push);
                };
                self.moment.orders(take).await?;
            }
            _ => {
                let mut nth = 0;
                let take = |command: Commanded| {
                    for (part, (id, content)) in (0..).zip(of_command(&command)) {
                        let place = Place { part, at: nth };
                        let content = Short::of_json(&content);
                        push(ledger_entry(id, place, command.decided_at, content));
                    }
                    nth += 1;
                };
                self.moment.commands(take).await?;
            }
        }
        failed?;
        Ok(left)
    }

    /// Events that are committed and in no topic yet count as the topic's, on their way.
    async fn owed(&self, subject: Subject, right: &mut Spill) -> anyhow::Result<()> {
        for (topic, value) in self.moment.owed().await? {
            let (true, Some(value)) = (topic == subject.topic(), value) else { continue };
            let Ok(told) = value_of(&self.registry, subject, &value, &[]).await? else { continue };
            let Some(content) = &told.ledger else { continue };
            let entry = row_entry(told.row.event_id(), told.row.at(), Short::of_json(content));
            right.push(Entry { standing: Standing::Owed, ..entry })?;
        }
        Ok(())
    }

    /// What orders cost, and what their steps make of it.
    async fn metrics(&self) -> anyhow::Result<Comparison> {
        let table = named("obs_do_metrics").context("no table obs_do_metrics")?;
        self.progress.waiting(&format!("reading {}", table.name));
        let right = self.rows(table).await?;
        let mut left = Spill::default();
        let mut failed = Ok(());
        self.measured(|is_whole, id, at, content| {
            if failed.is_ok() {
                // One whose first step is not there may have another row, or none.
                let standing = if is_whole { Standing::Sure } else { Standing::Unread };
                let entry = row_entry(id, at, Short::of_json(&content));
                failed = left.push(Entry { standing, ..entry });
            }
        })
        .await?;
        failed?;
        // What steps and prices of a month that was dropped would make is not known, nor what an order cost that was
        // decided at its end.
        let mut from = self.window.from;
        for name in ["obs_exec_events", "obs_decisions"] {
            let oldest = named(name).with_context(|| format!("no table {name}"))?;
            let oldest = self.moment.oldest_month(oldest).await?;
            from = from.max(oldest.map(|at| Hour::of(at).next()));
        }
        let oldest = self.moment.oldest_month(table).await?;
        let bounds = Bounds {
            from,
            right_lacks_to: oldest.map(|at| Hour(Hour::of(at).0 - 1)),
            right_is_table: true,
            ..self.bounds()
        };
        let compared = compare(left.sorted()?, right.sorted()?, &bounds)?;
        let examples = examples::of_metrics(self, table, &compared).await?;
        let left = "obs_exec_events, obs_decisions".to_string();
        Ok(Comparison::new(left, table.name.to_string(), compared, examples, &bounds))
    }

    /// The row that each order's steps make: whether its first step is among them, its event's id, its time, and what
    /// it says.
    pub(super) async fn measured(
        &self,
        mut take: impl FnMut(bool, &str, Timestamp, serde_json::Value),
    ) -> anyhow::Result<()> {
        let mut order: Vec<Step> = Vec::new();
        let mut made = |steps: Vec<Step>| {
            let is_whole = steps.iter().any(|step| step.exec_seq == 1);
            let Some(row) = measure(steps) else { return };
            let content = serde_json::to_value(&row).unwrap_or_default();
            take(is_whole, &row.event_id, row.first_at, content);
        };
        self.moment
            .steps(|step| {
                if order.first().is_some_and(|s| s.idempotency_key != step.idempotency_key) {
                    made(std::mem::take(&mut order));
                }
                order.push(step);
            })
            .await?;
        made(order);
        Ok(())
    }
}

impl Sides {
    fn take(&mut self, event: &Event<'_>, is_read: bool) -> std::io::Result<()> {
        let Event { record, told, bytes, is_old } = event;
        let place = Place { part: record.partition, at: record.offset };
        let entry = |content, standing| Entry {
            bytes: *bytes,
            place,
            standing,
            ..row_entry(told.row.event_id(), told.row.at(), content)
        };
        if let Some(table) = &mut self.for_table {
            let standing = if is_read { Standing::Sure } else { Standing::Unread };
            table.push(entry(Short::of_json(&told.row_json()), standing))?;
        }
        if let (Some(ledger), Some(content)) = (&mut self.for_ledger, &told.ledger) {
            let standing = if *is_old { Standing::Sure } else { Standing::Young };
            ledger.push(entry(Short::of_json(content), standing))?;
        }
        Ok(())
    }
}

impl Comparison {
    fn new(
        left: String,
        right: String,
        compared: Compared,
        examples: Vec<Example>,
        bounds: &Bounds,
    ) -> Self {
        let Bounds { left_lacks_to, right_lacks_to, .. } = *bounds;
        Self { left, right, compared, examples, left_lacks_to, right_lacks_to }
    }
}

/// Of something that has no place, no bytes and no doubt about it.
fn row_entry(event_id: &str, at: Timestamp, content: Short) -> Entry {
    Entry {
        id: Short::of(event_id.as_bytes()),
        hour: Hour::of(at),
        content,
        bytes: 0,
        place: Place { part: 0, at: 0 },
        standing: Standing::Sure,
        is_inner: false,
    }
}

/// What has no event's id is like nothing else.
fn ledger_entry(id: Option<String>, place: Place, at: Timestamp, content: Short) -> Entry {
    let id = id.unwrap_or_else(|| format!("row {} {}", place.at, place.part));
    Entry { place, ..row_entry(&id, at, content) }
}

/// The steps that an order must have been told by.
fn order_entries(order: &Ordered) -> impl Iterator<Item = Entry> {
    (1..=order.exec_seq).map(|seq| {
        let ordinal = u32::try_from(seq).unwrap_or(0);
        let id = super::content::event_id(&order.idempotency_key, "exec", ordinal);
        let place = Place { part: seq, at: order.id };
        let content = Short::of_json(&of_order(order, seq));
        let is_inner = seq < order.exec_seq;
        Entry { is_inner, ..ledger_entry(id, place, order.decided_at, content) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::obs::tables::TABLES;

    #[test]
    fn every_table_is_compared_with_its_topic_or_with_what_it_follows_from() {
        let mut named: Vec<&str> =
            SUBJECTS.iter().map(|s| table_of(*s).expect("it has one").name).collect();
        named.push("obs_do_metrics");
        named.sort_unstable();
        let mut all: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        all.sort_unstable();
        assert_eq!(named, all);
    }
}
