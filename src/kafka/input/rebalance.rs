//! Owns what librdkafka calls back about the group. Never blocks in a callback, and never assigns there: where a
//! partition starts is known only after Postgres was asked, so the reader assigns when it knows.

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;

use super::Key;
use crate::runtime::clock;
use crate::runtime::metrics::Lag;

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
    reader: &'static str,
    lag: Lag,
}

impl Rebalances {
    pub fn new(tell: UnboundedSender<Change>, reader: &'static str, lag: Lag) -> Self {
        Self { tell, reader, lag }
    }
}

fn keys(list: &TopicPartitionList) -> Vec<Key> {
    list.elements().iter().map(|e| (e.topic().into(), e.partition())).collect()
}

/// Unassigns those of the list that were assigned: one that is held, or not taken yet, is not.
fn unassign(
    consumer: &BaseConsumer<Rebalances>,
    list: &TopicPartitionList,
) -> Result<(), KafkaError> {
    let assigned = consumer.assignment()?;
    let mut leaving = TopicPartitionList::new();
    for element in list.elements() {
        if assigned.find_partition(element.topic(), element.partition()).is_some() {
            leaving.add_partition(element.topic(), element.partition());
        }
    }
    let_go(consumer, &leaving)
}

/// Ends reading these partitions. librdkafka remembers of one that it is paused, also when it comes back: nobody would
/// resume it then, and it would never be read again (F34).
pub fn let_go<C: ConsumerContext, T: Consumer<C>>(
    consumer: &T,
    partitions: &TopicPartitionList,
) -> Result<(), KafkaError> {
    consumer.resume(partitions)?;
    consumer.incremental_unassign(partitions)
}

impl ClientContext for Rebalances {
    fn stats(&self, statistics: Statistics) {
        let now = clock::now();
        for (name, topic) in &statistics.topics {
            let name = name.as_str().into();
            for (partition, told) in &topic.partitions {
                if told.hi_offset >= 0 {
                    self.lag.end(self.reader, (&name, *partition), told.hi_offset, now);
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
                let keys = keys(list);
                for (topic, partition) in &keys {
                    self.lag.gone(self.reader, (topic, *partition));
                }
                Change::Revoked(keys)
            }
        };
        // Nobody listens only while the reader is being dropped.
        let _ = self.tell.send(change);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use rdkafka::ClientConfig;
    use rdkafka::Offset;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Whether a record comes.
    fn comes(consumer: &BaseConsumer) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
                return true;
            }
        }
        false
    }

    #[test]
    fn f34_a_partition_that_was_let_go_while_it_was_paused_is_read_when_it_comes_back() {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic("paused", 1, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "paused");
        let producer: BaseProducer = config.create().expect("a producer");
        producer.send(BaseRecord::<[u8], _>::to("paused").payload("one")).expect("it is taken");
        producer.flush(PATIENCE).expect("it is acknowledged");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("paused", 0, Offset::Offset(0)).expect("an offset");
        consumer.incremental_assign(&list).expect("it is assigned");
        assert!(comes(&consumer));
        consumer.pause(&list).expect("it is paused");
        let_go(&consumer, &list).expect("it is let go");
        consumer.incremental_assign(&list).expect("it comes back");
        assert!(comes(&consumer), "from the same offset again");
    }
}
