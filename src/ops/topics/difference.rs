//! How a cluster differs from the list: compares, asks nobody.

use std::collections::BTreeMap;
use std::fmt;

use super::spec::Spec;
use crate::kafka::admin::Layout;
use crate::runtime::config::Config;

/// One thing in which the cluster is not as the list says; `topic` is the actual name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Difference {
    /// There is no such topic.
    Missing { topic: String, partitions: i32, replication: i32 },
    /// Other than the wanted number of partitions.
    Partitions { topic: String, found: i32, wanted: i32 },
    /// Another number of copies.
    Replication { topic: String, found: i32, wanted: i32 },
    /// A setting has another value.
    Setting { topic: String, name: String, found: String, wanted: String },
}

impl Difference {
    /// Whether `topics apply` changes it; the rest it only tells.
    pub fn mendable(&self) -> bool {
        match self {
            Difference::Missing { .. } | Difference::Setting { .. } => true,
            Difference::Partitions { found, wanted, .. } => found < wanted,
            Difference::Replication { .. } => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing { topic, .. } => write!(f, "{topic}: is missing"),
            Difference::Partitions { topic, found, wanted } if found > wanted => write!(
                f,
                "{topic}: {found} partitions, {wanted} wanted; they are never taken away: put {found} into your list (--spec)"
            ),
            Difference::Partitions { topic, found, wanted } => {
                write!(f, "{topic}: {found} partitions, {wanted} wanted")
            }
            Difference::Replication { topic, found, wanted } => write!(
                f,
                "{topic}: replication {found}, {wanted} wanted; change it with kafka-reassign-partitions, or say --replication {found}"
            ),
            Difference::Setting { topic, name, found, wanted } => {
                write!(f, "{topic}: {name}={found}, {wanted} wanted")
            }
        }
    }
}

/// What a cluster is like: its topics, and the settings of those that matter here.
#[derive(Debug, Default)]
pub struct Found {
    /// By actual name.
    pub topics: BTreeMap<String, Layout>,
    /// Effective settings by actual name.
    pub settings: BTreeMap<String, BTreeMap<String, String>>,
}

/// Every difference, in the order of the list.
pub fn between(spec: &Spec, found: &Found, config: &Config) -> Vec<Difference> {
    let mut differences = Vec::new();
    let wanted_replication = spec.replication;
    for wanted in &spec.topics {
        let topic = config.topic(&wanted.name);
        let Some(&Layout { partitions, replication }) = found.topics.get(&topic) else {
            let partitions = wanted.partitions;
            differences.push(Difference::Missing {
                topic,
                partitions,
                replication: wanted_replication,
            });
            continue;
        };
        if partitions != wanted.partitions {
            let (topic, wanted) = (topic.clone(), wanted.partitions);
            differences.push(Difference::Partitions { topic, found: partitions, wanted });
        }
        if replication != wanted_replication {
            let (topic, wanted) = (topic.clone(), wanted_replication);
            differences.push(Difference::Replication { topic, found: replication, wanted });
        }
        let settings = found.settings.get(&topic);
        for (name, wanted) in wanted.settings(replication) {
            let found = settings.and_then(|s| s.get(name)).map_or("(not told)", String::as_str);
            if found != wanted {
                let (topic, name, found) = (topic.clone(), name.to_string(), found.to_string());
                differences.push(Difference::Setting { topic, name, found, wanted });
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_wanted(spec: &Spec, config: &Config) -> Found {
        let mut found = Found::default();
        for topic in &spec.topics {
            let name = config.topic(&topic.name);
            let (partitions, replication) = (topic.partitions, spec.replication);
            let settings = topic.settings(replication);
            let settings = settings.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
            found.topics.insert(name.clone(), Layout { partitions, replication });
            found.settings.insert(name, settings);
        }
        found
    }

    #[test]
    fn a_cluster_as_wanted_has_no_difference_and_others_topics_do_not_matter() {
        let (spec, mut config) = (Spec::embedded(), Config::default());
        config.kafka.topic_prefix = "uat-".into();
        let mut found = as_wanted(&spec, &config);
        found.topics.insert("order-requests".into(), Layout { partitions: 1, replication: 1 });
        assert_eq!(between(&spec, &found, &config), []);
    }

    #[test]
    fn each_difference_is_a_line_and_only_what_takes_nothing_away_is_mended() {
        let (spec, config) = (Spec::embedded(), Config::default());
        let mut found = as_wanted(&spec, &config);
        found.topics.remove("quotes");
        found.topics.insert("order-requests".into(), Layout { partitions: 4, replication: 3 });
        found.topics.insert("decisions".into(), Layout { partitions: 24, replication: 3 });
        found.topics.insert("alerts".into(), Layout { partitions: 12, replication: 2 });
        let settings = found.settings.get_mut("dead-letters").unwrap();
        settings.insert("retention.ms".into(), "1".into());
        let told: Vec<(String, bool)> =
            between(&spec, &found, &config).iter().map(|d| (d.to_string(), d.mendable())).collect();
        let told: Vec<(&str, bool)> = told.iter().map(|(t, m)| (&**t, *m)).collect();
        assert_eq!(
            told,
            [
                ("order-requests: 4 partitions, 12 wanted", true),
                ("quotes: is missing", true),
                (
                    "decisions: 24 partitions, 12 wanted; they are never taken away: put 24 into your list (--spec)",
                    false
                ),
                (
                    "alerts: replication 2, 3 wanted; change it with kafka-reassign-partitions, or say --replication 2",
                    false
                ),
                ("alerts: min.insync.replicas=2, 1 wanted", true),
                ("dead-letters: retention.ms=1, 2592000000 wanted", true),
            ]
        );
    }
}
