//! Door: dispatch's only way to its broker. Waits for a turn, and heeds what the answers ask for (F57).
//! Never retries, and never keeps an answer back. Invariant: after every wait, right before the socket, it is asked once
//! more whether a write may begin: by the caller, and by whether the broker refuses us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::broker::handshake::{HandshakeError, Known};
use super::broker::protocol::{
    CallKind, Capabilities, EventPage, PlaceOrder, Positions, ReplaceOrder,
};
use super::broker::{Asked, Broker, MayWrite, Moved, NoAnswer, Placed};
use super::pace::{Pace, Rank};
use super::safe::{NOT_AUTHORISED, Safe};
use crate::runtime::context::Context;
use crate::runtime::metrics::Metrics;

/// A broker that has had enough and does not say for how long is left in peace for so long.
const PEACE: Duration = Duration::from_secs(1);

/// Code of a call that was not made since the process stops.
pub const STOPPING: &str = "stopping";

/// The broker behind its limits and its wishes.
pub struct Door {
    broker: Arc<dyn Broker>,
    pace: Pace,
    /// Whether it refuses us.
    pub safe: Safe,
    quiet_max: Duration,
    stop: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Door {
    /// A door before this broker; what is waited for is not waited for any more after `stop`.
    pub fn new(ctx: &Context, broker: Arc<dyn Broker>, stop: CancellationToken) -> Self {
        let pace = Pace::new(ctx.metrics.clone());
        let quiet_max = Duration::from_millis(ctx.config.broker.quiet_max_ms);
        let metrics = ctx.metrics.clone();
        Self { broker, pace, safe: Safe::new(ctx), quiet_max, stop, metrics }
    }

    /// What the broker says it can, now.
    pub fn shaken_hands(&self, known: &Known) {
        self.pace.limit(&known.capabilities.rate_limits);
    }

    /// How many processes share its limits.
    pub fn share(&self, senders: u32) {
        self.pace.share(senders);
    }

    /// Whether nothing may be sent now: the broker asks for peace, or refuses us.
    pub fn is_shut(&self) -> bool {
        self.is_quiet() || self.safe.check().is_err()
    }

    /// Whether nothing is called now, since the broker has asked for peace.
    pub fn is_quiet(&self) -> bool {
        self.pace.is_quiet()
    }

    /// How many more orders that open may be claimed, if at most `waiting_max` may wait for their turn.
    pub fn room(&self, waiting_max: usize) -> usize {
        self.pace.room(waiting_max)
    }

    /// Waits until a call may be made, or the process stops. To be dropped when the call is not wanted any more.
    pub async fn turn(&self, call: CallKind, rank: Rank) -> Result<(), &'static str> {
        tokio::select! {
            biased;
            () = self.pace.turn(call, rank) => Ok(()),
            () = self.stop.cancelled() => Err(STOPPING),
        }
    }

    async fn question(&self, call: CallKind) -> Result<(), NoAnswer> {
        let may_ask = self.turn(call, Rank::Later).await.and_then(|()| self.safe.check());
        may_ask.map_err(not_asked)
    }

    /// The last look before a write: the caller's, and whether the broker has refused us meanwhile.
    fn last_look<'a>(&'a self, may_write: MayWrite<'a>) -> MayWrite<'a> {
        Box::new(|| self.safe.check().and_then(|()| may_write()))
    }

    /// What an answer to this call says besides.
    fn heed(&self, call: &str, code: &str, detail: &str, retry_after: Option<Duration>) {
        let (wish, why) = match (code, retry_after) {
            (NOT_AUTHORISED, _) => return self.safe.begin(call, detail),
            ("rate_limited", wish) => (wish.unwrap_or(PEACE), "rate_limited"),
            (_, Some(wish)) => (wish, "unavailable"),
            (_, None) => return,
        };
        self.pace.keep_quiet(wish.min(self.quiet_max), why);
    }

    /// A wish as far as it is granted.
    fn granted(&self, wish: Option<Duration>) -> Option<Duration> {
        wish.map(|wish| wish.min(self.quiet_max))
    }

    fn no_answer(&self, call: &str, none: NoAnswer) -> NoAnswer {
        self.heed(call, none.code, &none.detail, none.retry_after);
        NoAnswer { retry_after: self.granted(none.retry_after), ..none }
    }

    /// Of calls that were not made no time is told.
    fn took(&self, call: &str, began: Instant, outcome: &str) {
        if outcome != "not_sent" {
            let seconds = &self.metrics.broker_call_seconds;
            seconds.with_label_values(&[call, outcome]).observe(began.elapsed().as_secs_f64());
        }
    }

    fn moved(&self, call: &str, moved: Moved) -> Moved {
        match moved {
            Moved::Unknown { code, detail, retry_after } => {
                self.heed(call, code, &detail, retry_after);
                Moved::Unknown { code, detail, retry_after: self.granted(retry_after) }
            }
            clear => clear,
        }
    }

    /// The broker's secret may have been changed: it is read again.
    pub fn renew_secret(&self) {
        self.broker.renew_secret();
    }
}

/// How a send ended, in the words of the metrics.
pub fn word_of_placed(placed: &Placed) -> &'static str {
    match placed {
        Placed::Known(_) => "answered",
        Placed::Refused { .. } => "refused",
        Placed::Mismatch(_) => "mismatch",
        Placed::NotSent { .. } => "not_sent",
        Placed::Unknown { .. } => "unknown",
    }
}

fn word_of_asked(asked: &Asked) -> &'static str {
    match asked {
        Asked::Known(_) => "answered",
        Asked::Mismatch(_) => "mismatch",
        Asked::NotFound => "not_found",
        Asked::Failed(_) => "unknown",
    }
}

fn word_of_moved(moved: &Moved) -> &'static str {
    match moved {
        Moved::Known(_) => "answered",
        Moved::Refused { .. } => "refused",
        Moved::Mismatch(_) => "mismatch",
        Moved::NotFound => "not_found",
        Moved::NotSent { .. } => "not_sent",
        Moved::Unknown { .. } => "unknown",
    }
}

fn not_asked(code: &'static str) -> NoAnswer {
    NoAnswer { code, detail: "it was not asked".into(), retry_after: None }
}

#[async_trait]
impl Broker for Door {
    async fn capabilities(&self) -> Result<Capabilities, HandshakeError> {
        if let Err(code) = self.turn(CallKind::Query, Rank::Later).await {
            let (broker, why) = ("the broker".into(), not_asked(code));
            return Err(HandshakeError::Unavailable { broker, why });
        }
        self.broker.capabilities().await.map_err(|error| match error {
            HandshakeError::Unavailable { broker, why } => {
                HandshakeError::Unavailable { broker, why: self.no_answer("capabilities", why) }
            }
            clear => clear,
        })
    }

    /// Its turn has been waited for by who sends: only that one knows what the order does.
    async fn place(&self, order: &PlaceOrder, may_write: MayWrite<'_>) -> Placed {
        let began = Instant::now();
        let placed = self.broker.place(order, self.last_look(may_write)).await;
        self.took("place", began, word_of_placed(&placed));
        match placed {
            Placed::Unknown { code, detail, retry_after } => {
                self.heed("an order", code, &detail, retry_after);
                Placed::Unknown { code, detail, retry_after: self.granted(retry_after) }
            }
            clear => clear,
        }
    }

    async fn ask(&self, order: &PlaceOrder) -> Asked {
        if let Err(none) = self.question(CallKind::Query).await {
            return Asked::Failed(none);
        }
        let began = Instant::now();
        let asked = self.broker.ask(order).await;
        self.took("query", began, word_of_asked(&asked));
        match asked {
            Asked::Failed(none) => Asked::Failed(self.no_answer("a question", none)),
            clear => clear,
        }
    }

    async fn cancel(&self, order: &PlaceOrder, reason: &str, may_write: MayWrite<'_>) -> Moved {
        if let Err(code) = self.turn(CallKind::Cancel, Rank::First).await {
            return Moved::NotSent { code };
        }
        let may_write = self.last_look(may_write);
        let began = Instant::now();
        let moved = self.broker.cancel(order, reason, may_write).await;
        self.took("cancel", began, word_of_moved(&moved));
        self.moved("a cancel", moved)
    }

    async fn replace(
        &self,
        order: &PlaceOrder,
        with: &ReplaceOrder,
        may_write: MayWrite<'_>,
    ) -> Moved {
        if let Err(code) = self.turn(CallKind::Replace, Rank::Later).await {
            return Moved::NotSent { code };
        }
        let may_write = self.last_look(may_write);
        let began = Instant::now();
        let moved = self.broker.replace(order, with, may_write).await;
        self.took("replace", began, word_of_moved(&moved));
        self.moved("a replace", moved)
    }

    async fn positions(&self, account: &str) -> Result<Positions, NoAnswer> {
        self.question(CallKind::Query).await?;
        let began = Instant::now();
        let told = self.broker.positions(account).await;
        self.took("positions", began, if told.is_ok() { "answered" } else { "unknown" });
        told.map_err(|none| self.no_answer("positions", none))
    }

    async fn events(&self, after: Option<u64>, wait: Duration) -> Result<EventPage, NoAnswer> {
        self.question(CallKind::Events).await?;
        let told = self.broker.events(after, wait).await;
        told.map_err(|none| self.no_answer("events", none))
    }
}
