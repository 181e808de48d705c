//! Owns changes of policy and key files while the gate runs: a good change is in force from the next batch on.
//! Never takes a bad one: the last good policies and keys stay, and a CRITICAL alert says what is wrong (C-RISK-6).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::herald::{Herald, News, minute_of};
use crate::domain::event::Severity;
use crate::runtime::context::Context;
use crate::runtime::secrets::{self, Secrets};
use crate::runtime::{clock, policies};

/// Pause between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An alert tells so many bytes of what is wrong; `noctus policy check` tells all.
const TOLD_MAX_BYTES: usize = 2_000;

/// Some files and what is done when they change.
struct Watched {
    what: &'static str,
    files: Vec<PathBuf>,
    /// Of the contents in force, or refused.
    settled: [u8; 32],
    /// Seen once; acted upon when seen again, so that a file being written is left alone.
    seen: [u8; 32],
}

impl Watched {
    fn new(what: &'static str, files: Vec<PathBuf>) -> Self {
        let now = contents(&files);
        Self { what, files, settled: now, seen: now }
    }

    /// Whether there is something new that has come to rest.
    fn has_changed(&mut self) -> bool {
        let now = contents(&self.files);
        let rests = std::mem::replace(&mut self.seen, now) == now;
        rests && std::mem::replace(&mut self.settled, now) != now
    }
}

fn contents(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        // A file that is gone is a change too, and a bad one.
        let bytes = std::fs::read(file).unwrap_or_default();
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// Watches until `stop`.
pub async fn watch(ctx: Context, herald: Herald, stop: CancellationToken) {
    let mut of_policies = Watched::new("policies", ctx.config.policies.named());
    let mut of_secrets = Watched::new("keys", secrets::files());
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
            settle(&ctx, &herald, &of_policies, taken);
        }
        if of_secrets.has_changed() {
            let loaded = Secrets::from_env(ctx.config.dev);
            let taken = loaded.map_err(|e| e.to_string()).map(|new| {
                tracing::info!(signing = new.signing.keys().len(), "keys are in force");
                ctx.secrets.store(Arc::new(new));
            });
            settle(&ctx, &herald, &of_secrets, taken);
        }
    }
}

fn settle(ctx: &Context, herald: &Herald, watched: &Watched, taken: Result<(), String>) {
    let Err(why) = taken else { return ctx.metrics.gate_reloads.inc() };
    ctx.metrics.gate_reloads_refused.inc();
    tracing::error!(why, "changed {} are refused; the last good ones stay in force", watched.what);
    let digest = hex::encode(watched.settled);
    // The same file refused by several workers within a minute is one alert.
    herald.tell(News {
        policy_name: format!("{}.reload_refused", watched.what),
        severity: Severity::Critical,
        subject: &digest,
        window_start: minute_of(clock::now()),
        reason: cut(&why).to_string(),
        details: json!({"files": watched.files, "contents_sha256": digest}),
    });
}

fn cut(why: &str) -> &str {
    let mut end = why.len().min(TOLD_MAX_BYTES);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    &why[..end]
}
