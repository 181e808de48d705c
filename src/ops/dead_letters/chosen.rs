//! Which dead letters are meant, and reading them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use anyhow::Context as _;

use super::super::stretch::Moment;
use super::Spot;
use crate::gate::letter::Letter;
use crate::kafka::admin::topic;
use crate::kafka::offsets::{self, Ends};
use crate::kafka::record::{Record, Topic};
use crate::kafka::scan::scan;
use crate::owed::DEAD_LETTERS;
use crate::runtime::clock;
use crate::runtime::config::Config;

/// What narrows dead letters down.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Only this reason, e.g. bad_signature
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Only what was refused since a time (RFC 3339) or a day, or so long ago, e.g. 2h
    #[arg(long, value_name = "TIME|AGE")]
    pub since: Option<Moment>,
    /// Only what came from this topic (logical name)
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// A dead letter where it lies.
pub struct Found {
    pub spot: Spot,
    pub letter: Letter,
    pub record: Record,
}

/// The topic of dead letters, with what Kafka has of it.
pub struct Letters {
    pub topic: Topic,
    ends: BTreeMap<i32, Ends>,
}

impl Letters {
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let topic = topic(config, DEAD_LETTERS).await?;
        let ends = offsets::ends(config, &topic.name).await?;
        Ok(Self { topic, ends })
    }

    /// Those that the filter lets through, oldest first, the newest `limit` of them.
    pub async fn filtered(
        &self,
        config: &Config,
        filter: &Filter,
        limit: usize,
    ) -> anyhow::Result<Vec<Found>> {
        let mut stretch: BTreeMap<i32, Range<i64>> =
            self.ends.iter().map(|(partition, ends)| (*partition, ends.low..ends.high)).collect();
        if let Some(since) = filter.since {
            let since = since.time(clock::now()).context("too long ago")?;
            let from = offsets::at_time(config, &self.topic.name, &self.ends, since).await?;
            for (partition, range) in &mut stretch {
                range.start = from.get(partition).copied().unwrap_or(range.end);
            }
        }
        let topic = filter.topic.as_ref().map(|topic| config.topic(topic));
        let fits = |letter: &Letter| {
            filter.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
                && topic.as_ref().is_none_or(|topic| *topic == letter.topic)
        };
        // Per partition the newest: together they hold the newest of all.
        let mut kept: BTreeMap<i32, VecDeque<Found>> = BTreeMap::new();
        let mut records = scan(config, self.topic.clone(), stretch);
        while let Some(record) = records.recv().await {
            let Some(found) = found(record?).filter(|found| fits(&found.letter)) else { continue };
            let kept = kept.entry(found.spot.partition).or_default();
            kept.push_back(found);
            if kept.len() > limit {
                kept.pop_front();
            }
        }
        let mut all: Vec<Found> = kept.into_values().flatten().collect();
        all.sort_by_key(|found| (found.record.timestamp, found.spot));
        let surplus = all.len().saturating_sub(limit);
        Ok(all.split_off(surplus))
    }

    /// These; one that is not there is missing.
    pub async fn at(&self, config: &Config, spots: &[Spot]) -> anyhow::Result<Vec<Found>> {
        let mut all = Vec::new();
        for spot in spots.iter().collect::<BTreeSet<_>>() {
            let there = self.ends.get(&spot.partition);
            if !there.is_some_and(|ends| (ends.low..ends.high).contains(&spot.offset)) {
                continue;
            }
            let stretch = [(spot.partition, spot.offset..spot.offset + 1)].into();
            let mut records = scan(config, self.topic.clone(), stretch);
            while let Some(record) = records.recv().await {
                all.extend(found(record?));
            }
        }
        Ok(all)
    }
}

fn found(record: Record) -> Option<Found> {
    let spot = Spot { partition: record.partition, offset: record.offset };
    let letter = Letter::read(&record)?;
    Some(Found { spot, letter, record })
}
