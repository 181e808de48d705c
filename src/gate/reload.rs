//! Owns changes of policy and key files while the gate runs: a good change is in force from the next batch on.
//! Never takes a bad one: the last good policies and keys stay, and a CRITICAL alert says what is wrong (C-RISK-6).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::scribe::Scribe;
use crate::domain::event::{Alert, EventId, Severity, Subject as About};
use crate::owed::{self, Emitter};
use crate::runtime::context::Context;
use crate::runtime::secrets::Secrets;
use crate::runtime::watched::Watched;
use crate::runtime::{clock, policies};

/// Pause between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An alert tells so many bytes of what is wrong; `noctus policy check` tells all.
const TOLD_MAX_BYTES: usize = 2_000;

/// Watches until `stop`.
pub async fn watch(ctx: Context, scribe: Scribe, emitter: Emitter, stop: CancellationToken) {
    let (mut of_policies, mut of_secrets) = (ctx.policy_files.clone(), ctx.secret_files.clone());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if of_policies.has_changed() {
            let loaded = policies::load(&ctx.config.policies);
            let taken = loaded.map_err(|e| e.to_string()).map(|new| {
                tracing::info!(
                    risk = new.digests.risk,
                    quality = new.digests.quality,
                    profiles = new.digests.profiles,
                    "policies are in force"
                );
                ctx.policies.store(Arc::new(new));
            });
            settle(&ctx, &scribe, &emitter, ("policies", &of_policies), taken).await;
        }
        if of_secrets.has_changed() {
            let loaded = Secrets::from_env(ctx.config.dev);
            let taken = loaded.map_err(|e| e.to_string()).map(|new| {
                let new = new.remembering(&ctx.secrets.load());
                tracing::info!(signing = new.signing.keys().len(), "keys are in force");
                ctx.secrets.store(Arc::new(new));
            });
            settle(&ctx, &scribe, &emitter, ("keys", &of_secrets), taken).await;
        }
    }
}

async fn settle(
    ctx: &Context,
    scribe: &Scribe,
    emitter: &Emitter,
    (what, watched): (&str, &Watched),
    taken: Result<(), String>,
) {
    let Err(why) = taken else { return ctx.metrics.gate_reloads.inc() };
    ctx.metrics.gate_reloads_refused.inc();
    tracing::error!(why, "changed {what} are refused; the last good ones stay in force");
    let alert = alert(what, watched, &why, clock::now());
    if let Err(error) = tell(ctx, scribe, emitter, &alert).await {
        tracing::error!(error = format!("{error:#}"), "the alert could not be committed");
    }
}

/// The same file refused by several workers within a minute is one alert.
fn alert(what: &str, watched: &Watched, why: &str, now: Timestamp) -> Alert {
    let minute_us = 60_000_000;
    let start = now.as_microsecond().div_euclid(minute_us) * minute_us;
    let window_start = Timestamp::from_microsecond(start).unwrap_or(now);
    let digest = hex::encode(watched.settled());
    let about = About::Process { subject: &digest, window_start };
    let mut end = why.len().min(TOLD_MAX_BYTES);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    let policy_name = format!("{what}.reload_refused");
    Alert {
        event_id: EventId::new(about, &format!("alert:{policy_name}"), 0),
        trace_id: None,
        idempotency_key: None,
        policy_name,
        severity: Severity::Critical,
        reason: why[..end].to_string(),
        details: json!({"files": watched.files(), "contents_sha256": digest}),
        at: window_start,
    }
}

async fn tell(
    ctx: &Context,
    scribe: &Scribe,
    emitter: &Emitter,
    alert: &Alert,
) -> Result<(), super::AdmitError> {
    let events = vec![scribe.alert(alert)?];
    let room = emitter.room().await;
    let mut client = ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let row = owed::insert(&tx, &ctx.worker, &events).await?;
    tx.commit().await?;
    emitter.emit(Some(room), row, events);
    Ok(())
}
