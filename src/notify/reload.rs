//! Owns changes of the routes while the role runs: a good file is in force from the next turn on.
//! Never takes a bad one: the last good one stays, and a CRITICAL alert says what is wrong.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Book, Shelf, herald};
use crate::domain::event::Severity;
use crate::owed::Emitter;
use crate::runtime::context::Context;
use crate::runtime::watched::Watched;

/// Pause between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An alert tells so many characters of what is wrong; `noctus notify check` tells all.
const TOLD_MAX: usize = 2_000;

/// Watches until `stop`.
pub async fn watch(
    ctx: Context,
    shelf: Shelf,
    mut watched: Watched,
    emitter: Emitter,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !watched.has_changed() {
            continue;
        }
        match Book::load(&ctx.config.notify) {
            Ok(book) => {
                tracing::info!(digest = book.routes.digest, "routes are in force");
                shelf.store(Arc::new(book));
                ctx.metrics.notify_reloads.with_label_values(&["taken"]).inc();
            }
            Err(error) => {
                ctx.metrics.notify_reloads.with_label_values(&["refused"]).inc();
                tracing::error!(%error, "a changed file of routes is refused; the last good one stays in force");
                let why = error.to_string();
                let told = refused(&ctx, &watched, &why, &emitter);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = told => {}
                }
            }
        }
    }
}

/// Tells of it until that is committed.
async fn refused(ctx: &Context, watched: &Watched, why: &str, emitter: &Emitter) {
    let digest = hex::encode(watched.settled());
    loop {
        let reason = why.chars().take(TOLD_MAX).collect();
        let details = json!({"files": watched.files(), "contents_sha256": digest});
        let about = (reason, details);
        let rule = "notify.reload_refused";
        let event = herald::trouble(ctx, rule, Severity::Critical, &digest, about).await;
        let told = match event {
            Ok(event) => herald::tell(ctx, emitter, event).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "an alert waits"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
