//! Owns the alerts that notify itself makes: violations of objectives, and its own trouble.
//! Never tells people directly: an alert goes to topic `alerts` like any other, and comes back from there.
//! Invariant (I4, I5): committed with what caused it, as exact bytes, then emitted.

use serde_json::Value;

use super::NotifyError;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::owed::{self, Emitter, Owed};
use crate::runtime::clock;
use crate::runtime::context::Context;

/// The exact bytes of an alert.
pub async fn alert(ctx: &Context, news: News<'_>) -> Result<Owed, NotifyError> {
    let alert = news.alert();
    let labels = [alert.policy_name.as_str(), alert.severity.as_str()];
    ctx.metrics.alerts.with_label_values(&labels).inc();
    owed::alert(ctx, &alert).await
}

/// Trouble of notify's own, which is told once a minute at most.
pub async fn trouble(
    ctx: &Context,
    policy_name: &'static str,
    severity: Severity,
    subject: &str,
    (reason, details): (String, Value),
) -> Result<Owed, NotifyError> {
    let window_start = minute_of(clock::now());
    let policy_name = policy_name.to_string();
    alert(ctx, News { policy_name, severity, subject, window_start, reason, details }).await
}

/// Commits one alert by itself and emits it.
pub async fn tell(ctx: &Context, emitter: &Emitter, event: Owed) -> Result<(), NotifyError> {
    let (events, room) = (vec![event], emitter.room().await);
    let row = owed::commit::<NotifyError>(ctx, &events).await?;
    emitter.emit(Some(room), row, events);
    Ok(())
}
