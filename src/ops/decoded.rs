//! Owns reading a record's value as JSON, for verbs that show what lies in topics.
//! Never takes an absent registry for a value that cannot be read.

use serde_json::Value;

use crate::kafka::registry::{Registry, RegistryError};
use crate::runtime::config::Config;
use crate::wire::{self, Subject, told};

/// Reads values; schemas are asked for once.
pub struct Decoder {
    registry: Registry,
    topic_prefix: String,
}

impl Decoder {
    /// Asks for nothing yet.
    pub fn new(config: &Config) -> Result<Self, RegistryError> {
        let registry = Registry::new(&config.registry)?;
        Ok(Self { registry, topic_prefix: config.kafka.topic_prefix.clone() })
    }

    /// The value of a record of this topic (actual name) as JSON, or why it is none. An error: the registry is away.
    pub async fn message(
        &self,
        topic: &str,
        value: &[u8],
    ) -> Result<Result<Value, String>, RegistryError> {
        let logical = topic.strip_prefix(&self.topic_prefix).unwrap_or(topic);
        let Some(subject) = Subject::of_topic(logical) else {
            return Ok(Err(format!("{topic} is no topic of ours")));
        };
        let (id, body) = match wire::split(value) {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match self.registry.schema(id).await {
            Ok(schema) => Ok(told::json(subject, body, &schema).map_err(|e| e.to_string())),
            Err(away @ RegistryError::Unavailable { .. }) => Err(away),
            Err(unknown) => Ok(Err(unknown.to_string())),
        }
    }
}
