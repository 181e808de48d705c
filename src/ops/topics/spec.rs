//! Owns what topics there should be: `topics/topics.yml`, read strictly. Asks no cluster.
//! Invariant: a [`Spec`] in use has no violation, and setting names are Kafka's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

const EMBEDDED: &str = include_str!("../../../topics/topics.yml");
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// Every topic of Noctus.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Copies of each partition of a topic that is made.
    pub replication: i32,
    /// The topics, in the order of the flow.
    pub topics: Vec<Topic>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its logical name.
    pub name: String,
    /// What a record is, a sentence.
    pub purpose: String,
    /// What the record's key is.
    pub key: String,
    /// The registry's subject of its values; none: they have no schema of their own.
    pub subject: Option<String>,
    /// Who writes it.
    pub writers: Vec<String>,
    /// Who reads it.
    pub readers: Vec<String>,
    /// At least so many.
    pub partitions: i32,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// How long records stay; of topics that delete.
    pub retention_hours: Option<u64>,
    /// A superseded record is gone after at most this long; of topics that compact.
    pub compaction_lag_max_minutes: Option<u64>,
    /// Largest batch of records that is taken.
    pub max_message_bytes: u32,
    /// Whose clock a record's timestamp is of.
    pub timestamp: Timestamp,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Cleanup {
    Delete,
    /// The newest record of each key stays.
    Compact,
}

/// Whose clock a record's timestamp is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamp {
    /// The producer's.
    Create,
    /// The broker's: a producer cannot choose it.
    LogAppend,
}

/// A file that is not a good list of topics, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{file} has {} violation(s):\n{}", .violations.len(), .violations.iter().map(|v| format!("  - {v}")).collect::<Vec<_>>().join("\n"))]
pub struct BadSpec {
    /// Which file.
    pub file: String,
    /// What is wrong.
    pub violations: Vec<String>,
}

impl Spec {
    /// The topics of this build.
    pub fn embedded() -> Self {
        Self::parse("topics/topics.yml", EMBEDDED).expect("the embedded list is tested")
    }

    /// The topics of a file.
    pub fn of_file(path: &Path) -> Result<Self, BadSpec> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(error) => Err(BadSpec { file, violations: vec![error.to_string()] }),
        }
    }

    /// Reads a list; `file` is what to call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadSpec> {
        let bad = |violations| BadSpec { file: file.into(), violations };
        let spec: Self =
            serde_saphyr::from_str(text).map_err(|error| bad(vec![error.to_string()]))?;
        match spec.violations() {
            none if none.is_empty() => Ok(spec),
            violations => Err(bad(violations)),
        }
    }

    /// The same with at most so many partitions a topic, for small clusters and demonstrations.
    pub fn with_partitions_max(mut self, most: i32) -> Self {
        for topic in &mut self.topics {
            topic.partitions = topic.partitions.min(most);
        }
        self
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !(1..=9).contains(&self.replication) {
            found.push("replication must be 1..9".to_string());
        }
        let mut names = BTreeSet::new();
        for topic in &self.topics {
            if !names.insert(&topic.name) {
                found.push(format!("{}: stands twice", topic.name));
            }
            found.extend(topic.violations().into_iter().map(|v| format!("{}: {v}", topic.name)));
        }
        found
    }
}

impl Topic {
    /// Kafka's settings of the topic when it has so many copies.
    pub fn settings(&self, replication: i32) -> BTreeMap<&'static str, String> {
        let cleanup = match self.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        };
        let timestamp = match self.timestamp {
            Timestamp::Create => "CreateTime",
            Timestamp::LogAppend => "LogAppendTime",
        };
        let mut settings = BTreeMap::from([
            ("cleanup.policy", cleanup.to_string()),
            ("max.message.bytes", self.max_message_bytes.to_string()),
            ("message.timestamp.type", timestamp.to_string()),
            // One copy may be away and writing with acks=all goes on.
            ("min.insync.replicas", (replication - 1).clamp(1, 2).to_string()),
        ]);
        if let Some(hours) = self.retention_hours {
            settings.insert("retention.ms", (hours * HOUR_MS).to_string());
        }
        if let Some(minutes) = self.compaction_lag_max_minutes {
            settings.insert("max.compaction.lag.ms", (minutes * MINUTE_MS).to_string());
        }
        settings
    }

    fn violations(&self) -> Vec<&'static str> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let checks = [
            (
                (1..=200).contains(&self.name.len()) && self.name.bytes().all(legal),
                "name must be [A-Za-z0-9._-]{1,200}",
            ),
            (!self.purpose.is_empty(), "purpose must say something"),
            (!self.writers.is_empty(), "writers must name somebody"),
            (!self.readers.is_empty(), "readers must name somebody"),
            ((1..=10_000).contains(&self.partitions), "partitions must be 1..10000"),
            (
                (1_024..=104_857_600).contains(&self.max_message_bytes),
                "max_message_bytes must be 1024..104857600",
            ),
            (
                (self.cleanup == Cleanup::Delete) == self.retention_hours.is_some(),
                "retention_hours stands where cleanup is delete, and only there",
            ),
            (
                (self.cleanup == Cleanup::Compact) == self.compaction_lag_max_minutes.is_some(),
                "compaction_lag_max_minutes stands where cleanup is compact, and only there",
            ),
            (
                self.retention_hours.is_none_or(|h| (1..=87_600).contains(&h)),
                "retention_hours must be 1..87600",
            ),
            (
                self.compaction_lag_max_minutes.is_none_or(|m| (1..=10_080).contains(&m)),
                "compaction_lag_max_minutes must be 1..10080",
            ),
        ];
        checks.into_iter().filter_map(|(good, text)| (!good).then_some(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::producer::RECORD_MAX_BYTES;
    use crate::kafka::registry::subject_of;
    use crate::runtime::config::Config;
    use crate::wire::Subject;

    #[test]
    fn every_subject_of_this_build_has_its_topic_and_only_dead_letters_has_none() {
        let spec = Spec::embedded();
        let of_spec: Vec<(&str, Option<&str>)> =
            spec.topics.iter().map(|t| (&*t.name, t.subject.as_deref())).collect();
        for subject in Subject::ALL {
            let name = subject_of(subject.topic());
            assert!(of_spec.contains(&(subject.topic(), Some(&name))), "{subject:?}: {of_spec:?}");
        }
        assert_eq!(of_spec.len(), Subject::ALL.len() + 1);
        assert!(of_spec.contains(&("dead-letters", None)));
    }

    #[test]
    fn what_is_signed_carries_the_brokers_timestamp() {
        for topic in Spec::embedded().topics {
            let signed = ["order-requests", "proposal-sets", "order-commands", "quotes"];
            let signed = signed.contains(&&*topic.name);
            assert_eq!(topic.timestamp == Timestamp::LogAppend, signed, "{}", topic.name);
        }
    }

    #[test]
    fn a_dead_letter_holds_the_largest_input_with_room_for_headers() {
        let spec = Spec::embedded();
        let size = |name: &str| {
            spec.topics.iter().find(|t| t.name == name).map(|t| t.max_message_bytes as usize)
        };
        let value_max_bytes = Config::default().gate.value_max_bytes;
        let inputs = ["order-requests", "proposal-sets", "order-commands", "quotes"];
        for input in inputs {
            assert!(size(input) >= Some(value_max_bytes + 16_384), "{input}");
            assert!(size("dead-letters") >= size(input).map(|s| s + 65_536), "{input}");
        }
        assert_eq!(
            size("dead-letters"),
            Some(RECORD_MAX_BYTES as usize),
            "what is produced is taken"
        );
    }

    #[test]
    fn settings_are_kafkas_and_follow_the_replication() {
        let spec = Spec::embedded();
        let of = |name: &str, replication| {
            let topic = spec.topics.iter().find(|t| t.name == name).unwrap();
            topic.settings(replication).into_iter().map(|(k, v)| format!("{k}={v}")).collect()
        };
        let orders: Vec<String> = of("order-requests", 3);
        assert_eq!(
            orders,
            [
                "cleanup.policy=delete",
                "max.message.bytes=1048588",
                "message.timestamp.type=LogAppendTime",
                "min.insync.replicas=2",
                "retention.ms=604800000",
            ]
        );
        let quotes: Vec<String> = of("quotes", 1);
        assert_eq!(
            quotes,
            [
                "cleanup.policy=compact",
                "max.compaction.lag.ms=3600000",
                "max.message.bytes=1048588",
                "message.timestamp.type=LogAppendTime",
                "min.insync.replicas=1",
            ]
        );
    }

    #[test]
    fn a_bad_list_is_refused_with_every_violation() {
        let text = "replication: 0
topics:
  - {name: a b, purpose: p, key: k, writers: [], readers: [r], partitions: 0, cleanup: compact, retention_hours: 1,
     max_message_bytes: 1, timestamp: create}";
        let bad = Spec::parse("mine.yml", text).unwrap_err();
        assert_eq!(bad.violations.len(), 7, "{bad}");
        assert!(bad.to_string().starts_with("mine.yml has 7 violation(s):\n  - replication"));
        let unknown = Spec::parse("mine.yml", "replication: 1\ntopics: []\nextra: 1").unwrap_err();
        assert!(unknown.to_string().contains("extra"), "{unknown}");
    }
}
