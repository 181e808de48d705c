//! ROLE: ingest → project (pure) → write (`run` is the whole loop).
//! Owns the obs_* tables; nobody else writes them. Never decides anything, and never writes an event twice.
//! Invariants I3 (the fence), I4 (rows by event id), I8 (reading a topic again changes nothing).

pub(crate) mod intake;
mod isolate;
pub mod project;
pub mod rebuild;
mod traced;
pub mod upkeep;
mod write;

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::intake::{Read, Reader};
use self::isolate::one_by_one;
use self::upkeep::slos::SloSource;
use self::write::{Batch, Item, READER, WriteError, Written, write};
use crate::kafka::input::{Input, InputError};
use crate::kafka::record::Record;
use crate::owed::{Emitter, Room};
use crate::pg::obs::Months;
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::crash_point;
use crate::runtime::metrics::Guarantee;
use crate::runtime::policies::PolicyError;

/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Without records, how often the sink says that it is well.
const IDLE: Duration = Duration::from_secs(1);
/// How long a stop waits for a batch and its dead letters.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the sink does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SinkError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the service levels cannot be used")]
    Slos(#[from] PolicyError),
    #[error("a batch ended badly: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl SinkError {
    /// Whether waiting can help; else a person must act and the role ends.
    fn is_passing(&self) -> bool {
        match self {
            SinkError::Input(error) => error.is_passing(),
            SinkError::Write(_) => true,
            SinkError::Kafka(_) | SinkError::Slos(_) | SinkError::Broken(_) => false,
        }
    }
}

/// A batch in its transaction.
struct Flight(JoinHandle<Landed>);

struct Landed {
    batch: Batch,
    months: Months,
    room: Option<Room>,
    began: Timestamp,
    result: Result<Written, WriteError>,
}

struct Sink {
    ctx: Context,
    input: Input,
    emitter: Emitter,
    reader: Reader,
    /// Away while a batch is in flight, which has them.
    months: Option<Months>,
    /// Read and not in a transaction yet, and when the first of it came.
    waiting: Vec<Item>,
    since: Option<Instant>,
    /// Until when a partition waits for something that is away.
    held: Option<Instant>,
}

/// Writes what happened until `stop`, then drains.
pub async fn run(ctx: Context, stop: CancellationToken) -> Result<(), SinkError> {
    let slos = SloSource::load(&ctx.config.slo)?;
    let Some(mut sink) = start(&ctx, &stop).await? else { return Ok(()) };
    // Ended with this function, however it ends.
    let mut beside = JoinSet::new();
    if ctx.config.upkeep.enabled {
        beside.spawn(upkeep::run(ctx.clone(), sink.emitter.clone(), slos, stop.clone()));
    }
    let mut flight: Option<Flight> = None;
    loop {
        if flight.is_none() {
            flight = sink.depart().await;
        }
        // In this order: a stop stops; what landed makes room; a batch that is due departs (above); then what is new
        // is read and projected meanwhile; with nothing to do the sink says that it is well.
        let room = ctx.config.sink.batch_max.saturating_sub(sink.waiting.len());
        let due = if flight.is_none() { sink.due() } else { None };
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            landed = landing(&mut flight) => sink.land(landed?).await,
            () = at(due) => continue,
            fetched = sink.input.fetch(room), if room > 0 => match fetched {
                Ok(records) => sink.read(records).await,
                Err(error) => Err(error.into()),
            },
            () = tokio::time::sleep(IDLE), if flight.is_none() && sink.waiting.is_empty() => {
                sink.report();
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(error) if error.is_passing() => sink.pause(&error).await?,
            Err(error) => return Err(error),
        }
    }
    sink.drain(flight).await
}

/// The batch in flight, once its transaction has ended.
async fn landing(flight: &mut Option<Flight>) -> Result<Landed, SinkError> {
    let Some(Flight(flying)) = flight else { return std::future::pending().await };
    let landed = flying.await;
    *flight = None;
    Ok(landed?)
}

/// At this moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for services that are away.
async fn start(ctx: &Context, stop: &CancellationToken) -> Result<Option<Sink>, SinkError> {
    loop {
        let error = match Sink::new(ctx, stop).await {
            Ok(sink) => return Ok(Some(sink)),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(%error, "the sink cannot start yet");
        ctx.health.not_ready(READER, error.to_string());
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl Sink {
    async fn new(ctx: &Context, stop: &CancellationToken) -> Result<Self, SinkError> {
        let input = Input::open(ctx, READER, &project::SUBJECTS).await?;
        ctx.health.ready(READER);
        Ok(Self {
            ctx: ctx.clone(),
            input,
            emitter: Emitter::start(ctx, stop.clone())?,
            reader: Reader::new(ctx.config.registry.unknown_schema_ms),
            months: Some(Months::default()),
            waiting: Vec::new(),
            since: None,
            held: None,
        })
    }

    /// Decodes and projects. A record that cannot be read yet holds its partition, and no other.
    async fn read(&mut self, records: Vec<Record>) -> Result<(), SinkError> {
        crash_point("sink/polled");
        let mut held = Vec::new();
        for record in records {
            let place = (record.topic.clone(), record.partition);
            if held.contains(&place) {
                continue;
            }
            let is = match self.reader.read(&record, &self.ctx.registry).await {
                Read::Row(row) => Ok(*row),
                Read::Refused(refusal) => Err(refusal),
                Read::Wait { pause, why } => {
                    tracing::warn!(
                        why,
                        topic = &*record.topic,
                        partition = record.partition,
                        offset = record.offset,
                        "a partition waits"
                    );
                    self.ctx.health.not_ready(READER, why);
                    self.held = Some(Instant::now() + pause + IDLE);
                    self.input.hold(&record, pause)?;
                    held.push(place);
                    continue;
                }
            };
            self.since.get_or_insert_with(Instant::now);
            self.waiting.push(Item { record, is });
        }
        Ok(())
    }

    /// When what waits is written, even if the batch is not full.
    fn due(&self) -> Option<Instant> {
        Some(self.since? + Duration::from_millis(self.ctx.config.sink.linger_ms))
    }

    /// Starts the transaction of what waits, if it is due or full.
    async fn depart(&mut self) -> Option<Flight> {
        let input = &self.input;
        self.waiting.retain(|item| input.owns(&item.record));
        if self.waiting.is_empty() {
            self.since = None;
            return None;
        }
        let is_full = self.waiting.len() >= self.ctx.config.sink.batch_max;
        if !is_full && self.due().is_some_and(|due| due > Instant::now()) {
            return None;
        }
        let mut months = self.months.take()?;
        self.since = None;
        let items = std::mem::take(&mut self.waiting);
        let moves = self.input.moves(items.iter().map(|item| &item.record));
        let batch = Batch { items, moves };
        // Dead letters wait for those before them (F19); rows do not.
        let room = match batch.items.iter().any(|item| item.is.is_err()) {
            true => Some(self.emitter.room().await),
            false => None,
        };
        let (ctx, emitter, began) = (self.ctx.clone(), self.emitter.clone(), clock::now());
        Some(Flight(tokio::spawn(async move {
            let mut result = write(&ctx, &mut months, &batch.items, &batch.moves).await;
            if let Err(error) = &result
                && error.is_of_a_record()
            {
                tracing::error!(%error, "a batch cannot be kept; its records are tried one by one");
                result = one_by_one(&ctx, &emitter, &mut months, &batch).await;
            }
            Landed { batch, months, room, began, result }
        })))
    }

    /// A transaction has ended: counts what it wrote, tries it again, or goes back.
    async fn land(&mut self, landed: Landed) -> Result<(), SinkError> {
        let Landed { batch, mut months, room, began, result } = landed;
        let error = match result {
            Ok(written) => {
                self.months = Some(months);
                self.count(&batch, &written);
                traced::written(&batch, began);
                self.input.done(&batch.moves);
                let (row, letters) = written.owed;
                self.emitter.emit(room, row, letters);
                self.report();
                return Ok(());
            }
            Err(error) => error,
        };
        months.forget();
        self.months = Some(months);
        if let WriteError::Fenced = error {
            tracing::warn!(
                "a batch is dropped: its partition is another worker's, or it was committed after all"
            );
            self.input.again(&batch.moves).await?;
            return Ok(());
        }
        // The same batch again. If it was committed all the same (F35), the fence says so.
        let newer = std::mem::replace(&mut self.waiting, batch.items);
        self.waiting.extend(newer);
        self.since.get_or_insert_with(Instant::now);
        Err(error.into())
    }

    fn count(&self, batch: &Batch, written: &Written) {
        let m = &self.ctx.metrics;
        for counted in &written.tables {
            m.sink_rows.with_label_values(&[counted.table]).inc_by(counted.new);
            m.sink_repeats.with_label_values(&[counted.table]).inc_by(counted.repeats);
        }
        for (table, events) in &written.varied {
            let guarantee = match *table {
                "obs_decisions" => Guarantee::OneDecisionPerKey,
                _ => Guarantee::EventsNeverVary,
            };
            m.broken(guarantee, format!("{events} events of {table} differ from what is there"));
        }
        m.sink_rows.with_label_values(&["obs_do_metrics"]).inc_by(written.measured);
        for item in batch.items.iter().chain(&written.parked) {
            let Err(refusal) = &item.is else { continue };
            let r = &item.record;
            tracing::warn!(
                reason = refusal.reason,
                why = refusal.why,
                topic = &*r.topic,
                partition = r.partition,
                offset = r.offset,
                "no row can be made of a record: it is a dead letter"
            );
            m.sink_refused.with_label_values(&[refusal.reason]).inc();
            m.dead_letters.with_label_values(&[refusal.reason]).inc();
        }
    }

    fn report(&mut self) {
        if self.held.is_none_or(|until| until < Instant::now()) {
            self.held = None;
            self.ctx.health.ready(READER);
        }
    }

    /// Something is away: stays in the group, reads nothing, tries again.
    async fn pause(&mut self, error: &SinkError) -> Result<(), SinkError> {
        tracing::warn!(%error, "the sink waits");
        self.ctx.health.not_ready(READER, error.to_string());
        Ok(self.input.sit_out(RETRY).await?)
    }

    /// Lets the batch in flight end and its dead letters be acknowledged, and leaves the group.
    async fn drain(mut self, mut flight: Option<Flight>) -> Result<(), SinkError> {
        let until = Instant::now() + DRAIN;
        if flight.is_some() {
            match tokio::time::timeout_at(until, landing(&mut flight)).await {
                Ok(landed) => match self.land(landed?).await {
                    Err(error) if !error.is_passing() => return Err(error),
                    Err(error) => tracing::warn!(%error, "the last batch is read again"),
                    Ok(()) => {}
                },
                Err(_) => tracing::warn!("the last batch did not end in time; it is read again"),
            }
        }
        self.emitter.drain(until.saturating_duration_since(Instant::now())).await;
        Ok(self.input.leave().await?)
    }
}
