//! `noctus sink rebuild`: the obs_* tables made again from the topics, compared with those in use, and put in their place.
//!
//! Sinks go on meanwhile. Whatever kills this, at whatever moment: the same command goes on from there.

mod compared;
mod lost;

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::person::{Answer, sure};
use super::table::{numbers, table};
use super::{Exit, Global};
use crate::demo::progress::Progress;
use crate::kafka::admin::topics;
use crate::kafka::offsets;
use crate::kafka::record::Topic;
use crate::kafka::registry::Registry;
use crate::pg::obs::tables::{TABLES, Table, named};
use crate::pg::rebuild::{self as shadow, Plan, SCHEMA, Swap};
use crate::pg::{self, Pool, PoolClient, PoolError};
use crate::runtime::config::Config;
use crate::runtime::faults::{crash_point, in_flight};
use crate::sink::project::SUBJECTS;
use crate::sink::rebuild::{Rebuild, rate};
use crate::wire::Subject;

const HELP: &str = "\
The topics are read from their beginning into tables of the schema noctus_rebuild, by the sink's own way of writing. Sinks go on
meanwhile. When the new tables have everything that the sinks have written, they are compared with those in use, hour by hour, and the
months of the tables in use are exchanged for the new ones in one transaction; tables, views and rights stay what they are.
Sinks wait while it lasts, as do new queries, at most two seconds for each try.

What the topics do not hold any more cannot be made again: then nothing is done. --since makes only the months again that they
hold whole, and leaves the older ones as they are. Ended in the middle, by whatever, the same command goes on from there.

Examples:
  noctus sink rebuild --dry-run                    what would be read, and whether that is everything
  noctus sink rebuild --yes
  noctus sink rebuild --tables obs_alerts --yes
  noctus sink rebuild --since 2026-10 --yes        October and what follows
  noctus sink rebuild --abandon                    throw away what was made

Exit codes: 0 done, 1 you said no, or events are gone, 2 no --yes and no terminal, or wrong usage, 69 a service is away, or another
rebuild is running.";

/// Tries to exchange the tables, and the pause after one; readers of long queries may keep them from it.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// So near to the ends the rest is read while sinks wait.
const NEAR: u64 = 2_000;
/// Rounds of reading on before that, however fast the topics grow.
const ROUNDS: u32 = 5;
/// The reader whose positions say what the sink has read.
const SINK: &str = "sink";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Only these tables; obs_do_metrics follows from obs_decisions and obs_exec_events and comes with them
    #[arg(long, value_delimiter = ',', value_name = "TABLE,…", value_parser = table_named)]
    tables: Vec<&'static Table>,
    /// Only the months from this one (UTC) on
    #[arg(long, value_name = "YYYY-MM")]
    since: Option<Month>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Throw away a rebuild that was begun
    #[arg(long, conflicts_with_all = ["tables", "since", "dry_run"])]
    abandon: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

fn table_named(text: &str) -> Result<&'static Table, String> {
    let all = || TABLES.map(|table| table.name).join(", ");
    named(text).ok_or_else(|| format!("there are {}", all()))
}

/// The beginning of a month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Month(Timestamp);

impl FromStr for Month {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let day = format!("{text}-01").parse::<Date>().ok().filter(|_| text.len() == 7);
        let start = day.and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
        start.map(Month).ok_or_else(|| "a month such as 2026-11".into())
    }
}

/// Which tables are exchanged: those asked for and what follows from them.
fn chosen(asked: &[&'static Table]) -> Vec<&'static Table> {
    let has = |name: &str| asked.iter().any(|table| table.name == name);
    let follows = has("obs_decisions") || has("obs_exec_events");
    let is_chosen = |table: &&Table| {
        asked.is_empty() || has(table.name) || (follows && table.name == "obs_do_metrics")
    };
    TABLES.iter().filter(is_chosen).collect()
}

/// The topics that these tables are made of.
fn subjects(chosen: &[&Table]) -> Vec<Subject> {
    let has = |name: &str| chosen.iter().any(|table| table.name == name);
    let of_metrics = [Subject::Decision, Subject::ExecEvent];
    let is_needed = |subject: &Subject| {
        has(&format!("obs_{}", subject.topic().replace('-', "_")))
            || (has("obs_do_metrics") && of_metrics.contains(subject))
    };
    SUBJECTS.into_iter().filter(is_needed).collect()
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    // Held to the end: with it goes the right to rebuild.
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    if !shadow::only_me(&client).await? {
        eprintln!("noctus: another rebuild is running");
        return Ok(Exit::Unavailable);
    }
    if args.abandon {
        shadow::abandon(&client).await?;
        println!("nothing is left of it");
        return Ok(Exit::Ok);
    }
    let begun = shadow::begun(&client).await?;
    let (tables, since) = match &begun {
        Some(plan) => match goes_on(&args, plan) {
            Some(same) => same,
            None => {
                eprintln!(
                    "noctus: a rebuild of {} was begun at {} and is not over: go on with the same options or none, or \
                     --abandon it",
                    plan.tables.join(", "),
                    plan.begun_at
                );
                return Ok(Exit::Usage);
            }
        },
        None => (chosen(&args.tables), args.since.map(|month| month.0)),
    };
    let logical: Vec<&'static str> = subjects(&tables).into_iter().map(Subject::topic).collect();
    let topics = topics(&config, &logical).await?;
    preview(&config, &tables, since, &topics, begun.as_ref()).await?;
    let lost = lost::lost(&config, &client, &tables, since, &topics).await?;
    if !lost.is_empty() {
        eprintln!("noctus: {}", lost.join("\nnoctus: "));
        return Ok(Exit::Findings);
    }
    if args.dry_run {
        return Ok(Exit::Ok);
    }
    if let Some(exit) = refused(args.yes, "Make them again?")? {
        return Ok(exit);
    }
    if begun.is_none() {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let mut other = pool.get().await.map_err(PoolError::from)?;
        shadow::begin(&mut other, &names, since).await?;
    }
    let plan = shadow::begun(&client).await?.context("the rebuild that was begun is gone")?;
    let work = Work { config: &config, pool: &pool, tables, plan, progress: Progress::new() };
    work.run(topics, &args).await
}

/// What a rebuild that was begun is of, if these options do not ask for another one.
fn goes_on(args: &Args, plan: &Plan) -> Option<(Vec<&'static Table>, Option<Timestamp>)> {
    let begun: Vec<&'static Table> = plan.tables.iter().filter_map(|name| named(name)).collect();
    let is_same_tables = args.tables.is_empty() || chosen(&args.tables) == begun;
    let is_same_since = args.since.is_none_or(|month| Some(month.0) == plan.since);
    (is_same_tables && is_same_since).then_some((begun, plan.since))
}

/// How it ends if nobody says yes.
fn refused(yes: bool, question: &str) -> anyhow::Result<Option<Exit>> {
    Ok(match sure(yes, question)? {
        Answer::Yes => None,
        Answer::No => Some(Exit::Findings),
        Answer::Nobody => Some(Exit::Usage),
    })
}

async fn preview(
    config: &Config,
    tables: &[&Table],
    since: Option<Timestamp>,
    topics: &[Topic],
    begun: Option<&Plan>,
) -> anyhow::Result<()> {
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    println!("tables: {}", names.join(", "));
    println!("months: {}", since.map_or("all".into(), |since| format!("from {since} on")));
    if let Some(plan) = begun {
        println!("begun at {}: it goes on from where it is", plan.begun_at);
    }
    let mut rows = Vec::new();
    for topic in topics {
        let ends = offsets::ends(config, &topic.name).await?;
        let all: i64 = ends.values().map(|ends| ends.high - ends.low).sum();
        let cut = ends.values().filter(|ends| ends.low > 0).count();
        rows.push(vec![
            topic.name.to_string(),
            ends.len().to_string(),
            all.to_string(),
            cut.to_string(),
        ]);
    }
    let columns = ["topic", "partitions", "records", "begin later than 0"];
    println!("{}", numbers(table(&columns, rows), 1..4));
    Ok(())
}

/// A rebuild that was begun.
struct Work<'a> {
    config: &'a Config,
    pool: &'a Pool,
    tables: Vec<&'static Table>,
    plan: Plan,
    progress: Progress,
}

impl Work<'_> {
    async fn run(&self, topics: Vec<Topic>, args: &Args) -> anyhow::Result<Exit> {
        let registry = Registry::new(&self.config.registry)?;
        let beside = pg::connect_within(&self.config.database, SCHEMA).await?;
        let began = Instant::now();
        let mut rebuild =
            Rebuild::open(self.config, beside.clone(), topics, self.plan.since).await?;
        self.progress.stage("reading the topics");
        for _ in 0..ROUNDS {
            if self.read_on(&mut rebuild, &registry, began).await? <= NEAR {
                break;
            }
        }
        let (read, per_s) = (rebuild.progress, rate(rebuild.progress.records, began));
        self.progress.stage(&format!(
            "{} records read, {} new rows, {} records that are no row, {per_s} records/s",
            read.records, read.rows, read.refused
        ));
        let own = beside.get().await.map_err(PoolError::from)?;
        shadow::ready(&own, &self.plan).await?;
        drop(own);
        self.progress.stage("comparing with the tables in use");
        let hours = compared::compared(self, &beside).await?;
        self.progress.done();
        println!("{}", compared::told(&hours));
        crash_point("sink/rebuild-before-swap");
        if let Some(exit) = refused(args.yes, "Exchange them?")? {
            println!(
                "the new tables stay where they are: the same command goes on, --abandon throws them away"
            );
            return Ok(exit);
        }
        self.exchange(&mut rebuild, &registry, began).await?;
        crash_point("sink/rebuild-swapped");
        println!(
            "exchanged; {} records in {:.1} s. Refresh what was made of them: REFRESH MATERIALIZED VIEW CONCURRENTLY \
             obs_latency_daily",
            rebuild.progress.records,
            began.elapsed().as_secs_f64()
        );
        Ok(Exit::Ok)
    }

    async fn read_on(
        &self,
        rebuild: &mut Rebuild,
        registry: &Registry,
        began: Instant,
    ) -> anyhow::Result<u64> {
        let tell = |progress: &crate::sink::rebuild::Progress, all: u64| {
            let per_s = rate(progress.records, began);
            let left = all.saturating_sub(progress.records) / per_s.max(1);
            let read = progress.records;
            self.progress
                .waiting(&format!("{read} of {all} records, {per_s}/s, about {left} s left"));
        };
        Ok(rebuild.catch_up(registry, tell).await?)
    }

    async fn exchange(
        &self,
        rebuild: &mut Rebuild,
        registry: &Registry,
        began: Instant,
    ) -> anyhow::Result<()> {
        for nth in 1.. {
            // Near to the ends, so that the sinks wait for little.
            self.read_on(rebuild, registry, began).await?;
            let mut client: PoolClient = self.pool.get().await.map_err(PoolError::from)?;
            match self.try_exchange(&mut client, rebuild, registry, began).await? {
                Ok(()) => return Ok(()),
                Err(error) if nth < TRIES && shadow::is_busy(&error) => {
                    self.progress
                        .stage("the tables are in use by a long query or transaction; once more");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the last try returns")
    }

    /// One try. What Postgres says to the exchange itself is given back apart: it may be worth another one.
    async fn try_exchange(
        &self,
        client: &mut PoolClient,
        rebuild: &mut Rebuild,
        registry: &Registry,
        began: Instant,
    ) -> anyhow::Result<Result<(), pg::Refused>> {
        let (swap, sinks) = match Swap::begin(client, SINK, &self.plan).await {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error)),
        };
        while !rebuild.is_beyond(&sinks)? {
            self.read_on(rebuild, registry, began).await?;
        }
        if let Err(error) = swap.exchange().await {
            return Ok(Err(error));
        }
        crash_point("sink/rebuild-exchanged");
        Ok(in_flight("sink/rebuild-swap-in-flight", swap.commit()).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_table_is_rebuilt_with_it_and_its_topics_are_read() {
        let of = |names: &[&str]| {
            let asked: Vec<&'static Table> =
                names.iter().map(|name| named(name).expect("a table")).collect();
            chosen(&asked)
        };
        let names = |tables: Vec<&Table>| tables.iter().map(|t| t.name).collect::<Vec<_>>();
        assert_eq!(of(&[]).len(), TABLES.len());
        assert_eq!(names(of(&["obs_alerts"])), ["obs_alerts"]);
        assert_eq!(names(of(&["obs_exec_events"])), ["obs_exec_events", "obs_do_metrics"]);
        let topics = |names: &[&str]| {
            subjects(&of(names)).into_iter().map(Subject::topic).collect::<Vec<_>>()
        };
        assert_eq!(topics(&["obs_alerts"]), ["alerts"]);
        assert_eq!(topics(&["obs_do_metrics"]), ["decisions", "exec-events"]);
        assert_eq!(topics(&[]).len(), SUBJECTS.len());
    }

    #[test]
    fn a_month_is_a_year_and_a_month() {
        let start = "2026-11-01T00:00:00Z".parse().expect("a time");
        assert_eq!("2026-11".parse::<Month>(), Ok(Month(start)));
        for bad in ["2026", "2026-13", "2026-11-01", "11-2026", ""] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
