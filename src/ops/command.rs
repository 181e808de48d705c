//! `noctus command`: send a command about one order: cancel it, or replace its terms.
//!
//! Signed and produced as a producer's own; `noctus orders cancel` is a person's, who needs the database instead.

use std::time::Duration;

use anyhow::Context as _;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::submit::{record_of, signer, trace_headers};
use super::{Exit, Global};
use crate::domain::command::{CommandAction, CommandDraft, OrderCommand};
use crate::domain::money::plain;
use crate::domain::text::record_key;
use crate::kafka::producer::Producer;
use crate::kafka::registry::Registry;
use crate::pg::commands::{Told, told};
use crate::pg::{Pool, PoolError};
use crate::runtime::clock::{self, boot};
use crate::runtime::config::Config;
use crate::runtime::keyring::SigningKey;
use crate::runtime::secrets::Secrets;
use crate::wire::{self, Subject};

/// Pause between two looks at what has become of it.
const LOOK: Duration = Duration::from_millis(100);

const HELP: &str = "\
A command is signed like an order request and goes to order-commands. It has a key of its own, minted unless --key gives
one and printed first: to send it again after a failure, give the same --key, and it cannot become a second command.
A CANCEL of an order that is not known (yet) keeps it from ever being sent.

Exit codes: 0 sent (and, with --wait, accepted), 1 refused or not decided in time, 2 it is no command,
69 Kafka, the registry or Postgres is away, 78 secrets or configuration are wrong.

Examples:
  noctus command cancel KEY --symbol USDJPY --wait
  noctus command replace KEY --symbol USDJPY --qty 4000 --limit-price 147.215 --reason 'market moved'";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// What is not filled of the order never shall be
    Cancel(Common),
    /// The order goes on with another quantity or limit price
    Replace {
        #[command(flatten)]
        common: Common,
        /// The quantity in all, units, what is filled included
        #[arg(long, value_name = "UNITS", value_parser = number)]
        qty: Option<Decimal>,
        /// The limit price
        #[arg(long, value_name = "PRICE", value_parser = number)]
        limit_price: Option<Decimal>,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The order's idempotency key
    #[arg(value_name = "KEY")]
    target: String,
    /// The order's symbol
    #[arg(long)]
    symbol: String,
    /// The order's account
    #[arg(long, default_value = "main")]
    account: String,
    /// Why, for those who look at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The command's own key; without it one is minted
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The trace it belongs to; without it one is made
    #[arg(long, value_name = "TRACE_ID")]
    trace_id: Option<String>,
    /// Sign with this key; without it with the first one in force
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Check and print; send nothing and ask no service
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is decided
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30",
          value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "dry_run")]
    wait: Option<u64>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<Decimal, String> {
    crate::domain::money::read(text).ok_or_else(|| "a decimal number of at most 28 digits".into())
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (common, action, qty, limit_price) = match args.verb {
        Verb::Cancel(common) => (common, CommandAction::Cancel, None, None),
        Verb::Replace { common, qty, limit_price } => {
            (common, CommandAction::Replace, qty, limit_price)
        }
    };
    let config = global.config()?;
    let secrets = Secrets::from_env(config.dev)?;
    let signer = signer(&secrets, common.kid.as_deref(), clock::now())?;
    let draft = draft(&common, action, (qty, limit_price));
    let command = match draft.check() {
        Ok(command) => command,
        Err(wrong) => {
            eprintln!("noctus: {wrong}");
            return Ok(Exit::Usage);
        }
    };
    let topic = Subject::OrderCommand.topic();
    if !signer.scopes.allow(topic, &command.account, std::iter::empty()) {
        eprintln!("noctus: signing key {} may not sign for this command", signer.kid);
        return Ok(Exit::Findings);
    }
    if common.dry_run {
        tell(&command, "valid, nothing sent", None, common.json);
        return Ok(Exit::Ok);
    }
    let pool = match common.wait {
        Some(_) => Some(crate::pg::connect(&config.database).await?),
        None => None,
    };
    if !common.json {
        println!("{} {}, key {}", action.as_str(), command.target_key, command.idempotency_key);
    }
    send(&config, signer, &draft, &command).await?;
    let (Some(pool), Some(seconds)) = (pool, common.wait) else {
        tell(&command, "sent", None, common.json);
        return Ok(Exit::Ok);
    };
    let found = wait(&pool, &command, Duration::from_secs(seconds)).await?;
    tell(&command, "sent, and not decided in time", found.as_ref(), common.json);
    Ok(match found {
        Some(told) if told.digest == command.digest() && told.status != "REFUSED" => Exit::Ok,
        _ => Exit::Findings,
    })
}

fn draft(
    common: &Common,
    action: CommandAction,
    (qty, limit_price): (Option<Decimal>, Option<Decimal>),
) -> CommandDraft {
    let now = clock::now();
    let made = |what: &str| {
        let at = now.strftime("%Y%m%d-%H%M%S");
        format!("{what}-{at}-{:016x}", rand::random::<u64>())
    };
    let word = action.as_str().to_lowercase();
    CommandDraft {
        schema_version: None,
        trace_id: common.trace_id.clone().unwrap_or_else(|| made("command")),
        account: common.account.clone(),
        symbol: common.symbol.clone(),
        action,
        target_key: common.target.clone(),
        qty,
        limit_price,
        requested_at: now,
        valid_until: None,
        reason: common.reason.clone(),
        meta: Default::default(),
        idempotency_key: common.key.clone().unwrap_or_else(|| made(&word)),
    }
}

async fn send(
    config: &Config,
    signer: &SigningKey,
    draft: &CommandDraft,
    command: &OrderCommand,
) -> anyhow::Result<()> {
    let body = wire::order_command::encode(draft)?;
    let registry = Registry::new(&config.registry)?;
    let id = registry.newest_id(config, Subject::OrderCommand).await?;
    let key = record_key(&command.account, &command.symbol).into_bytes();
    let mut record = record_of(Subject::OrderCommand, config, id, signer, key, &body);
    record.headers.extend(trace_headers(&command.trace_id, &command.idempotency_key));
    let sent = Producer::new(config)?.produce(&[record]).await;
    sent.with_context(|| {
        let key = &command.idempotency_key;
        format!("perhaps sent: send it again with --key {key}, it is safe")
    })?;
    Ok(())
}

async fn wait(
    pool: &Pool,
    command: &OrderCommand,
    limit: Duration,
) -> anyhow::Result<Option<Told>> {
    let begun = boot();
    loop {
        let client = pool.get().await.map_err(PoolError::from)?;
        let found = told(&client, &command.idempotency_key).await?;
        if found.is_some() || boot().since(begun) >= limit {
            return Ok(found);
        }
        drop(client);
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(command: &OrderCommand, else_: &str, found: Option<&Told>, as_json: bool) {
    let conflict = found.is_some_and(|told| told.digest != command.digest());
    if as_json {
        let (qty, limit_price) = command.terms();
        let mut shown = json!({
            "key": command.idempotency_key, "target_key": command.target_key,
            "action": command.action(), "trace_id": command.trace_id,
            "account": command.account, "symbol": command.symbol,
            "qty": qty.map(plain), "limit_price": limit_price.map(plain),
        });
        if let Some(told) = found {
            shown["status"] = told.status.as_str().into();
            shown["reason_code"] = told.code.clone().map_or(Value::Null, Value::from);
            shown["reason"] = told.reason.as_str().into();
            shown["conflict"] = conflict.into();
        }
        println!("{shown}");
        return;
    }
    match found {
        Some(_) if conflict => println!(
            "a conflict: its key was decided before with another command, and that one stands"
        ),
        Some(Told { status, code: Some(code), reason, .. }) => {
            println!("{status} ({code}): {reason}");
        }
        Some(Told { status, reason, .. }) => println!("{status}: {reason}"),
        None => println!("{else_}"),
    }
}
