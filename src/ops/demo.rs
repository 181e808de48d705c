//! `noctus demo`: the whole way of an order on embedded services, with a readable report.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Global};
use crate::demo::player::{Played, Player, Stack};
use crate::demo::progress::Progress;
use crate::demo::report::{self, Ink};
use crate::demo::roles::Roles;
use crate::demo::scenario::Scenario;
use crate::demo::stage::Stage;
use crate::pg::acceptance;
use crate::runtime::keyring::Keyring;
use crate::runtime::secrets::{DEV_SECRET, Secrets};

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Play only these scenarios
    #[arg(long = "scenario", value_name = "NAME", num_args = 1..)]
    scenarios: Vec<String>,
    /// List the scenarios and play none
    #[arg(long)]
    list: bool,
    /// Keep everything up afterwards and say how to connect; Ctrl-C ends it
    #[arg(long)]
    stay: bool,
    /// Play on the services given by --brokers, --registry and --database (or the configuration), in topics and
    /// a database of its own, removed afterwards. The broker is of paper all the same
    #[arg(long)]
    real: bool,
}

const HELP: &str = "\
Exit codes: 0 every expectation holds, 1 one does not, 69 a service is unavailable.

Examples:
  noctus demo
  noctus demo --scenario twice bad_signature
  noctus demo --stay
  noctus demo --real --brokers localhost:9092 --registry http://localhost:8081 --database postgres://…";

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let scenarios = chosen(&args.scenarios)?;
    if args.list {
        for scenario in &scenarios {
            println!("{:14} {}", scenario.name, scenario.title);
        }
        return Ok(Exit::Ok);
    }
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let interrupted = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    tokio::pin!(interrupted);
    let progress = Progress::new();
    let ink = Ink::of(std::io::stdout().is_terminal());
    let say = |what: &str| progress.stage(what);
    // What has been started when the signal comes ends by drop.
    let stage = async {
        match args.real {
            true => Stage::real(global.config()?, &say).await,
            false => Stage::embedded(&say).await,
        }
    };
    let stage = tokio::select! {
        stage = stage => stage?,
        () = &mut interrupted => return Ok(interrupted_exit()),
    };
    let exit = tokio::select! {
        exit = show(&args, &stage, &scenarios, &progress, ink) => exit,
        () = &mut interrupted => match args.stay {
            true => Ok(Exit::Ok),
            false => Ok(interrupted_exit()),
        },
    };
    progress.stage("ending everything that was started");
    stage.close().await;
    progress.done();
    exit
}

fn interrupted_exit() -> Exit {
    eprintln!("noctus: interrupted before everything was played");
    Exit::Findings
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let all = Scenario::embedded()?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|s| s.name != **name)) {
        let known: Vec<&str> = all.iter().map(|s| &*s.name).collect();
        bail!("there is no scenario {unknown}; there are: {}", known.join(", "));
    }
    Ok(all.into_iter().filter(|s| names.is_empty() || names.contains(&s.name)).collect())
}

async fn show(
    args: &Args,
    stage: &Stage,
    scenarios: &[Scenario],
    progress: &Progress,
    ink: Ink,
) -> anyhow::Result<Exit> {
    progress.print(&banner(stage, ink));
    let secrets = Arc::new(Secrets {
        idempotency: vec![SecretString::from(DEV_SECRET.to_string())],
        signing: Keyring::dev(),
    });
    progress.stage("starting gate, dispatch and sink");
    let config = Arc::new(stage.config.clone());
    let mut roles = Roles::start(config, secrets, &|what| progress.waiting(what)).await?;
    let context = roles.context.clone();
    let player = Player::new(Stack {
        config: context.config,
        secrets: context.secrets.load_full(),
        pool: context.pool,
        registry: context.registry,
        policies: context.policies,
        metrics: context.metrics,
    })?;
    let exit = tokio::select! {
        exit = play(&player, scenarios, progress, ink) => exit?,
        error = roles.ended() => return Err(error),
    };
    if args.stay {
        progress.print(&connections(stage, ink));
        progress.stage("up until Ctrl-C");
        return Err(roles.ended().await);
    }
    progress.stage("letting the roles drain");
    roles.stop().await;
    Ok(exit)
}

async fn play(
    player: &Player,
    scenarios: &[Scenario],
    progress: &Progress,
    ink: Ink,
) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let mut all: Vec<Played> = Vec::new();
    for (at, scenario) in scenarios.iter().enumerate() {
        progress.stage(&format!("playing {}", scenario.name));
        let played = player.play(scenario, &|what| progress.waiting(what)).await?;
        let heading = report::heading(ink, at + 1, scenarios.len(), &scenario.name);
        progress.print(&format!("\n{heading}\n{}", report::scenario(ink, &played)));
        all.push(played);
    }
    progress.print(&answers(player, &all, ink).await?);
    let seconds = began.elapsed().as_secs_f64();
    progress.print(&format!("\n{}", report::summary(ink, &all, seconds)));
    Ok(if all.iter().all(Played::holds) { Exit::Ok } else { Exit::Findings })
}

/// The plan's acceptance queries with their answers, for the first trace that was played.
async fn answers(player: &Player, all: &[Played], ink: Ink) -> anyhow::Result<String> {
    let mut out =
        vec![format!("\n{}", ink.bold("The plan's acceptance queries, as they are written there"))];
    let first = all.iter().flat_map(|played| &played.sent).next();
    let mut queries = Vec::new();
    if let Some(sent) = first {
        let of = |query: &str| acceptance::of_trace(query, &sent.request.trace_id);
        queries.extend([of(acceptance::TIMELINE), of(acceptance::LATENCY)]);
    }
    let none =
        [acceptance::TWICE, acceptance::EXEC_WITHOUT_DECISION, acceptance::DECISION_WITHOUT_EXEC];
    queries.extend(none.map(String::from));
    for query in queries {
        let answer = player.ask(&query).await?;
        out.push(report::answered(ink, &query, &answer));
    }
    Ok(out.join("\n"))
}

fn banner(stage: &Stage, ink: Ink) -> String {
    let mut lines = vec![ink.bold("Noctus: the gate between a trading signal and a broker")];
    for (what, how) in &stage.banner {
        lines.push(format!("  {what:9} {how}"));
    }
    lines.push(
        "  Roles     gate, dispatch and sink, in this process, with development secrets".into(),
    );
    lines.push(ink.dim("  Nothing here is for real orders; everything goes away at the end."));
    lines.join("\n")
}

fn connections(stage: &Stage, ink: Ink) -> String {
    let mut lines = vec![format!("\n{}", ink.bold("Everything stays up. From another terminal:"))];
    for (what, how) in stage.connections() {
        lines.push(format!("  {what:9} {how}"));
    }
    lines.push("Ctrl-C ends it.".into());
    lines.join("\n")
}
