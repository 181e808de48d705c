//! Owns events from their commit to Kafka's acknowledgement: whoever committed a batch emits it from memory and
//! settles it; what a crash left behind is found by age and emitted by anyone, byte for byte the same.
//! Never drops an event. Invariant (I5): an event is committed before it is emitted.

mod emitter;
mod sweep;

pub use self::emitter::{Emitter, Room};
pub use crate::pg::owed::insert;

use crate::domain::event::Alert;
use crate::kafka::registry::RegistryError;
use crate::runtime::context::Context;
use crate::wire::{self, EncodeError, Subject};

/// The logical name of the topic of refused inputs.
pub const DEAD_LETTERS: &str = "dead-letters";

/// One event owed to Kafka: exact bytes for a logical topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owed {
    pub topic: &'static str,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owed {
    /// An event without headers.
    pub fn new(topic: &'static str, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { topic, key: Some(key), value: Some(value), headers: Vec::new() }
    }

    /// The same with headers.
    pub fn with(self, headers: Vec<(String, Option<Vec<u8>>)>) -> Self {
        Self { headers, ..self }
    }
}

/// The topic of this logical name, if it is one of ours.
pub fn topic_named(name: &str) -> Option<&'static str> {
    match Subject::of_topic(name) {
        Some(subject) => Some(subject.topic()),
        None => (name == DEAD_LETTERS).then_some(DEAD_LETTERS),
    }
}

/// The exact bytes of an alert; under its trace if it has one.
pub async fn alert<E>(ctx: &Context, alert: &Alert) -> Result<Owed, E>
where
    E: From<RegistryError> + From<EncodeError>,
{
    let schema = ctx.registry.newest_id(&ctx.config, Subject::Alert).await?;
    let value = wire::frame(schema, &wire::alert::encode(alert)?);
    let key = alert.trace_id.as_ref().map(|t| t.as_bytes().to_vec());
    Ok(Owed { topic: Subject::Alert.topic(), key, value: Some(value), headers: Vec::new() })
}

/// Commits events by themselves: the row that owes them.
pub async fn commit<E>(ctx: &Context, events: &[Owed]) -> Result<Option<i64>, E>
where
    E: From<deadpool_postgres::PoolError> + From<tokio_postgres::Error>,
{
    let mut client = ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let row = insert(&tx, &ctx.worker, events).await?;
    tx.commit().await?;
    Ok(row)
}
