//! The topics of a demonstration: those of `topics/topics.yml`, under the demonstration's prefix.

use crate::kafka::admin::Admin;
use crate::ops::topics::{self, spec::Spec};
use crate::runtime::config::Config;

/// A demonstration has few orders: more partitions would only be more to start.
const PARTITIONS_MAX: i32 = 4;

fn spec() -> Spec {
    Spec { replication: 1, ..Spec::embedded().with_partitions_max(PARTITIONS_MAX) }
}

/// Logical names and numbers of partitions.
pub fn of_spec() -> Vec<(String, i32)> {
    spec().topics.into_iter().map(|topic| (topic.name, topic.partitions)).collect()
}

/// Makes them.
pub async fn apply(config: &Config) -> anyhow::Result<()> {
    let applied = topics::apply(&Admin::new(config)?, config, &spec()).await?;
    let left: Vec<String> = applied.left.iter().map(ToString::to_string).collect();
    anyhow::ensure!(left.is_empty(), "the topics are not as wanted: {}", left.join("; "));
    Ok(())
}

/// Removes those that [`apply`] made.
pub async fn remove(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(!config.kafka.topic_prefix.is_empty(), "only topics of our own are removed");
    let names: Vec<String> = of_spec().iter().map(|(topic, _)| config.topic(topic)).collect();
    Admin::new(config)?.delete(&names).await?;
    Ok(())
}
