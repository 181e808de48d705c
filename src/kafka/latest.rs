//! Owns reading a whole topic from its first record on, in no group: what a process must know before it works.
//! Never commits anything. Invariant: it says so once it has read what was there when it began, and whenever it
//! does not hear from Kafka any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::client;
use super::offsets::watermarks;
use super::record::{Record, Topic};
use crate::runtime::config::Config;

/// Longest question to Kafka.
const ASK: Duration = Duration::from_secs(10);
/// Pause between two looks at whether Kafka still answers, and the longest such look.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE: Duration = Duration::from_secs(5);

/// What comes out of it.
#[derive(Debug)]
pub enum Heard {
    /// A record.
    Record(Box<Record>),
    /// Everything that was there at the start has been read.
    UpToDate,
    /// Kafka does not answer; what is known grows old.
    Unwell(String),
    /// Kafka answers again.
    Well,
}

/// A topic being read.
pub struct Latest {
    consumer: Arc<StreamConsumer>,
    topic: Topic,
    /// Partitions with the end they had at the start, as long as it is not reached.
    behind: HashMap<i32, i64>,
    partitions: Vec<i32>,
    probe: Option<JoinHandle<Result<(), KafkaError>>>,
    probe_at: Instant,
    is_unwell: bool,
    told: bool,
}

impl Latest {
    /// Begins with the first record of every partition.
    pub async fn open(config: &Config, topic: Topic) -> Result<Self, KafkaError> {
        let mut client = client(config);
        client
            .set("group.id", config.group("latest"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "smallest")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "50");
        let name = topic.name.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let consumer: StreamConsumer = client.create()?;
            let metadata = consumer.fetch_metadata(Some(&name), ASK)?;
            let mut list = TopicPartitionList::new();
            let mut behind = HashMap::new();
            for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                let (low, high) = watermarks(&consumer, &name, partition.id(), ASK)?;
                list.add_partition_offset(&name, partition.id(), Offset::Beginning)?;
                if low < high {
                    behind.insert(partition.id(), high);
                }
            }
            if list.count() == 0 {
                return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
            }
            consumer.assign(&list)?;
            let partitions = list.elements().iter().map(|e| e.partition()).collect();
            Ok((consumer, behind, partitions))
        });
        let (consumer, behind, partitions) = begun.await.map_err(|_| KafkaError::Canceled)??;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic,
            behind,
            partitions,
            probe: None,
            probe_at: Instant::now() + PROBE_EVERY,
            is_unwell: false,
            told: false,
        })
    }

    /// The next thing heard. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            if !self.told && self.is_up_to_date() {
                self.told = true;
                return Heard::UpToDate;
            }
            tokio::select! {
                biased;
                probed = probed(&mut self.probe) => {
                    self.probe = None;
                    self.probe_at = Instant::now() + PROBE_EVERY;
                    match probed {
                        Ok(()) if std::mem::take(&mut self.is_unwell) => return Heard::Well,
                        Err(why) if !std::mem::replace(&mut self.is_unwell, true) => {
                            return Heard::Unwell(why);
                        }
                        _ => {}
                    }
                }
                () = tokio::time::sleep_until(self.probe_at), if self.probe.is_none() => {
                    self.probe = Some(self.ask());
                }
                message = self.consumer.recv() => match message {
                    Ok(message) => {
                        return Heard::Record(Box::new(Record::of(&self.topic, &message)));
                    }
                    Err(error) => {
                        tracing::debug!(%error, topic = &*self.topic.name, "Kafka complains");
                    }
                }
            }
        }
    }

    /// By the consumer's position, since a compacted topic need not have a record right before its end.
    fn is_up_to_date(&mut self) -> bool {
        if self.behind.is_empty() {
            return true;
        }
        let Ok(position) = self.consumer.position() else { return false };
        self.behind.retain(|partition, end| {
            let at = position.find_partition(&self.topic.name, *partition);
            !matches!(at.map(|e| e.offset()), Some(Offset::Offset(at)) if at >= *end)
        });
        self.behind.is_empty()
    }

    /// Asks Kafka for the ends of the partitions: a connection that is silently dead shows.
    fn ask(&self) -> JoinHandle<Result<(), KafkaError>> {
        let (consumer, topic) = (self.consumer.clone(), self.topic.name.clone());
        let partitions = self.partitions.clone();
        tokio::task::spawn_blocking(move || {
            for partition in partitions {
                watermarks(&*consumer, &topic, partition, PROBE)?;
            }
            Ok(())
        })
    }
}

async fn probed(probe: &mut Option<JoinHandle<Result<(), KafkaError>>>) -> Result<(), String> {
    match probe {
        Some(asked) => match asked.await {
            Ok(answer) => answer.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        },
        None => std::future::pending().await,
    }
}
