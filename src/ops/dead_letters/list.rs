//! `noctus dead-letters list`.

use serde_json::{Value, json};

use super::super::table::{printable, table};
use super::super::{Exit, Global};
use super::chosen::{Filter, Found, Letters};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let letters = Letters::open(&config).await?;
    let found = letters.filtered(&config, &args.filter, args.limit as usize).await?;
    if args.json {
        found.iter().for_each(|one| println!("{}", told(one)));
    } else if !found.is_empty() {
        let columns = ["letter", "refused at", "reason", "from", "key", "redriven", "detail"];
        println!("{}", table(&columns, found.iter().map(row)));
    }
    if found.is_empty() {
        eprintln!("no dead letters");
        return Ok(Exit::Findings);
    }
    Ok(Exit::Ok)
}

fn row(found: &Found) -> Vec<String> {
    let Found { spot, letter, record } = found;
    vec![
        spot.to_string(),
        record.timestamp.map_or("-".into(), |at| at.to_string()),
        letter.reason.clone(),
        format!("{}/{}/{}", letter.topic, letter.partition, letter.offset),
        record.key.as_deref().map_or("-".into(), printable),
        letter.redriven().to_string(),
        printable(letter.detail.as_bytes()),
    ]
}

/// What a dead letter says about itself.
pub fn told(found: &Found) -> Value {
    let Found { spot, letter, record } = found;
    json!({
        "partition": spot.partition,
        "offset": spot.offset,
        "refused_at": record.timestamp,
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.topic,
        "origin_partition": letter.partition,
        "origin_offset": letter.offset,
        "origin_at": letter.at,
        "key": record.key.as_deref().map(printable),
        "value_bytes": record.value.as_ref().map(Vec::len),
        "redriven": letter.redriven(),
    })
}
