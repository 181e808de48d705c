//! `noctus verify`: whether what is stored is what the events tell. It only reads.
//!
//! Each comparison is a file of its own and gives a [`Verdict`]; without a flag all are made.

mod events;
mod risk;
mod told;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::{Exit, Global};
use crate::demo::progress::Progress;
use crate::pg::{self, Pool, PoolError};
use crate::runtime::config::Config;

const HELP: &str = "\
Nothing is ever changed, and nothing needs to be stopped: the tables are read as of one moment, and of the topics
what belongs to that moment. Events that were committed and not told yet are waited for.

--risk makes positions, reservations, realised profits and losses in a row again from the topics decisions and exec-events
alone, order by order, and compares every field with risk_positions, risk_accounts, risk_traces and outbox_orders.
What cannot be made again, because Kafka does not have its events any more, is named and not compared.

Examples:
  noctus verify                      every comparison there is
  noctus verify --risk --wait 2m     while Kafka lags
  noctus verify --risk --json | jq '.risk.differences'

Exit codes: 0 equal, 1 something differs or could not be compared, 69 a service is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Compare the risk state: positions, reservations, profits
    #[arg(long)]
    risk: bool,
    /// Wait so long for events that are committed and not told yet
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    wait: Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
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
    progress: Progress,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    pg::migrate::check(&**pool.get().await.map_err(PoolError::from)?).await?;
    let desk = Desk { config, pool, wait: args.wait, progress: Progress::new() };
    let all = !args.risk;
    let mut verdicts = Vec::new();
    if all || args.risk {
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
