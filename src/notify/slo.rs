//! Owns violations of objectives: what `obs_slo_violations_24h` shows opens, goes on and ends like alerts do.
//! Never takes a view that cannot be read for one that is empty. Invariant: a violation's condition and the alert
//! `slo.<name>` that tells others of it are one transaction; that alert, read back, opens nothing.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::news::{self, SLO};
use super::{Book, NotifyError, herald};
use crate::domain::event::Severity;
use crate::domain::news::News;
use crate::domain::notice::routes::Routes;
use crate::domain::notice::{
    Change, Firing, Kind, POLICY_NAME_MAX, REASON_MAX, Source, Subject, plain,
};
use crate::owed::{self, Emitter, Owed};
use crate::pg::notify::{self, Violation, lease};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::wire;

/// This part's name in `/readyz`.
pub const PART: &str = "notify-slo";

/// Looks at the view once.
pub async fn look(ctx: Context, book: Arc<Book>, emitter: Emitter, epoch: i64) {
    match look_once(&ctx, &book.routes, &emitter, epoch).await {
        Ok(()) => ctx.health.ready(PART),
        Err(error) => {
            tracing::warn!(%error, "objectives cannot be looked at");
            ctx.health.not_ready(PART, error.to_string());
        }
    }
}

async fn look_once(
    ctx: &Context,
    routes: &Routes,
    emitter: &Emitter,
    epoch: i64,
) -> Result<(), NotifyError> {
    let mut client = ctx.pool.get().await?;
    let Some(violations) = notify::violations(&client).await? else { return Ok(()) };
    // As Postgres keeps it.
    let now = Timestamp::from_microsecond(clock::now().as_microsecond()).unwrap_or_default();
    let firings: Vec<Firing> = violations.iter().map(|violation| firing(violation, now)).collect();
    if !firings.is_empty() {
        // The one question that may take long, asked before anything is locked; its answer is kept.
        ctx.registry.newest_id(&ctx.config, wire::Subject::Alert).await?;
    }
    let room = emitter.room().await;
    let tx = client.transaction().await?;
    if !lease::hold(&tx, &ctx.worker, epoch).await? {
        return Ok(());
    }
    let mut folded = news::fold(&tx, routes, &firings).await?;
    let events = events(ctx, &folded.changes).await?;
    let at = notify::now(&tx).await?;
    let shown: Vec<String> = firings.iter().map(Firing::fingerprint).collect();
    let mut open = notify::open_violations(&tx).await?;
    open.retain(|condition| !shown.contains(&condition.fingerprint));
    let terms = routes.pace.terms();
    let over: Vec<Change> = open.iter_mut().filter_map(|c| c.rest(at, &terms)).collect();
    if !over.is_empty() {
        news::keep(&tx, routes, &open.iter().collect::<Vec<_>>(), &over, at).await?;
    }
    let row = owed::insert(&tx, &ctx.worker, &events).await?;
    tx.commit().await?;
    emitter.emit(Some(room), row, events);
    folded.changes.extend(over);
    news::count_changes(ctx, &folded.changes);
    Ok(())
}

fn firing(violation: &Violation, now: Timestamp) -> Firing {
    let [observed, threshold] = [&violation.observed, &violation.threshold]
        .map(|text| text.as_deref().unwrap_or("none").to_string());
    let samples = violation.samples.unwrap_or(0);
    let (slo, window) = (&violation.slo, &violation.window);
    let reason =
        format!("{slo}: {observed}, allowed is {threshold}, over {window} ({samples} samples)");
    Firing {
        policy_name: plain(&format!("{SLO}{slo}"), POLICY_NAME_MAX),
        subject: Subject::of(&json!({"window": window}), None),
        source: Source::Slo,
        severity: Severity::read(&violation.severity),
        reason: plain(&reason, REASON_MAX),
        trace_id: violation.worst_trace_id.as_deref().map(|trace| plain(trace, 128)),
        at: now,
    }
}

/// The alerts of violations that are new or worse.
async fn events(ctx: &Context, changes: &[Change]) -> Result<Vec<Owed>, NotifyError> {
    let mut events = Vec::new();
    for change in changes.iter().filter(|change| change.kind != Kind::Resolved) {
        let news = News {
            policy_name: change.policy_name.clone(),
            severity: change.severity,
            subject: &format!("{} {}", change.fingerprint, change.change_no),
            window_start: change.opened_at,
            reason: change.reason.clone(),
            details: json!({
                "fingerprint": change.fingerprint,
                "change": change.change_no,
                "subject": change.subject.text,
                "worst_trace_id": change.trace_id,
            }),
        };
        events.push(herald::alert(ctx, news).await?);
    }
    Ok(events)
}
