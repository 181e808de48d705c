//! `noctus explain`: tell the story of one trace: every hop, every clamp, and why.

pub(super) mod told;

use std::io::IsTerminal;

use super::{Exit, Global};
use crate::demo::report::Ink;
use crate::pg::{self, PoolError, story};

const HELP: &str = "\
It tells what was asked, how the quantity came about step by step, the quote and the policies that
were used, every send and every step at the broker, the rules that fired, and what is still owed,
waiting or parked. Times are UTC.

Examples:
  noctus explain 20250823-110000-USDJPY-h1
  noctus explain 20250823-110000-USDJPY-h1 --json | jq '.orders[].decision.steps'

Exit codes: 1 if nothing is known under this name.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// A trace id, or the idempotency key of one order
    #[arg(value_name = "TRACE_ID|KEY")]
    name: String,
    /// The same as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    let mut client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    let Some(story) = story::tell(&mut client, &args.name).await? else {
        eprintln!("{}", unknown(&args.name));
        return Ok(Exit::Findings);
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&story)?);
    } else {
        let ink = Ink::of(std::io::stdout().is_terminal());
        println!("{}", told::story(ink, &story));
    }
    Ok(Exit::Ok)
}

fn unknown(name: &str) -> String {
    format!(
        "nothing is known of a trace or an idempotency key {name:?}. If it was sent a moment ago: are a gate \
         and a sink running? If it was refused, topic dead-letters says why."
    )
}
