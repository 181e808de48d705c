//! Owns reading a topic of events from its beginning, again and again from where it stopped.
//! Never joins a group. Invariant: a record is given once, and none that was there when a reading began is left out.

use std::collections::BTreeMap;
use std::ops::Range;

use apache_avro::Schema;
use serde::Serialize;

use crate::kafka::admin::{AdminError, topic};
use crate::kafka::offsets::{self, Ends};
use crate::kafka::record::{Record, Topic};
use crate::kafka::registry::{Registry, RegistryError};
use crate::kafka::scan::scan;
use crate::runtime::config::Config;
use crate::wire::{self, DecodeError, Subject};

/// Records between two words on how far it is.
const TELL_EVERY: u64 = 1_000;

/// A partition whose first records Kafka has removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Shortened {
    pub topic: String,
    pub partition: i32,
    /// The first offset that there is.
    pub begins_at: i64,
}

/// A record that is no event that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Unreadable {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub why: String,
}

/// A topic of events, and how far it was read.
pub struct Events {
    topic: Topic,
    /// Per partition the next offset to read.
    next: BTreeMap<i32, i64>,
    /// Partitions that do not begin at 0.
    pub shortened: Vec<Shortened>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Events {
    /// Nothing of it is read yet.
    pub async fn open(config: &Config, subject: Subject) -> Result<Self, AdminError> {
        let topic = topic(config, subject.topic()).await?;
        Ok(Self { topic, next: BTreeMap::new(), shortened: Vec::new(), unreadable: Vec::new() })
    }

    /// Reads on, up to the ends that the partitions have now.
    pub async fn read(
        &mut self,
        config: &Config,
        registry: &Registry,
        tell: impl Fn(String),
        mut take: impl FnMut(&[u8], &Schema) -> Result<(), DecodeError>,
    ) -> anyhow::Result<()> {
        let ends = offsets::ends(config, &self.topic.name).await?;
        let stretch = self.stretch(&ends);
        let all: i64 = stretch.values().map(|part| part.end - part.start).sum();
        let mut records = scan(config, self.topic.clone(), stretch);
        let mut read = 0_u64;
        while let Some(record) = records.recv().await {
            let record = record?;
            if read.is_multiple_of(TELL_EVERY) {
                tell(format!("{} of {all} records of {}", read, self.topic.logical));
            }
            read += 1;
            self.next.insert(record.partition, record.offset + 1);
            if let Err(why) = decoded(registry, &record, &mut take).await? {
                let (topic, partition, offset) =
                    (record.topic.to_string(), record.partition, record.offset);
                self.unreadable.push(Unreadable { topic, partition, offset, why });
            }
        }
        // Up to the end, also where the last offsets hold no records.
        self.next.extend(ends.into_iter().map(|(partition, ends)| (partition, ends.high)));
        Ok(())
    }

    /// What is new of each partition; one seen for the first time is read from its beginning.
    fn stretch(&mut self, ends: &BTreeMap<i32, Ends>) -> BTreeMap<i32, Range<i64>> {
        let mut stretch = BTreeMap::new();
        for (partition, Ends { low, high }) in ends {
            let known = self.next.get(partition).copied();
            if *low > known.unwrap_or(0) {
                let (topic, partition) = (self.topic.name.to_string(), *partition);
                self.shortened.push(Shortened { topic, partition, begins_at: *low });
            }
            let from = known.unwrap_or(*low).max(*low);
            stretch.insert(*partition, from..(*high).max(from));
        }
        stretch
    }
}

/// Gives a record to `take`; why it could not be read, if it could not. The registry being away is an error.
async fn decoded(
    registry: &Registry,
    record: &Record,
    take: &mut impl FnMut(&[u8], &Schema) -> Result<(), DecodeError>,
) -> Result<Result<(), String>, RegistryError> {
    let Some(value) = &record.value else { return Ok(Err("it has no value".into())) };
    let (id, body) = match wire::split(value) {
        Ok(parts) => parts,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match registry.schema(id).await {
        Ok(schema) => Ok(take(body, &schema).map_err(|error| error.to_string())),
        Err(error @ (RegistryError::UnknownId(_) | RegistryError::NotAvro { .. })) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Events {
        let topic = Topic { name: "x-decisions".into(), logical: "decisions", id: "1".into() };
        Events { topic, next: BTreeMap::new(), shortened: vec![], unreadable: vec![] }
    }

    #[test]
    fn a_partition_is_read_on_from_where_it_stopped_and_one_that_lost_its_beginning_is_named() {
        let mut events = events();
        let ends = BTreeMap::from([(0, Ends { low: 0, high: 7 }), (1, Ends { low: 3, high: 3 })]);
        assert_eq!(events.stretch(&ends), BTreeMap::from([(0, 0..7), (1, 3..3)]));
        let shortened =
            |partition, begins_at| Shortened { topic: "x-decisions".into(), partition, begins_at };
        assert_eq!(events.shortened, [shortened(1, 3)]);
        events.next = BTreeMap::from([(0, 7), (1, 3)]);
        let ends = BTreeMap::from([
            (0, Ends { low: 5, high: 9 }),
            (1, Ends { low: 4, high: 6 }),
            (2, Ends { low: 0, high: 1 }),
        ]);
        assert_eq!(events.stretch(&ends), BTreeMap::from([(0, 7..9), (1, 4..6), (2, 0..1)]));
        assert_eq!(events.shortened, [shortened(1, 3), shortened(1, 4)]);
    }
}
