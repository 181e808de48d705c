//! Owns the transaction of a batch of alerts: fence, conditions, changes, offsets, commit.
//! Never moves an offset without what the alerts changed. Invariant: read again, a batch changes nothing.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use jiff::Timestamp;

use super::{NotifyError, READER};
use crate::domain::event::Severity;
use crate::domain::notice::routes::Routes;
use crate::domain::notice::{
    Change, Condition, Firing, Noted, POLICY_NAME_MAX, REASON_MAX, Source, Subject, plain,
};
use crate::pg::notify;
use crate::pg::positions::{self, Move};
use crate::runtime::context::Context;
use crate::sink::project::rows::AlertRow;

/// What begins the names of alerts that notify itself makes of violations: it has told of them already.
pub const SLO: &str = "slo.";

/// Commits these alerts and the steps over their records.
pub async fn note(
    ctx: &Context,
    routes: &Routes,
    alerts: &[Option<&AlertRow>],
    moves: &[Move],
) -> Result<(), NotifyError> {
    let told: Vec<&AlertRow> =
        alerts.iter().copied().flatten().filter(|row| !row.policy_name.starts_with(SLO)).collect();
    let mut client = ctx.pool.get().await?;
    let tx = client.transaction().await?;
    if !positions::advance(&tx, READER, moves).await?.is_empty() {
        return Err(NotifyError::Fenced);
    }
    let firings = firings(&tx, &told).await?;
    let counted = fold(&tx, routes, &firings).await?;
    tx.commit().await?;
    let skipped = alerts.len() - told.len();
    counted.count(ctx);
    ctx.metrics.notify_alerts.with_label_values(&["skipped"]).inc_by(skipped as u64);
    Ok(())
}

/// What the alerts tell of. The details of a gate's alerts do not name the lane of their order: the ledger does.
async fn firings(tx: &Transaction<'_>, rows: &[&AlertRow]) -> Result<Vec<Firing>, NotifyError> {
    let keys: Vec<&str> = rows.iter().filter_map(|row| row.idempotency_key.as_deref()).collect();
    let lanes = notify::lanes(tx, &keys).await?;
    let firing = |row: &&AlertRow| {
        let lane = row.idempotency_key.as_ref().and_then(|key| lanes.get(key));
        let lane = lane.map(|(account, symbol)| (account.as_str(), symbol.as_str()));
        Firing {
            policy_name: plain(&row.policy_name, POLICY_NAME_MAX),
            subject: Subject::of(&row.details, lane),
            source: Source::Alert,
            severity: Severity::read(row.severity),
            reason: plain(&row.reason, REASON_MAX),
            trace_id: row.trace_id.clone(),
            at: row.created_at,
        }
    };
    Ok(rows.iter().map(firing).collect())
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub changes: Vec<Change>,
    counted: u64,
    known: u64,
    stale: u64,
}

impl Folded {
    /// Counts it, once it is committed.
    pub fn count(&self, ctx: &Context) {
        let alerts = &ctx.metrics.notify_alerts;
        for (outcome, n) in [
            ("changed", self.changes.len() as u64),
            ("counted", self.counted),
            ("known", self.known),
            ("stale", self.stale),
        ] {
            alerts.with_label_values(&[outcome]).inc_by(n);
        }
        count_changes(ctx, &self.changes);
    }
}

/// Counts changes by what they are.
pub(super) fn count_changes(ctx: &Context, changes: &[Change]) {
    for change in changes {
        ctx.metrics.notify_changes.with_label_values(&[change.kind.as_str()]).inc();
    }
}

/// Locks the conditions of these firings, lets them fire in order, and keeps what came of it.
pub(super) async fn fold(
    tx: &Transaction<'_>,
    routes: &Routes,
    firings: &[Firing],
) -> Result<Folded, NotifyError> {
    let mut folded = Folded::default();
    if firings.is_empty() {
        return Ok(folded);
    }
    let began = notify::now(tx).await?;
    let mut fresh: BTreeMap<String, Condition> = BTreeMap::new();
    for firing in firings {
        fresh.entry(firing.fingerprint()).or_insert_with(|| Condition::new(firing, began));
    }
    let mut conditions = notify::lock(tx, &fresh).await?;
    // After the locks: whoever had them before has an earlier time.
    let now = notify::now(tx).await?;
    let terms = routes.pace.terms();
    for firing in firings {
        let Some(condition) = conditions.get_mut(&firing.fingerprint()) else { continue };
        match condition.fire(firing, now, &terms) {
            Noted::Changed(change) => folded.changes.push(*change),
            Noted::Counted => folded.counted += 1,
            Noted::Known => folded.known += 1,
            Noted::Stale => folded.stale += 1,
        }
    }
    let conditions: Vec<&Condition> = conditions.values().collect();
    keep(tx, routes, &conditions, &folded.changes, now).await?;
    Ok(folded)
}

/// Keeps conditions and their changes, for those to whom the routes lead.
pub(super) async fn keep(
    tx: &Transaction<'_>,
    routes: &Routes,
    conditions: &[&Condition],
    changes: &[Change],
    now: Timestamp,
) -> Result<(), NotifyError> {
    let told: Vec<(&str, &Change)> = changes
        .iter()
        .flat_map(|change| routes.receivers_of(change).into_iter().map(move |name| (name, change)))
        .collect();
    Ok(notify::keep(tx, conditions, &told, now).await?)
}
