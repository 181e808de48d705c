//! Owns what librdkafka calls back about the group. Never blocks in a callback, and never assigns there: where a
//! partition starts is known only after Postgres was asked, so the reader assigns when it knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::Key;

/// What the group decided about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Ours from now on; nothing is read until it is assigned.
    Assigned(Vec<Key>),
    /// No longer ours.
    Revoked(Vec<Key>),
}

/// The callbacks of one consumer.
pub struct Rebalances {
    tell: UnboundedSender<Change>,
    ends: Mutex<HashMap<Key, i64>>,
}

impl Rebalances {
    pub fn new(tell: UnboundedSender<Change>) -> Self {
        Self { tell, ends: Mutex::default() }
    }

    /// The end of a partition as Kafka told it last, if it did.
    pub fn end_of(&self, topic: &Arc<str>, partition: i32) -> Option<i64> {
        let ends = self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ends.get(&(topic.clone(), partition)).copied()
    }

    /// Forgets ends: what is not ours is not told any more.
    pub fn forget(&self) {
        self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
    }
}

fn keys(list: &TopicPartitionList) -> Vec<Key> {
    list.elements().iter().map(|e| (e.topic().into(), e.partition())).collect()
}

/// Unassigns those of the list that were assigned: one that is held, or not taken yet, is not.
fn unassign(
    consumer: &BaseConsumer<Rebalances>,
    list: &TopicPartitionList,
) -> Result<(), rdkafka::error::KafkaError> {
    let assigned = consumer.assignment()?;
    let mut leaving = TopicPartitionList::new();
    for element in list.elements() {
        if assigned.find_partition(element.topic(), element.partition()).is_some() {
            leaving.add_partition(element.topic(), element.partition());
        }
    }
    consumer.incremental_unassign(&leaving)
}

impl ClientContext for Rebalances {
    fn stats(&self, statistics: Statistics) {
        let mut ends = self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (name, topic) in &statistics.topics {
            for (partition, told) in &topic.partitions {
                if told.hi_offset >= 0 {
                    ends.insert((name.as_str().into(), *partition), told.hi_offset);
                }
            }
        }
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let change = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assigned(keys(list)),
            _ => {
                if let Err(error) = unassign(consumer, list) {
                    tracing::warn!(%error, "everything is given back");
                    if let Err(error) = consumer.unassign() {
                        tracing::warn!(%error, "partitions could not be given back");
                    }
                }
                Change::Revoked(keys(list))
            }
        };
        // Nobody listens only while the reader is being dropped.
        let _ = self.tell.send(change);
    }
}
