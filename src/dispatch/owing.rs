//! Owns the hand-over of dispatch's events to whoever emits them.

use tokio_postgres::{Error, Transaction};

/// One event owed to Kafka: framed bytes for a logical topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owed {
    pub topic: &'static str,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Commits events with what caused them, as one row.
pub async fn insert(tx: &Transaction<'_>, owner: &str, events: &[Owed]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let topics: Vec<&str> = events.iter().map(|e| e.topic).collect();
    let keys: Vec<&[u8]> = events.iter().map(|e| e.key.as_slice()).collect();
    let payloads: Vec<&[u8]> = events.iter().map(|e| e.value.as_slice()).collect();
    tx.execute(
        "INSERT INTO owed_events (id, owner, topics, keys, payloads)
         VALUES (gen_random_uuid(), $1, $2, $3, $4)",
        &[&owner, &topics, &keys, &payloads],
    )
    .await?;
    Ok(())
}
