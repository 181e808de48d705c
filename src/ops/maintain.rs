//! `noctus maintain`: the upkeep of the obs_* tables by hand or by cron, or what it would do.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::table::{numbers, table};
use super::{Exit, Global};
use crate::pg::{self, PoolError, upkeep};
use crate::sink::upkeep::calendar::{last_daily, last_over, months};
use crate::sink::upkeep::round::{Desk, Outcome};
use crate::sink::upkeep::slos::SloSource;
use crate::sink::upkeep::{self as work};

const HELP: &str = "\
One of the running sinks does all of this by itself (upkeep.enabled). By hand it is done at once, due or not, one task
after the other; whoever else is at it is waited for.

  months         partitions of this month and of upkeep.months_ahead more
  slo_load       the service levels of slo.file come into force
  slo_hours      orders sent and failed, by hour, for service levels over more than two days
  late_days      days that rows came late for are counted anew
  latency_days   days that are over are counted
  latency_daily  REFRESH MATERIALIZED VIEW CONCURRENTLY obs_latency_daily
  summaries      the newest pages of the indexes by time
  retention      months older than upkeep.retention are dropped, if their days are counted

Examples:
  noctus maintain --dry-run          what it would do, and which months it would drop
  noctus maintain                    do it

Exit codes: 0 done, 1 a task failed or somebody else was at it for too long, 69 Postgres is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Wait so many seconds for a sink that is at it
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    wait: u32,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = Arc::new(global.config()?);
    let slos = SloSource::load(&config.slo)?;
    let pool = pg::connect(&config.database).await?;
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    if args.dry_run {
        let desk = Desk::new(config.clone(), "".into());
        let found = preview(&desk, &config.upkeep, &slos, &client).await?;
        told(&found, args.json)?;
        return Ok(Exit::Ok);
    }
    let wait = Duration::from_secs(args.wait.into());
    let worker = format!("noctus maintain, process {}", std::process::id());
    let Some(outcomes) = work::by_hand(config, worker.into(), &slos, wait).await? else {
        eprintln!("somebody else was at it for {} s: nothing was done here", args.wait);
        return Ok(Exit::Findings);
    };
    done(&outcomes, args.json)?;
    let all_well = outcomes.iter().all(|outcome| outcome.result.is_ok());
    Ok(if all_well { Exit::Ok } else { Exit::Findings })
}

/// What would be done.
#[derive(Debug, Default, Serialize)]
struct Preview {
    /// Months without all of their partitions.
    months: Vec<Timestamp>,
    /// The service levels' digest, as it would be in force.
    slo_digest: String,
    /// The first and the last day that would be counted.
    days: Option<(String, String)>,
    /// Since when there are rows that came late.
    late_since: Option<Timestamp>,
    /// Partitions that would be dropped, and before when all of their rows are.
    drops: Vec<(String, Timestamp)>,
    /// Those that somebody has begun to drop.
    begun: Vec<String>,
}

async fn preview(
    desk: &Desk,
    config: &crate::runtime::config::Upkeep,
    slos: &SloSource,
    client: &tokio_postgres::Client,
) -> anyhow::Result<Preview> {
    let now = pg::time::now(client).await?;
    let mut found = Preview { slo_digest: slos.slos().digest(), ..Preview::default() };
    for month in months(now, config.months_ahead) {
        if !upkeep::has_month(client, month).await? {
            found.months.push(month);
        }
    }
    let last = last_over(last_daily(config, now));
    let next = match upkeep::last_day(client).await? {
        Some(counted) => counted.tomorrow().ok(),
        None => upkeep::first_day(client).await?,
    };
    found.days = next.filter(|next| *next <= last).map(|n| (n.to_string(), last.to_string()));
    found.late_since = upkeep::late(client).await?;
    let drops = desk.too_old(client, now).await?;
    found.drops = drops.into_iter().map(|month| (month.partition, month.until)).collect();
    found.begun = upkeep::retired(client).await?.into_iter().map(|month| month.partition).collect();
    Ok(found)
}

fn told(found: &Preview, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
        return Ok(());
    }
    let list =
        |items: Vec<String>| if items.is_empty() { "nothing".into() } else { items.join(", ") };
    let day = |at: &Timestamp| at.to_string().chars().take(10).collect::<String>();
    let months = found.months.iter().map(|m| day(m).chars().take(7).collect()).collect();
    let days =
        found.days.as_ref().map_or("nothing".into(), |(first, last)| format!("{first} to {last}"));
    let late = found.late_since.map_or("nothing".into(), |since| format!("rows since {since}"));
    let drops =
        found.drops.iter().map(|(p, until)| format!("{p} (before {})", day(until))).collect();
    println!("months to make    {}", list(months));
    println!("service levels    {}", found.slo_digest);
    println!("days to count     {days}");
    println!("came late         {late}");
    println!("to refresh        obs_latency_daily");
    println!("months to drop    {}", list(drops));
    if !found.begun.is_empty() {
        println!("begun to drop     {}", list(found.begun.clone()));
    }
    Ok(())
}

fn done(outcomes: &[Outcome], json: bool) -> anyhow::Result<()> {
    let why = |o: &Outcome| o.result.as_ref().err().map(|failed| failed.why.clone());
    if json {
        let all: Vec<_> = outcomes
            .iter()
            .map(|o| serde_json::json!({"task": o.task.name(), "took_ms": o.took.as_millis() as u64, "error": why(o)}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let rows = outcomes.iter().map(|o| {
        let result = why(o).unwrap_or_else(|| "done".into());
        vec![o.task.name().to_string(), format!("{}", o.took.as_millis()), result]
    });
    println!("{}", numbers(table(&["TASK", "MS", "RESULT"], rows), [1]));
    Ok(())
}
