//! Owns the services of a demonstration: Postgres, Kafka, schema registry and broker, all on this machine.
//! Never listens beyond 127.0.0.1 and never touches an installed database: its data is in a folder of its own.
//! Invariant: everything ends with it, by drop, or by the minder if this process is killed.

pub mod kafka;
pub mod minder;
pub mod paper;
pub mod postgres;
pub mod registry;
pub mod workdir;

use std::time::Duration;

use anyhow::Context as _;

use crate::runtime::config::{Config, TopicIds};

/// Everything an order needs on its way, embedded.
pub struct Services {
    // Dropped in this order: clients of a service before the service, the folder last.
    /// The broker of paper, a process.
    pub paper: paper::Paper,
    /// The schema registry, in this process.
    pub registry: registry::Registry,
    /// librdkafka's mock cluster, in this process.
    pub kafka: kafka::Kafka,
    /// Postgres, a process.
    pub postgres: postgres::Postgres,
    minder: minder::Minder,
    workdir: workdir::Workdir,
}

impl Services {
    /// Starts all of them. `say` is told what is being done.
    pub async fn start(say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let programs = postgres::find(say).await?;
        let workdir = workdir::Workdir::new()?;
        let mut minder = minder::Minder::start(workdir.path()).context("the minder")?;
        say("starting Postgres");
        let postgres = postgres::Postgres::start(&programs, workdir.path(), &mut minder).await?;
        say("starting Kafka (librdkafka's mock cluster)");
        let kafka = kafka::Kafka::start()?;
        say("starting the schema registry");
        let registry = registry::Registry::start().await?;
        say("starting the paper broker");
        let paper = paper::Paper::start(workdir.path(), &mut minder).await?;
        Ok(Self { paper, registry, kafka, postgres, minder, workdir })
    }

    /// The configuration with which roles use these services.
    pub fn config(&self) -> Config {
        let mut config = Config { dev: true, ..Config::default() };
        config.kafka.brokers = self.kafka.brokers().into();
        // The mock cluster knows no topic ids: the name stands for it (see ARCHITECTURE.md, decisions).
        config.kafka.topic_ids = TopicIds::ByName;
        config.registry.url = self.registry.url().into();
        config.database.url = self.postgres.url();
        config.broker.url = self.paper.url().into();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        config
    }

    /// Where the data of the services lies.
    pub fn folder(&self) -> &std::path::Path {
        self.workdir.path()
    }

    /// One line per service: what stands in for what.
    pub fn banner(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Postgres", format!("{}, started for this demo", self.postgres.version())),
            ("Kafka", "librdkafka's mock cluster, inside this process, in memory".into()),
            ("Registry", "a development registry serving schemas/, inside this process".into()),
            ("Broker", "noctus paper-broker, a process of its own with a durable ledger".into()),
        ]
    }

    /// Ends all of them, the broker and Postgres cleanly.
    pub async fn stop(self) {
        let Self { paper, registry, kafka, postgres, minder, workdir } = self;
        let ended = tokio::task::spawn_blocking(move || {
            drop((paper, registry, kafka));
            drop(postgres);
            minder.done();
            drop(workdir);
        });
        if tokio::time::timeout(Duration::from_secs(20), ended).await.is_err() {
            tracing::warn!("the embedded services did not end within 20 s");
        }
    }
}

/// An address of Postgres as it may be shown.
pub fn without_password(url: &str) -> String {
    let mut config = Config::default();
    config.database.url = url.to_string();
    config.redacted().database.url
}
