//! Owns changes of policy and key files while the gate runs: a good change is in force from the next batch on.
//! Never takes a bad one: the last good policies and keys stay, and a CRITICAL alert says what is wrong (C-RISK-6).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::herald::Herald;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::runtime::context::Context;
use crate::runtime::secrets::Secrets;
use crate::runtime::watched::Watched;
use crate::runtime::{clock, policies};

/// Pause between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An alert tells so many bytes of what is wrong; `noctus policy check` tells all.
const TOLD_MAX_BYTES: usize = 2_000;

/// Watches until `stop`.
pub async fn watch(ctx: Context, herald: Herald, stop: CancellationToken) {
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
            settle(&ctx, &herald, ("policies", &of_policies), taken);
        }
        if of_secrets.has_changed() {
            let loaded = Secrets::from_env(ctx.config.dev);
            let taken = loaded.map_err(|e| e.to_string()).map(|new| {
                let new = new.remembering(&ctx.secrets.load());
                tracing::info!(signing = new.signing.keys().len(), "keys are in force");
                ctx.secrets.store(Arc::new(new));
            });
            settle(&ctx, &herald, ("keys", &of_secrets), taken);
        }
    }
}

fn settle(
    ctx: &Context,
    herald: &Herald,
    (what, watched): (&str, &Watched),
    taken: Result<(), String>,
) {
    let Err(why) = taken else { return ctx.metrics.gate_reloads.inc() };
    ctx.metrics.gate_reloads_refused.inc();
    tracing::error!(why, "changed {what} are refused; the last good ones stay in force");
    let digest = hex::encode(watched.settled());
    // The same file refused by several workers within a minute is one alert.
    herald.tell(News {
        policy_name: format!("{what}.reload_refused"),
        severity: Severity::Critical,
        subject: &digest,
        window_start: minute_of(clock::now()),
        reason: cut(&why).to_string(),
        details: json!({"files": watched.files(), "contents_sha256": digest}),
    });
}

fn cut(why: &str) -> &str {
    let mut end = why.len().min(TOLD_MAX_BYTES);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    &why[..end]
}
