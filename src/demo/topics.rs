//! The topics of a demonstration: those of `topics/topics.yml`, under the demonstration's prefix.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::runtime::config::Config;

/// Logical names and numbers of partitions.
pub fn of_spec() -> anyhow::Result<Vec<(String, i32)>> {
    let all = [
        "order-requests",
        "proposal-sets",
        "quotes",
        "decisions",
        "alerts",
        "exec-events",
        "plan-runs",
        "infer-calls",
        "dead-letters",
    ];
    Ok(all.map(|topic| (topic.to_string(), 4)).to_vec())
}

/// Makes them.
pub async fn apply(config: &Config) -> anyhow::Result<()> {
    let names: Vec<(String, i32)> =
        of_spec()?.into_iter().map(|(topic, n)| (config.topic(&topic), n)).collect();
    let topics: Vec<NewTopic> =
        names.iter().map(|(t, n)| NewTopic::new(t, *n, TopicReplication::Fixed(1))).collect();
    for made in admin(config)?.create_topics(&topics, &AdminOptions::new()).await? {
        made.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    Ok(())
}

/// Removes those that [`apply`] made.
pub async fn remove(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(!config.kafka.topic_prefix.is_empty(), "only topics of our own are removed");
    let names: Vec<String> = of_spec()?.iter().map(|(topic, _)| config.topic(topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for removed in admin(config)?.delete_topics(&names, &AdminOptions::new()).await? {
        removed.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
    }
    Ok(())
}

fn admin(config: &Config) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    let mut client = rdkafka::ClientConfig::new();
    client.set("bootstrap.servers", &config.kafka.brokers);
    for (name, value) in &config.kafka.properties {
        client.set(name, value);
    }
    Ok(client.create()?)
}
