//! Owns the gate's transaction (I2): fence, facts under lock, known keys, judge in offset order, ledger rows,
//! reservations, owed events, commit. Never reserves or owes anything for a key that it did not claim.
//! Invariant: either all of a batch is committed, its offsets included, or nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use super::book::Book;
use super::decide::{Decided, decided};
use super::fold::Fold;
use super::intake::Request;
use super::quotes::Quotes;
use super::refusal::{Reason, Refusal};
use super::scribe::Scribe;
use crate::domain::judge::judge;
use crate::domain::policy::Policies;
use crate::domain::text::IdempotencyKey;
use crate::owed::{self, Owed};
use crate::pg::admission::{self, Admission};
use crate::pg::facts::{self, Facts as Locked, Wanted};
use crate::pg::positions::{self, Move, Place};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::{crash_point, in_flight, is_planted};

/// The reader's name in `input_positions`.
pub const READER: &str = "gate";

/// A planted mistake leaves its window open for so long, so that another worker comes into it.
const PLANTED_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why a batch is not committed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AdmitError {
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Encode(#[from] crate::wire::EncodeError),
    #[error("partitions of the batch are another worker's by now: {}", places(.0))]
    Fenced(Vec<Place>),
    #[error("a key was claimed by another worker in between")]
    Claimed,
}

fn places(places: &[Place]) -> String {
    let told: Vec<String> = places.iter().map(|p| format!("{}/{}", p.topic, p.partition)).collect();
    told.join(" ")
}

/// Whether Postgres says by this code that what it was given cannot be kept: a value of a wrong form or size (class
/// 22), or one that breaks a rule of its table (23). A key that is there already (23505) is another worker's claim.
fn is_of_data(code: &SqlState) -> bool {
    let class = code.code().get(..2);
    matches!(class, Some("22" | "23")) && *code != SqlState::UNIQUE_VIOLATION
}

impl AdmitError {
    /// Whether something in the batch is at fault, and not a service: the batch would fail for ever (I9).
    pub fn is_of_a_record(&self) -> bool {
        match self {
            AdmitError::Postgres(error) => error.code().is_some_and(is_of_data),
            AdmitError::Encode(_) => true,
            AdmitError::Pool(_) | AdmitError::Fenced(_) | AdmitError::Claimed => false,
        }
    }

    /// Whether the whole batch is repeated at once: another transaction was in the way, and is over.
    pub fn repeats(&self) -> bool {
        match self {
            AdmitError::Claimed => true,
            AdmitError::Postgres(error) => error.code().is_some_and(|code| {
                *code == SqlState::T_R_SERIALIZATION_FAILURE
                    || *code == SqlState::T_R_DEADLOCK_DETECTED
                    || *code == SqlState::LOCK_NOT_AVAILABLE
            }),
            _ => false,
        }
    }
}

/// A batch: its requests in offset order, what was refused before the ledger, and the steps of its partitions.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Batch {
    pub requests: Vec<Request>,
    pub refused: Vec<Refusal>,
    pub moves: Vec<Move>,
}

/// What became of a batch.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Admitted {
    pub decided: Vec<Decided>,
    pub replays: usize,
    pub conflicts: Vec<Refusal>,
    /// Requests that were judged and cannot be kept.
    pub parked: Vec<Refusal>,
    /// The row of its owed events, and the events.
    pub owed: (Option<i64>, Vec<Owed>),
}

/// What it takes to admit a batch.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Means {
    pub ctx: Context,
    pub scribe: Scribe,
    pub quotes: Quotes,
    pub policies: Arc<Policies>,
}

/// Judges and commits a batch; again as long as another transaction was in the way.
pub async fn admit(means: &Means, batch: &Batch) -> Result<Admitted, AdmitError> {
    let mut result = attempt(means, batch).await;
    while result.as_ref().is_err_and(AdmitError::repeats) {
        means.ctx.metrics.gate_repeats.inc();
        result = attempt(means, batch).await;
    }
    result
}

async fn attempt(means: &Means, batch: &Batch) -> Result<Admitted, AdmitError> {
    let Means { ctx, scribe, quotes, policies } = means;
    if is_planted("no-fence") {
        tokio::time::sleep(PLANTED_PAUSE * 6).await;
    }
    let mut client = ctx.pool.get().await?;
    let tx =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let wanted = wanted(batch);
    let (fenced, locked) =
        futures::try_join!(positions::advance(&tx, READER, &batch.moves), async {
            match batch.requests.is_empty() {
                true => Ok(Locked::default()),
                false => facts::lock(&tx, &wanted).await,
            }
        })?;
    if !fenced.is_empty() {
        return Err(AdmitError::Fenced(fenced));
    }
    let (mut admitted, mut admission) =
        judged(batch, locked, policies, &quotes.read(), clock::now());
    crash_point("gate/judged");
    if is_planted("lock-missing-rows") {
        tokio::time::sleep(PLANTED_PAUSE).await;
    }
    if is_planted("unstorable") {
        spoil(&mut admitted, &mut admission);
    }
    let events = scribe.events(&admitted, &batch.refused)?;
    let late = is_planted("reserve-outside").then(|| admission.clone());
    if late.is_some() {
        (admission.lanes, admission.traces) = (Vec::new(), Vec::new());
    }
    let (claimed, row) = futures::try_join!(
        admission::write(&tx, &admission),
        owed::insert(&tx, &ctx.worker, &events),
    )?;
    if !claimed {
        return Err(AdmitError::Claimed);
    }
    crash_point("gate/rows-written");
    in_flight("gate/commit-in-flight", tx.commit()).await?;
    crash_point("gate/after-commit");
    if let Some(late) = late {
        tokio::time::sleep(PLANTED_PAUSE).await;
        let tx = client.transaction().await?;
        admission::reserve(&tx, &late).await?;
        tx.commit().await?;
    }
    admitted.owed = (row, events);
    Ok(admitted)
}

/// What must be locked for a batch.
pub(crate) fn wanted(batch: &Batch) -> Wanted {
    let (mut accounts, mut lanes) = (BTreeSet::new(), BTreeSet::new());
    let (mut traces, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for request in &batch.requests {
        let intake = &request.intake;
        accounts.insert(intake.account().to_string());
        lanes.insert((intake.account().to_string(), intake.symbol().to_string()));
        traces.insert((intake.account().to_string(), intake.trace_id().to_string()));
        keys.extend(request.keys.iter().map(|k| k.to_string()));
    }
    Wanted {
        accounts: accounts.into_iter().collect(),
        lanes: lanes.into_iter().collect(),
        traces: traces.into_iter().collect(),
        keys: keys.into_iter().collect(),
    }
}

/// Folds the batch in offset order. A key known to the ledger, or seen earlier in the batch, never reaches the judge.
pub(crate) fn judged(
    batch: &Batch,
    mut locked: Locked,
    policies: &Policies,
    quotes: &Book,
    now: Timestamp,
) -> (Admitted, Admission) {
    let mut known = std::mem::take(&mut locked.known);
    let mut fold = Fold::new(locked);
    let (mut admitted, mut rows) = (Admitted::default(), Vec::new());
    for request in &batch.requests {
        let first = request.keys.iter().find_map(|k| Some((k, known.get(k.as_str())?)));
        match first {
            Some((_, digest)) if *digest == request.digest => admitted.replays += 1,
            Some((key, _)) => admitted.conflicts.push(conflict(request, key)),
            None => {
                let facts = fold.facts(&request.intake, policies, quotes, now);
                let judged = judge(&request.intake, &facts, policies, now);
                fold.reserve(&request.intake, &judged, policies, now);
                let (done, mut row) = decided(request, judged, &facts, now);
                row.nth = i32::try_from(rows.len()).unwrap_or(i32::MAX);
                known.insert(row.key.clone(), request.digest.to_vec());
                admitted.decided.push(done);
                rows.push(row);
            }
        }
    }
    // One order of claims for all workers: two that claim the same keys do not deadlock.
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    debug_assert_eq!(rows.iter().map(|r| &r.key).collect::<HashSet<_>>().len(), rows.len());
    (admitted, fold.admission(rows))
}

/// Makes decisions of some traces such that Postgres, or the wire, cannot keep them (a planted mistake).
fn spoil(admitted: &mut Admitted, admission: &mut Admission) {
    for row in &mut admission.rows {
        match row.trace_id.as_str() {
            "unstorable-22" => row.payload = "{".into(),
            "unstorable-23" => row.state = "PLANTED",
            _ => {}
        }
    }
    for decided in &mut admitted.decided {
        if decided.decision.trace_id.as_str() == "unstorable-event" {
            decided.decision.decided_qty = Decimal::new(1, 10);
        }
    }
}

fn conflict(request: &Request, key: &IdempotencyKey) -> Refusal {
    Refusal {
        record: request.record.clone(),
        reason: Reason::IdempotencyConflict,
        why: format!("key {key} was decided before with another order; that one stands"),
        trace_id: Some(request.intake.trace_id().clone()),
        idempotency_key: Some(key.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_record_says_is_held_against_it() {
        let of_data = |code: &str| is_of_data(&SqlState::from_code(code));
        // Too large, bad text, division; not null, foreign key, check.
        for code in ["22003", "22P02", "22P05", "22021", "22012", "23502", "23503", "23514"] {
            assert!(of_data(code), "{code}");
        }
        // A key that is there; conflicts; connection, resources, disk, read-only, shutdown, time-outs, schema.
        for code in [
            "23505", "40001", "40P01", "08006", "53200", "53100", "53300", "25006", "57P01",
            "57014", "55P03", "58030", "XX000", "42P01", "42703", "25P03", "",
        ] {
            assert!(!of_data(code), "{code}");
        }
    }
}
