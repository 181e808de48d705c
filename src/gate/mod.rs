//! ROLE: ingest → judge → admit (the transaction) → emit (`run` is the whole loop).
//! Owns the way of a request to a decision. Never decides a key twice, never sends anything to a broker.
//! Invariants I2 (one transaction is one batch), I3 (the fence), I9 (trouble pauses; it never decides).

pub(crate) mod admit;
pub(crate) mod book;
mod brakes;
mod clocks;
pub(crate) mod command;
pub(crate) mod decide;
mod fences;
mod flood;
pub(crate) mod fold;
mod herald;
pub(crate) mod intake;
mod isolate;
pub mod letter;
mod outage;
mod quotes;
pub mod refusal;
mod reload;
mod schemas;
mod scribe;
mod traced;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::admit::{AdmitError, Admitted, Batch, Means, admit};
use self::brakes::Brakes;
use self::command::Command;
use self::fences::{FENCED_PER_MINUTE, Fences};
use self::flood::Floods;
use self::herald::Herald;
use self::intake::{Read, Reader, Request, Rules};
use self::isolate::one_by_one;
use self::quotes::Quotes;
use self::refusal::Refusal;
use self::scribe::Scribe;
use crate::domain::event::Severity;
use crate::domain::news::News;
use crate::domain::trace_context::TraceContext;
use crate::kafka::input::{Input, InputError};
use crate::kafka::record::Record;
use crate::kafka::registry::RegistryError;
use crate::owed::{Emitter, Room};
use crate::pg::positions::{Move, Place};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::crash_point;
use crate::runtime::metrics::Guarantee;
use crate::wire::Subject;

/// What the gate decides about; quotes are read beside them.
pub const INPUTS: [Subject; 3] =
    [Subject::OrderRequest, Subject::ProposalSet, Subject::OrderCommand];

/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Without records, how often the gate says that it is well.
const IDLE: Duration = Duration::from_secs(1);
/// How long a stop waits for a batch and its events.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the gate does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GateError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error(transparent)]
    Admit(#[from] AdmitError),
    #[error("a batch ended badly: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl GateError {
    /// Whether waiting can help; else a person must act and the role ends.
    fn is_passing(&self) -> bool {
        match self {
            GateError::Registry(RegistryError::Unavailable { .. }) => true,
            GateError::Registry(_) => false,
            GateError::Input(error) => error.is_passing(),
            GateError::Kafka(_) | GateError::Broken(_) => false,
            GateError::Admit(AdmitError::Encode(_)) => false,
            GateError::Admit(_) => true,
        }
    }
}

/// What has been read and is not in a transaction yet.
#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    commands: Vec<Command>,
    refused: Vec<Refusal>,
}

/// A batch in its transaction.
struct Flight {
    landing: JoinHandle<(Batch, Room, Result<Admitted, AdmitError>)>,
    began: Instant,
}

struct Gate {
    ctx: Context,
    scribe: Scribe,
    quotes: Quotes,
    emitter: Emitter,
    input: Input,
    reader: Reader,
    waiting: Waiting,
    /// Requests went last while commands waited: now it is their turn.
    commands_next: bool,
    herald: Herald,
    fences: Fences,
    floods: Floods,
    brakes: Brakes,
}

/// Decides requests until `stop`, then drains.
pub async fn run(ctx: Context, stop: CancellationToken) -> Result<(), GateError> {
    let Some(mut gate) = start(&ctx, &stop).await? else { return Ok(()) };
    let mut flight: Option<Flight> = None;
    loop {
        if flight.is_none() {
            flight = gate.depart().await;
        }
        // In this order: a stop stops; what landed makes room; then what is new is read and decoded meanwhile;
        // quotes that are there again let what waits depart.
        let room = ctx.config.gate.batch_max.saturating_sub(gate.waiting.len());
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            landed = landing(&mut flight) => gate.land(landed).await,
            fetched = gate.input.fetch(room), if room > 0 => match fetched {
                Ok(records) => gate.read(records).await,
                Err(error) => Err(error.into()),
            },
            () = gate.quotes.changed() => Ok(()),
            () = tokio::time::sleep(IDLE) => Ok(()),
        };
        match done {
            Ok(()) => gate.report(),
            Err(error) if error.is_passing() => gate.pause(&error).await?,
            Err(error) => return Err(error),
        }
    }
    gate.drain(flight).await
}

type Landed = (Batch, Room, Result<Admitted, AdmitError>, Instant);

/// The batch in flight, once its transaction has ended.
async fn landing(flight: &mut Option<Flight>) -> Result<Landed, GateError> {
    let Some(flying) = flight else { return std::future::pending().await };
    let landed = (&mut flying.landing).await;
    let began = flying.began;
    *flight = None;
    let (batch, room, result) = landed?;
    Ok((batch, room, result, began))
}

/// Waits for services that are away; a schema that is not registered ends the role.
async fn start(ctx: &Context, stop: &CancellationToken) -> Result<Option<Gate>, GateError> {
    let quotes = Quotes::watch(ctx, stop.clone());
    loop {
        let error = match Gate::new(ctx, quotes.clone(), stop).await {
            Ok(gate) => return Ok(Some(gate)),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(%error, "the gate cannot start yet");
        ctx.health.not_ready("gate", error.to_string());
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.requests.len() + self.commands.len() + self.refused.len()
    }

    /// Forgets what does not fit any more.
    fn retain(&mut self, keep: impl Fn(&Record) -> bool) {
        self.requests.retain(|r| keep(&r.record));
        self.commands.retain(|c| keep(&c.record));
        self.refused.retain(|r| keep(&r.record));
    }
}

impl Gate {
    async fn new(
        ctx: &Context,
        quotes: Quotes,
        stop: &CancellationToken,
    ) -> Result<Self, GateError> {
        let scribe = Scribe::new(ctx).await?;
        let input = Input::open(ctx, admit::READER, &INPUTS);
        let input = input.await?;
        // What goes on in the background begins last: a start that fails is tried again.
        let emitter = Emitter::start(ctx, stop.clone())?;
        let herald = Herald::new(ctx, &scribe, &emitter, stop);
        let brakes = Brakes::watch(ctx, &quotes, &herald, stop);
        tokio::spawn(reload::watch(ctx.clone(), herald.clone(), stop.clone()));
        tokio::spawn(outage::watch(ctx.clone(), herald.clone(), stop.clone()));
        Ok(Self {
            ctx: ctx.clone(),
            scribe,
            quotes,
            input,
            emitter,
            reader: Reader::new(),
            waiting: Waiting::default(),
            commands_next: false,
            fences: Fences::default(),
            floods: Floods::new(ctx, &herald),
            brakes,
            herald,
        })
    }

    /// Signature → decode → shape → key. A record that cannot be read yet holds its partition, and no other.
    async fn read(&mut self, records: Vec<Record>) -> Result<(), GateError> {
        crash_point("gate/after-poll");
        self.brakes.clocks.heard(self.input.ahead());
        let mut held: Vec<(Arc<str>, i32)> = Vec::new();
        let (ctx, secrets) = (self.ctx.clone(), self.ctx.secrets.load_full());
        let rules = Rules { config: &ctx.config, secrets: &secrets, registry: &ctx.registry };
        for record in records {
            let place = (record.topic.clone(), record.partition);
            if held.contains(&place) {
                continue;
            }
            if let Some(pause) = self.floods.pause(&record) {
                self.input.hold(&record, pause)?;
                held.push(place);
                continue;
            }
            self.ctx.metrics.gate_requests.inc();
            if let Err(why) = TraceContext::of_headers(&record.headers) {
                tracing::debug!(%why, partition = record.partition, offset = record.offset, "no trace");
                self.ctx.metrics.trace_contexts_refused.inc();
            }
            let read = self.reader.read(record, rules).await;
            match self.brakes.schemas.checked(read).await {
                Read::Request(request) => {
                    self.floods.good(&request.record);
                    self.waiting.requests.push(*request);
                }
                Read::Command(command) => {
                    self.floods.good(&command.record);
                    self.waiting.commands.push(*command);
                }
                Read::Refused(refusal) => {
                    self.floods.refused(&refusal.record, &secrets);
                    self.waiting.refused.push(*refusal);
                }
                Read::Wait { record, pause, why } => {
                    tracing::warn!(
                        why,
                        topic = &*record.topic,
                        partition = record.partition,
                        offset = record.offset,
                        "a partition waits"
                    );
                    self.input.hold(&record, pause)?;
                    held.push(place);
                }
            }
        }
        crash_point("gate/decoded");
        Ok(())
    }

    /// What departs together: requests or commands, in turns, so that a command meets its order in the ledger.
    fn turn(&mut self) -> Waiting {
        let both = !self.waiting.requests.is_empty() && !self.waiting.commands.is_empty();
        if !both {
            self.commands_next = false;
            return std::mem::take(&mut self.waiting);
        }
        let of_commands = |r: &Refusal| r.record.logical == Subject::OrderCommand.topic();
        let (with_commands, others): (Vec<Refusal>, Vec<Refusal>) =
            std::mem::take(&mut self.waiting.refused).into_iter().partition(of_commands);
        self.commands_next = !self.commands_next;
        let Waiting { requests, commands, .. } = std::mem::take(&mut self.waiting);
        let of_requests = Waiting { requests, commands: vec![], refused: others };
        let of_commands = Waiting { requests: vec![], commands, refused: with_commands };
        let (going, staying) = match self.commands_next {
            true => (of_requests, of_commands),
            false => (of_commands, of_requests),
        };
        self.waiting = staying;
        going
    }

    /// Starts the transaction of what waits, if there is anything and nothing stands in the way.
    async fn depart(&mut self) -> Option<Flight> {
        let input = &self.input;
        self.waiting.retain(|record| input.owns(record));
        if self.waiting.len() == 0 || self.brakes.problem().is_some() {
            return None;
        }
        let Waiting { requests, commands, refused } = self.turn();
        let records = requests.iter().map(|r| &r.record);
        let records = records.chain(commands.iter().map(|c| &c.record));
        let moves = self.input.moves(records.chain(refused.iter().map(|r| &r.record)));
        let batch = Batch { requests, commands, refused, moves };
        let room = self.emitter.room().await;
        Some(self.fly(batch, room, Instant::now()))
    }

    fn fly(&self, batch: Batch, room: Room, began: Instant) -> Flight {
        let means = Means {
            ctx: self.ctx.clone(),
            scribe: self.scribe.clone(),
            quotes: self.quotes.clone(),
            policies: self.ctx.policies.load_full(),
        };
        let emitter = self.emitter.clone();
        let landing = tokio::spawn(async move {
            let mut result = admit(&means, &batch).await;
            if let Err(error) = &result
                && error.is_of_a_record()
            {
                tracing::error!(%error, "a batch cannot be kept; its records are tried one by one");
                result = one_by_one(&means, &emitter, &batch).await;
            }
            (batch, room, result)
        });
        Flight { landing, began }
    }

    /// A transaction has ended: emits what it owes, or goes back.
    async fn land(&mut self, landed: Result<Landed, GateError>) -> Result<(), GateError> {
        let (batch, room, result, began) = landed?;
        match result {
            Ok(admitted) => {
                self.brakes.landed();
                self.count(&batch, &admitted, began);
                traced::tell(&batch, &admitted, began);
                self.input.done(&batch.moves);
                crash_point("gate/offset-stored");
                let (row, events) = admitted.owed;
                self.emitter.emit(Some(room), row, events);
                Ok(())
            }
            Err(AdmitError::Fenced(places)) => {
                self.note_fenced(&places);
                self.go_back(&batch.moves).await
            }
            Err(error) => {
                self.brakes.failed(error.to_string());
                // Perhaps it was committed all the same (F35): Postgres knows from where to go on.
                self.go_back(&batch.moves).await?;
                Err(error.into())
            }
        }
    }

    /// Drops everything that was read of these partitions and reads them again from where Postgres is.
    async fn go_back(&mut self, moves: &[Move]) -> Result<(), GateError> {
        self.input.again(moves).await?;
        let input = &self.input;
        self.waiting.retain(|record| input.owns(record));
        Ok(())
    }

    /// Counts a batch that another worker's epoch fenced off; too many of one partition are an alert (I3).
    fn note_fenced(&mut self, places: &[Place]) {
        self.ctx.metrics.gate_fenced.inc();
        for place in places {
            let Some(window_start) = self.fences.note(place, clock::now()) else { continue };
            let (worker, topic, partition) = (&*self.ctx.worker, &*place.topic, place.partition);
            tracing::error!(topic, partition, "batches are dropped again and again");
            self.herald.tell(News {
                policy_name: "gate.fenced".into(),
                severity: Severity::High,
                subject: &format!("{} {partition} {worker}", place.topic_id),
                window_start,
                reason: format!(
                    "more than {FENCED_PER_MINUTE} batches of {topic}/{partition} were dropped within a minute: \
                     another worker moves it too"
                ),
                details: json!({"topic": topic, "partition": partition, "worker": worker}),
            });
        }
    }

    fn count(&self, batch: &Batch, admitted: &Admitted, began: Instant) {
        let m = &self.ctx.metrics;
        m.gate_batch_seconds.observe(began.elapsed().as_secs_f64());
        m.gate_replays.inc_by(admitted.replays as u64);
        m.gate_conflicts.inc_by(admitted.conflicts.len() as u64);
        for decided in &admitted.decided {
            let decision = &decided.decision;
            m.gate_decisions.with_label_values(&[decision.action.as_str()]).inc();
            if decision.decided_qty > decision.requested_qty {
                m.broken(Guarantee::QuantityNeverGrows, &*decision.idempotency_key);
            }
            for alert in &decided.alerts {
                let labels = [alert.policy_name.as_str(), alert.severity.as_str()];
                m.alerts.with_label_values(&labels).inc();
            }
        }
        for outcome in &admitted.commanded {
            let labels = [outcome.event.action.as_str(), outcome.event.status.as_str()];
            m.gate_commands.with_label_values(&labels).inc();
        }
        let refused = batch.refused.iter().chain(&admitted.conflicts).chain(&admitted.parked);
        for refusal in refused {
            let reason = refusal.reason.to_string();
            m.gate_refused.with_label_values(&[&reason]).inc();
            m.dead_letters.with_label_values(&[&reason]).inc();
            let (policy_name, severity) = refusal.rule();
            m.alerts.with_label_values(&[&policy_name, severity.as_str()]).inc();
        }
        for parked in &admitted.parked {
            m.broken(Guarantee::JudgedIsKept, &parked.why);
        }
        for trace in &admitted.over_cap {
            m.broken(Guarantee::CapsHold, trace);
        }
    }

    fn report(&self) {
        match self.brakes.trouble().or_else(|| self.floods.problem()) {
            Some(why) => self.ctx.health.not_ready("gate", why),
            None => self.ctx.health.ready("gate"),
        }
    }

    /// Something is away: stays in the group, reads nothing, tries again.
    async fn pause(&mut self, error: &GateError) -> Result<(), GateError> {
        tracing::warn!(%error, "the gate waits");
        self.ctx.health.not_ready("gate", error.to_string());
        Ok(self.input.sit_out(RETRY).await?)
    }

    /// Lets the batch in flight end and its events be acknowledged, and leaves the group.
    async fn drain(mut self, flight: Option<Flight>) -> Result<(), GateError> {
        let until = tokio::time::Instant::now() + DRAIN;
        let mut flight = flight;
        if flight.is_some() {
            match tokio::time::timeout_at(until, landing(&mut flight)).await {
                Ok(landed) => self.land(landed).await?,
                Err(_) => tracing::warn!("the last batch did not end in time; it is read again"),
            }
        }
        self.emitter.drain(until.saturating_duration_since(tokio::time::Instant::now())).await;
        Ok(self.input.leave().await?)
    }
}
