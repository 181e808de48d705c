//! Owns what scenarios are played on: embedded services, or a corner of real ones (topics and a database of its own).
//! Never touches topics, groups or databases that were there before.
//! Invariant: what it made it removes, unless it is told to stay.

use anyhow::Context as _;
use tokio_postgres::NoTls;

use super::embedded::minder::Minder;
use super::embedded::paper::Paper;
use super::embedded::workdir::Workdir;
use super::embedded::{self, Services};
use crate::runtime::config::Config;

/// Services that scenarios can be played on, prepared: tables, topics, schemas.
pub struct Stage {
    /// Where everything is.
    pub config: Config,
    /// What is embedded and what is real, a line each.
    pub banner: Vec<(&'static str, String)>,
    kind: Kind,
}

enum Kind {
    Embedded(Box<Services>),
    Real(Box<Real>),
}

/// A corner of real services, and a broker of paper.
struct Real {
    paper: Paper,
    minder: Minder,
    workdir: Workdir,
    /// The address of a database in which ours can be made and dropped.
    admin: String,
    database: String,
}

impl Stage {
    /// Starts embedded services.
    pub async fn embedded(say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let services = Services::start(say).await?;
        let config = services.config();
        say("preparing tables and topics");
        crate::pg::migrate::run(&config.database.url).await?;
        for (topic, partitions) in super::topics::of_spec() {
            services.kafka.create_topic(&config.topic(&topic), partitions)?;
        }
        Ok(Self { config, banner: services.banner(), kind: Kind::Embedded(Box::new(services)) })
    }

    /// Takes a corner of the services that `given` names.
    pub async fn real(given: Config, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let run = format!("{:08x}", rand::random::<u32>());
        let database = format!("noctus_demo_{run}");
        let admin = given.database.url.clone();
        let mut config = given;
        config.dev = true;
        config.kafka.topic_prefix = format!("{}demo-{run}-", config.kafka.topic_prefix);
        config.kafka.group_prefix = format!("{}demo-{run}-", config.kafka.group_prefix);
        config.database.url = in_database(&admin, &database)?;
        config.http.listen = ([127, 0, 0, 1], 0).into();
        let workdir = Workdir::new()?;
        let mut minder = Minder::start(workdir.path())?;
        say("starting the paper broker");
        let paper = Paper::start(workdir.path(), &mut minder).await?;
        config.broker.url = paper.url().into();
        config.broker.environment = "paper".into();
        say("making a database of our own");
        with_admin(&admin, async |client| crate::pg::database::create(client, &database).await)
            .await?;
        let banner = vec![
            ("Postgres", format!("real: database {database}, made for this demo")),
            (
                "Kafka",
                format!("real: {}, topics {}*", config.kafka.brokers, config.kafka.topic_prefix),
            ),
            ("Registry", format!("real: {}", config.registry.url)),
            ("Broker", "noctus paper-broker, a process of its own with a durable ledger".into()),
        ];
        let real = Box::new(Real { paper, minder, workdir, admin, database });
        let stage = Self { config, banner, kind: Kind::Real(real) };
        say("preparing tables, topics and schemas");
        match stage.prepare().await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.close().await;
                Err(error)
            }
        }
    }

    async fn prepare(&self) -> anyhow::Result<()> {
        crate::pg::migrate::run(&self.config.database.url).await?;
        super::topics::apply(&self.config).await?;
        crate::ops::schemas::register_all(&self.config).await?;
        Ok(())
    }

    /// Ends and removes what it made.
    pub async fn close(self) {
        let real = match self.kind {
            Kind::Embedded(services) => return services.stop().await,
            Kind::Real(real) => *real,
        };
        let Real { paper, minder, workdir, admin, database } = real;
        let ended = tokio::task::spawn_blocking(move || {
            drop(paper);
            minder.done();
            drop(workdir);
        });
        if let Err(error) = ended.await {
            tracing::warn!(%error, "the paper broker did not end well");
        }
        let dropped =
            with_admin(&admin, async |client| crate::pg::database::drop(client, &database).await);
        if let Err(error) = dropped.await {
            tracing::warn!(
                error = format!("{error:#}"),
                database,
                "the demo's database stays behind"
            );
        }
        if let Err(error) = super::topics::remove(&self.config).await {
            let prefix = &self.config.kafka.topic_prefix;
            tracing::warn!(error = format!("{error:#}"), prefix, "the demo's topics stay behind");
        }
    }

    /// How a person gets at it, a line each: what for, and what to type.
    pub fn connections(&self) -> Vec<(&'static str, String)> {
        let c = &self.config;
        let prefix = match c.kafka.topic_prefix.is_empty() {
            true => String::new(),
            false => format!("NOCTUS_KAFKA__TOPIC_PREFIX={} ", c.kafka.topic_prefix),
        };
        let noctus = std::env::current_exe().map_or("noctus".into(), |p| p.display().to_string());
        let places = format!(
            "--dev --brokers {} --registry {} --database '{}'",
            c.kafka.brokers, c.registry.url, c.database.url
        );
        vec![
            ("psql", format!("psql '{}'", c.database.url)),
            ("Kafka", format!("{} (topics {}*)", c.kafka.brokers, c.kafka.topic_prefix)),
            ("registry", format!("curl {}/subjects", c.registry.url)),
            ("broker", format!("curl {}/v1/orders", c.broker.url)),
            ("submit", format!("{prefix}{noctus} submit examples/order.json --wait {places}")),
            ("explain", format!("{prefix}{noctus} explain TRACE_ID {places}")),
        ]
    }
}

/// The same address with another database.
fn in_database(url: &str, database: &str) -> anyhow::Result<String> {
    let (head, rest) = url.split_once("://").context("database.url has no ://")?;
    let (place, options) = match rest.split_once('?') {
        Some((place, options)) => (place, format!("?{options}")),
        None => (rest, String::new()),
    };
    let server = place.split_once('/').map_or(place, |(server, _)| server);
    Ok(format!("{head}://{server}/{database}{options}"))
}

async fn with_admin<F>(url: &str, act: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&tokio_postgres::Client) -> Result<(), tokio_postgres::Error>,
{
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| format!("Postgres at {}", embedded::without_password(url)))?;
    let driver = tokio::spawn(connection);
    let acted = act(&client).await.context("the user may not make databases (CREATEDB)");
    drop(client);
    let _ = driver.await;
    acted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_an_address_is_another_one() {
        let url = in_database("postgres://a:b@h:1/old?sslmode=disable", "new").unwrap();
        assert_eq!(url, "postgres://a:b@h:1/new?sslmode=disable");
        assert_eq!(in_database("postgres://h", "new").unwrap(), "postgres://h/new");
        assert!(in_database("h", "new").is_err());
    }
}
