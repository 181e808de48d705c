//! SAFE: the broker refuses us (HTTP 401 or 403), so nothing is asked or written but handshakes, until one succeeds (F57).
//! Never guesses what became of the call that was refused: an order of it is UNKNOWN.
//! Invariant: while it lasts no write begins.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, mpsc};

use super::broker::NoAnswer;
use super::broker::handshake::{HandshakeError, shake_hands};
use super::door::Door;
use super::events::{Notice, Scribe};
use super::{Dispatch, hourly};
use crate::domain::event::Severity;
use crate::owed::Emitter;
use crate::runtime::clock::{Boot, boot, now};
use crate::runtime::context::Context;

/// Code of what is not written or asked meanwhile.
pub const SAFE: &str = "broker_refuses_us";
/// Code of a call that the broker refused like that.
pub const NOT_AUTHORISED: &str = "not_authorised";
/// Pause before the first handshake; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Refused again so soon it is the same outage: it is not told anew, and the pauses stay long.
const RELAPSE: Duration = Duration::from_secs(60);

/// Whether the broker refuses us.
pub struct Safe {
    ctx: Context,
    why: Mutex<Option<String>>,
    began: Notify,
}

impl Safe {
    /// Not so, until it has refused something.
    pub fn new(ctx: &Context) -> Self {
        Self { ctx: ctx.clone(), why: Mutex::new(None), began: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, Option<String>> {
        self.why.lock().expect("no panic while SAFE is held")
    }

    /// Since when and why.
    pub fn why(&self) -> Option<String> {
        self.held().clone()
    }

    /// Asked before every call but a handshake, of a write at the last moment.
    pub fn check(&self) -> Result<(), &'static str> {
        match *self.held() {
            None => Ok(()),
            Some(_) => Err(SAFE),
        }
    }

    /// The broker has refused a call.
    pub fn begin(&self, call: &str, detail: &str) {
        let mut why = self.held();
        if why.is_some() {
            return;
        }
        let told = format!("SAFE since {}: the broker refuses us ({call}: {detail})", now());
        tracing::error!(call, detail, "SAFE: the broker refuses us, and nothing is sent");
        self.ctx.metrics.dispatch_safe.set(1);
        self.ctx.health.not_ready("broker", told.clone());
        *why = Some(told);
        self.began.notify_one();
    }

    /// A handshake has succeeded.
    pub fn end(&self) {
        if self.held().take().is_some() {
            tracing::warn!("SAFE is over: the broker has shaken hands again");
            self.ctx.metrics.dispatch_safe.set(0);
            self.ctx.health.ready("broker");
        }
    }
}

/// How long to wait for the next handshake, and whether somebody was told.
#[derive(Default)]
pub struct Outage {
    pause: Option<Duration>,
    told: bool,
    over: Option<Boot>,
}

impl Outage {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.pause.map_or(PAUSE, |last| (last * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        pause
    }

    /// It begins, perhaps again.
    fn begins(&mut self) {
        if self.over.take().is_some_and(|over| boot().since(over) > RELAPSE) {
            *self = Self::default();
        }
    }

    /// Tells of it, once.
    pub async fn tell(&mut self, ctx: &Context, scribe: &Scribe, emitter: &Emitter, why: &str) {
        if self.told {
            return;
        }
        let name = &ctx.config.broker.name;
        let notice = Notice {
            policy_name: "do.broker_refuses_us",
            severity: Severity::Critical,
            subject: format!("{name}|{}", ctx.worker),
            reason: why.to_string(),
            details: json!({"broker": name, "worker": &*ctx.worker}),
        };
        match hourly::tell(ctx, scribe, emitter, &[notice]).await {
            Ok(()) => self.told = true,
            Err(error) => tracing::error!(%error, "the alert could not be committed"),
        }
    }
}

/// Whether a handshake failed because the broker refuses us.
pub fn is_refusal(error: &HandshakeError) -> bool {
    matches!(error, HandshakeError::Unavailable { why, .. } if why.code == NOT_AUTHORISED)
}

/// Whether an answer like this says nothing of the order that was asked about: the broker was not asked, or did not listen.
pub fn says_nothing(none: &NoAnswer) -> bool {
    matches!(none.code, SAFE | NOT_AUTHORISED | super::door::STOPPING)
}

/// Shakes hands until it succeeds whenever the broker refuses us; a broker that must not be used any more ends the role.
pub async fn watch(dispatch: Arc<Dispatch>, end: mpsc::Sender<HandshakeError>) {
    let mut outage = Outage::default();
    loop {
        let safe = &dispatch.broker.safe;
        if safe.why().is_none() {
            tokio::select! {
                () = dispatch.stop.cancelled() => return,
                () = safe.began.notified() => {}
            }
        }
        outage.begins();
        while let Some(why) = safe.why() {
            outage.tell(&dispatch.ctx, &dispatch.scribe, &dispatch.emitter, &why).await;
            if !hourly::rest(&dispatch, outage.pause()).await {
                return;
            }
            match again(&dispatch).await {
                Ok(()) => outage.over = Some(boot()),
                Err(Some(error)) => {
                    hourly::unusable(&dispatch, error, &end).await;
                    return;
                }
                Err(None) => {}
            }
        }
    }
}

/// One more handshake, with the secret as it is now. An error if the broker must not be used.
async fn again(dispatch: &Arc<Dispatch>) -> Result<(), Option<HandshakeError>> {
    let door: &Door = &dispatch.broker;
    door.renew_secret();
    match shake_hands(door, &dispatch.ctx.config.broker.environment).await {
        Ok(known) => match hourly::take(dispatch, known).await {
            Ok(()) => {
                door.safe.end();
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "what the broker can is not noted yet");
                Err(None)
            }
        },
        Err(error @ HandshakeError::Unavailable { .. }) => {
            tracing::warn!(%error, "SAFE goes on");
            Err(None)
        }
        Err(error) => Err(Some(error)),
    }
}
