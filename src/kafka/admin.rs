//! Owns asking the brokers about topics and changing them.
//! Never takes away a partition or a record, and never resets a setting it was not told about.
//! Invariant: a change is what was asked for; whether it has come about, the caller reads back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::client::client;
use super::record::Topic;
use super::topic_ids;
use crate::runtime::config::{Config, TopicIds};

/// A question not answered after this long has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the controller may take over a change before it answers.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the brokers could not be asked, or did not do what they were asked for.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The client could not be made, or the brokers do not answer.
    #[error("Kafka does not answer as it should: {0}. Is it running, and is kafka.brokers right?")]
    Kafka(#[from] KafkaError),
    /// A question failed as a whole.
    #[error(
        "Kafka could not be asked ({what}): {code}. Is it running, and is kafka.brokers right?"
    )]
    Failed {
        /// What was asked.
        what: &'static str,
        /// librdkafka's words.
        code: RDKafkaErrorCode,
    },
    /// There is no such topic.
    #[error("there is no topic {0}: run `noctus topics apply`")]
    NoTopic(String),
    /// The brokers tell no ids.
    #[error(
        "the brokers tell no id of topic {0} (Kafka before 2.8 has none): set kafka.topic_ids: by_name"
    )]
    NoTopicId(String),
    /// The brokers refuse something about a topic.
    #[error("topic {topic}: {code}")]
    Refused {
        /// The actual name.
        topic: String,
        /// The broker's reason.
        code: RDKafkaErrorCode,
    },
    /// What librdkafka gave or was given cannot be used.
    #[error("{what} cannot be used: {why}")]
    Unusable {
        /// Which thing.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The thread that asked has ended.
    #[error("asking Kafka was broken off: {0}")]
    BrokenOff(#[from] tokio::task::JoinError),
}

impl AdminError {
    /// Whether the brokers answer, and do not let us.
    pub fn no_rights(&self) -> bool {
        use RDKafkaErrorCode::{ClusterAuthorizationFailed, TopicAuthorizationFailed};
        let (AdminError::Refused { code, .. } | AdminError::Failed { code, .. }) = self else {
            return false;
        };
        matches!(code, ClusterAuthorizationFailed | TopicAuthorizationFailed)
    }
}

/// How a topic is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Its number of partitions.
    pub partitions: i32,
    /// Copies of the partition that has the fewest.
    pub replication: i32,
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its actual name.
    pub name: String,
    /// Its number of partitions.
    pub partitions: i32,
    /// Copies of each.
    pub replication: i32,
    /// Its settings, by Kafka's names.
    pub settings: BTreeMap<&'static str, String>,
}

/// A client for asking and changing; cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<AdminClient<DefaultClientContext>>);

impl Admin {
    /// Makes the client; asks for nothing yet.
    pub fn new(config: &Config) -> Result<Self, AdminError> {
        Ok(Self(Arc::new(client(config).create()?)))
    }

    /// Every topic that there is, by actual name.
    pub async fn topics(&self) -> Result<BTreeMap<String, Layout>, AdminError> {
        let copies = |p: &rdkafka::metadata::MetadataPartition| p.replicas().len() as i32;
        let metadata = self.metadata().await?;
        let layout = |topic: &rdkafka::metadata::MetadataTopic| Layout {
            partitions: topic.partitions().len() as i32,
            replication: topic.partitions().iter().map(copies).min().unwrap_or(0),
        };
        let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(there.map(|topic| (topic.name().to_string(), layout(topic))).collect())
    }

    /// Every effective setting of these topics, by actual name.
    pub async fn settings(
        &self,
        topics: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, AdminError> {
        let value = |e: rdkafka::admin::ConfigEntry| Some((e.name, e.value?));
        let resources = self.configs(topics).await?.into_iter();
        Ok(resources.map(|(t, r)| (t, r.entries.into_iter().filter_map(value).collect())).collect())
    }

    /// Makes topics.
    pub async fn create(&self, topics: &[NewTopic]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        let native: Vec<rdkafka::admin::NewTopic> = topics
            .iter()
            .map(|topic| rdkafka::admin::NewTopic {
                name: &topic.name,
                num_partitions: topic.partitions,
                replication: TopicReplication::Fixed(topic.replication),
                config: topic.settings.iter().map(|(name, value)| (*name, &**value)).collect(),
            })
            .collect();
        all_well(self.0.create_topics(&native, &options()).await?)
    }

    /// Brings a topic to so many partitions.
    pub async fn add_partitions(&self, topic: &str, partitions: i32) -> Result<(), AdminError> {
        let wanted = [NewPartitions::new(topic, partitions.max(0) as usize)];
        all_well(self.0.create_partitions(&wanted, &options()).await?)
    }

    /// Changes these settings of a topic and keeps its others.
    pub async fn change_settings(
        &self,
        topic: &str,
        changed: &BTreeMap<String, String>,
    ) -> Result<(), AdminError> {
        // Kafka's AlterConfigs replaces the whole set: what was set on the topic before goes along.
        let before = self.configs(&[topic]).await?.remove(topic);
        let mut settings: HashMap<&str, &str> = HashMap::new();
        for entry in before.iter().flat_map(|resource| &resource.entries) {
            if let (ConfigSource::DynamicTopic, Some(value)) = (&entry.source, &entry.value) {
                settings.insert(&entry.name, value);
            }
        }
        settings.extend(changed.iter().map(|(name, value)| (&**name, &**value)));
        let mut wanted = AlterConfig::new(ResourceSpecifier::Topic(topic));
        wanted.entries = settings;
        for altered in self.0.alter_configs([&wanted], &options()).await? {
            altered.map_err(|(_, code)| AdminError::Refused { topic: topic.into(), code })?;
        }
        Ok(())
    }

    /// Deletes topics with everything in them; what is not there is no error.
    pub async fn delete(&self, topics: &[String]) -> Result<(), AdminError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        let gone = |result: &TopicResult| {
            !matches!(result, Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)))
        };
        let deleted = self.0.delete_topics(&names, &options()).await?;
        all_well(deleted.into_iter().filter(gone).collect())
    }

    /// Whether any broker makes a topic that somebody names; none if no broker tells.
    pub async fn auto_creation(&self) -> Result<Option<bool>, AdminError> {
        let mut found = None;
        for broker in self.metadata().await?.brokers() {
            // A broker answers for itself only, so each is asked by itself.
            let asked = [ResourceSpecifier::Broker(broker.id())];
            let Ok(answer) = self.0.describe_configs(&asked, &options()).await else { continue };
            for resource in answer.into_iter().flatten() {
                let entry = resource.get("auto.create.topics.enable");
                if let Some(value) = entry.and_then(|e| e.value.as_deref()) {
                    found = Some(found.unwrap_or(false) || value == "true");
                }
            }
        }
        Ok(found)
    }

    async fn metadata(&self) -> Result<Metadata, AdminError> {
        let admin = self.0.clone();
        let ask = move || admin.inner().fetch_metadata(None, REQUEST_TIMEOUT);
        Ok(tokio::task::spawn_blocking(ask).await??)
    }

    async fn configs(
        &self,
        topics: &[&str],
    ) -> Result<HashMap<String, ConfigResource>, AdminError> {
        if topics.is_empty() {
            return Ok(HashMap::new());
        }
        let asked: Vec<ResourceSpecifier> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let mut found = HashMap::new();
        for resource in self.0.describe_configs(&asked, &options()).await? {
            let resource =
                resource.map_err(|code| AdminError::Failed { what: "settings of topics", code })?;
            if let OwnedResourceSpecifier::Topic(name) = &resource.specifier {
                found.insert(name.clone(), resource);
            }
        }
        Ok(found)
    }
}

/// Kafka's id of each of these topics (actual names), as text; a topic that was deleted and made again
/// has another. With `kafka.topic_ids: by_name` the name stands for it and nobody is asked.
pub async fn topic_ids(
    config: &Config,
    topics: &[String],
) -> Result<HashMap<String, String>, AdminError> {
    let topics = topics.to_vec();
    match config.kafka.topic_ids {
        TopicIds::ByName => Ok(topics.into_iter().map(|name| (name.clone(), name)).collect()),
        TopicIds::Required if topics.is_empty() => Ok(HashMap::new()),
        TopicIds::Required => {
            let client = client(config);
            let timeout_ms = REQUEST_TIMEOUT.as_millis() as i32;
            let ask = move || topic_ids::ask(&client, &topics, timeout_ms);
            tokio::task::spawn_blocking(ask).await?
        }
    }
}

/// Topics of these logical names, as they are now. A missing one is [`AdminError::NoTopic`].
pub async fn topics(config: &Config, logical: &[&'static str]) -> Result<Vec<Topic>, AdminError> {
    let names: Vec<String> = logical.iter().map(|logical| config.topic(logical)).collect();
    let ids = topic_ids(config, &names).await?;
    let topic = |(logical, name): (&&'static str, &String)| {
        let id = ids.get(name).ok_or_else(|| AdminError::NoTopic(name.clone()))?;
        Ok(Topic { name: name.as_str().into(), logical, id: id.as_str().into() })
    };
    logical.iter().zip(&names).map(topic).collect()
}

/// One topic, as it is now.
pub async fn topic(config: &Config, logical: &'static str) -> Result<Topic, AdminError> {
    let mut topics = topics(config, &[logical]).await?;
    topics.pop().ok_or_else(|| AdminError::NoTopic(config.topic(logical)))
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(OPERATION_TIMEOUT))
}

fn all_well(results: Vec<TopicResult>) -> Result<(), AdminError> {
    for result in results {
        result.map_err(|(topic, code)| AdminError::Refused { topic, code })?;
    }
    Ok(())
}
