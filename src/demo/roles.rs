//! Owns the roles while a demonstration lasts: gate, dispatch and sink in this process, as `noctus run` has them.
//! Never hides that one ended: its error ends the demonstration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::kafka::registry::Registry;
use crate::ops::roles::Role;
use crate::runtime::config::Config;
use crate::runtime::context::Context;
use crate::runtime::secrets::Secrets;

/// How long the roles may take until they are ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How long they may take to drain.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);

/// Running roles.
pub struct Roles {
    /// What they were given.
    pub context: Context,
    stop: CancellationToken,
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Roles {
    /// Starts the three of them and waits until they are ready.
    pub async fn start(
        config: Arc<Config>,
        secrets: Arc<Secrets>,
        say: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        let context = context(config, secrets).await?;
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        // Nobody is to be told of a demo.
        for role in [Role::Gate, Role::Dispatch, Role::Sink] {
            context.health.not_ready(role.name(), "starting");
            let (context, stop) = (context.clone(), stop.clone());
            running.spawn(async move { (role.name(), role.run(context, stop).await) });
        }
        let mut roles = Self { context, stop, running };
        roles.ready(say).await?;
        Ok(roles)
    }

    async fn ready(&mut self, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            let problems = self.context.health.problems();
            if problems.is_empty() {
                return Ok(());
            }
            let told: Vec<String> =
                problems.iter().map(|(part, why)| format!("{part}: {why}")).collect();
            let told = told.join(", ");
            if Instant::now() > deadline {
                bail!("the roles are not ready after {READY_DEADLINE:?}: {told}");
            }
            say(&format!("waiting for the roles ({told})"));
            tokio::select! {
                error = self.ended() => return Err(error),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Returns when a role ends although nobody stopped it.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            Some(Ok((role, Ok(())))) => anyhow::anyhow!("{role} ended by itself"),
            Some(Ok((role, Err(error)))) => error.context(format!("{role} ended")),
            Some(Err(error)) => anyhow::anyhow!("a role broke down: {error}"),
            None => anyhow::anyhow!("every role has ended"),
        }
    }

    /// Lets them drain and end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.running.join_next().await {
                if let Ok((role, Err(error))) = ended {
                    tracing::warn!(role, error = format!("{error:#}"), "ended badly");
                }
            }
        };
        if tokio::time::timeout(DRAIN_DEADLINE, all).await.is_err() {
            tracing::warn!("the roles did not drain within {DRAIN_DEADLINE:?}");
        }
    }
}

async fn context(config: Arc<Config>, secrets: Arc<Secrets>) -> anyhow::Result<Context> {
    let pool = crate::pg::connect(&config.database).await?;
    let registry = Arc::new(Registry::new(&config.registry)?);
    let policies = super::policies::of(&super::scenario::PolicyParts::default())?;
    let ctx = Context {
        config,
        secrets: Arc::new(arc_swap::ArcSwap::new(secrets)),
        pool,
        registry,
        policies: Arc::new(arc_swap::ArcSwap::from_pointee(policies)),
        policy_files: Default::default(),
        secret_files: Default::default(),
        metrics: Arc::default(),
        health: crate::runtime::health::Health::default(),
        worker: format!("demo-{}-{:08x}", std::process::id(), rand::random::<u32>()).into(),
    };
    ctx.tell_metrics();
    Ok(ctx)
}
