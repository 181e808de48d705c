//! Owns reading a topic of events once, as of a moment: what was there before it, what came while it was taken.
//! Never joins a group. Invariant: every record up to the ends that were there right after the moment is given once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::content::{Told, told};
use super::events::{Shortened, Unreadable};
use crate::domain::truth::Hour;
use crate::kafka::admin::{AdminError, topics};
use crate::kafka::offsets::{self, Ends};
use crate::kafka::record::{Record, Topic};
use crate::kafka::registry::{Registry, RegistryError};
use crate::kafka::scan::scan;
use crate::runtime::config::Config;
use crate::sink::project::SUBJECTS;
use crate::wire::{self, Subject};

/// Records between two words on how far it is.
const TELL_EVERY: u64 = 5_000;
/// Clocks of producers and of Kafka are believed to differ by less than this.
const SKEW: SignedDuration = SignedDuration::from_hours(1);
/// Unreadable records that are named; all are counted.
const UNREADABLE_MAX: usize = 100;

/// The ends of every topic, by its logical name.
type AllEnds = BTreeMap<&'static str, BTreeMap<i32, Ends>>;

/// The topics as of a moment.
pub struct Topics {
    topics: Vec<Topic>,
    before: AllEnds,
    after: AllEnds,
}

/// One record that can be read.
pub struct Event<'r> {
    pub record: &'r Record,
    pub told: Told,
    /// The first 64 bits of SHA-256 of its value: a repeat has the same.
    pub bytes: u64,
    /// It was there before the moment.
    pub is_old: bool,
}

/// What came of reading a topic.
#[derive(Debug, Default)]
pub struct Read {
    pub records: u64,
    /// Up to and with this hour Kafka may have removed events.
    pub gone_to: Option<Hour>,
    pub shortened: Vec<Shortened>,
    pub unreadable: Vec<Unreadable>,
    pub unreadable_count: u64,
}

impl Topics {
    /// Asks for the ends, before the moment.
    pub async fn before(config: &Config) -> Result<Self, AdminError> {
        let topics = topics(config, &SUBJECTS.map(Subject::topic)).await?;
        let before = ends(config, &topics).await?;
        Ok(Self { topics, before, after: BTreeMap::new() })
    }

    /// Asks for them again, right after it.
    pub async fn after(&mut self, config: &Config) -> Result<(), AdminError> {
        self.after = ends(config, &self.topics).await?;
        Ok(())
    }

    /// The topic of these events.
    pub fn of(&self, subject: Subject) -> anyhow::Result<&Topic> {
        let found = self.topics.iter().find(|topic| topic.logical == subject.topic());
        found.with_context(|| format!("no topic {}", subject.topic()))
    }

    /// Gives every event to `take`. With `from` records that were written long before it are not read.
    pub async fn read(
        &self,
        (config, registry): (&Config, &Registry),
        subject: Subject,
        (from, at): (Option<Timestamp>, Timestamp),
        tell: impl Fn(String),
        mut take: impl FnMut(Event<'_>) -> std::io::Result<()>,
    ) -> anyhow::Result<Read> {
        let topic = self.of(subject)?;
        let (before, after) = (self.before.get(topic.logical), self.after.get(topic.logical));
        let (Some(before), Some(after)) = (before, after) else { return Ok(Read::default()) };
        let starts = match from.and_then(|from| from.checked_sub(SKEW).ok()) {
            Some(from) => offsets::at_time(config, &topic.name, after, from).await?,
            None => BTreeMap::new(),
        };
        let mut read = Read::default();
        let stretch = stretch(topic, after, &starts, &mut read);
        let all: i64 = stretch.values().map(|part| part.end - part.start).sum();
        let mut cut: BTreeSet<i32> = read.shortened.iter().map(|part| part.partition).collect();
        let mut records = scan(config, topic.clone(), stretch);
        while let Some(record) = records.recv().await {
            let record = record?;
            if read.records.is_multiple_of(TELL_EVERY) {
                tell(format!("{} of {all} records of {}", read.records, topic.logical));
            }
            read.records += 1;
            if cut.remove(&record.partition) {
                read.gone_to = read.gone_to.max(Some(Hour::of(record.timestamp.unwrap_or(at))));
            }
            match decoded(registry, subject, &record).await? {
                Ok(told) => {
                    let ends = before.get(&record.partition);
                    let is_old = ends.is_some_and(|ends| record.offset < ends.high);
                    take(Event { bytes: digest(&record), record: &record, told, is_old })?;
                }
                Err(why) => read.unreadable(&record, why),
            }
        }
        if !cut.is_empty() {
            read.gone_to = Some(Hour::of(at)); // nothing is left of a partition
        }
        Ok(read)
    }

    /// One record again.
    pub async fn again(
        &self,
        (config, registry): (&Config, &Registry),
        subject: Subject,
        partition: i32,
        offset: i64,
    ) -> anyhow::Result<Option<Told>> {
        let stretch = BTreeMap::from([(partition, offset..offset + 1)]);
        let mut records = scan(config, self.of(subject)?.clone(), stretch);
        match records.recv().await {
            Some(record) => Ok(decoded(registry, subject, &record?).await?.ok()),
            None => Ok(None),
        }
    }
}

/// What is to be read of each partition, and what Kafka has removed.
fn stretch(
    topic: &Topic,
    after: &BTreeMap<i32, Ends>,
    starts: &BTreeMap<i32, i64>,
    read: &mut Read,
) -> BTreeMap<i32, Range<i64>> {
    let mut stretch = BTreeMap::new();
    for (partition, Ends { low, high }) in after {
        let start = starts.get(partition).copied().unwrap_or(*low).max(*low);
        if *low > 0 && start == *low {
            let (topic, begins_at) = (topic.name.to_string(), *low);
            read.shortened.push(Shortened { topic, partition: *partition, begins_at });
        }
        stretch.insert(*partition, start..(*high).max(start));
    }
    stretch
}

impl Read {
    fn unreadable(&mut self, record: &Record, why: String) {
        self.unreadable_count += 1;
        if self.unreadable.len() < UNREADABLE_MAX {
            let (topic, partition) = (record.topic.to_string(), record.partition);
            self.unreadable.push(Unreadable { topic, partition, offset: record.offset, why });
        }
    }
}

async fn ends(config: &Config, topics: &[Topic]) -> Result<AllEnds, AdminError> {
    let mut all = BTreeMap::new();
    for topic in topics {
        all.insert(topic.logical, offsets::ends(config, &topic.name).await?);
    }
    Ok(all)
}

fn digest(record: &Record) -> u64 {
    let digest = Sha256::digest(record.value.as_deref().unwrap_or_default());
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

/// The event of a value; why it is none. The registry being away is an error.
pub async fn decoded(
    registry: &Registry,
    subject: Subject,
    record: &Record,
) -> Result<Result<Told, String>, RegistryError> {
    let value = record.value.as_deref().unwrap_or_default();
    value_of(registry, subject, value, &record.headers).await
}

/// The same of bytes that are in no topic yet.
pub async fn value_of(
    registry: &Registry,
    subject: Subject,
    value: &[u8],
    headers: &[(String, Option<Vec<u8>>)],
) -> Result<Result<Told, String>, RegistryError> {
    let (id, body) = match wire::open(headers, value) {
        Ok(parts) => parts,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match registry.schema(id).await {
        Ok(schema) => Ok(told(subject, body, &schema).map_err(|error| error.to_string())),
        Err(error @ (RegistryError::UnknownId(_) | RegistryError::NotAvro { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
