//! `noctus submit`: send order requests: JSON files in, signed Avro on Kafka out.
//!
//! All or nothing on this side: one violation anywhere and nothing is sent. Sending again is safe: the
//! same key with the same order is known to the ledger and does nothing.

pub mod order_file;
pub mod prepare;
mod report;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use secrecy::ExposeSecret;

use self::prepare::{Preparation, Prepared};
use self::report::Report;
use super::{Exit, Global};
use crate::domain::trace_context::TraceContext;
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::registry::Registry;
use crate::runtime::clock;
use crate::runtime::config::Config;
use crate::runtime::keyring::SigningKey;
use crate::runtime::secrets::Secrets;
use crate::wire::{self, Subject, signature};

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// JSON order requests: one object, an array, or JSON lines; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Sign with this key; without it with the first one in force
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Check, key and print; send nothing and ask no service
    #[arg(long)]
    dry_run: bool,
    /// Wait until every order is decided and, if it goes to the broker, finished there
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30",
          value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "dry_run")]
    wait: Option<u64>,
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
An order is {symbol, side, qty} at least. Missing requested_at and trace_id are filled in (and told); a missing
idempotency_key is made by recipe v1. To send an order again after a failure, send the same file if it has
requested_at and trace_id, else the same order with the key that was printed: then it cannot become a second order.

Each record carries a W3C trace context (traceparent): that of TRACEPARENT and TRACESTATE in the environment, else one that
begins with its trace_id.

Exit codes: 0 sent (and, with --wait, decided and at the broker), 1 invalid lines or not decided in time,
69 Kafka, the registry or Postgres is away, 78 secrets or configuration are wrong.

Examples:
  noctus submit examples/order.json --dry-run
  noctus submit examples/orders.jsonl --wait 10
  echo '{\"symbol\":\"USDJPY\",\"side\":\"BUY\",\"qty\":\"1000\"}' | noctus submit - --json";

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let secrets = Secrets::from_env(config.dev)?;
    let now = clock::now();
    let signer = signer(&secrets, args.kid.as_deref(), now)?;
    let (mut entries, mut violations) = (Vec::new(), Vec::new());
    for file in &args.files {
        let (read, wrong) = order_file::read(file);
        entries.extend(read);
        violations.extend(wrong);
    }
    let preparation = Preparation {
        secrets: &secrets,
        signer,
        now,
        random: rand::random::<u32>,
        value_max_bytes: config.gate.value_max_bytes,
    };
    let (orders, wrong) = preparation.all(entries);
    violations.extend(wrong);
    if !violations.is_empty() {
        violations.iter().for_each(|violation| eprintln!("{violation}"));
        eprintln!("{} violation(s): nothing was sent", violations.len());
        return Ok(Exit::Findings);
    }
    let mut report = Report::new(&orders, args.json);
    if args.dry_run {
        report.print();
        return Ok(Exit::Ok);
    }
    // Asked for before anything is sent: an order must not go out and then not be waited for.
    let pool = match args.wait {
        Some(_) => Some(crate::pg::connect(&config.database).await?),
        None => None,
    };
    let records = records(&config, signer, &orders).await?;
    let delivered = match Producer::new(&config)?.produce(&records).await {
        Ok(delivered) => delivered,
        Err(error) => {
            report.uncertain();
            report.print();
            return Err(error).context("not every order was acknowledged");
        }
    };
    report.delivered(&delivered);
    let (Some(pool), Some(seconds)) = (pool, args.wait) else {
        report.print();
        return Ok(Exit::Ok);
    };
    let outcomes = wait::wait(&pool, &orders, Duration::from_secs(seconds)).await?;
    let all_there = report.outcomes(&outcomes);
    report.print();
    Ok(if all_there { Exit::Ok } else { Exit::Findings })
}

/// The key to sign with: the one asked for, which must be in force, or the first that is.
pub fn signer<'a>(
    secrets: &'a Secrets,
    kid: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<&'a SigningKey> {
    let mut keys = secrets.signing.keys().iter().filter(|key| key.in_force(now));
    match kid {
        Some(kid) => keys
            .find(|key| key.kid == kid)
            .with_context(|| format!("no signing key {kid} is in force")),
        None => keys.next().context("no signing key is in force"),
    }
}

/// The orders as records: framed with the schema's id, signed, under the key `account|symbol`.
pub async fn records(
    config: &Config,
    signer: &SigningKey,
    orders: &[Prepared],
) -> anyhow::Result<Vec<Outgoing>> {
    let registry = Registry::new(&config.registry)?;
    let id = registry.newest_id(config, Subject::OrderRequest).await?;
    let record = |order: &Prepared| {
        let mut record = record(config, id, signer, order.record_key().into_bytes(), &order.body);
        record.headers.extend(trace_headers(&order.request.trace_id, &order.key));
        record
    };
    Ok(orders.iter().map(record).collect())
}

/// The W3C trace context of what is sent: that of this process if it was started with one, else one that begins with
/// the trace id. Sent again it is the same.
pub fn trace_headers(trace_id: &str, key: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let given = |name| std::env::var(name).ok();
    let given =
        TraceContext::stored(given("TRACEPARENT").as_deref(), given("TRACESTATE").as_deref());
    let hop = format!("submit {key}");
    match given {
        Some(given) => given.child(&hop).headers(),
        None => TraceContext::begun(trace_id, &hop).headers(),
    }
}

/// One order request as a record: its body framed with the schema's id, signed, under its key.
pub fn record(
    config: &Config,
    schema_id: u32,
    signer: &SigningKey,
    key: Vec<u8>,
    body: &[u8],
) -> Outgoing {
    record_of(Subject::OrderRequest, config, schema_id, signer, key, body)
}

/// A message of this subject as a record: its body framed with the schema's id, signed, under its key.
pub fn record_of(
    subject: Subject,
    config: &Config,
    schema_id: u32,
    signer: &SigningKey,
    key: Vec<u8>,
    body: &[u8],
) -> Outgoing {
    let logical = subject.topic();
    let value = wire::frame(schema_id, body);
    let secret = signer.secret.expose_secret().as_bytes();
    let v1 = signature::sign(secret, logical, Some(&key), &value);
    let header = signature::header(&signer.kid, &v1).into_bytes();
    Outgoing {
        topic: config.topic(logical),
        key: Some(key),
        value: Some(value),
        headers: vec![(signature::HEADER.to_string(), Some(header))],
        timestamp_ms: None,
        partition: None,
    }
}
