//! Owns asking Kafka which offsets a topic has, and which of them a time has.
//! Never joins a group, and never commits anything. Invariant: what is told was so when it was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::admin::AdminError;
use super::client::client;
use crate::runtime::config::Config;

/// Longest question to Kafka.
const ASK: Duration = Duration::from_secs(10);

/// What Kafka has of a partition: the first offset, and the one that its next record gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ends {
    pub low: i64,
    pub high: i64,
}

/// The ends of every partition of a topic (actual name).
pub async fn ends(config: &Config, topic: &str) -> Result<BTreeMap<i32, Ends>, AdminError> {
    let name = topic.to_string();
    let ask = move |consumer: BaseConsumer| {
        let metadata = consumer.fetch_metadata(Some(&name), ASK)?;
        let told = metadata.topics().iter().find(|topic| topic.name() == name);
        let there = told.filter(|topic| topic.error().is_none() && !topic.partitions().is_empty());
        let topic = there.ok_or_else(|| AdminError::NoTopic(name.clone()))?;
        let mut ends = BTreeMap::new();
        for partition in topic.partitions() {
            let (low, high) = watermarks(&consumer, &name, partition.id(), ASK)?;
            ends.insert(partition.id(), Ends { low, high });
        }
        Ok(ends)
    };
    asked(config, ask).await
}

/// Per partition the offset of the first record from this time on, by Kafka's timestamps; the end if there is none.
pub async fn at_time(
    config: &Config,
    topic: &str,
    ends: &BTreeMap<i32, Ends>,
    time: Timestamp,
) -> Result<BTreeMap<i32, i64>, AdminError> {
    let (name, ends) = (topic.to_string(), ends.clone());
    let ask = move |consumer: BaseConsumer| {
        let mut asked = TopicPartitionList::new();
        for partition in ends.keys() {
            let at = Offset::Offset(time.as_millisecond());
            asked.add_partition_offset(&name, *partition, at)?;
        }
        let told = consumer.offsets_for_times(asked, ASK)?;
        let of = |(partition, ends): (&i32, &Ends)| {
            let found = told.find_partition(&name, *partition).map(|e| e.offset());
            match found {
                Some(Offset::Offset(offset)) => (*partition, offset),
                _ => (*partition, ends.high),
            }
        };
        Ok(ends.iter().map(of).collect())
    };
    asked(config, ask).await
}

/// The first offset of a partition, and the one that its next record gets. Blocks.
///
/// librdkafka takes its memory of a partition that had no leader, or another one, for final, and asks again only after
/// minutes: so the topic is asked about anew first (F27).
pub fn watermarks<C: ConsumerContext, T: Consumer<C>>(
    consumer: &T,
    topic: &str,
    partition: i32,
    limit: Duration,
) -> Result<(i64, i64), KafkaError> {
    consumer.fetch_watermarks(topic, partition, limit).or_else(|error| {
        tracing::debug!(%error, topic, partition, "asked again, with new knowledge of who leads it");
        consumer.fetch_metadata(Some(topic), limit)?;
        consumer.fetch_watermarks(topic, partition, limit)
    })
}

/// A consumer in no group's work, for questions; asking blocks, so it has a thread of its own.
async fn asked<T: Send + 'static>(
    config: &Config,
    ask: impl FnOnce(BaseConsumer) -> Result<T, AdminError> + Send + 'static,
) -> Result<T, AdminError> {
    let mut client = client(config);
    client.set("group.id", config.group("ops")).set("enable.auto.commit", "false");
    tokio::task::spawn_blocking(move || ask(client.create()?)).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::mocking::MockCluster;

    #[test]
    fn f27_a_partition_that_had_no_leader_is_asked_about_anew_once_it_has_one() {
        let cluster = MockCluster::new(2).expect("a mock cluster");
        cluster.create_topic("led", 1, 2).expect("a topic");
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let consumer: BaseConsumer = config.create().expect("a consumer");
        cluster.partition_leader("led", 0, None).expect("nobody leads it");
        assert!(watermarks(&consumer, "led", 0, ASK).is_err());
        cluster.partition_leader("led", 0, Some(2)).expect("one leads it");
        assert_eq!(watermarks(&consumer, "led", 0, ASK), Ok((0, 0)));
    }
}
