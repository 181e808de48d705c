//! Owns events from their commit to Kafka's acknowledgement: whoever committed a batch emits it from memory and
//! settles it; what a crash left behind is found by age and emitted by anyone, byte for byte the same.
//! Never drops an event. Invariant (I5): an event is committed before it is emitted.

mod emitter;
mod sweep;

pub use self::emitter::{Emitter, Room};
pub use crate::pg::owed::insert;

use crate::wire::Subject;

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
