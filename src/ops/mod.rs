//! Verbs of the command line. `argv` → one function → exit code.

pub mod bench;
mod broker;
pub mod command;
pub mod completions;
pub mod config;
pub mod dead_letters;
mod decoded;
pub mod demo;
pub mod docs;
pub mod explain;
pub mod halts;
pub mod judge;
pub mod key;
pub mod language;
pub mod maintain;
pub mod migrate;
pub mod notify;
pub mod orders;
pub mod paper_broker;
mod person;
pub mod policy;
pub mod rebuild;
pub mod rewind;
pub mod roles;
pub mod schemas;
pub mod sign;
pub mod sink;
pub mod slo;
mod stretch;
pub mod submit;
mod table;
pub mod topics;
pub mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::pg;
use crate::runtime::config::{BadConfig, Config};
use crate::runtime::telemetry::{self, LogFormat};

/// What a command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Exit {
    Ok = 0,
    /// The command worked and found something to mend.
    Findings = 1,
    Usage = 2,
    Unavailable = 69,
    Bug = 70,
    NoRights = 77,
    BadConfig = 78,
}

/// A file that a command was told to read, and cannot.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadInput {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not what is wanted: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
}

/// The gate between a trading signal and a broker.
#[derive(Debug, Parser)]
#[command(name = "noctus", version, propagate_version = true, after_long_help = LONG_HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const LONG_HELP: &str = "\
Examples:
  noctus demo                                  see it work, nothing installed
  noctus migrate && noctus topics apply && noctus schemas register
  noctus run --config configs/noctus.yml       every role in one process
  noctus submit order.json --wait              send one order and see what became of it
  noctus explain TRACE_ID                      why it was decided so

Exit codes: 0 good, 1 findings, 2 usage, 69 a service is unavailable, 70 a bug, 77 no rights, 78 bad configuration.";

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// Configuration file (YAML)
    #[arg(long, global = true, env = "NOCTUS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kafka brokers, host:port,host:port
    #[arg(long, global = true, value_name = "LIST")]
    pub brokers: Option<String>,
    /// Schema registry (Confluent API)
    #[arg(long, global = true, value_name = "URL")]
    pub registry: Option<String>,
    /// Postgres
    #[arg(long, global = true, value_name = "URL")]
    pub database: Option<String>,
    /// The broker that orders go to
    #[arg(long, global = true, value_name = "URL")]
    pub broker: Option<String>,
    /// Development: allow weak secrets. Never with real orders
    #[arg(long, global = true)]
    pub dev: bool,
    /// How log lines look
    #[arg(long, global = true, env = "NOCTUS_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What is logged, e.g. info or noctus::gate=debug
    #[arg(long, global = true, env = "NOCTUS_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

impl Global {
    /// The configuration in force: defaults, file, environment, flags.
    pub fn config(&self) -> Result<Config, BadConfig> {
        let mut flags = Vec::new();
        let mut flag = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                flags.push((key.to_string(), value.clone()));
            }
        };
        flag("kafka.brokers", &self.brokers);
        flag("registry.url", &self.registry);
        flag("database.url", &self.database);
        flag("broker.url", &self.broker);
        Config::load(self.config.as_deref(), &flags, self.dev)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every role in one process
    Run(roles::Args),
    /// Role: judge order requests (read, decide, reserve, emit)
    Gate(roles::Args),
    /// Role: send decided orders to the broker, once, and tell what became of them
    Dispatch(roles::Args),
    /// Role: write the obs_* tables that dashboards read; rebuild makes them again
    Sink(sink::Args),
    /// Role: tell people of alerts and SLO violations; with a verb: check its routes, try a receiver, list
    Notify(notify::Args),
    /// Bring the database to this build's schema
    Migrate(migrate::Args),
    /// Do the upkeep of the obs_* tables by hand, or show what it would do
    Maintain(maintain::Args),
    /// Show the service levels: what is promised, what is measured; or check a file of them
    Slo(slo::Args),
    /// Create the topics of topics/topics.yml, show how the cluster differs, or print what is in one
    Topics(topics::Args),
    /// Register the schemas, or check them against all registered versions
    Schemas(schemas::Args),
    /// Send order requests: JSON files in, signed Avro on Kafka out
    Submit(submit::Args),
    /// Send a command about one order: cancel it, or replace its terms
    #[command(name = "command")]
    Amend(command::Args),
    /// Sign a JSON order file
    Sign(sign::Args),
    /// Idempotency keys by recipe v1: JSON lines in, keys out
    Key(key::Args),
    /// Tell the story of one trace: every hop, every clamp, and why
    Explain(explain::Args),
    /// List orders, show one, cancel one, or end one that is PARKED (a second person approves)
    Orders(orders::Args),
    /// What the broker says it can, and its positions beside ours
    Broker(broker::Args),
    /// Stop sending: everything, or an account, a symbol, a strategy
    Halt(halts::StopArgs),
    /// Send only what reduces positions
    ReduceOnly(halts::StopArgs),
    /// Lift a halt: propose it, or approve what another person proposed
    Resume(halts::ResumeArgs),
    /// List halts, proposals, and who has confirmed
    Halts(halts::ListArgs),
    /// Check that what is stored is what the events tell
    Verify(verify::Args),
    /// Read an input again from an offset or a time; nothing is sent or decided twice
    Rewind(rewind::Args),
    /// List refused inputs, show one, or send them again
    DeadLetters(dead_letters::Args),
    /// Judge cases without Kafka or Postgres: JSON lines in, results out
    Judge(judge::Args),
    /// Check policy files, compare them, and try them on recorded decisions
    Policy(policy::Args),
    /// A broker of paper with a durable ledger, to try Noctus on
    PaperBroker(paper_broker::Args),
    /// The whole way of an order on embedded services, with a readable report
    Demo(demo::Args),
    /// Measure orders per second and latencies on real services, as JSON
    Bench(bench::Args),
    /// Show or check the configuration
    Config(config::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Print the pages that are made from the code
    #[command(hide = true)]
    Docs(docs::Args),
}

/// Parses the command line, runs the command, and turns its end into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    end_quietly_when_nobody_reads();
    crate::wire::set_limits();
    // The demo prints a report: what roles have to say at every step would tear it.
    let log = match (&cli.command, cli.global.log.as_str()) {
        (Command::Demo(_), "info") => "warn",
        (_, filter) => filter,
    };
    telemetry::start(cli.global.log_format, log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(command(cli)),
        Err(error) => Err(error.into()),
    };
    let exit = exit.unwrap_or_else(|error| {
        let closed = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<std::io::Error>().is_some_and(closed) {
            std::process::exit(NOBODY_READS);
        }
        // `eprintln!` panics when nobody reads, and another exit code would follow.
        let _ = writeln!(std::io::stderr(), "noctus: {error:#}");
        exit_of(&error)
    });
    ExitCode::from(exit as u8)
}

/// What a shell reports of a command whose output nobody wanted any more (`noctus … | head`): 128 + SIGPIPE.
const NOBODY_READS: i32 = 141;

/// `println!` panics when standard output is closed or full, which is no bug of ours.
fn end_quietly_when_nobody_reads() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if let Some(why) = text.strip_prefix("failed printing to stdout: ") {
            if why.contains("Broken pipe") {
                std::process::exit(NOBODY_READS);
            }
            eprintln!("noctus: standard output cannot be written: {why}");
            std::process::exit(Exit::Unavailable as i32);
        }
        told(panic);
    }));
}

async fn command(cli: Cli) -> anyhow::Result<Exit> {
    use roles::Role;
    let global = &cli.global;
    match cli.command {
        Command::Run(a) => roles::run(a, &Role::ALL, global).await,
        Command::Gate(a) => roles::run(a, &[Role::Gate], global).await,
        Command::Dispatch(a) => roles::run(a, &[Role::Dispatch], global).await,
        Command::Sink(a) => sink::run(a, global).await,
        Command::Notify(a) => notify::run(a, global).await,
        Command::Migrate(a) => migrate::run(a, global).await,
        Command::Maintain(a) => maintain::run(a, global).await,
        Command::Slo(a) => slo::run(a, global).await,
        Command::Topics(a) => topics::run(a, global).await,
        Command::Schemas(a) => schemas::run(a, global).await,
        Command::Submit(a) => submit::run(a, global).await,
        Command::Amend(a) => command::run(a, global).await,
        Command::Sign(a) => sign::run(a, global).await,
        Command::Key(a) => key::run(a, global).await,
        Command::Explain(a) => explain::run(a, global).await,
        Command::Orders(a) => orders::run(a, global).await,
        Command::Broker(a) => broker::run(a, global).await,
        Command::Halt(a) => halts::stop(a, "halted", global).await,
        Command::ReduceOnly(a) => halts::stop(a, "reduce_only", global).await,
        Command::Resume(a) => halts::resume(a, global).await,
        Command::Halts(a) => halts::list(a, global).await,
        Command::Verify(a) => verify::run(a, global).await,
        Command::Rewind(a) => rewind::run(a, global).await,
        Command::DeadLetters(a) => dead_letters::run(a, global).await,
        Command::Judge(a) => judge::run(a, global).await,
        Command::Policy(a) => policy::run(a, global).await,
        Command::PaperBroker(a) => paper_broker::run(a, global).await,
        Command::Demo(a) => demo::run(a, global).await,
        Command::Bench(a) => bench::run(a, global).await,
        Command::Config(a) => config::run(a, global),
        Command::Completions(a) => completions::run(a),
        Command::Docs(a) => docs::run(a),
    }
}

/// The exit code that fits an error: configuration, a service away, or a bug.
fn exit_of(error: &anyhow::Error) -> Exit {
    use crate::dispatch::broker::handshake::HandshakeError;
    use crate::kafka::KafkaError;
    use crate::kafka::admin::AdminError;
    use crate::kafka::registry::RegistryError;
    use crate::pg::{PoolError, migrate::MigrateError, reader::ReaderError};
    use crate::runtime::handles::TooFew;
    use crate::runtime::policies::PolicyError;
    use crate::runtime::secrets::BadSecrets;
    use crate::runtime::spans::SpansError;
    let is = |found: &(dyn std::error::Error + 'static)| {
        if found.is::<BadInput>() {
            Some(Exit::Usage)
        } else if found.is::<BadConfig>()
            || found.is::<BadSecrets>()
            || found.is::<TooFew>()
            || found.is::<SpansError>()
            || found.is::<PolicyError>()
            || found.is::<crate::notify::BadRoutes>()
            || found.is::<topics::spec::BadSpec>()
        {
            Some(Exit::BadConfig)
        } else if let Some(e) = found.downcast_ref::<MigrateError>() {
            match e {
                MigrateError::Mismatch { .. } => Some(Exit::BadConfig),
                _ => Some(Exit::Unavailable),
            }
        } else if found.downcast_ref::<tokio_postgres::Error>().is_some_and(pg::is_away) {
            Some(Exit::Unavailable)
        } else if let Some(HandshakeError::Secret(_)) = found.downcast_ref::<HandshakeError>() {
            Some(Exit::BadConfig)
        } else if let Some(HandshakeError::Unavailable { why, .. }) =
            found.downcast_ref::<HandshakeError>()
            && why.code == "not_authorised"
        {
            Some(Exit::NoRights)
        } else if let Some(e) = found.downcast_ref::<ReaderError>() {
            match e {
                ReaderError::NoTables => Some(Exit::BadConfig),
                ReaderError::Postgres(_) => Some(Exit::Unavailable),
                _ => Some(Exit::NoRights),
            }
        } else if found.downcast_ref::<AdminError>().is_some_and(AdminError::no_rights) {
            Some(Exit::NoRights)
        } else if found.is::<RegistryError>()
            || found.is::<HandshakeError>()
            || found.is::<AdminError>()
            || found.is::<KafkaError>()
            || found.is::<PoolError>()
            || found.is::<crate::sink::rebuild::RebuildError>()
            || found.is::<std::io::Error>()
        {
            Some(Exit::Unavailable)
        } else {
            None
        }
    };
    error.chain().find_map(is).unwrap_or(Exit::Bug)
}
