//! Owns what keeps a gate from deciding, and what it says on `/readyz`: quotes that are not read, clocks that are apart,
//! schemas that are not what they were, a transaction that fails. Never releases one before its cause is gone.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::clocks::Clocks;
use super::herald::Herald;
use super::quotes::Quotes;
use super::schemas::Schemas;
use crate::runtime::context::Context;

/// After a batch that failed the gate is not ready until one is committed, or so long has passed without another:
/// its records may be another worker's by then.
const FAILED_FOR: Duration = Duration::from_secs(15);

/// The brakes of a gate.
pub struct Brakes {
    pub clocks: Clocks,
    pub schemas: Schemas,
    quotes: Quotes,
    failed: Option<(Instant, String)>,
}

impl Brakes {
    /// Starts to compare clocks and schemas, until `stop`.
    pub fn watch(
        ctx: &Context,
        quotes: &Quotes,
        herald: &Herald,
        stop: &CancellationToken,
    ) -> Self {
        let (clocks, schemas) = (Clocks::default(), Schemas::new(ctx, herald));
        tokio::spawn(clocks.clone().watch(ctx.clone(), herald.clone(), stop.clone()));
        tokio::spawn(schemas.clone().watch(stop.clone()));
        Self { clocks, schemas, quotes: quotes.clone(), failed: None }
    }

    /// Why nothing may be decided now, if so.
    pub fn problem(&self) -> Option<String> {
        let problems = [self.quotes.problem(), self.clocks.problem(), self.schemas.problem()];
        problems.into_iter().flatten().next()
    }

    /// Why the gate is not ready, if so.
    pub fn trouble(&self) -> Option<String> {
        let failed = self.failed.as_ref().filter(|(at, _)| at.elapsed() < FAILED_FOR);
        let failed = failed.map(|(_, why)| why.clone());
        self.problem().or(failed).or_else(|| self.clocks.unanswered())
    }

    /// A batch could not be committed.
    pub fn failed(&mut self, why: String) {
        self.failed = Some((Instant::now(), why));
    }

    /// A batch is committed.
    pub fn landed(&mut self) {
        self.failed = None;
    }
}
