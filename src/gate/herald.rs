//! Owns alerts that are born in the gate and are about no request: committed as owed events, then emitted (I5).
//! Never drops one because Postgres is away: it is tried again until the gate stops.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::admit::AdmitError;
use super::scribe::Scribe;
use crate::domain::news::News;
use crate::owed::{self, Emitter, Owed};
use crate::runtime::context::Context;
use crate::runtime::metrics::Guarantee;

/// Pause before an alert that could not be committed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells news; cheap to clone.
#[derive(Clone)]
pub struct Herald {
    ctx: Context,
    scribe: Scribe,
    emitter: Emitter,
    stop: CancellationToken,
}

impl Herald {
    /// Tells until `stop`.
    pub fn new(
        ctx: &Context,
        scribe: &Scribe,
        emitter: &Emitter,
        stop: &CancellationToken,
    ) -> Self {
        let (ctx, scribe) = (ctx.clone(), scribe.clone());
        Self { ctx, scribe, emitter: emitter.clone(), stop: stop.clone() }
    }

    /// Tells in the background.
    pub fn tell(&self, news: News<'_>) {
        let alert = news.alert();
        let labels = [alert.policy_name.as_str(), alert.severity.as_str()];
        self.ctx.metrics.alerts.with_label_values(&labels).inc();
        let event = match self.scribe.alert(&alert) {
            Ok(event) => event,
            Err(error) => {
                let how = format!("{} cannot be written: {error}", alert.policy_name);
                return self.ctx.metrics.broken(Guarantee::NoEventDropped, how);
            }
        };
        let herald = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = herald.stop.cancelled() => {
                    tracing::error!(?alert, "an alert was not told");
                    let how = format!("{} was not committed before the end", alert.policy_name);
                    herald.ctx.metrics.broken(Guarantee::NoEventDropped, how);
                }
                () = herald.commit(event) => {}
            }
        });
    }

    async fn commit(&self, event: Owed) {
        let events = vec![event];
        let room = self.emitter.room().await;
        loop {
            match owed::commit::<AdmitError>(&self.ctx, &events).await {
                Ok(row) => return self.emitter.emit(Some(room), row, events),
                Err(error) => tracing::warn!(%error, "an alert waits"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
