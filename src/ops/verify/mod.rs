//! `noctus verify`: whether what is stored is what the events tell. It only reads.
//!
//! Each comparison is a file of its own and gives a [`Verdict`]; without a flag all are made.

mod content;
mod contents;
mod events;
mod examples;
mod risk;
mod shown;
mod spill;
mod told;
mod topics;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use self::contents::contents;
use self::shown::verdict;
use super::stretch::Moment;
use super::{Exit, Global};
use crate::demo::progress::Progress;
use crate::domain::truth::Hour;
use crate::pg::{self, Pool, PoolError};
use crate::runtime::clock;
use crate::runtime::config::Config;

const HELP: &str = "\
Nothing is ever changed, and nothing needs to be stopped: the tables are read as of one moment, and of the topics
what belongs to that moment. What is on its way then (committed and not told, told and not read by the sink) is counted and
is no difference; so is what Kafka, or a month of a table that was dropped, keeps no more.

ledger: each decision, each step of an order and each outcome of a command that the ledger knows is in its topic, with the same
content, and nothing else is. tables: each event of a topic is the row of its obs_* table that it must be, field by field, and
nothing else is; an event that came again came with the same bytes; obs_do_metrics is what the steps make. Of every hour (UTC,
by the event's own time) both sides are counted and hashed; in one that differs every difference is found.
risk: positions, reservations, realised profits and losses in a row are made again from the topics decisions and exec-events
alone, order by order, and every field is compared with risk_positions, risk_accounts, risk_traces and outbox_orders.
What cannot be made again, because Kafka does not have its events any more, is named and not compared.

Examples:
  noctus verify                                       every comparison there is
  noctus verify --only ledger,tables --from 2d        what happened in the last two days
  noctus verify --only risk --wait 2m                 while Kafka lags
  noctus verify --json | jq '.tables.comparisons[] | select(.equal | not)'

Exit codes: 0 equal, 1 something differs or could not be compared, 69 a service is away.";

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The ledger and the topics of its events
    Ledger,
    /// The topics and the obs_* tables
    Tables,
    /// The risk state and what the events make of it
    Risk,
}

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Only these comparisons
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// The same as --only risk: positions, reservations, profits
    #[arg(long, conflicts_with = "only")]
    risk: bool,
    /// From the hour of this time on: RFC 3339, a day, or so long ago. Not for risk, which has no hours
    #[arg(long, value_name = "TIME|AGE")]
    from: Option<Moment>,
    /// Up to the end of the hour before this time, or that it is in
    #[arg(long, value_name = "TIME|AGE")]
    to: Option<Moment>,
    /// Differences of each kind that are opened and told; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    examples: usize,
    /// Of risk: wait so long for events that are committed and not told yet
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    wait: Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The hours that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Window {
    from: Option<Hour>,
    /// The first that is too late.
    to: Option<Hour>,
}

impl Window {
    fn of(args: &Args, now: Timestamp) -> Self {
        let from = args.from.and_then(|from| from.time(now)).map(Hour::of);
        let end = |at: Timestamp| match Hour::of(at) {
            hour if hour.start() == at => hour,
            hour => hour.next(),
        };
        Self { from, to: args.to.and_then(|to| to.time(now)).map(end) }
    }

    fn is_everything(self) -> bool {
        self == Self::default()
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = text.parse::<SignedDuration>().ok().and_then(|t| Duration::try_from(t).ok());
    time.ok_or_else(|| "a time such as 30s or 2m".into())
}

/// What a comparison came to.
struct Verdict {
    /// Its name, as in its flag.
    name: &'static str,
    is_equal: bool,
    /// For a person.
    text: String,
    json: Value,
}

/// What comparisons work with.
struct Desk {
    config: Config,
    pool: Pool,
    wait: Duration,
    window: Window,
    examples_max: usize,
    progress: Progress,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    pg::migrate::check(&**pool.get().await.map_err(PoolError::from)?).await?;
    let window = Window::of(&args, clock::now());
    let (wait, examples_max, progress) = (args.wait, args.examples, Progress::new());
    let desk = Desk { config, pool, wait, window, examples_max, progress };
    let has = |part: Part| match (args.risk, args.only.is_empty()) {
        (true, _) => part == Part::Risk,
        (false, true) => part != Part::Risk || window.is_everything(),
        (false, false) => args.only.contains(&part),
    };
    if has(Part::Risk) && !window.is_everything() {
        eprintln!("noctus: --from and --to are for ledger and tables: the risk state has no hours");
        return Ok(Exit::Usage);
    }
    let mut verdicts = Vec::new();
    if has(Part::Ledger) || has(Part::Tables) {
        let found = contents(&desk, has(Part::Ledger), has(Part::Tables)).await?;
        let parts = [("ledger", &found.ledger), ("tables", &found.tables)];
        let told = |(name, all): (_, &Option<Vec<_>>)| Some(verdict(name, &found, all.as_ref()?));
        verdicts.extend(parts.into_iter().filter_map(told));
    }
    if has(Part::Risk) {
        verdicts.push(risk::compare(&desk).await?);
    }
    desk.progress.done();
    let are_equal = verdicts.iter().all(|verdict| verdict.is_equal);
    if args.json {
        let told = verdicts.into_iter().map(|v| (v.name.to_string(), v.json));
        println!("{}", serde_json::to_string_pretty(&Value::Object(Map::from_iter(told)))?);
    } else {
        verdicts.iter().for_each(|verdict| println!("{}", verdict.text));
    }
    Ok(if are_equal { Exit::Ok } else { Exit::Findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_read_as_it_is_said() {
        assert_eq!(time("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for bad in ["", "soon", "-1s", "30"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
