//! Owns producing: every record is awaited until all in-sync replicas have it, or an error says that perhaps they do not.
//! Never drops a record silently. Invariant (I1): idempotent, acks=all; what is uncertain may be produced again.

use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::client::client;
use crate::runtime::config::Config;

/// Pause when librdkafka's queue is full.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Largest record that is produced, bytes. librdkafka's own limit is below what an input takes, and a dead letter
/// is an input and more; batches stay within batch.size (1 000 000), which every topic takes.
pub const RECORD_MAX_BYTES: u32 = 2_097_152;

/// One record to produce; `topic` is the actual name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Outgoing {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_ms: Option<i64>,
    pub partition: Option<i32>,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Delivered {
    pub partition: i32,
    pub offset: i64,
}

/// A producer that waits for every acknowledgement; cheap to clone.
#[derive(Clone)]
pub struct Producer(FutureProducer);

impl Producer {
    /// Makes the producer; asks nobody yet.
    pub fn new(config: &Config) -> Result<Self, KafkaError> {
        let mut client = client(config);
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.max.bytes", RECORD_MAX_BYTES.to_string())
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("message.timeout.ms", config.kafka.delivery_timeout_ms.to_string());
        Ok(Self(client.create()?))
    }

    /// Produces all, in the order given, and awaits every acknowledgement. After an error some may have been written.
    pub async fn produce(&self, records: &[Outgoing]) -> Result<Vec<Delivered>, KafkaError> {
        let mut acknowledged = Vec::with_capacity(records.len());
        for record in records {
            acknowledged.push(self.enqueue(record).await?);
        }
        let delivered =
            try_join_all(acknowledged.into_iter().map(async |answer| match answer.await {
                Ok(Ok(d)) => Ok(Delivered { partition: d.partition, offset: d.offset }),
                Ok(Err((error, _))) => Err(error),
                Err(_) => Err(KafkaError::Canceled),
            }));
        delivered.await
    }

    async fn enqueue(
        &self,
        record: &Outgoing,
    ) -> Result<rdkafka::producer::DeliveryFuture, KafkaError> {
        loop {
            match self.0.send_result(fill(record)) {
                Ok(answer) => return Ok(answer),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Waits until everything produced is acknowledged or given up, at most for `limit`. Blocks its thread.
    pub fn flush(&self, limit: Duration) -> Result<(), KafkaError> {
        self.0.flush(limit)
    }
}

fn fill(record: &Outgoing) -> FutureRecord<'_, [u8], [u8]> {
    let mut out = FutureRecord::to(&record.topic);
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        out = out.headers(headers);
    }
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    out.timestamp = record.timestamp_ms;
    out.partition = record.partition;
    out
}
