//! `noctus topics`: create the topics of topics/topics.yml, show how the cluster differs, print what is in a topic.
//!
//! Only ever adds: a topic, partitions, a setting's value. What would take something away is told.

pub mod difference;
mod dump;
pub mod spec;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Exit, Global};
use crate::kafka::admin::{Admin, AdminError, NewTopic};
use crate::runtime::config::Config;
use difference::{Difference, Found};
use spec::Spec;

/// How long a change may take to show in what the brokers say.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

const HELP: &str = "\
Exit codes: 0 the cluster is as wanted, 1 it differs, 69 Kafka is unavailable, 78 the list is bad.

Examples:
  noctus topics apply --replication 1          a cluster of one broker
  noctus topics apply --dry-run
  noctus topics diff --spec our-topics.yml
  noctus topics dump decisions --from 2h           every record, decoded, as JSON lines";

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Create what is missing, add partitions, mend settings; exit 1 if differences are left
    Apply {
        #[command(flatten)]
        wanted: Wanted,
        /// Say what would be done and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List every difference, one a line; exit 1 if there is one
    Diff {
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Print the records of a topic, decoded, one JSON object a line
    Dump(dump::Args),
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// Copies of each partition, instead of the list's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=9))]
    replication: Option<i32>,
    /// Another list than this build's
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

impl Wanted {
    fn spec(&self) -> Result<Spec, spec::BadSpec> {
        let mut spec = match &self.spec {
            Some(path) => Spec::of_file(path)?,
            None => Spec::embedded(),
        };
        spec.replication = self.replication.unwrap_or(spec.replication);
        Ok(spec)
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (wanted, apply_dry) = match args.what {
        What::Dump(args) => return dump::run(args, global).await,
        What::Apply { wanted, dry_run } => (wanted, Some(dry_run)),
        What::Diff { wanted } => (wanted, None),
    };
    let config = global.config()?;
    let admin = Admin::new(&config)?;
    let spec = wanted.spec()?;
    let count = spec.topics.len();
    let left = match apply_dry {
        Some(true) => would(differences(&admin, &config, &spec).await?),
        Some(false) => done(apply(&admin, &config, &spec).await?),
        None => differences(&admin, &config, &spec).await?,
    };
    for difference in &left {
        println!("{difference}");
    }
    match admin.auto_creation().await? {
        Some(true) => println!(
            "note: auto.create.topics.enable is on at a broker: a mistyped topic becomes a topic; turn it off"
        ),
        Some(false) => {}
        None => println!("note: the brokers do not tell whether auto.create.topics.enable is on"),
    }
    println!("{count} topics, {} difference(s) left", left.len());
    Ok(if left.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// Says what was done; gives what is left.
fn done(applied: Applied) -> Vec<Difference> {
    for done in &applied.done {
        println!("{done}");
    }
    applied.left
}

/// Says what would be done; gives what would be left.
fn would(differences: Vec<Difference>) -> Vec<Difference> {
    let (mended, left): (Vec<_>, Vec<_>) = differences.into_iter().partition(Difference::mendable);
    for difference in &mended {
        println!("would mend: {difference}");
    }
    left
}

/// How the cluster differs from the list.
pub async fn differences(
    admin: &Admin,
    config: &Config,
    spec: &Spec,
) -> Result<Vec<Difference>, AdminError> {
    let topics = admin.topics().await?;
    let wanted: Vec<String> = spec.topics.iter().map(|t| config.topic(&t.name)).collect();
    let there: Vec<&str> =
        wanted.iter().map(String::as_str).filter(|t| topics.contains_key(*t)).collect();
    let settings = admin.settings(&there).await?;
    Ok(difference::between(spec, &Found { topics, settings }, config))
}

/// What [`apply`] did.
#[derive(Debug, Default)]
pub struct Applied {
    /// A line for each thing done.
    pub done: Vec<String>,
    /// What still differs.
    pub left: Vec<Difference>,
}

/// Creates what is missing, adds partitions, mends settings; returns when the brokers say so, or
/// with what is left.
pub async fn apply(admin: &Admin, config: &Config, spec: &Spec) -> Result<Applied, AdminError> {
    let mut done = Vec::new();
    let mut settings: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut new = Vec::new();
    for difference in differences(admin, config, spec).await? {
        match difference {
            Difference::Missing { topic, partitions, replication } => {
                let wanted = spec.topics.iter().find(|t| config.topic(&t.name) == topic);
                let settings = wanted.map(|t| t.settings(replication)).unwrap_or_default();
                done.push(format!(
                    "{topic}: created, {partitions} partitions, replication {replication}"
                ));
                new.push(NewTopic { name: topic, partitions, replication, settings });
            }
            Difference::Partitions { topic, found, wanted } if found < wanted => {
                admin.add_partitions(&topic, wanted).await?;
                done.push(format!(
                    "{topic}: {found} → {wanted} partitions; new records of a key may go to another one than before"
                ));
            }
            Difference::Setting { topic, name, found, wanted } => {
                done.push(format!("{topic}: {name} {found} → {wanted}"));
                settings.entry(topic).or_default().insert(name, wanted);
            }
            Difference::Partitions { .. } | Difference::Replication { .. } => {}
        }
    }
    admin.create(&new).await?;
    for (topic, changed) in &settings {
        admin.change_settings(topic, changed).await?;
    }
    let deadline = Instant::now() + SETTLE_DEADLINE;
    loop {
        let left = differences(admin, config, spec).await?;
        if Instant::now() > deadline || !left.iter().any(Difference::mendable) {
            return Ok(Applied { done, left });
        }
        tokio::time::sleep(SETTLE_POLL).await;
    }
}
