//! `noctus orders`: what is open, what became of one, cancelling one, and ending one that is PARKED (C-OUT-4, 6).

mod cancel;

use std::io::IsTerminal;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use rust_decimal::Decimal;
use serde_json::json;

use super::explain::{Explained, in_force, told};
use super::halts::not_approved;
use super::person::whom;
use super::table::table;
use super::{Exit, Global};
use crate::demo::report::Ink;
use crate::dispatch::DispatchError;
use crate::dispatch::resolve::{self, Resolution, ResolveError, Verdict};
use crate::domain::catalogue::Language;
use crate::domain::money::{fits_wire, plain};
use crate::pg::outcome::{self, Listed, Wanted};
use crate::pg::proposals::{self, Kind, NotApproved};
use crate::pg::{self, Pool, PoolError, story};
use crate::runtime::config::{Config, PolicyFiles};

const HELP: &str = "\
An order is PARKED when nobody knows what the broker did with it: ask the broker, by the client order id that
`noctus orders show` tells. Until it is resolved its reservation is held, and orders of its account and symbol that open risk
wait. Resolving moves order, reservation and position together; one person proposes, another one approves.
  not-sent   the broker never had it: it is cancelled, and not sent again
  rejected   the broker refused it
  filled     the broker filled --qty of it at --px on average, and has nothing more of it working

Cancelling takes one person and a reason. What was not sent ends unsent; what works is cancelled at the broker, which is asked
until its answer is clear, whatever is halted. What was filled by then stays filled. A running dispatch does it.

Examples:
  noctus orders list
  noctus orders list --state PARKED --json | jq -r .idempotency_key
  noctus orders show 9c1f6a0d2b7e4f55
  noctus orders resolve 9c1f6a0d2b7e4f55 --as filled --qty 3000 --px 147.25 --reason 'broker, by phone' --by alice
  noctus orders resolve --approve 7 --by bob
  noctus orders cancel 9c1f6a0d2b7e4f55 --reason 'wrong size' --json

Exit codes: 0 done, 1 nothing found, not PARKED, or changed since it was proposed; not CANCELLED (yet), 2 wrong usage,
69 a service is away (approving asks the broker what it can), 77 you cannot approve what you proposed.";

/// Every state but NOT_SENT that an order may be in, and whether dispatch or a person still has to move it.
const STATES: [(&str, bool); 10] = [
    ("NEW", true),
    ("SENT", true),
    ("ACCEPTED", true),
    ("PARTIALLY_FILLED", true),
    ("UNKNOWN", true),
    ("PARKED", true),
    ("FILLED", false),
    ("REJECTED", false),
    ("CANCELLED", false),
    ("EXPIRED", false),
];

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List orders, the newest first; without --state or --all those that are open
    List(ListArgs),
    /// Show one order: its row, attempts, fills and events
    Show {
        /// Its idempotency key
        key: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// End a PARKED order: propose how, or approve what another person proposed
    Resolve(ResolveArgs),
    /// Cancel one order: unsent, or at the broker
    Cancel(cancel::CancelArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only these states, e.g. PARKED,UNKNOWN
    #[arg(long, value_name = "STATE", value_delimiter = ',', ignore_case = true,
          value_parser = STATES.map(|(state, _)| state))]
    state: Vec<String>,
    /// Finished ones too
    #[arg(long, conflicts_with = "state")]
    all: bool,
    /// Only this account
    #[arg(long)]
    account: Option<String>,
    /// Only this symbol
    #[arg(long)]
    symbol: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "100",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum As {
    NotSent,
    Rejected,
    Filled,
}

#[derive(Debug, clap::Args)]
struct ResolveArgs {
    /// The order's idempotency key
    #[arg(required_unless_present = "approve", requires_all = ["outcome", "reason"])]
    key: Option<String>,
    /// What became of it
    #[arg(long = "as", id = "outcome", value_name = "OUTCOME", value_enum)]
    outcome: Option<As>,
    /// Units filled
    #[arg(long, required_if_eq("outcome", "filled"))]
    qty: Option<Decimal>,
    /// Their average price
    #[arg(long, required_if_eq("outcome", "filled"))]
    px: Option<Decimal>,
    /// How you know, for the person who approves
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Approve this proposal of another person
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["key", "outcome", "qty", "px", "reason"])]
    approve: Option<i64>,
    /// Who does it; without it the user at this host
    #[arg(long, value_name = "WHO", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    pg::migrate::check(&**pool.get().await.map_err(PoolError::from)?).await?;
    match args.what {
        What::List(args) => list(&pool, args).await,
        What::Show { key, json } => show(&pool, &config.policies, &key, json).await,
        What::Cancel(args) => cancel::run(&pool, args).await,
        What::Resolve(args) => match args.approve {
            Some(number) => approve(&config, &pool, number, &whom(args.by.as_deref())).await,
            None => propose(&pool, args).await,
        },
    }
}

async fn list(pool: &Pool, args: ListArgs) -> anyhow::Result<Exit> {
    let states = match args.state.is_empty() {
        true => STATES
            .iter()
            .filter(|(_, is_open)| *is_open || args.all)
            .map(|(state, _)| (*state).to_string())
            .collect(),
        false => args.state.iter().map(|state| state.to_ascii_uppercase()).collect(),
    };
    let wanted = Wanted { states, account: args.account, symbol: args.symbol };
    let client = pool.get().await?;
    let orders = outcome::list(&client, &wanted, i64::from(args.limit)).await?;
    let proposals = proposals::open(&client, Kind::Resolve).await?;
    if args.json {
        for order in &orders {
            println!("{}", serde_json::to_string(order)?);
        }
        return Ok(Exit::Ok);
    }
    match orders.is_empty() {
        true => println!("no such orders"),
        false => println!("{}", table(&COLUMNS, orders.iter().map(row))),
    }
    for p in &proposals {
        let number = p.number;
        println!("proposal {number}: {}, by {} at {}: {}", p.subject, p.by_whom, p.at, p.reason);
    }
    Ok(Exit::Ok)
}

const COLUMNS: [&str; 9] =
    ["key", "state", "account", "symbol", "side", "qty", "filled", "sends", "decided at"];

fn row(order: &Listed) -> Vec<String> {
    vec![
        order.idempotency_key.clone(),
        order.state.clone(),
        order.account.clone(),
        order.symbol.clone(),
        order.action.clone(),
        plain(order.decided_qty),
        plain(order.executed_qty),
        order.attempts.to_string(),
        order.decided_at.to_string(),
    ]
}

async fn show(pool: &Pool, policies: &PolicyFiles, key: &str, json: bool) -> anyhow::Result<Exit> {
    let mut client = pool.get().await?;
    let Some(story) = story::tell(&mut client, key).await? else {
        eprintln!("no order is known under key {key}");
        return Ok(Exit::Findings);
    };
    match json {
        true => println!("{}", serde_json::to_string_pretty(&story)?),
        false => {
            let explained = Explained::new(story, Language::English, &in_force(policies));
            println!("{}", told::story(Ink::of(std::io::stdout().is_terminal()), &explained));
        }
    }
    Ok(Exit::Ok)
}

async fn propose(pool: &Pool, args: ResolveArgs) -> anyhow::Result<Exit> {
    let (key, reason) = (args.key.context("a key")?, args.reason.context("a reason")?);
    let verdict = match (args.outcome.context("an outcome")?, args.qty, args.px) {
        (As::NotSent, None, None) => Verdict::NotSent,
        (As::Rejected, None, None) => Verdict::Rejected,
        (As::Filled, Some(qty), Some(px))
            if [qty, px].iter().all(|n| *n > Decimal::ZERO && fits_wire(*n)) =>
        {
            Verdict::Filled { qty, px }
        }
        _ => {
            eprintln!("noctus: filled needs --qty and --px above 0; the others have none");
            return Ok(Exit::Usage);
        }
    };
    let client = pool.get().await?;
    let row = match resolve::check(&**client, &key, verdict).await {
        Ok(row) => row,
        Err(error) => return refused(error),
    };
    let by = whom(args.by.as_deref());
    let resolution = Resolution { key, exec_seq: row.exec_seq, verdict };
    let subject = serde_json::to_value(&resolution)?;
    let number = proposals::propose(&client, Kind::Resolve, &subject, &reason, &by).await?;
    println!(
        "proposal {number} by {by}: {} {} {}, {}. Another person: noctus orders resolve --approve {number} --by WHO",
        row.side.as_str(),
        plain(row.qty),
        row.symbol,
        json!(verdict)
    );
    Ok(Exit::Ok)
}

async fn approve(config: &Config, pool: &Pool, number: i64, by: &str) -> anyhow::Result<Exit> {
    match resolve::approve(config, pool, number, by).await {
        Ok((resolution, state)) => {
            println!("{} is {}, approved by {by}", resolution.key, state.as_str());
            Ok(Exit::Ok)
        }
        Err(error) => refused(error),
    }
}

/// A refusal is told; a failure is an error.
fn refused(error: ResolveError) -> anyhow::Result<Exit> {
    match error {
        ResolveError::NotApproved(NotApproved::Postgres(error)) => Err(error.into()),
        ResolveError::NotApproved(refused) => Ok(not_approved(&refused)),
        // Told apart by their own kinds, for the exit code.
        ResolveError::Dispatch(DispatchError::Handshake(error)) => Err(error.into()),
        ResolveError::Dispatch(DispatchError::Registry(error)) => Err(error.into()),
        ResolveError::Dispatch(error) => Err(error.into()),
        ResolveError::TooMuch { .. } => {
            eprintln!("noctus: {error}");
            Ok(Exit::Usage)
        }
        refused => {
            eprintln!("noctus: {refused}");
            Ok(Exit::Findings)
        }
    }
}
