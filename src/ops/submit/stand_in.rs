//! Stands in for `kafka::producer` until that lands: the same names and meaning, so only an import changes.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::runtime::config::Config;

/// One record to produce; `topic` is the actual name.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Outgoing {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
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

/// A producer that waits for every acknowledgement.
pub struct Producer(FutureProducer);

impl Producer {
    /// Makes the producer: acks=all, idempotent.
    pub fn new(config: &Config) -> Result<Self, rdkafka::error::KafkaError> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &config.kafka.brokers);
        for (name, value) in &config.kafka.properties {
            client.set(name, value);
        }
        client.set("acks", "all").set("enable.idempotence", "true");
        client.set("message.timeout.ms", config.kafka.delivery_timeout_ms.to_string());
        Ok(Self(client.create()?))
    }

    /// Produces all and awaits every acknowledgement.
    pub async fn produce(
        &self,
        records: &[Outgoing],
    ) -> Result<Vec<Delivered>, rdkafka::error::KafkaError> {
        let sends = records.iter().map(|record| {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let mut out = FutureRecord::<[u8], [u8]>::to(&record.topic).headers(headers);
            out.key = record.key.as_deref();
            out.payload = record.value.as_deref();
            out.timestamp = record.timestamp_ms;
            out.partition = record.partition;
            self.0.send(out, Duration::from_secs(5))
        });
        let answers = futures::future::join_all(sends).await;
        answers
            .into_iter()
            .map(|answer| {
                let d = answer.map_err(|(error, _)| error)?;
                Ok(Delivered { partition: d.partition, offset: d.offset })
            })
            .collect()
    }
}
