//! Owns the gate's transaction (I2): fence, facts under lock, known keys, judge in offset order, ledger rows,
//! reservations, owed events, commit. Never reserves or owes anything for a key that it did not claim.
//! Invariant: either all of a batch is committed, its offsets included, or nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rust_decimal::Decimal;
use tokio_postgres::IsolationLevel;
use tokio_postgres::error::SqlState;

use super::book::Book;
use super::command::{By, Command, Commanded, Outcome, commanded};
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
use crate::pg::commands::{self, Known};
use crate::pg::facts::{self, Facts as Locked, Wanted};
use crate::pg::outbox::{OrderRow, OutboxError};
use crate::pg::positions::{self, Move, Place};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::{crash_point, in_flight, is_planted};

/// The reader's name in `input_positions`.
pub const READER: &str = "gate";

/// A planted mistake leaves its window open for so long, so that another worker comes into it.
const PLANTED_PAUSE: Duration = Duration::from_millis(50);

/// A batch that another transaction is in the way of is repeated at once for so long; then it is trouble that a
/// person sees, and is read again.
const REPEAT_FOR: Duration = Duration::from_secs(5);

/// Why a batch is not committed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AdmitError {
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
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

impl AdmitError {
    /// Whether something in the batch is at fault, and not a service: the batch would fail for ever (I9).
    pub fn is_of_a_record(&self) -> bool {
        match self {
            AdmitError::Postgres(error) => error.code().is_some_and(crate::pg::is_of_data),
            AdmitError::Encode(_) => true,
            AdmitError::Outbox(OutboxError::Postgres(error)) => {
                error.code().is_some_and(crate::pg::is_of_data)
            }
            // A row that no gate wrote: the others of the batch go on.
            AdmitError::Outbox(OutboxError::Row { .. }) => true,
            AdmitError::Pool(_) | AdmitError::Fenced(_) | AdmitError::Claimed => false,
        }
    }

    /// Whether the whole batch is repeated at once: another transaction was in the way, and is over.
    pub fn repeats(&self) -> bool {
        match self {
            AdmitError::Claimed => true,
            AdmitError::Postgres(error) | AdmitError::Outbox(OutboxError::Postgres(error)) => {
                error.code().is_some_and(|code| {
                    *code == SqlState::T_R_SERIALIZATION_FAILURE
                        || *code == SqlState::T_R_DEADLOCK_DETECTED
                        || *code == SqlState::LOCK_NOT_AVAILABLE
                })
            }
            _ => false,
        }
    }
}

/// A batch: its requests and its commands in offset order, what was refused before the ledger, and the steps of its partitions.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Batch {
    pub requests: Vec<Request>,
    pub commands: Vec<Command>,
    pub refused: Vec<Refusal>,
    pub moves: Vec<Move>,
}

/// What became of a batch.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Admitted {
    pub decided: Vec<Decided>,
    /// What was decided about commands.
    pub commanded: Vec<Outcome>,
    pub replays: usize,
    pub conflicts: Vec<Refusal>,
    /// Requests that were judged and cannot be kept.
    pub parked: Vec<Refusal>,
    /// Traces that have more reserved than their cap allows: there must be none (I7).
    pub over_cap: Vec<String>,
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

/// Judges and commits a batch; again, for a while, if another transaction was in the way.
pub async fn admit(means: &Means, batch: &Batch) -> Result<Admitted, AdmitError> {
    let began = Instant::now();
    let mut tried = began;
    let mut result = attempt(means, batch).await;
    while result.as_ref().is_err_and(AdmitError::repeats) && began.elapsed() < REPEAT_FOR {
        means.ctx.metrics.gate_repeats.inc();
        tried = Instant::now();
        result = attempt(means, batch).await;
    }
    if result.is_ok() {
        let metrics = &means.ctx.metrics;
        let took = tried.elapsed().as_secs_f64();
        metrics.transaction_seconds.with_label_values(&["admit"]).observe(took);
        let records = batch.requests.len() + batch.commands.len() + batch.refused.len();
        metrics.batch_records.with_label_values(&["admit"]).observe(records as f64);
    }
    result
}

async fn attempt(means: &Means, batch: &Batch) -> Result<Admitted, AdmitError> {
    let Means { ctx, scribe, quotes, policies } = means;
    if is_planted("no-fence") {
        tokio::time::sleep(PLANTED_PAUSE * 6).await;
    }
    // Not in the transaction: the digest of a giant record takes its time, and nobody shall wait for our locks.
    let letters: Vec<Owed> = batch.refused.iter().map(Refusal::dead_letter).collect();
    let mut client = ctx.pool.get().await?;
    let about: Vec<_> = batch.commands.iter().map(Command::about).collect();
    let traces = commands::traces(&**client, &about).await?;
    let tx =
        client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let wanted = wanted(batch, traces);
    let (fenced, locked) = futures::join!(positions::advance(&tx, READER, &batch.moves), async {
        match batch.requests.is_empty() && batch.commands.is_empty() {
            true => Ok(Locked::default()),
            false => facts::lock(&tx, &wanted).await,
        }
    });
    let (fenced, locked) = both(fenced, locked)?;
    if !fenced.is_empty() {
        return Err(AdmitError::Fenced(fenced));
    }
    let known = commands::lock(&tx, &about).await?;
    // An order came between the look for its trace and the locks.
    if known.rows.values().any(|row| !wanted.traces.contains(&trace_of(row))) {
        return Err(AdmitError::Claimed);
    }
    let (mut admitted, mut admission, Commanded { rows, cancels, .. }) =
        judged(batch, locked, known, policies, &quotes.read(), clock::now());
    crash_point("gate/judged");
    if is_planted("lock-missing-rows") {
        tokio::time::sleep(PLANTED_PAUSE).await;
    }
    if is_planted("unstorable") {
        spoil(&mut admitted, &mut admission);
    }
    let events = scribe.events(&admitted, &batch.refused, letters)?;
    let late = is_planted("reserve-outside").then(|| admission.clone());
    if late.is_some() {
        (admission.lanes, admission.traces) = (Vec::new(), Vec::new());
    }
    let (claimed, row) = futures::try_join!(
        admission::write(&tx, &admission),
        owed::insert(&tx, &ctx.worker, &events),
    )?;
    // Cancels refer to rows of the ledger, those of this batch included.
    if !claimed || !commands::write(&tx, &rows, &cancels).await? {
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

/// Both, or why not: what failed only because the other had failed is no reason.
fn both<A, B>(
    one: Result<A, tokio_postgres::Error>,
    other: Result<B, tokio_postgres::Error>,
) -> Result<(A, B), tokio_postgres::Error> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(error), Err(cause)) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
            Err(cause)
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn trace_of(row: &OrderRow) -> (String, String) {
    (row.account.to_string(), row.trace_id.to_string())
}

/// What must be locked for a batch. `traces`: those of orders that are to be replaced.
pub(crate) fn wanted(batch: &Batch, traces: Vec<(String, String)>) -> Wanted {
    let (mut accounts, mut lanes) = (BTreeSet::new(), BTreeSet::new());
    let (mut traces, mut keys) = (BTreeSet::from_iter(traces), BTreeSet::new());
    for request in &batch.requests {
        let intake = &request.intake;
        accounts.insert(intake.account().to_string());
        lanes.insert((intake.account().to_string(), intake.symbol().to_string()));
        traces.insert((intake.account().to_string(), intake.trace_id().to_string()));
        keys.extend(request.keys.iter().map(|k| k.to_string()));
    }
    for Command { command, .. } in &batch.commands {
        accounts.insert(command.account.to_string());
        lanes.insert((command.account.to_string(), command.symbol.to_string()));
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
    of_commands: Known,
    policies: &Policies,
    quotes: &Book,
    now: Timestamp,
) -> (Admitted, Admission, Commanded) {
    let mut known = std::mem::take(&mut locked.known);
    let mut fold = Fold::new(locked);
    let (mut admitted, mut rows) = (Admitted::default(), Vec::new());
    for request in &batch.requests {
        let first = request.keys.iter().find_map(|k| Some((k, known.get(k.as_str())?)));
        match first {
            Some((_, digest)) if *digest == request.digest => admitted.replays += 1,
            Some((key, _)) => admitted.conflicts.push(conflict(request, key)),
            None => {
                let facts = fold.facts(&request.intake, &request.keys, policies, quotes, now);
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
    // After the requests: a command that is tried in the same batch as its order finds it.
    let by = By { policies, quotes, now };
    let mut commanded = commanded(&batch.commands, of_commands, &rows, &mut fold, by);
    admitted.commanded = std::mem::take(&mut commanded.outcomes);
    admitted.replays += commanded.replays;
    admitted.conflicts.append(&mut commanded.conflicts);
    // One order of claims for all workers: two that claim the same keys do not deadlock.
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    debug_assert_eq!(rows.iter().map(|r| &r.key).collect::<HashSet<_>>().len(), rows.len());
    admitted.over_cap = fold.over_cap();
    (admitted, fold.admission(rows), commanded)
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
