//! Owns the sink's transaction: fence, rows, dead letters, what orders cost, commit.
//! Never moves an offset without its rows. Invariant: either all of a batch is committed, its offsets included, or
//! nothing; written again it changes nothing.

use std::time::Instant;

use super::intake::Refusal;
use super::project::rows::{Row, Rows};
use crate::gate::refusal::dead_letter;
use crate::kafka::record::Record;
use crate::kafka::registry::RegistryError;
use crate::owed::{self, Owed};
use crate::pg;
use crate::pg::obs::{self, Counted, Months};
use crate::pg::positions::{self, Move};
use crate::runtime::context::Context;
use crate::runtime::faults::{crash_point, in_flight};
use crate::wire::EncodeError;

/// The reader's name in `input_positions`.
pub const READER: &str = "sink";

/// Why a batch is not committed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("a partition of the batch is another worker's by now")]
    Fenced,
    /// Only an alert needs it; rows do not.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl WriteError {
    /// Whether something in the batch is at fault, and not a service: the batch would fail for ever (I9).
    pub(super) fn is_of_a_record(&self) -> bool {
        match self {
            WriteError::Postgres(error) => {
                error.code().is_some_and(pg::is_of_data) && !pg::lacks_partition(error)
            }
            WriteError::Pool(_)
            | WriteError::Fenced
            | WriteError::Registry(_)
            | WriteError::Encode(_) => false,
        }
    }
}

/// A record and what it is.
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) is: Result<Row, Refusal>,
}

/// A batch: its records in offset order, and the steps of their partitions.
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) moves: Vec<Move>,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Written {
    pub(super) tables: Vec<Counted>,
    /// Events that were there already and say something else now, by table: there must be none (I4).
    pub(super) varied: Vec<(&'static str, u64)>,
    /// Rows of `obs_do_metrics` that changed.
    pub(super) measured: u64,
    /// Records whose rows cannot be kept.
    pub(super) parked: Vec<Item>,
    /// The row of its dead letters and their alerts, and these.
    pub(super) owed: (Option<i64>, Vec<Owed>),
}

/// Commits these records and the steps over them. On an error nothing of it is there, but for months, which are made
/// beforehand.
pub(super) async fn write(
    ctx: &Context,
    months: &mut Months,
    items: &[Item],
    moves: &[Move],
) -> Result<Written, WriteError> {
    let rows = Rows::of(items.iter().filter_map(|item| item.is.as_ref().ok()));
    let letters: Vec<Owed> = items.iter().flat_map(refuse).collect();
    let mut client = ctx.pool.get().await?;
    months.make(&client, &rows).await?;
    let began = Instant::now();
    let tx = client.transaction().await?;
    if !positions::advance(&tx, READER, moves).await?.is_empty() {
        return Err(WriteError::Fenced);
    }
    let written = obs::write(&tx, &rows).await?;
    let varied = obs::varied(&tx, &rows, &written).await?;
    let row = owed::insert(&tx, &ctx.worker, &letters).await?;
    let measured = obs::measure(&tx, &written).await?;
    crash_point("sink/upserted");
    in_flight("sink/commit-in-flight", tx.commit()).await?;
    crash_point("sink/committed");
    let (tables, owed) = (written.tables, (row, letters));
    let seconds = ctx.metrics.transaction_seconds.with_label_values(&["write"]);
    seconds.observe(began.elapsed().as_secs_f64());
    ctx.metrics.batch_records.with_label_values(&["write"]).observe(items.len() as f64);
    Ok(Written { tables, varied, measured, parked: Vec::new(), owed })
}

/// The dead letter of a record that is no row, and its alert if it has one.
fn refuse(item: &Item) -> Vec<Owed> {
    let Err(refusal) = &item.is else { return Vec::new() };
    let letter = dead_letter(&item.record, refusal.reason, &refusal.why);
    std::iter::once(letter).chain(refusal.alert.clone()).collect()
}
