//! `noctus slo`: what is promised and what is measured; and checking a file of it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;

use super::table::{numbers, table};
use super::{Exit, Global};
use crate::demo::report::Ink;
use crate::domain::policy::slo::{Objective, Slos};
use crate::domain::policy::{BadPolicy, schema};
use crate::pg::slo::Status;
use crate::pg::{self, Pool, PoolError, slo};
use crate::runtime::policies;

const HELP: &str = "\
The service levels in force, measured now from the obs_* tables: view obs_slo_status. Those that are violated, or have
too few samples to tell, stand first; view obs_slo_violations_24h is these alone.

Examples:
  noctus slo                             a table
  noctus slo --watch                     again every 10 s
  noctus slo --json | jq '.[] | select(.state != \"holds\")'
  noctus slo check configs/slo.yml       every violation of the format at once, or what it promises

Exit codes: 0 every service level holds, 1 one is violated or has no data (or the file is bad), 69 Postgres is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<Verb>,
    /// JSON
    #[arg(long)]
    json: bool,
    /// Look again every so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "json")]
    watch: Option<u32>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check files of service levels: every violation with its line and column; exit 1 if there is one
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of such a file, for editors
    Schema,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.what {
        Some(Verb::Check { files }) => Ok(check(&files)),
        Some(Verb::Schema) => {
            println!("{}", serde_json::to_string_pretty(&schema::slo())?);
            Ok(Exit::Ok)
        }
        None => show(&args, global).await,
    }
}

async fn show(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    pg::migrate::check(&**pool.get().await.map_err(PoolError::from)?).await?;
    let is_terminal = std::io::stdout().is_terminal();
    let ink = Ink::of(is_terminal);
    loop {
        let all = status(&pool).await?;
        match (args.json, args.watch) {
            (true, _) => println!("{}", serde_json::to_string_pretty(&all)?),
            (false, None) => println!("{}", told(ink, &all)),
            (false, Some(seconds)) => {
                // From the top of an empty screen.
                let clear = if is_terminal { "\u{1b}[2J\u{1b}[H" } else { "" };
                println!("{clear}{}", told(ink, &all));
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                continue;
            }
        }
        let is_well = all.iter().all(|status| status.state == "holds" || status.severity.is_none());
        return Ok(if is_well { Exit::Ok } else { Exit::Findings });
    }
}

async fn status(pool: &Pool) -> anyhow::Result<Vec<Status>> {
    let client = pool.get().await.map_err(PoolError::from)?;
    Ok(slo::status(&client).await?)
}

fn told(ink: Ink, all: &[Status]) -> String {
    if all.is_empty() {
        return "nothing is promised: no service level is in force".into();
    }
    let rows = all.iter().map(|s| {
        let sign = if s.is_floor { "≥" } else { "≤" };
        let state = match (s.state.as_str(), &s.severity) {
            ("holds", _) => ink.green("holds"),
            ("violated", Some(severity)) => ink.red(&format!("violated {severity}")),
            (_, Some(severity)) => ink.yellow(&format!("no data {severity}")),
            (_, None) => ink.dim("no data"),
        };
        vec![
            s.slo.clone(),
            s.window.clone(),
            s.observed.map_or("-".into(), |observed| observed.to_string()),
            format!("{sign} {}", s.threshold),
            format!("{} of {}", s.samples, s.min_samples),
            s.worst_trace_id
                .clone()
                .filter(|_| s.state == "violated")
                .unwrap_or_else(|| "-".into()),
            state,
        ]
    });
    let columns = ["SLO", "WINDOW", "OBSERVED", "THRESHOLD", "SAMPLES", "TRACE", "STATE"];
    numbers(table(&columns, rows), [2]).to_string()
}

fn check(files: &[PathBuf]) -> Exit {
    let mut violations = 0;
    for path in files {
        let (file, text) = match policies::text(path) {
            Ok(read) => read,
            Err(error) => {
                println!("{:#}", anyhow::Error::from(error));
                violations += 1;
                continue;
            }
        };
        match Slos::parse(&file, &text) {
            Ok(slos) => {
                println!("{file}: good, digest {}", slos.digest());
                println!("{}", promised(&slos));
            }
            Err(BadPolicy(found)) => {
                violations += found.len();
                found.iter().for_each(|violation| println!("{violation}\n"));
            }
        }
    }
    if violations == 0 {
        return Exit::Ok;
    }
    println!("{violations} violation(s)");
    Exit::Findings
}

/// What a file comes to: other systems' words are read as ours.
fn promised(slos: &Slos) -> String {
    let level = |(severity, at): (crate::domain::event::Severity, Decimal)| {
        format!("{} {at}", severity.as_str())
    };
    let rows = slos.objectives.iter().map(|o: &Objective| {
        let levels: Vec<String> = o.levels.set().map(level).collect();
        vec![
            o.slo.clone(),
            o.shown_window(),
            o.percentile.map_or("-".into(), |p| p.to_string()),
            format!("{} {}", if o.is_floor { "below" } else { "above" }, levels.join(", ")),
            o.min_samples.to_string(),
            o.no_data.map_or("-", |severity| severity.as_str()).to_string(),
        ]
    });
    let columns = ["SLO", "WINDOW", "PERCENTILE", "VIOLATED", "LEAST SAMPLES", "NO DATA"];
    table(&columns, rows).to_string()
}
