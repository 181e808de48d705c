//! `noctus dead-letters redrive`: back to where they came from, once each, at a bounded rate.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::super::person::{Answer, sure, whom};
use super::super::table::table;
use super::super::{Exit, Global};
use super::Spot;
use super::chosen::{Filter, Found, Letters};
use crate::gate::letter::REDRIVES_MAX;
use crate::kafka::producer::{Outgoing, Producer};
use crate::pg::{self, Pool, PoolError, redrives};
use crate::runtime::config::Config;
use crate::wire::Subject;

/// Most letters of one redrive.
const LETTERS_MAX: usize = 100_000;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// These; without any, those that the filters let through
    #[arg(value_name = "PARTITION/OFFSET", conflicts_with_all = ["reason", "since", "topic"])]
    spots: Vec<Spot>,
    #[command(flatten)]
    filter: Filter,
    /// All of them, if there is no filter
    #[arg(long, conflicts_with_all = ["spots", "reason", "since", "topic"])]
    all: bool,
    /// Send at most so many in a second
    #[arg(long, value_name = "N", default_value = "50",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: u32,
    /// Who does it; without it the user at this host
    #[arg(long, alias = "as", value_name = "WHO")]
    by: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let f = &args.filter;
    let is_narrowed = f.reason.is_some() || f.since.is_some() || f.topic.is_some();
    if args.spots.is_empty() && !is_narrowed && !args.all {
        eprintln!("noctus: which? Name them, filter them, or say --all");
        return Ok(Exit::Usage);
    }
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    let letters = Letters::open(&config).await?;
    let found = match args.spots.is_empty() {
        true => letters.filtered(&config, f, LETTERS_MAX).await?,
        false => letters.at(&config, &args.spots).await?,
    };
    let done = redrives::done(&client, &letters.topic.id).await?;
    drop(client);
    let missing = args.spots.iter().filter(|spot| !found.iter().any(|one| one.spot == **spot));
    for spot in missing {
        eprintln!("there is no dead letter {spot}");
    }
    let total = found.len();
    let (goes, stays) = sorted(&config, found, &done);
    println!("{}", preview(&goes, &stays));
    if goes.is_empty() {
        eprintln!("nothing to send");
        return Ok(Exit::Findings);
    }
    match sure(args.yes, &format!("Send {} record(s) again?", goes.len()))? {
        Answer::Yes => {}
        Answer::No => return Ok(Exit::Findings),
        Answer::Nobody => return Ok(Exit::Usage),
    }
    let by = whom(args.by.as_deref());
    let sent = send(&config, &pool, &letters.topic.id, &goes, args.per_second, &by).await?;
    println!("{sent} of {total} dead letter(s) sent again");
    Ok(if sent == total { Exit::Ok } else { Exit::Findings })
}

/// What goes, and how many stay and why.
fn sorted(
    config: &Config,
    found: Vec<Found>,
    done: &HashSet<(i32, i64)>,
) -> (Vec<Found>, BTreeMap<&'static str, usize>) {
    let (mut goes, mut stays) = (Vec::new(), BTreeMap::new());
    for one in found {
        match stay(config, &one, done) {
            Some(why) => *stays.entry(why).or_default() += 1,
            None => goes.push(one),
        }
    }
    (goes, stays)
}

fn stay(config: &Config, found: &Found, done: &HashSet<(i32, i64)>) -> Option<&'static str> {
    let ours = |subject: &Subject| config.topic(subject.topic()) == found.letter.topic;
    if done.contains(&(found.spot.partition, found.spot.offset)) {
        Some("was redriven before")
    } else if found.letter.redriven() >= REDRIVES_MAX {
        Some("has come back three times: what refuses it is not mended")
    } else if found.letter.cut.is_some() {
        Some("its value was too large to be kept")
    } else if !Subject::ALL.iter().any(ours) {
        Some("its topic is none of ours")
    } else {
        None
    }
}

fn preview(goes: &[Found], stays: &BTreeMap<&'static str, usize>) -> String {
    let mut groups: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in goes {
        *groups.entry((&one.letter.topic, &one.letter.reason)).or_default() += 1;
    }
    let row = |((topic, reason), count): (&(&str, &str), &usize)| {
        vec![count.to_string(), "goes".into(), (*topic).into(), (*reason).into()]
    };
    let stay = |(why, count): (&&str, &usize)| {
        vec![count.to_string(), "stays".into(), String::new(), (*why).into()]
    };
    let rows = groups.iter().map(row).chain(stays.iter().map(stay));
    table(&["letters", "", "topic", "reason"], rows).to_string()
}

/// Sends each and marks it, in one transaction each: what is interrupted in between goes twice at most, as a replay.
async fn send(
    config: &Config,
    pool: &Pool,
    topic_id: &str,
    goes: &[Found],
    per_second: u32,
    by: &str,
) -> anyhow::Result<usize> {
    let producer = Producer::new(config)?;
    let mut beat = interval(Duration::from_secs(1) / per_second);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = pool.get().await?;
    let mut sent = 0;
    for one in goes {
        beat.tick().await;
        let tx = client.transaction().await?;
        let spot = (one.spot.partition, one.spot.offset);
        if !redrives::mark(&tx, topic_id, spot, by).await? {
            continue;
        }
        let record = Outgoing {
            topic: one.letter.topic.clone(),
            key: one.record.key.clone(),
            value: one.record.value.clone(),
            headers: one.letter.again(),
            timestamp_ms: None,
            partition: None,
        };
        producer.produce(&[record]).await?;
        tx.commit().await?;
        sent += 1;
    }
    Ok(sent)
}
