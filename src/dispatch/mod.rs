//! ROLE: claim → attempt → settle → emit (`run` is the whole loop).
//! Owns the way of a decided order to the broker. Never sends what is not committed as SENT, never resends
//! blindly. Invariants I6 (one effect per key), I5 (events are committed with what caused them).

pub mod broker;
pub(crate) mod cancel;
mod census;
pub(crate) mod choose;
mod claim;
mod door;
pub(crate) mod events;
pub(crate) mod fence;
pub(crate) mod fold;
mod follow;
pub(crate) mod halts;
pub(crate) mod heed;
mod host;
mod hourly;
mod lanes;
mod pace;
pub(crate) mod placing;
mod reconcile;
mod replace;
pub mod resolve;
pub(crate) mod road;
mod safe;
pub(crate) mod send;
pub(crate) mod settle;
mod start;
mod traced;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::broker::Broker;
use self::broker::handshake::{HandshakeError, Known};
use self::broker::protocol::PlaceOrder;
use self::broker::rest::Rest;
use self::cancel::Cancels;
use self::door::Door;
use self::events::Scribe;
use self::fold::{Manners, Outcome};
use self::follow::{Back, Told};
use self::halts::Halts;
use self::heed::Ear;
use self::lanes::Lanes;
use self::placing::place_order;
use self::replace::Replaces;
use crate::kafka::registry::RegistryError;
use crate::owed::Emitter;
use crate::pg::lanes::LaneKey;
use crate::pg::listen::{OUTBOX_CHANNEL, listen};
use crate::pg::outbox::{self, OrderRow, OutboxError};
use crate::runtime::clock::{Boot, boot};
use crate::runtime::context::Context;

/// How long a stop waits for answers that are on their way.
const DRAIN: Duration = Duration::from_secs(8);
/// How often the open orders are counted; counting looks at all of them.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Pause after a failed round, and between tries to start.
const RETRY: Duration = Duration::from_millis(250);

/// Why dispatch does not go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DispatchError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("an order was moved by someone else in between")]
    Moved,
    #[error("the broker does not tell its positions: {0}")]
    Positions(broker::NoAnswer),
    #[error(transparent)]
    Encode(#[from] crate::wire::EncodeError),
    #[error("the halt file of this host cannot be watched: {0}")]
    HaltFile(std::io::Error),
    #[error("a sender ended badly: {0}")]
    Sender(#[from] tokio::task::JoinError),
}

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    /// The same again in a moment; nothing is lost.
    Retry,
    /// A human must act: the role ends, and whoever takes over reconciles.
    Halt,
}

impl DispatchError {
    fn disposition(&self) -> Disposition {
        use DispatchError::*;
        match self {
            Pool(_) | Postgres(_) | Moved | Positions(_) | Outbox(OutboxError::Postgres(_)) => {
                Disposition::Retry
            }
            Handshake(HandshakeError::Unavailable { .. }) => Disposition::Retry,
            Registry(RegistryError::Unavailable { .. }) => Disposition::Retry,
            Handshake(_) | Registry(_) | Kafka(_) | Outbox(OutboxError::Row { .. }) => {
                Disposition::Halt
            }
            Encode(_) | Sender(_) | HaltFile(_) => Disposition::Halt,
        }
    }
}

/// What every part of dispatch needs.
pub(crate) struct Dispatch {
    ctx: Context,
    /// What everything is called through.
    broker: Arc<Door>,
    known: ArcSwap<Known>,
    scribe: Scribe,
    emitter: Emitter,
    halts: Halts,
    stop: CancellationToken,
}

/// A flight that ended: a lane's batch (with its lane), questions, or a cancel or a replacement (with its order).
#[derive(Default)]
struct Landed {
    lane: Option<LaneKey>,
    /// Of a cancel: whether it left.
    cancel: Option<(String, bool)>,
    replace: Option<String>,
    outcomes: Vec<Outcome>,
}

/// Everything the loop holds between two rounds.
#[derive(Default)]
struct Flights {
    lanes: Lanes,
    flying: JoinSet<Landed>,
    asking: HashSet<String>,
    cancels: Cancels,
    replaces: Replaces,
    landed: Vec<Landed>,
    ear: Ear,
    counted: Option<Boot>,
}

/// Sends decided orders to the configured broker until `stop`, then drains.
pub async fn run(ctx: Context, stop: CancellationToken) -> Result<(), DispatchError> {
    let broker = Arc::new(Rest::of(&ctx.config)?);
    run_with(ctx, broker, stop).await
}

/// Sends decided orders to this broker until `stop`, then drains.
pub async fn run_with(
    ctx: Context,
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
) -> Result<(), DispatchError> {
    let Some(dispatch) = start::start(ctx, broker, &stop).await? else { return Ok(()) };
    let config = dispatch.ctx.config.clone();
    let wake = Arc::new(Notify::new());
    tokio::spawn(listen(config.database.url.clone(), OUTBOX_CHANNEL, wake.clone(), stop.clone()));
    let back = Arc::new(Back::default());
    let Some(place) = start::place(&dispatch).await? else { return Ok(()) };
    let (mut heard, mut unusable) = listen_to_broker(&dispatch, (place, back.clone()));
    let mut flights = Flights { ear: Ear::at(place), ..Flights::default() };
    loop {
        // In this order: a stop stops; what landed frees lanes; then what is new.
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(error) = unusable.recv() => return Err(error.into()),
            Some(landed) = flights.flying.join_next() => flights.landed.push(landed?),
            Some(told) = heard.recv(), if flights.ear.has_room() => flights.ear.hear(told),
            () = wake.notified() => flights.lanes.look_again(),
            () = tokio::time::sleep(Duration::from_millis(config.dispatch.poll_ms)) => {}
        }
        while let Some(landed) = flights.flying.try_join_next() {
            flights.landed.push(landed?);
        }
        match round(&dispatch, &mut flights, &wake, &back).await {
            Ok(()) => dispatch.ctx.health.ready("dispatch"),
            Err(error) if error.disposition() == Disposition::Retry => {
                tracing::warn!(%error, "dispatch tries again");
                dispatch.ctx.health.not_ready("dispatch", error.to_string());
                flights.lanes.doubt();
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
    drain(&dispatch, flights).await
}

/// Begins what goes on beside the loop: the broker's events, handshakes, comparisons of positions. What is
/// heard, and an error if the broker must not be used any more.
fn listen_to_broker(
    dispatch: &Arc<Dispatch>,
    from: (Option<u64>, Arc<Back>),
) -> (mpsc::Receiver<Told>, mpsc::Receiver<HandshakeError>) {
    let (tell, heard) = mpsc::channel(follow::PAGES_MAX);
    if dispatch.known().capabilities.events {
        let (broker, metrics) = (dispatch.broker.clone(), dispatch.ctx.metrics.clone());
        tokio::spawn(follow::follow(broker, metrics, from, tell, dispatch.stop.clone()));
    }
    let (end, unusable) = mpsc::channel(1);
    tokio::spawn(hourly::shares(dispatch.clone()));
    tokio::spawn(safe::watch(dispatch.clone(), end.clone()));
    tokio::spawn(hourly::handshakes(dispatch.clone(), end));
    tokio::spawn(hourly::comparisons(dispatch.clone()));
    (heard, unusable)
}

/// Settle what landed, look after the lanes, claim and send, ask what is due.
async fn round(
    dispatch: &Arc<Dispatch>,
    flights: &mut Flights,
    wake: &Notify,
    back: &Back,
) -> Result<(), DispatchError> {
    flights.settle(dispatch).await?;
    flights.lanes.keep(dispatch, dispatch.place(&flights.ear)).await?;
    if let Some(place) = flights.lanes.hear_from().filter(|place| flights.ear.forget(*place)) {
        back.to(place);
    }
    let ours = flights.lanes.all().into_iter().map(|lane| lane.key).collect();
    let outcomes = flights.ear.heed(dispatch, &ours).await?;
    if !outcomes.is_empty() {
        flights.landed.push(Landed { outcomes, ..Landed::default() });
        flights.settle(dispatch).await?;
    }
    // Each its own room: sends that wait for their turn keep no cancel and no question back.
    let most = dispatch.ctx.config.dispatch.in_flight_max;
    let room = most.saturating_sub(flights.lanes.busy());
    let claim = claim::claim(dispatch, &flights.lanes.idle(room)).await?;
    flights.lanes.found_nothing(claim.barren.iter());
    for (lane, batch) in claim.sends {
        let Some(lease) = flights.lanes.depart(&lane) else {
            flights.lanes.doubt();
            continue;
        };
        let sending = send::send_lane(dispatch.clone(), lease, batch);
        flights.flying.spawn(async move {
            Landed { lane: Some(lane), outcomes: sending.await, ..Landed::default() }
        });
    }
    if !claim.findings.is_empty() {
        flights.landed.push(Landed { outcomes: claim.findings, ..Landed::default() });
        flights.settle(dispatch).await?;
        wake.notify_one(); // there may be more behind them
    }
    if dispatch.broker.safe.check().is_ok() {
        ask(dispatch, flights).await?;
    }
    if flights.counted.is_none_or(|at| boot().since(at) > COUNT_EVERY) {
        flights.counted = Some(boot());
        census::count(dispatch).await?;
    }
    dispatch.ctx.metrics.broker_paused.set(i64::from(dispatch.broker.is_quiet()));
    Ok(())
}

/// Asks the broker for what is wanted cancelled or replaced, and about what is due.
async fn ask(dispatch: &Arc<Dispatch>, flights: &mut Flights) -> Result<(), DispatchError> {
    let most = dispatch.ctx.config.dispatch.in_flight_max;
    let room = most.saturating_sub(flights.cancels.flying());
    let cancels = flights.cancels.due(dispatch, &flights.lanes, room).await?;
    for (row, code, lease) in cancels {
        let key = row.key.to_string();
        let cancel = send::cancel(dispatch.clone(), lease, row, code);
        flights.flying.spawn(async move {
            let (outcomes, was_sent) = cancel.await;
            Landed { cancel: Some((key, was_sent)), outcomes, ..Landed::default() }
        });
    }
    let room = most.saturating_sub(flights.replaces.flying());
    for (row, lease) in flights.replaces.due(dispatch, &flights.lanes, room).await? {
        let key = row.key.to_string();
        let replacing = replace::replace(dispatch.clone(), lease, row);
        flights.flying.spawn(async move {
            Landed { replace: Some(key), outcomes: replacing.await, ..Landed::default() }
        });
    }
    let client = dispatch.ctx.pool.get().await?;
    let room = most.saturating_sub(flights.asking.len());
    for row in outbox::questions(&client, &flights.lanes.all(), room).await? {
        if flights.asking.insert(row.key.to_string()) {
            let asking = send::ask(dispatch.clone(), row);
            flights
                .flying
                .spawn(async move { Landed { outcomes: asking.await, ..Landed::default() } });
        }
    }
    Ok(())
}

impl Flights {
    /// Settles everything that landed, in one transaction; on an error it stays to be settled again.
    async fn settle(&mut self, dispatch: &Dispatch) -> Result<(), DispatchError> {
        let outcomes: Vec<Outcome> =
            self.landed.iter().flat_map(|l| l.outcomes.iter().cloned()).collect();
        if !outcomes.is_empty() {
            settle::count(dispatch, &settle::settle(dispatch, &outcomes).await?);
        }
        for landed in self.landed.drain(..) {
            if let Some((key, was_sent)) = &landed.cancel {
                self.cancels.landed(key, *was_sent);
            }
            if let Some(key) = &landed.replace {
                self.replaces.landed(key);
            }
            for outcome in &landed.outcomes {
                self.asking.remove(outcome.row.key.as_str());
            }
            if let Some(lane) = landed.lane {
                self.lanes.arrive(&lane, &landed.outcomes);
            }
        }
        Ok(())
    }
}

/// Waits for answers on their way, settles them, and lets the lanes go.
async fn drain(dispatch: &Dispatch, mut flights: Flights) -> Result<(), DispatchError> {
    let all = async {
        while let Some(landed) = flights.flying.join_next().await {
            flights.landed.push(landed?);
        }
        flights.settle(dispatch).await
    };
    match tokio::time::timeout(DRAIN, all).await {
        Ok(drained) => drained?,
        // Their lanes stay leased until the end of the lease; whoever takes them asks the broker.
        Err(_) => {
            tracing::warn!("answers did not come in time; a takeover will ask");
            return Ok(());
        }
    }
    flights.lanes.release(dispatch, dispatch.place(&flights.ear)).await?;
    dispatch.emitter.drain(DRAIN).await;
    Ok(())
}

impl Dispatch {
    /// What the broker says it is and can, now.
    fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// How far this process has acted on what the broker tells by itself, where nothing else tells of an order.
    fn place(&self, ear: &Ear) -> Option<u64> {
        self.known().capabilities.only_tells().then(|| ear.place()).flatten()
    }

    fn manners(&self) -> Manners {
        let config = &self.ctx.config.broker;
        Manners {
            capabilities: self.known.load().capabilities.clone(),
            settle_ms: config.settle_ms,
            late_fill_ms: config.late_fill_s.saturating_mul(1_000),
        }
    }

    /// What is sent for a row: the same every time.
    fn place_order(&self, row: &OrderRow) -> PlaceOrder {
        place_order(row, &self.known.load().capabilities)
    }
}
