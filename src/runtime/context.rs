//! What a role is given when it starts.

use std::sync::Arc;

use super::config::Config;
use super::health::Health;
use super::metrics::Metrics;
use super::secrets::Secrets;
use super::watched::Watched;
use crate::domain::policy::Policies;
use crate::kafka::registry::Registry;

/// Everything a role needs from outside; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The whole configuration, validated.
    pub config: Arc<Config>,
    /// Signing keys and idempotency secrets; swapped whole on reload.
    pub secrets: Arc<arc_swap::ArcSwap<Secrets>>,
    /// Connections to Postgres.
    pub pool: crate::pg::Pool,
    /// Schemas by id.
    pub registry: Arc<Registry>,
    /// The policies in force; swapped whole on reload.
    pub policies: Arc<arc_swap::ArcSwap<Policies>>,
    /// The files that policies came from, as they were before they were read.
    pub policy_files: Watched,
    /// Likewise of secrets.
    pub secret_files: Watched,
    /// Every metric of the process.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` answers.
    pub health: Health,
    /// `<host>-<pid>-<random>`: who holds a lease or an epoch.
    pub worker: Arc<str>,
}

impl Context {
    /// From now on the metrics know of the pool, the registry, and who is ready.
    pub fn tell_metrics(&self) {
        self.pool.tell(&self.metrics);
        self.registry.tell(&self.metrics);
        let health = self.health.clone();
        self.metrics.before_scrapes(move |metrics| {
            for (part, is_ready) in health.parts() {
                metrics.ready.with_label_values(&[part]).set(i64::from(is_ready));
            }
        });
    }
}
