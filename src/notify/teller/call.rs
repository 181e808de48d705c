//! One message on its way: the call, what follows from its answer, and the ledger.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::super::post::post;
use super::super::{Book, NotifyError, herald};
use super::{Lease, is_ours};
use crate::domain::event::Severity;
use crate::domain::notice::attempt::{self, Answer, Next};
use crate::owed::{self, Emitter, Owed};
use crate::pg::notify::messages::{self, Claimed};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::crash_point;

/// Pause before a result that could not be kept is tried to be kept again.
const RETRY: Duration = Duration::from_millis(250);

/// One message on its way.
pub(super) struct Call {
    pub ctx: Context,
    pub book: Arc<Book>,
    pub emitter: Emitter,
    pub lease: Lease,
    pub epoch: i64,
    pub message: Claimed,
    /// Its receiver wants no more.
    pub is_gone: bool,
}

impl Call {
    /// Makes the attempt that was committed, and keeps its result, however long that takes: while it is not kept, only
    /// this process knows it.
    pub async fn run(self) {
        let (next, status) = self.attempt().await;
        let receiver = self.message.letter.receiver.as_str();
        let outcome = match &next {
            Next::Delivered => "delivered",
            Next::Again(..) => "again",
            Next::Unknown(_) => "unknown",
            Next::Failed(_) | Next::Gone => "failed",
        };
        self.ctx.metrics.notify_messages.with_label_values(&[receiver, outcome]).inc();
        while let Err(error) = self.keep(&next, status).await {
            tracing::warn!(%error, id = self.message.letter.id, outcome, "a result waits to be kept");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attempt(&self) -> (Next, u16) {
        let letter = &self.message.letter;
        let Some(caller) = self.book.callers.get(&letter.receiver) else {
            return (Next::Failed("no such receiver in the file any more".into()), 0);
        };
        if self.is_gone {
            let why = "the receiver answered 410 and is left alone until the file changes";
            return (Next::Failed(why.into()), 0);
        }
        crash_point("notify/before-post");
        // This process may have been stopped for a while: another one tells by now.
        let answer = match is_ours(&self.lease) {
            true => {
                let timer = self.ctx.metrics.notify_post_seconds.start_timer();
                let answer = post(caller, letter, self.message.is_uncertain).await;
                timer.observe_duration();
                answer
            }
            false => Answer::NothingLeft("the lease may be over".into()),
        };
        crash_point("notify/after-post");
        let status = if let Answer::Status(status, _) = answer { status } else { 0 };
        tracing::debug!(
            id = letter.id,
            receiver = letter.receiver,
            ?answer,
            "a receiver was called"
        );
        let age = clock::now().duration_since(self.message.made_at).max(SignedDuration::ZERO);
        let (repeats, attempts) = (self.message.repeats, self.message.attempts);
        let pace = &self.book.routes.pace;
        (attempt::next(answer, repeats, attempts, age, pace, rand::random()), status)
    }

    /// Keeps the result, and with it the alert that follows from it.
    async fn keep(&self, next: &Next, status: u16) -> Result<(), NotifyError> {
        let letter = &self.message.letter;
        let event = self.event(next).await?;
        let room = match &event {
            Some(_) => Some(self.emitter.room().await),
            None => None,
        };
        let mut client = self.ctx.pool.get().await?;
        let tx = client.transaction().await?;
        let claim = (letter.id.as_str(), self.epoch);
        let is_news = match next {
            Next::Delivered => {
                messages::delivered(&tx, &letter.id, status).await?;
                false
            }
            Next::Again(pause, why, may_have_arrived) => {
                messages::again(&tx, claim, *pause, why, *may_have_arrived).await?;
                false
            }
            Next::Unknown(why) => {
                messages::ended(&tx, claim, true, why).await?;
                false
            }
            Next::Failed(why) => messages::ended(&tx, claim, false, why).await? && !self.is_gone,
            Next::Gone => {
                messages::ended(&tx, claim, false, "HTTP 410").await?;
                messages::gone(&tx, &letter.receiver, &self.book.routes.digest).await?
            }
        };
        let events: Vec<Owed> = event.filter(|_| is_news).into_iter().collect();
        let row = owed::insert(&tx, &self.ctx.worker, &events).await?;
        tx.commit().await?;
        self.emitter.emit(room, row, events);
        Ok(())
    }

    /// What is told of a message that did not arrive.
    async fn event(&self, next: &Next) -> Result<Option<Owed>, NotifyError> {
        let letter = &self.message.letter;
        let told = match next {
            Next::Failed(why) => {
                let is_critical = letter.is_critical();
                let severity = if is_critical { Severity::Critical } else { Severity::High };
                let reason =
                    format!("{} was not told: {why}: {}", letter.receiver, letter.headline());
                ("notify.delivery_failed", severity, reason)
            }
            Next::Gone => {
                let reason = format!("{} answered 410: it is told nothing more", letter.receiver);
                ("notify.receiver_gone", Severity::Critical, reason)
            }
            Next::Delivered | Next::Again(..) | Next::Unknown(_) => return Ok(None),
        };
        let (rule, severity, reason) = told;
        let details = json!({"receiver": letter.receiver, "message": letter.id});
        let event = herald::trouble(&self.ctx, rule, severity, &letter.id, (reason, details));
        event.await.map(Some)
    }
}
