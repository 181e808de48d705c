//! Owns alerts that are born in the gate and are about no request: committed as owed events, then emitted (I5).
//! Never drops one because Postgres is away: it is tried again until the gate stops.
//! Invariant (I4): an alert's id is a function of its name, what it is about, and the minute in which that began.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::admit::AdmitError;
use super::scribe::Scribe;
use crate::domain::event::{Alert, EventId, Severity, Subject as About};
use crate::owed::{self, Emitter, Owed};
use crate::runtime::context::Context;
use crate::runtime::metrics::Guarantee;

/// Pause before an alert that could not be committed is tried again.
const RETRY: Duration = Duration::from_secs(1);
const MINUTE_US: i64 = 60_000_000;

/// The minute that a moment is in: what happens again within it is the same event.
pub fn minute_of(at: Timestamp) -> Timestamp {
    let start_us = at.as_microsecond().div_euclid(MINUTE_US) * MINUTE_US;
    Timestamp::from_microsecond(start_us).unwrap_or(at)
}

/// What is told.
pub struct News<'a> {
    /// The rule.
    pub policy_name: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: with the name and the minute its identity. Whoever tells news of one identity says the same.
    pub subject: &'a str,
    /// The minute.
    pub window_start: Timestamp,
    /// For a person.
    pub reason: String,
    /// A JSON object.
    pub details: Value,
}

impl News<'_> {
    /// The alert that it is.
    pub fn alert(self) -> Alert {
        let Self { policy_name, severity, subject, window_start, reason, details } = self;
        let about = About::Process { subject, window_start };
        Alert {
            event_id: EventId::new(about, &format!("alert:{policy_name}"), 0),
            trace_id: None,
            idempotency_key: None,
            policy_name,
            severity,
            reason,
            details,
            at: window_start,
        }
    }
}

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
            match self.insert(&events).await {
                Ok(row) => return self.emitter.emit(Some(room), row, events),
                Err(error) => tracing::warn!(%error, "an alert waits"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn insert(&self, events: &[Owed]) -> Result<Option<i64>, AdmitError> {
        let mut client = self.ctx.pool.get().await?;
        let tx = client.transaction().await?;
        let row = owed::insert(&tx, &self.ctx.worker, events).await?;
        tx.commit().await?;
        Ok(row)
    }
}
