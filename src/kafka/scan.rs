//! Owns reading a stretch of a topic once, as an outsider.
//! Never joins a group, never commits, and never waits for records that are not there yet.
//! Invariant: it ends with an error, or when every partition was read up to where the stretch ends.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::admin::AdminError;
use super::client::client;
use super::record::{Record, Topic};
use crate::runtime::config::Config;

/// Kafka is silent for this long: the stretch is given up.
const SILENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at whether anyone still listens.
const POLL: Duration = Duration::from_millis(100);
/// Records read and not taken yet.
const AHEAD_MAX: usize = 256;

/// Reads these offsets of a topic, by partition; each partition in order.
pub fn scan(
    config: &Config,
    topic: Topic,
    stretch: BTreeMap<i32, Range<i64>>,
) -> Receiver<Result<Record, AdminError>> {
    let mut client = client(config);
    client
        .set("group.id", config.group("ops"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "smallest")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50");
    let (tell, heard) = channel(AHEAD_MAX);
    tokio::task::spawn_blocking(move || {
        let read = client.create().map_err(AdminError::from);
        if let Err(error) = read.and_then(|consumer| read_all(&consumer, &topic, stretch, &tell)) {
            // Nobody listens any more: then nobody needs to know.
            let _ = tell.blocking_send(Err(error));
        }
    });
    heard
}

fn read_all(
    consumer: &BaseConsumer,
    topic: &Topic,
    mut left: BTreeMap<i32, Range<i64>>,
    tell: &Sender<Result<Record, AdminError>>,
) -> Result<(), AdminError> {
    left.retain(|_, stretch| !stretch.is_empty());
    let mut list = TopicPartitionList::new();
    for (partition, stretch) in &left {
        list.add_partition_offset(&topic.name, *partition, Offset::Offset(stretch.start))?;
    }
    consumer.assign(&list)?;
    let mut heard = Instant::now();
    while !left.is_empty() && !tell.is_closed() {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let record = Record::of(topic, &message);
                let (partition, offset) = (record.partition, record.offset);
                let Some(stretch) = left.get(&partition) else { continue };
                let (within, end) = (stretch.contains(&offset), stretch.end);
                if within && tell.blocking_send(Ok(record)).is_err() {
                    return Ok(());
                }
                if offset + 1 >= end {
                    left.remove(&partition);
                }
            }
            // Records may be missing before an end: compaction and transactions leave gaps.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = Instant::now();
                left.remove(&partition);
            }
            Some(Err(error)) if heard.elapsed() > SILENCE => return Err(error.into()),
            Some(Err(error)) => {
                tracing::debug!(%error, topic = &*topic.name, "Kafka complains");
            }
            None if heard.elapsed() > SILENCE => {
                let code = rdkafka::types::RDKafkaErrorCode::OperationTimedOut;
                return Err(AdminError::Failed { what: "records", code });
            }
            None => {}
        }
    }
    Ok(())
}
