//! `noctus halt`, `reduce-only`, `resume`, `halts`: stop sending, and let it begin again (C-OUT-7).

mod host;

use std::time::Duration;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use serde_json::json;

use super::person::whom;
use super::table::table;
use super::{Exit, Global};
use crate::domain::text::{Account, StrategyName, Symbol};
use crate::pg::halts::{self, Halt, Scope, Sender};
use crate::pg::proposals::{self, Kind, NotApproved};
use crate::pg::{self, PoolClient, PoolError};
use crate::runtime::clock::{self, boot};
use crate::runtime::faults::is_planted;

/// Pause between two looks at who has confirmed.
const LOOK: Duration = Duration::from_millis(20);
/// A halt waits so long for Postgres before it falls back on the host's own file.
const PG_PATIENCE: Duration = Duration::from_secs(3);

const STOP_HELP: &str = "\
A halt without a scope stops everything. It is in force once it is committed; the command returns when every
running dispatch has confirmed it and ended the writes that did not know of it, or its lease is over: from then on nothing
in the scope is sent. What is decided and not sent is cancelled, and so is, by halt, what works at the broker: that goes on
after the acknowledgement, until the broker's answer is clear (`noctus orders list`). What it fills before then counts.

--local halts this host alone, by the file dispatch.halt_file, without Postgres: acknowledged means that every running dispatch
of this host that reads the file has seen it and ended the writes that did not know of it. Without --local the
same is done when Postgres cannot be reached, whatever the scope: no dispatch sends while it cannot read Postgres, and this host
not even afterwards, until `noctus resume --local`.

Examples:
  noctus halt --reason 'prices look wrong'
  noctus halt --symbol USDJPY --reason 'venue is closed'
  noctus reduce-only --account main --reason 'loss limit'
  noctus halt --strategy Aurus --reason 'ticket 17' --as alice --json
  noctus halt --local --reason 'this host is wrong'

Exit codes: 0 acknowledged, 1 in force but not confirmed by everyone in time, or on this host only since Postgres is away,
69 Postgres is away and there is no dispatch.halt_file,
77 it would loosen a halt: that needs `noctus resume`.";

const RESUME_HELP: &str = "\
One person proposes, another one approves; a new halt in between makes the proposal void. What was decided before
the halt is never sent.

Examples:
  noctus resume --symbol USDJPY --reason 'venue is open again' --as alice
  noctus resume --approve 4 --as bob
  noctus resume --local --reason 'it is mended'         every host that has a halt of its own

Exit codes: 0 proposed or resumed, 1 nothing is halted in this scope, or the proposal is void, 69 Postgres is away,
77 you cannot approve what you proposed.";

/// What a halt covers.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ScopeArgs {
    /// Only this account
    #[arg(long, value_parser = Account::new)]
    account: Option<Account>,
    /// Only this symbol
    #[arg(long, value_parser = Symbol::new)]
    symbol: Option<Symbol>,
    /// Only what this strategy decided
    #[arg(long, value_parser = StrategyName::new)]
    strategy: Option<StrategyName>,
}

impl ScopeArgs {
    fn scope(&self) -> Scope {
        Scope {
            account: self.account.as_ref().map(ToString::to_string),
            symbol: self.symbol.as_ref().map(ToString::to_string),
            strategy: self.strategy.as_ref().map(ToString::to_string),
        }
    }
}

/// The arguments of `halt` and `reduce-only`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = STOP_HELP)]
pub struct StopArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for whoever comes after you
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Who does it; without it the user at this host
    #[arg(long = "as", value_name = "WHO", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
    /// Only this host, by its halt file; of `halt` only
    #[arg(long, conflicts_with_all = ["account", "symbol", "strategy"])]
    local: bool,
    /// Wait at most so long for confirmations
    #[arg(long, value_name = "SECONDS", default_value = "30",
          value_parser = clap::value_parser!(u64).range(0..=3_600))]
    timeout: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The arguments of `resume`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = RESUME_HELP)]
pub struct ResumeArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for the person who approves
    #[arg(long, value_name = "TEXT", required_unless_present = "approve",
          value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Hosts that were halted by their own files; all of them
    #[arg(long, conflicts_with_all = ["account", "symbol", "strategy", "approve"])]
    local: bool,
    /// Approve this proposal of another person
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["account", "symbol", "strategy", "reason"])]
    approve: Option<i64>,
    /// Who does it; without it the user at this host
    #[arg(long = "as", value_name = "WHO", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

/// The arguments of `halts`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value = "20",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

async fn connect(global: &Global) -> anyhow::Result<PoolClient> {
    let config = global.config()?;
    let pool = pg::connect(&config.database).await?;
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    Ok(client)
}

/// `noctus halt` and `noctus reduce-only`.
pub async fn stop(args: StopArgs, mode: &'static str, global: &Global) -> anyhow::Result<Exit> {
    if args.local && mode != "halted" {
        eprintln!("noctus: a host's own file halts; reduce-only is for all hosts");
        return Ok(Exit::Usage);
    }
    let has_file = global.config()?.dispatch.halt_file.is_some();
    let connected = match args.local || mode == "halted" && has_file {
        // Whoever waits for a silent Postgres has not stopped anything yet.
        true => tokio::time::timeout(PG_PATIENCE, connect(global)).await.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("Postgres does not answer within {} s", PG_PATIENCE.as_secs()))
        }),
        false => connect(global).await,
    };
    match connected {
        Ok(client) if args.local => {
            let newest = tokio::time::timeout(PG_PATIENCE, halts::list(&client, 1)).await;
            let number = match newest {
                Ok(Ok(rows)) => Some(rows.first().map_or(0, |halt| halt.number)),
                Ok(Err(_)) | Err(_) => None,
            };
            here(&args, number, global).await
        }
        Err(_) if args.local => here(&args, None, global).await,
        Ok(client) => everywhere(client, args, mode).await,
        Err(error) if mode == "halted" && has_file => {
            eprintln!("noctus: {error:#}; so only this host is halted, and all of it");
            here(&args, None, global).await?;
            Ok(Exit::Findings)
        }
        Err(error) => Err(error),
    }
}

async fn here(args: &StopArgs, after: Option<i64>, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    if config.dispatch.halt_file.is_none() {
        eprintln!("noctus: --local needs dispatch.halt_file, the same as dispatch has it");
        return Ok(Exit::BadConfig);
    }
    let by = whom(args.by.as_deref());
    let patience = Duration::from_secs(args.timeout);
    let (reason, json) = (args.reason.as_str(), args.json);
    host::halt(&config, host::Wish { reason, by: &by, after, patience, json }).await
}

async fn everywhere(
    mut client: PoolClient,
    args: StopArgs,
    mode: &'static str,
) -> anyhow::Result<Exit> {
    let (scope, by) = (args.scope.scope(), whom(args.by.as_deref()));
    let begun = boot();
    let tx = client.transaction().await?;
    halts::lock(&tx).await?;
    let before = halts::newest(&*tx, &scope).await?;
    if mode == "reduce_only" && before.is_some_and(|halt| halt.mode == "halted") {
        eprintln!(
            "noctus: {} is halted, and reduce-only would let orders through: that needs two people, \
             `noctus resume` first",
            told(&scope)
        );
        return Ok(Exit::NoRights);
    }
    let number = halts::declare(&tx, mode, &scope, &args.reason, (&by, None)).await?;
    tx.commit().await?;
    if !args.json {
        println!("{} {number} is in force: {}, by {by}", mode.replace('_', "-"), told(&scope));
    }
    let waited = acknowledged(&client, number, Duration::from_secs(args.timeout)).await?;
    let took_ms = u64::try_from(boot().since(begun).as_millis()).unwrap_or(u64::MAX);
    let (at, missing) = match &waited {
        Ok(at) => (Some(*at), &[][..]),
        Err(missing) => (None, &missing[..]),
    };
    if args.json {
        let told = json!({
            "number": number, "mode": mode, "scope": scope, "by": by, "acknowledged_at": at,
            "waited_ms": took_ms, "unconfirmed": missing,
        });
        println!("{told}");
    } else if at.is_some() {
        println!("acknowledged after {took_ms} ms: from now on nothing of it is sent");
    }
    if missing.is_empty() {
        return Ok(Exit::Ok);
    }
    let names: Vec<&str> = missing.iter().map(|sender| sender.worker.as_str()).collect();
    eprintln!("noctus: not confirmed within {} s by {}", args.timeout, names.join(", "));
    Ok(Exit::Findings)
}

/// Waits until no sender may write without knowing of the halt: when that was, or who is missing.
async fn acknowledged(
    client: &PoolClient,
    number: i64,
    patience: Duration,
) -> anyhow::Result<Result<Timestamp, Vec<Sender>>> {
    let begun = boot();
    // A mistake that a test must notice: senders that do not know of the halt go on.
    if is_planted("acknowledge-at-once") {
        return Ok(Ok(clock::now()));
    }
    loop {
        let missing = halts::unconfirmed(client, number).await?;
        if missing.is_empty() {
            return Ok(Ok(clock::now()));
        }
        if boot().since(begun) >= patience {
            return Ok(Err(missing));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `noctus resume`.
pub async fn resume(args: ResumeArgs, global: &Global) -> anyhow::Result<Exit> {
    let mut client = connect(global).await?;
    let by = whom(args.by.as_deref());
    if let Some(number) = args.approve {
        return approve(&mut client, number, &by).await;
    }
    let scope = args.scope.scope();
    let newest = halts::newest(&**client, &scope).await?;
    if args.local && newest.as_ref().is_none_or(|halt| halt.mode == "resumed") {
        let subject = json!({"scope": scope, "halt": newest.map(|halt| halt.number)});
        let reason = args.reason.context("a reason")?;
        let number = proposals::propose(&client, Kind::Resume, &subject, &reason, &by).await?;
        println!(
            "proposal {number} by {by}: lift the halts of single hosts. Another person: noctus resume --approve {number} --as WHO"
        );
        return Ok(Exit::Ok);
    }
    let Some(halt) = newest.filter(|halt| halt.mode != "resumed") else {
        eprintln!("noctus: {} is not halted as such; `noctus halts` lists what is", told(&scope));
        return Ok(Exit::Findings);
    };
    let subject = json!({"scope": scope, "halt": halt.number});
    let reason = args.reason.context("a reason")?;
    let number = proposals::propose(&client, Kind::Resume, &subject, &reason, &by).await?;
    println!(
        "proposal {number} by {by}: lift {} {} ({}). Another person: noctus resume --approve {number} --as WHO",
        halt.mode.replace('_', "-"),
        halt.number,
        told(&scope)
    );
    Ok(Exit::Ok)
}

async fn approve(client: &mut PoolClient, number: i64, by: &str) -> anyhow::Result<Exit> {
    let tx = client.transaction().await?;
    let proposal = match proposals::approve(&tx, Kind::Resume, number, by).await {
        Ok(proposal) => proposal,
        Err(NotApproved::Postgres(error)) => return Err(error.into()),
        Err(refused) => return Ok(not_approved(&refused)),
    };
    let scope: Scope = serde_json::from_value(proposal.subject["scope"].clone())?;
    halts::lock(&tx).await?;
    let newest = halts::newest(&*tx, &scope).await?;
    if newest.map(|halt| halt.number) != proposal.subject["halt"].as_i64() {
        eprintln!("noctus: {} has been halted or resumed since: propose anew", told(&scope));
        return Ok(Exit::Findings);
    }
    let whom = (proposal.by_whom.as_str(), Some(by));
    let resumed = halts::declare(&tx, "resumed", &scope, &proposal.reason, whom).await?;
    tx.commit().await?;
    println!("resumed {resumed}: {}, proposed by {}, approved by {by}", told(&scope), whom.0);
    Ok(Exit::Ok)
}

/// Says why a proposal was not approved; the exit code that fits.
pub fn not_approved(refused: &NotApproved) -> Exit {
    eprintln!("noctus: {refused}");
    match refused {
        NotApproved::Own { .. } => Exit::NoRights,
        _ => Exit::Findings,
    }
}

/// `noctus halts`.
pub async fn list(args: ListArgs, global: &Global) -> anyhow::Result<Exit> {
    let client = connect(global).await?;
    let rows = halts::list(&client, i64::from(args.limit)).await?;
    let proposals = proposals::open(&client, Kind::Resume).await?;
    let senders = halts::senders(&client).await?;
    if args.json {
        println!("{}", json!({"halts": rows, "proposals": proposals, "senders": senders}));
        return Ok(Exit::Ok);
    }
    match rows.is_empty() {
        true => println!("nothing was ever halted"),
        false => println!("{}", table(&HALT_COLUMNS, rows.iter().map(row))),
    }
    for p in &proposals {
        let halt = &p.subject["halt"];
        println!("proposal {}: lift {halt}, by {} at {}: {}", p.number, p.by_whom, p.at, p.reason);
    }
    for sender in &senders {
        let until = sender.lease_until.map_or("none".into(), |at| at.to_string());
        println!("{} acts on {}; lease until {until}", sender.worker, sender.confirmed);
        if let Some(reason) = &sender.halted_here {
            println!("  its host is halted by its own file: {reason}");
        }
        if let Some(why) = &sender.safe {
            println!("  {why}");
        }
    }
    Ok(Exit::Ok)
}

const HALT_COLUMNS: [&str; 7] = ["number", "what", "scope", "in force", "at", "by", "reason"];

fn row(halt: &Halt) -> Vec<String> {
    let force = match (halt.in_force, halt.mode.as_str()) {
        (true, "resumed") | (false, _) => "",
        (true, _) => "yes",
    };
    let by = match &halt.approved_by {
        Some(approved_by) => format!("{} and {approved_by}", halt.by_whom),
        None => halt.by_whom.clone(),
    };
    vec![
        halt.number.to_string(),
        halt.mode.replace('_', "-"),
        told(&halt.scope),
        force.into(),
        halt.at.to_string(),
        by,
        halt.reason.clone(),
    ]
}

fn told(scope: &Scope) -> String {
    let part =
        |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let parts = [
        part("account", &scope.account),
        part("symbol", &scope.symbol),
        part("strategy", &scope.strategy),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "everything".into(),
        false => parts.join(", "),
    }
}
