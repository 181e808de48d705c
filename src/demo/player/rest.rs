//! The wait until nothing moves: read, decided, sent, finished, told, written. Each part in the order of the flow,
//! so that what was seen at rest stays at rest.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{Player, REST_DEADLINE, Sent};
use crate::pg::evidence;
use crate::wire::Subject;

/// What the sink reads.
const TOLD: [Subject; 5] =
    [Subject::Decision, Subject::Alert, Subject::ExecEvent, Subject::PlanRun, Subject::InferCall];
/// Longest question to Kafka about its offsets.
const ASK: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A partition, by its topic's actual name, and the offset of its next record.
pub(super) type End = (String, i32, i64);

impl Player {
    /// Waits until everything rests; what does not, if the deadline passes first.
    pub(super) async fn rest(
        &self,
        sent: &[Sent],
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + REST_DEADLINE;
        let mut said = String::new();
        loop {
            let Some(moving) = self.moving(sent).await? else { return Ok(None) };
            if Instant::now() > deadline {
                let seconds = REST_DEADLINE.as_secs();
                return Ok(Some(format!("not at rest after {seconds} s: {moving}")));
            }
            if moving != said {
                say(&moving);
                said = moving;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The first part of the flow that still moves.
    async fn moving(&self, sent: &[Sent]) -> anyhow::Result<Option<String>> {
        let client = self.pool.get().await?;
        let topic = self.config.topic(Subject::OrderRequest.topic());
        let produced = sent.iter().flat_map(|s| &s.places);
        let ends = produced.map(|(partition, offset)| (topic.clone(), *partition, offset + 1));
        let gate = evidence::positions(&client, "gate").await?;
        if let Some(behind) = behind(ends, &gate) {
            return Ok(Some(format!("the gate reads {behind}")));
        }
        let keys: Vec<String> = sent.iter().map(|s| s.key.to_string()).collect();
        if let Some((key, state)) = evidence::moving(&client, &keys).await?.into_iter().next() {
            let label = sent.iter().find(|s| *s.key == key).map_or(&*key, |s| &s.label);
            return Ok(Some(format!("order {label} is {state}")));
        }
        let owed = evidence::owed(&client).await?;
        if owed > 0 {
            return Ok(Some(format!("{owed} batch(es) of events are owed to Kafka")));
        }
        let ends = self.end_offsets(&TOLD.map(Subject::topic)).await?;
        let sink = evidence::positions(&client, "sink").await?;
        Ok(behind(ends.into_iter(), &sink).map(|behind| format!("the sink reads {behind}")))
    }

    /// The ends of every partition of these topics (logical names).
    pub(super) async fn end_offsets(&self, topics: &[&'static str]) -> anyhow::Result<Vec<End>> {
        let topics: Vec<String> = topics.iter().map(|topic| self.config.topic(topic)).collect();
        let consumer: BaseConsumer = self.asker()?;
        let asked = move || -> anyhow::Result<Vec<End>> {
            let mut ends = Vec::new();
            for topic in topics {
                let metadata = consumer.fetch_metadata(Some(&topic), ASK)?;
                for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                    let (_, end) = consumer.fetch_watermarks(&topic, partition.id(), ASK)?;
                    ends.push((topic.clone(), partition.id(), end));
                }
            }
            Ok(ends)
        };
        tokio::task::spawn_blocking(asked).await?
    }

    /// A consumer that is in no group and commits nothing.
    pub(super) fn asker(&self) -> anyhow::Result<BaseConsumer> {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", &self.config.kafka.brokers);
        for (name, value) in &self.config.kafka.properties {
            config.set(name, value);
        }
        config.set("group.id", self.config.group("demo-reader"));
        config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        Ok(config.create()?)
    }
}

/// The first of these partitions that a reader has not read to its end.
fn behind(ends: impl Iterator<Item = End>, positions: &[End]) -> Option<String> {
    for (topic, partition, end) in ends {
        let at = positions.iter().find(|(t, p, _)| *t == topic && *p == partition);
        let at = at.map_or(0, |(_, _, next)| *next);
        if at < end {
            return Some(format!("{topic}/{partition} ({at} of {end})"));
        }
    }
    None
}
