//! Owns telling that the schema registry is away: an alert, once an outage that lasts, and its end in the log (F04).
//! Never stops anything: what needs a schema that is not known waits by itself.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::herald::Herald;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::kafka::registry::Away;
use crate::runtime::context::Context;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks until `stop`.
pub async fn watch(ctx: Context, herald: Herald, stop: CancellationToken) {
    let limit = Duration::from_millis(ctx.config.registry.absent_alert_ms);
    let mut told: Option<Timestamp> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let away = ctx.registry.away();
        let lasts = away.map_or(Duration::ZERO, |away| away.at.elapsed());
        ctx.metrics.registry_away.set(i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX));
        match away {
            Some(away) => {
                if lasts >= limit && told.replace(away.since) != Some(away.since) {
                    tracing::error!(
                        since = %away.since,
                        "the schema registry does not answer; what needs a schema that is not known waits"
                    );
                    herald.tell(news(away, limit));
                }
                // Whoever needed it may be gone by now: asked again, so that its return is seen.
                if ctx.registry.schema(away.id).await.is_ok() {
                    tracing::debug!(id = away.id, "a schema was waited for");
                }
            }
            None => {
                if let Some(since) = told.take() {
                    tracing::info!(%since, "the schema registry answers again");
                }
            }
        }
    }
}

/// Workers that notice it within a minute tell one alert.
fn news(away: Away, limit: Duration) -> News<'static> {
    let window_start = minute_of(away.since);
    News {
        policy_name: "ingest.registry_unavailable".into(),
        severity: Severity::High,
        subject: "schema registry",
        window_start,
        reason: format!("the schema registry has not answered for {} s", limit.as_secs()),
        details: json!({"minute": window_start}),
    }
}
