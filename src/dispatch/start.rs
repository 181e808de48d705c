//! Start: schemas, halts and a handshake before anything is claimed.
//! Never claims or sends. Invariant (F61, F57): with a wrong broker the role ends, and with one that refuses us it waits in SAFE.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::broker::handshake::shake_hands;
use super::door::Door;
use super::events::Scribe;
use super::halts::Halts;
use super::safe::{self, Outage};
use super::{Dispatch, DispatchError, Disposition, RETRY, hourly};
use crate::owed::Emitter;
use crate::pg::lanes;
use crate::runtime::context::Context;

/// What a start has got so far; each part once, however often it is tried.
#[derive(Default)]
struct Begun {
    scribe: Option<Scribe>,
    emitter: Option<Emitter>,
    halts: Option<Halts>,
}

/// Schemas, halts, handshake. Waits for a service that is away, and in SAFE for a broker that refuses us; a wrong
/// broker ends the role (F61).
pub async fn start(
    ctx: Context,
    broker: Arc<dyn Broker>,
    stop: &CancellationToken,
) -> Result<Option<Arc<Dispatch>>, DispatchError> {
    let door = Arc::new(Door::new(&ctx, broker, stop.clone()));
    let (mut begun, mut outage) = (Begun::default(), Outage::default());
    loop {
        let error = match prepare(&ctx, &door, &mut begun, stop).await {
            Ok(dispatch) => return Ok(Some(Arc::new(dispatch))),
            Err(error) if error.disposition() == Disposition::Halt => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(%error, "dispatch cannot start yet");
        ctx.health.not_ready("dispatch", error.to_string());
        let refused = matches!(&error, DispatchError::Handshake(e) if safe::is_refusal(e));
        let pause = if refused { outage.pause() } else { RETRY };
        if let (true, Some(why), Some(scribe), Some(emitter)) =
            (refused, door.safe.why(), &begun.scribe, &begun.emitter)
        {
            outage.tell(&ctx, scribe, emitter, &why).await;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        if refused {
            door.renew_secret();
        }
    }
}

/// Where to begin to listen, before anything is sent: where the last one was that listened to a broker that only tells.
/// Without a place for any other broker, whose newest event will do. None at all: it is to stop.
pub async fn place(dispatch: &Dispatch) -> Result<Option<Option<u64>>, DispatchError> {
    if !dispatch.known().capabilities.only_tells() {
        return Ok(Some(None));
    }
    loop {
        let error = match last_place(dispatch).await {
            Ok(Some(place)) => return Ok(Some(Some(place))),
            Ok(None) => match dispatch.broker.events(None, Duration::ZERO).await {
                Ok(page) => return Ok(Some(Some(page.last))),
                Err(none) => format!("the broker's events are away: {} {}", none.code, none.detail),
            },
            Err(error) if error.disposition() == Disposition::Halt => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(error, "dispatch cannot start yet");
        dispatch.ctx.health.not_ready("dispatch", error);
        tokio::select! {
            () = dispatch.stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn last_place(dispatch: &Dispatch) -> Result<Option<u64>, DispatchError> {
    let client = dispatch.ctx.pool.get().await?;
    let furthest = lanes::furthest_heard(&client).await?;
    Ok(furthest.and_then(|place| u64::try_from(place).ok()))
}

async fn prepare(
    ctx: &Context,
    door: &Arc<Door>,
    begun: &mut Begun,
    stop: &CancellationToken,
) -> Result<Dispatch, DispatchError> {
    let scribe = match &begun.scribe {
        Some(scribe) => scribe.clone(),
        None => begun.scribe.insert(Scribe::new(&ctx.config, &ctx.registry).await?).clone(),
    };
    let emitter = match &begun.emitter {
        Some(emitter) => emitter.clone(),
        None => begun.emitter.insert(Emitter::start(ctx, stop.clone())?).clone(),
    };
    let halts = match &begun.halts {
        Some(halts) => halts.clone(),
        None => begun.halts.insert(Halts::watch(ctx, door.clone(), stop.clone()).await?).clone(),
    };
    let known = shake_hands(&**door, &ctx.config.broker.environment).await?;
    // Before the first attempt refers to it.
    let (batch, events) = hourly::note(ctx, &scribe, &known).await?;
    emitter.emit(emitter.room_now(), batch, events);
    door.shaken_hands(&known);
    door.share(hourly::senders(ctx).await?);
    door.safe.end();
    let (known, stop, ctx) = (ArcSwap::from_pointee(known), stop.clone(), ctx.clone());
    Ok(Dispatch { broker: door.clone(), known, scribe, halts, emitter, stop, ctx })
}
