//! `noctus broker`: what the broker says of itself, and its positions beside ours.

use anyhow::Context as _;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::table::table;
use super::{Exit, Global};
use crate::dispatch::broker::Broker;
use crate::dispatch::broker::handshake::{digest, unusable};
use crate::dispatch::broker::rest::Rest;
use crate::domain::money::plain;
use crate::pg::broker::{self as rows, Check, Held};
use crate::pg::{self, PoolError};

const CAPABILITIES_HELP: &str = "\
Asks the configured broker what it is and can, and says whether dispatch would use it. The digest is the one that
`noctus orders show` tells with each attempt.

Examples:
  noctus broker capabilities
  noctus broker capabilities --broker http://localhost:9500 --json | jq .capabilities.qty_step

Exit codes: 0 it can be used, 1 it must not be used (the reason is said), 69 it does not answer, 77 it refuses us,
78 bad configuration, or NOCTUS_BROKER_SECRET is missing.";

const POSITIONS_HELP: &str = "\
Shows every position of ours beside the broker's, now. Orders under way may explain a difference: dispatch waits for
them, and then raises do.position_mismatch and lets only reducing orders through. Lift that with `noctus resume`
for the account and symbol, once the difference is explained; it is not raised again while it stays the same.

Examples:
  noctus broker positions
  noctus broker positions --json | jq -c 'select(.difference != \"0\")'

Exit codes: 0 all agree, 1 some differ, 69 the broker or Postgres is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What the broker is and can, and whether dispatch would use it
    #[command(after_long_help = CAPABILITIES_HELP)]
    Capabilities {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Our positions beside the broker's
    #[command(after_long_help = POSITIONS_HELP)]
    Positions {
        /// JSON lines instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.what {
        What::Capabilities { json } => capabilities(global, json).await,
        What::Positions { json } => positions(global, json).await,
    }
}

async fn capabilities(global: &Global, json: bool) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let told = Rest::of(&config)?.capabilities().await?;
    let (digest, why_not) = (digest(&told), unusable(&told, &config.broker.environment));
    let shown = serde_json::to_value(&told)?;
    if json {
        let usable = why_not.is_none();
        let all = json!({
            "broker": config.broker.name, "url": config.broker.url, "digest": digest,
            "usable": usable, "why_not": why_not, "capabilities": shown,
        });
        println!("{all}");
    } else {
        let fields = shown.as_object().context("an object")?;
        let rows = fields.iter().map(|(name, value)| vec![name.clone(), word(value)]);
        println!("{}", table(&["field", "value"], rows));
        println!("digest {digest}");
        match &why_not {
            None => println!("dispatch would use it"),
            Some(why) => eprintln!("noctus: dispatch would not use it: {why}"),
        }
    }
    Ok(if why_not.is_none() { Exit::Ok } else { Exit::Findings })
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// One lane: ours, theirs, and the newest comparison that dispatch made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Both {
    account: String,
    symbol: String,
    ours: Decimal,
    theirs: Decimal,
    under_way: bool,
    checked: Option<Check>,
}

async fn positions(global: &Global, json: bool) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    let broker = Rest::of(&config)?;
    let (accounts, held) = rows::held(&client).await?;
    let checks = rows::checks(&**client).await?;
    let mut theirs = BTreeMap::new();
    for account in &accounts {
        let told = broker.positions(account).await;
        let told = match told {
            Ok(told) => told,
            Err(none) => {
                eprintln!("noctus: the broker does not tell the positions of {account}: {none}");
                return Ok(Exit::Unavailable);
            }
        };
        for position in told.positions {
            theirs.insert((account.clone(), position.symbol), position.qty);
        }
    }
    let all = beside(held, theirs, &checks);
    let differ = all.iter().any(|both| both.ours != both.theirs);
    if json {
        for both in &all {
            println!("{}", line(both));
        }
    } else if all.is_empty() {
        println!("nobody holds anything");
    } else {
        println!("{}", table(&COLUMNS, all.iter().map(row)));
    }
    Ok(if differ { Exit::Findings } else { Exit::Ok })
}

fn beside(
    held: Vec<Held>,
    theirs: BTreeMap<(String, String), Decimal>,
    checks: &[Check],
) -> Vec<Both> {
    let mut all: BTreeMap<(String, String), Both> = BTreeMap::new();
    let both = |(account, symbol): &(String, String)| Both {
        account: account.clone(),
        symbol: symbol.clone(),
        ours: Decimal::ZERO,
        theirs: Decimal::ZERO,
        under_way: false,
        checked: checks.iter().find(|c| c.account == *account && c.symbol == *symbol).cloned(),
    };
    for ours in held {
        let lane = (ours.account.clone(), ours.symbol.clone());
        let entry = all.entry(lane.clone()).or_insert_with(|| both(&lane));
        (entry.ours, entry.under_way) = (ours.position, ours.unclear || ours.working);
    }
    for (lane, qty) in theirs {
        all.entry(lane.clone()).or_insert_with(|| both(&lane)).theirs = qty;
    }
    all.into_values().collect()
}

fn line(both: &Both) -> Value {
    let checked = both.checked.as_ref();
    json!({
        "account": both.account, "symbol": both.symbol,
        "ours": plain(both.ours), "theirs": plain(both.theirs),
        "difference": plain(both.theirs.saturating_sub(both.ours)),
        "under_way": both.under_way,
        "checked_at": checked.map(|check| check.checked_at),
        "halt": checked.and_then(|check| check.halt_number),
    })
}

const COLUMNS: [&str; 8] =
    ["account", "symbol", "ours", "broker's", "difference", "under way", "checked at", "halt"];

fn row(both: &Both) -> Vec<String> {
    let checked = both.checked.as_ref();
    let halt = checked.and_then(|check| check.halt_number);
    vec![
        both.account.clone(),
        both.symbol.clone(),
        plain(both.ours),
        plain(both.theirs),
        plain(both.theirs.saturating_sub(both.ours)),
        if both.under_way { "yes" } else { "" }.into(),
        checked.map_or_else(String::new, |check| check.checked_at.to_string()),
        halt.map_or_else(String::new, |number| number.to_string()),
    ]
}
