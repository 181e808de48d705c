//! ROLE: alerts and violations → conditions → changes → messages. `run` reads `alerts`; the teller tells people.
//! Owns the notify_* tables; nobody else writes them. Never tells twice of one change what a receiver can know it by.
//! Invariants: the offset of an alert and what it changed are one transaction (I3); a call to a receiver follows its
//! committed intent; only the holder of the lease calls.

pub mod book;
pub mod guard;
mod herald;
mod news;
pub mod post;
mod pulse;
mod reload;
mod slo;
mod teller;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::book::{BadRoutes, Book};
use self::teller::Teller;
use crate::kafka::input::{Input, InputError};
use crate::kafka::record::Record;
use crate::kafka::registry::RegistryError;
use crate::owed::Emitter;
use crate::runtime::context::Context;
use crate::runtime::watched::Watched;
use crate::sink::intake::{Read, Reader};
use crate::sink::project::rows::{AlertRow, Row};
use crate::wire::{EncodeError, Subject};

/// The reader's name in `input_positions`, and of this part of the process.
pub const READER: &str = "notify";
/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Without records, how often the role says that it is well.
const IDLE: Duration = Duration::from_secs(1);
/// Without a partition of its own, from when on a process is sure that others have them all.
const SETTLED: Duration = Duration::from_secs(30);

/// Why the role does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotifyError {
    #[error(transparent)]
    Routes(#[from] BadRoutes),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("a partition of the batch is another worker's by now")]
    Fenced,
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("a task broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl NotifyError {
    /// Whether waiting can help; else a person must act and the role ends.
    fn is_passing(&self) -> bool {
        match self {
            NotifyError::Input(error) => error.is_passing(),
            NotifyError::Pool(_)
            | NotifyError::Postgres(_)
            | NotifyError::Fenced
            | NotifyError::Registry(_)
            | NotifyError::Encode(_) => true,
            NotifyError::Routes(_) | NotifyError::Kafka(_) | NotifyError::Broken(_) => false,
        }
    }
}

/// The routes in force; swapped whole on reload.
pub(crate) type Shelf = Arc<ArcSwap<Book>>;

struct Notify {
    ctx: Context,
    shelf: Shelf,
    input: Input,
    reader: Reader,
    /// Read and not committed yet.
    waiting: Vec<(Record, Option<AlertRow>)>,
    /// Whether everything that Kafka has was read: nothing is called over before.
    is_caught_up: Arc<AtomicBool>,
    began: Instant,
    held: Option<Instant>,
}

/// Notes what happens and tells people of it until `stop`.
pub async fn run(ctx: Context, stop: CancellationToken) -> Result<(), NotifyError> {
    let watched = Watched::before_reading(Book::files(&ctx.config.notify));
    let book = Book::load(&ctx.config.notify)?;
    if book.routes.lead_nowhere() {
        tracing::warn!(
            "no route leads to anybody: alerts are recorded, and nobody is told of them"
        );
    }
    let shelf: Shelf = Arc::new(ArcSwap::from_pointee(book));
    let Some(mut notify) = start(&ctx, &shelf, &stop).await? else { return Ok(()) };
    let emitter = Emitter::start(&ctx, stop.clone())?;
    let (caught_up, told) = (notify.is_caught_up.clone(), stop.child_token());
    let teller = Teller::new(&ctx, &shelf, &emitter, caught_up);
    let mut telling = tokio::spawn(teller.run(told.clone()));
    tokio::spawn(reload::watch(ctx.clone(), shelf, watched, emitter.clone(), stop.clone()));
    let ended = loop {
        // In this order: a stop stops; a teller that broke down ends the role; what is read is noted.
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            ended = &mut telling => break Err(broken(ended)),
            fetched = notify.input.fetch(ctx.config.notify.batch_max) => match fetched {
                Ok(records) => notify.take(records).await,
                Err(error) => Err(error.into()),
            },
            () = tokio::time::sleep(IDLE) => {
                notify.report();
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(error) if error.is_passing() => notify.pause(&error).await?,
            Err(error) => break Err(error),
        }
    };
    told.cancel();
    if !telling.is_finished() {
        telling.await?;
    }
    emitter.drain(RETRY * 8).await;
    notify.input.leave().await?;
    ended
}

fn broken(ended: Result<(), tokio::task::JoinError>) -> NotifyError {
    match ended {
        Err(error) => error.into(),
        Ok(()) => NotifyError::Fenced,
    }
}

/// Waits for services that are away.
async fn start(
    ctx: &Context,
    shelf: &Shelf,
    stop: &CancellationToken,
) -> Result<Option<Notify>, NotifyError> {
    loop {
        let error = match Input::open(ctx, READER, &[Subject::Alert]).await {
            Ok(input) => {
                ctx.health.ready(READER);
                return Ok(Some(Notify {
                    ctx: ctx.clone(),
                    shelf: shelf.clone(),
                    input,
                    reader: Reader::new(ctx.config.registry.unknown_schema_ms),
                    waiting: Vec::new(),
                    is_caught_up: Arc::default(),
                    began: Instant::now(),
                    held: None,
                }));
            }
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(%error, "notify cannot start yet");
        ctx.health.not_ready(READER, error.to_string());
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl Notify {
    /// Reads, notes and commits a batch.
    async fn take(&mut self, records: Vec<Record>) -> Result<(), NotifyError> {
        self.is_caught_up.store(false, Relaxed);
        let mut held = Vec::new();
        for record in records {
            if held.contains(&record.partition) {
                continue;
            }
            let row = match self.reader.read(&record, &self.ctx.registry).await {
                Read::Row(row) => match *row {
                    Row::Alert(row) => Some(row),
                    _ => None,
                },
                // The sink makes a dead letter of it.
                Read::Refused(refusal) => {
                    tracing::warn!(refusal.reason, offset = record.offset, "a record is no alert");
                    None
                }
                Read::Wait { pause, why } => {
                    self.ctx.health.not_ready(READER, why);
                    self.held = Some(Instant::now() + pause + IDLE);
                    self.input.hold(&record, pause)?;
                    held.push(record.partition);
                    continue;
                }
            };
            self.waiting.push((record, row));
        }
        self.commit().await
    }

    /// Commits what waits; what could not be committed waits on.
    async fn commit(&mut self) -> Result<(), NotifyError> {
        let input = &self.input;
        self.waiting.retain(|(record, _)| input.owns(record));
        if self.waiting.is_empty() {
            return Ok(());
        }
        let moves = input.moves(self.waiting.iter().map(|(record, _)| record));
        let alerts: Vec<Option<&AlertRow>> =
            self.waiting.iter().map(|(_, row)| row.as_ref()).collect();
        match news::note(&self.ctx, &self.shelf.load().routes, &alerts, &moves).await {
            Ok(()) => {
                self.input.done(&moves);
                self.waiting.clear();
                self.report();
                Ok(())
            }
            Err(NotifyError::Fenced) => {
                tracing::warn!("a batch is dropped: its partition is another worker's");
                self.waiting.clear();
                Ok(self.input.again(&moves).await?)
            }
            Err(error) => Err(error),
        }
    }

    fn report(&mut self) {
        if self.held.is_none_or(|until| until < Instant::now()) {
            self.held = None;
            self.ctx.health.ready(READER);
        }
        let is_caught_up = match self.input.behind() {
            Some(behind) => behind == 0,
            None => self.began.elapsed() > SETTLED,
        };
        self.is_caught_up.store(is_caught_up, Relaxed);
    }

    /// Something is away: stays in the group, reads nothing, tries again.
    async fn pause(&mut self, error: &NotifyError) -> Result<(), NotifyError> {
        tracing::warn!(%error, "notify waits");
        self.ctx.health.not_ready(READER, error.to_string());
        self.input.sit_out(RETRY).await?;
        match self.commit().await {
            Err(error) if error.is_passing() => Ok(()),
            committed => committed,
        }
    }
}
