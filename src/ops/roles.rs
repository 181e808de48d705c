//! `noctus run`, `gate`, `dispatch`, `sink`, `notify`: start roles and drain them on SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Exit, Global};
use crate::kafka::registry::Registry;
use crate::pg::migrate;
use crate::runtime::config::Config;
use crate::runtime::context::Context;
use crate::runtime::health::Health;
use crate::runtime::secrets::{self, Secrets};
use crate::runtime::watched::Watched;
use crate::runtime::{faults, handles, http, policies, spans};

/// How long roles may take to drain.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the last spans may take to their receiver.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Which role to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Gate,
    Dispatch,
    Sink,
    Notify,
}

impl Role {
    /// Every role, in the order of the flow.
    pub const ALL: [Role; 4] = [Role::Gate, Role::Dispatch, Role::Sink, Role::Notify];

    /// Its name: subcommand, consumer group, log target, metric prefix.
    pub fn name(self) -> &'static str {
        match self {
            Role::Gate => "gate",
            Role::Dispatch => "dispatch",
            Role::Sink => "sink",
            Role::Notify => "notify",
        }
    }

    /// Runs it until `stop`.
    pub async fn run(self, ctx: Context, stop: CancellationToken) -> anyhow::Result<()> {
        match self {
            Role::Gate => crate::gate::run(ctx, stop).await?,
            Role::Dispatch => crate::dispatch::run(ctx, stop).await?,
            Role::Sink => crate::sink::run(ctx, stop).await?,
            Role::Notify => crate::notify::run(ctx, stop).await?,
        }
        Ok(())
    }
}

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where /livez, /readyz and /metrics listen (port 0 picks one)
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<std::net::SocketAddr>,
}

/// Runs the roles until SIGTERM or SIGINT.
pub async fn run(args: Args, roles: &[Role], global: &Global) -> anyhow::Result<Exit> {
    let mut config = global.config()?;
    if let Some(listen) = args.listen {
        config.http.listen = listen;
    }
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    if faults::COMPILED_IN {
        tracing::warn!(
            "this build can be told to fail (feature faults): never use it with real orders"
        );
    }
    let open_files = handles::raise()?;
    let ctx = context(config).await?;
    spans::start(&ctx.config.tracing, &ctx.worker)?;
    let stop = CancellationToken::new();
    let listen = ctx.config.http.listen;
    let serving = http::serve(listen, ctx.health.clone(), ctx.metrics.clone(), stop.clone());
    let address = serving.await.with_context(|| format!("http.listen {listen}"))?;
    tracing::info!(%address, worker = &*ctx.worker, open_files, "livez, readyz and metrics");
    let mut running = JoinSet::new();
    for role in roles.iter().copied() {
        ctx.health.not_ready(role.name(), "starting");
        let (ctx, stop) = (ctx.clone(), stop.clone());
        running.spawn(async move { (role, role.run(ctx, stop).await) });
    }
    let ended = tokio::select! {
        _ = term.recv() => None,
        _ = int.recv() => None,
        ended = running.join_next() => ended,
    };
    tracing::info!("draining");
    stop.cancel();
    // A role that ended by itself takes the others with it: what is started again starts whole.
    let by_itself =
        ended.map(|ended| outcome(ended).and(Err(anyhow::anyhow!("a role ended by itself"))));
    let drained = tokio::time::timeout(DRAIN, async {
        let mut first = Ok(());
        while let Some(ended) = running.join_next().await {
            first = first.and(outcome(ended));
        }
        first
    });
    let drained = match drained.await {
        Ok(drained) => drained,
        Err(_) => {
            tracing::warn!(
                "not everything drained within {DRAIN:?}; what takes over goes on from Postgres"
            );
            Ok(())
        }
    };
    spans::flush(LAST_SPANS).await;
    by_itself.unwrap_or(Ok(())).and(drained)?;
    tracing::info!("ended");
    Ok(Exit::Ok)
}

type Ended = Result<(Role, anyhow::Result<()>), tokio::task::JoinError>;

fn outcome(ended: Ended) -> anyhow::Result<()> {
    let (role, result) = ended.context("a role broke down")?;
    result.with_context(|| format!("{} ended", role.name()))
}

/// What roles are given: secrets, policies, a database of the right schema, a registry's client.
async fn context(config: Config) -> anyhow::Result<Context> {
    let secret_files = Watched::before_reading(secrets::files());
    let secrets = Secrets::from_env(config.dev)?;
    let policy_files = Watched::before_reading(config.policies.named());
    let policies = policies::load(&config.policies)?;
    let pool = crate::pg::connect(&config.database).await?;
    migrate::check(&**pool.get().await?).await?;
    let registry = Arc::new(Registry::new(&config.registry)?);
    let ctx = Context {
        config: Arc::new(config),
        secrets: Arc::new(ArcSwap::from_pointee(secrets)),
        pool,
        registry,
        policies: Arc::new(ArcSwap::from_pointee(policies)),
        policy_files,
        secret_files,
        metrics: Arc::default(),
        health: Health::default(),
        worker: worker().into(),
    };
    ctx.tell_metrics();
    Ok(ctx)
}

/// `<host>-<pid>-<random>`.
fn worker() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "host",
        host => host,
    };
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}
