//! A record as it lies in a topic, with the bytes exactly as they are.

use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

/// A topic of ours: its actual name, what stands for it in contracts and signatures, and Kafka's id of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Topic {
    pub name: Arc<str>,
    pub logical: &'static str,
    pub id: Arc<str>,
}

/// One record and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    /// The topic's actual name.
    pub topic: Arc<str>,
    /// Its name in the contract, e.g. `order-requests`.
    pub logical: &'static str,
    pub topic_id: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The broker's or the producer's, as the topic is set; absent if Kafka knows none.
    pub timestamp: Option<Timestamp>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The epoch under which its reader held the partition; 0 outside of a group.
    pub epoch: i64,
}

impl Record {
    pub(super) fn of(topic: &Topic, message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let owned = |h: rdkafka::message::Header<'_, &[u8]>| {
                (h.key.to_string(), h.value.map(<[u8]>::to_vec))
            };
            headers.iter().map(owned).collect()
        });
        let millis = message.timestamp().to_millis();
        Self {
            topic: topic.name.clone(),
            logical: topic.logical,
            topic_id: topic.id.clone(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: millis.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            epoch: 0,
        }
    }
}
