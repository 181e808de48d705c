//! `noctus key`: idempotency keys by recipe v1: JSON lines in, keys out.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{Exit, Global};
use crate::domain::key::recipe_v1;
use crate::domain::money::{QTY_DECIMALS, has_at_most};
use crate::domain::request::Side;
use crate::domain::text::{Symbol, TraceId};
use crate::runtime::secrets::{self, BadSecrets, DEV_SECRET};

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// JSON lines {symbol, side, qty, requested_at, trace_id, secret?}; - is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
}

const HELP: &str = "\
The secret is the line's own, else NOCTRIA_IDEMPOTENCY_SECRET (or …_FILE), else with --dev the development secret.
A line that is wrong prints nothing, is told on standard error, and makes the exit code 1.

Example:
  echo '{\"symbol\":\"USDJPY\",\"side\":\"BUY\",\"qty\":\"10000\",\"requested_at\":\"2025-08-23T11:00:30Z\",\"trace_id\":\"t-1\"}' | noctus key";

/// What recipe v1 is made of. Other fields of an order are let pass, so an order file will do.
#[derive(Deserialize)]
struct Line {
    secret: Option<String>,
    symbol: Symbol,
    side: Side,
    qty: Decimal,
    requested_at: Timestamp,
    trace_id: TraceId,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let input: Box<dyn Read> = match args.file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(
            std::fs::File::open(&args.file).with_context(|| args.file.display().to_string())?,
        ),
    };
    let mut own = None;
    let mut exit = Exit::Ok;
    for (at, line) in BufReader::new(input).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let parsed = serde_json::from_str::<Line>(&line).map_err(|e| e.to_string());
        let checked = parsed.and_then(|line| match has_at_most(line.qty, QTY_DECIMALS) {
            true => Ok(line),
            false => Err(format!("qty has more than {QTY_DECIMALS} decimals")),
        });
        let line = match checked {
            Ok(line) => line,
            Err(why) => {
                eprintln!("{}:{}: {why}", args.file.display(), at + 1);
                exit = Exit::Findings;
                continue;
            }
        };
        let secret = match (&line.secret, &own) {
            (Some(secret), _) => secret,
            (None, Some(secret)) => secret,
            (None, None) => own.insert(own_secret(global)?),
        };
        let Line { symbol, side, qty, requested_at, trace_id, .. } = &line;
        println!("{}", recipe_v1(secret, symbol, *side, *qty, *requested_at, trace_id));
    }
    Ok(exit)
}

/// The secret of this process; the configuration is read only if a line needs it.
fn own_secret(global: &Global) -> anyhow::Result<String> {
    const NAME: &str = "NOCTRIA_IDEMPOTENCY_SECRET";
    let dev = global.config()?.dev;
    let secret = match secrets::read(NAME)? {
        Some(secret) => secret,
        None if dev => DEV_SECRET.to_string(),
        None => return Err(BadSecrets::Missing { name: NAME }.into()),
    };
    secrets::check(NAME, &secret, dev)?;
    Ok(secret)
}
