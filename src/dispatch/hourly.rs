//! Owns what is done at the start and then every so often: what the broker can, and what it holds.
//! Never stops a role but for a broker that must not be used any more (F61).
//! Invariant (C-OUT-8): what the broker says it can is recorded before the first attempt under it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::broker::handshake::{HandshakeError, Known, drift, shake_hands};
use super::broker::protocol::Capabilities;
use super::events::{Notice, Scribe};
use super::reconcile::{self, Ended, HOLD_MS};
use super::{Dispatch, DispatchError};
use crate::domain::event::Severity;
use crate::owed::{self, Emitter, Owed};
use crate::pg::{broker, halts};
use crate::runtime::clock;
use crate::runtime::context::Context;

/// Pause after a handshake or a comparison that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Pause between two counts of the dispatch processes that share the broker's limits.
const COUNT: Duration = Duration::from_secs(1);

/// How many dispatch processes live, this one among them.
pub async fn senders(ctx: &Context) -> Result<u32, DispatchError> {
    let others = halts::others(&ctx.pool.get().await?, &ctx.worker).await?;
    Ok(u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1))
}

/// Takes this process's share of the broker's limits, as others come and go.
pub async fn shares(dispatch: Arc<Dispatch>) {
    while rest(&dispatch, COUNT).await {
        match senders(&dispatch.ctx).await {
            Ok(senders) => dispatch.broker.share(senders),
            // Nothing is sent without Postgres.
            Err(error) => tracing::debug!(%error, "who else sends is not known"),
        }
    }
}

/// Sleeps; false: it is time to stop.
pub async fn rest(dispatch: &Dispatch, pause: Duration) -> bool {
    tokio::select! {
        () = dispatch.stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

/// Asks the broker again and again what it can.
pub async fn handshakes(dispatch: Arc<Dispatch>, end: mpsc::Sender<HandshakeError>) {
    let every = Duration::from_secs(dispatch.ctx.config.broker.handshake_s);
    let environment = dispatch.ctx.config.broker.environment.clone();
    let mut pause = every;
    while rest(&dispatch, pause).await {
        pause = every;
        match shake_hands(&*dispatch.broker, &environment).await {
            Ok(known) => {
                if let Err(error) = take(&dispatch, known).await {
                    tracing::warn!(%error, "what the broker can is not noted yet");
                    pause = AGAIN;
                }
            }
            Err(HandshakeError::Unavailable { broker, why }) => {
                tracing::warn!(broker, %why, "the broker does not tell what it can");
                pause = AGAIN.min(every);
            }
            Err(error) => return unusable(&dispatch, error, &end).await,
        }
    }
}

/// From now on the broker is what it says it is.
pub async fn take(dispatch: &Dispatch, known: Known) -> Result<(), DispatchError> {
    if known == *dispatch.known() {
        return Ok(());
    }
    let (batch, events) = note(&dispatch.ctx, &dispatch.scribe, &known).await?;
    dispatch.broker.shaken_hands(&known);
    dispatch.known.store(Arc::new(known));
    dispatch.emitter.emit(dispatch.emitter.room_now(), batch, events);
    Ok(())
}

/// The broker must not be used any more: that is told, and the role ends (F61).
pub async fn unusable(
    dispatch: &Dispatch,
    error: HandshakeError,
    end: &mpsc::Sender<HandshakeError>,
) {
    let notice = Notice {
        policy_name: "do.capabilities_drift",
        severity: Severity::Critical,
        subject: dispatch.ctx.config.broker.name.clone(),
        reason: error.to_string(),
        details: json!({"broker": dispatch.ctx.config.broker.name}),
    };
    let told = tell(&dispatch.ctx, &dispatch.scribe, &dispatch.emitter, &[notice]).await;
    if let Err(error) = told {
        tracing::error!(%error, "the alert could not be committed");
    }
    // Full: it ends already.
    let _ = end.try_send(error);
}

/// What was committed and is owed: the batch and its events.
pub type Told = (Option<i64>, Vec<Owed>);

/// Records what the broker says it can; that it is something else than before is an alert, once among all.
pub async fn note(ctx: &Context, scribe: &Scribe, known: &Known) -> Result<Told, DispatchError> {
    let name = &ctx.config.broker.name;
    let value = serde_json::to_value(&known.capabilities).unwrap_or_default();
    let mut client = ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let before = broker::note_capabilities(&tx, name, &known.digest, &value).await?;
    let before = before.and_then(|value| serde_json::from_value::<Capabilities>(value).ok());
    let (mut events, mut notices) = (Vec::new(), Vec::new());
    if let Some(before) = before {
        let changes = drift(&before, &known.capabilities);
        tracing::warn!(?changes, "the broker says something else of itself than before");
        let notice = Notice {
            policy_name: "do.capabilities_drift",
            severity: Severity::High,
            subject: format!("{name}|{}", known.digest),
            reason: changes.join("; "),
            details: json!({"broker": name, "digest": known.digest, "changes": changes}),
        };
        events.push(scribe.notice(&notice, clock::now())?);
        notices.push(notice);
    }
    let batch = owed::insert(&tx, &ctx.worker, &events).await?;
    tx.commit().await?;
    notices.iter().for_each(|notice| count(ctx, notice));
    Ok((batch, events))
}

/// Commits notices and emits them.
pub async fn tell(
    ctx: &Context,
    scribe: &Scribe,
    emitter: &Emitter,
    notices: &[Notice],
) -> Result<(), DispatchError> {
    let now = clock::now();
    let events = notices.iter().map(|notice| scribe.notice(notice, now));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let room = emitter.room_now();
    let mut client = ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let batch = owed::insert(&tx, &ctx.worker, &events).await?;
    tx.commit().await?;
    notices.iter().for_each(|notice| count(ctx, notice));
    emitter.emit(room, batch, events);
    Ok(())
}

/// Counts a notice that is committed.
pub fn count(ctx: &Context, notice: &Notice) {
    let labels = [notice.policy_name, notice.severity.as_str()];
    ctx.metrics.alerts.with_label_values(&labels).inc();
}

/// Compares positions with the broker's again and again.
pub async fn comparisons(dispatch: Arc<Dispatch>) {
    if !dispatch.known().capabilities.positions {
        tracing::warn!("the broker tells no positions: they are not compared");
        return;
    }
    let every = Duration::from_secs(dispatch.ctx.config.broker.positions_s);
    // At the start in any case; then no sooner than that, whoever did it last.
    let mut rested = Duration::ZERO;
    loop {
        let pause = match reconcile::round(&dispatch, rested).await {
            Ok(Ended::Done) => every,
            // Whoever has the round may be gone without having finished it.
            Ok(Ended::Elsewhere) => Duration::from_millis(HOLD_MS).min(every),
            Err(error) => {
                tracing::warn!(%error, "positions could not be compared");
                AGAIN.min(every)
            }
        };
        rested = every.mul_f64(0.9);
        if !rest(&dispatch, pause).await {
            return;
        }
    }
}
