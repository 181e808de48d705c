//! Owns telling: gathers changes into messages, calls receivers, keeps the ledger of it.
//! Never calls before the intent is committed, nor when its lease may be over. Invariant: one process tells at a time;
//! whoever takes over settles what the one before left in doubt before it sends anything.

mod call;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::call::Call;
use super::{Book, NotifyError, Shelf, news, pulse, slo};
use crate::domain::notice::{attempt, letter};
use crate::owed::Emitter;
use crate::pg::notify::{self, lease, messages};
use crate::runtime::context::Context;

/// Its name in `/readyz`.
const PART: &str = "notify-teller";
/// Pause between two turns.
const TURN: Duration = Duration::from_millis(200);
/// Pause between two looks for what is over, and at what the metrics show.
const REST: Duration = Duration::from_secs(1);
/// Pause between two times that what is long over is forgotten.
const FORGET: Duration = Duration::from_secs(600);
/// How long a stop waits for calls under way.
const DRAIN: Duration = Duration::from_secs(7);

/// Until when the lease is certainly ours, for those who call.
pub(super) type Lease = Arc<Mutex<Option<Instant>>>;

/// Whether the lease is certainly ours now.
pub(super) fn is_ours(lease: &Lease) -> bool {
    let until = *lease.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    until.is_some_and(|until| Instant::now() < until)
}

/// Tells people, if its turn it is.
pub struct Teller {
    ctx: Context,
    shelf: Shelf,
    emitter: Emitter,
    is_caught_up: Arc<AtomicBool>,
    lease: Lease,
    /// Under which the lease is ours.
    epoch: Option<i64>,
    renewed: Option<Instant>,
    calls: JoinSet<()>,
    beats: JoinSet<()>,
    looks: JoinSet<()>,
    next: Next,
}

/// When something is done again.
struct Next {
    rest: Instant,
    slo: Instant,
    pulse: Instant,
    forget: Instant,
}

/// Whether it is time; if so, the next time is set.
fn is_time(next: &mut Instant, every: Duration) -> bool {
    let now = Instant::now();
    let is_time = now >= *next;
    if is_time {
        *next = now + every;
    }
    is_time
}

impl Teller {
    /// One of a process that reads alerts.
    pub fn new(
        ctx: &Context,
        shelf: &Shelf,
        emitter: &Emitter,
        is_caught_up: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            ctx: ctx.clone(),
            shelf: shelf.clone(),
            emitter: emitter.clone(),
            is_caught_up,
            lease: Arc::default(),
            epoch: None,
            renewed: None,
            calls: JoinSet::new(),
            beats: JoinSet::new(),
            looks: JoinSet::new(),
            next: Next { rest: now, slo: now, pulse: now, forget: now + FORGET },
        }
    }

    /// Tells until `stop`, then waits for the calls under way and gives the lease back.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(TURN) => {}
            }
            for tasks in [&mut self.calls, &mut self.beats, &mut self.looks] {
                while tasks.try_join_next().is_some() {}
            }
            match self.turn().await {
                Ok(()) => self.ctx.health.ready(PART),
                Err(error) => {
                    tracing::warn!(%error, "nobody can be told now");
                    self.ctx.health.not_ready(PART, error.to_string());
                }
            }
        }
        let calls = async { while self.calls.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, calls).await.is_err() {
            tracing::warn!("calls are under way still; whoever tells next has them in doubt");
        }
        if let Err(error) = self.give_back().await {
            tracing::debug!(%error, "the lease ends by itself");
        }
    }

    async fn give_back(&self) -> Result<(), NotifyError> {
        let Some(epoch) = self.epoch else { return Ok(()) };
        let client = self.ctx.pool.get().await?;
        Ok(lease::give_back(&client, &self.ctx.worker, epoch).await?)
    }

    async fn turn(&mut self) -> Result<(), NotifyError> {
        self.lead().await?;
        let Some(epoch) = self.epoch else { return Ok(()) };
        let book = self.shelf.load_full();
        if is_time(&mut self.next.rest, REST) {
            self.rest(epoch, &book).await?;
            self.gauge().await?;
        }
        if is_time(&mut self.next.slo, Duration::from_secs(self.ctx.config.notify.slo_poll_s)) {
            let (ctx, book, emitter) = (self.ctx.clone(), book.clone(), self.emitter.clone());
            // Beside the turns: a view that takes long must keep nobody from being told.
            if self.looks.is_empty() {
                self.looks.spawn(slo::look(ctx, book, emitter, epoch));
            }
        }
        let (is_untold, is_due) = messages::anything(&self.ctx.pool.get().await?).await?;
        if is_untold {
            self.gather(epoch, &book).await?;
        }
        if is_untold || is_due {
            self.send(epoch, &book).await?;
        }
        if let Some(every) = book.pulse.as_ref().map(|pulse| pulse.every)
            && self.beats.is_empty()
            && is_time(&mut self.next.pulse, every)
        {
            self.beats.spawn(pulse::beat(self.ctx.clone(), book, self.is_caught_up.clone()));
        }
        if is_time(&mut self.next.forget, FORGET) {
            messages::forget(&self.ctx.pool.get().await?).await?;
        }
        Ok(())
    }

    /// Takes the lease or renews it, in good time. Whoever takes it settles what is in doubt.
    async fn lead(&mut self) -> Result<(), NotifyError> {
        let length = Duration::from_millis(self.ctx.config.notify.lease_ms);
        if self.epoch.is_some() && self.renewed.is_some_and(|at| at.elapsed() < length / 4) {
            return Ok(());
        }
        let asked = Instant::now();
        let client = self.ctx.pool.get().await?;
        let taken = lease::take(&client, &self.ctx.worker, self.ctx.config.notify.lease_ms).await?;
        drop(client);
        let until = taken.map(|_| asked + length);
        *self.lease.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = until;
        self.ctx.metrics.notify_leads.set(i64::from(taken.is_some()));
        self.renewed = Some(asked);
        if let Some(epoch) = taken
            && taken != self.epoch
        {
            tracing::info!(epoch, "this process tells now");
            self.epoch = None;
            self.settle_doubts(epoch).await?;
        }
        if taken.is_none() && self.epoch.is_some() {
            self.stand_by();
        }
        self.epoch = taken;
        Ok(())
    }

    /// Another process tells: what it sees is no longer told of by this one.
    fn stand_by(&self) {
        tracing::warn!("another process tells now");
        self.ctx.health.ready(slo::PART);
        self.ctx.metrics.notify_open.reset();
        self.ctx.metrics.notify_outstanding.reset();
        self.ctx.metrics.notify_untold.set(0);
    }

    async fn settle_doubts(&self, epoch: i64) -> Result<(), NotifyError> {
        let mut client = self.ctx.pool.get().await?;
        let tx = client.transaction().await?;
        if !lease::hold(&tx, &self.ctx.worker, epoch).await? {
            return Ok(());
        }
        let doubts = messages::settle_doubts(&tx, epoch).await?;
        tx.commit().await?;
        for doubt in doubts {
            let outcome = if doubt.is_repeated { "repeated" } else { "unknown" };
            tracing::warn!(doubt.id, doubt.receiver, outcome, "nobody knows whether it arrived");
            self.ctx
                .metrics
                .notify_messages
                .with_label_values(&[doubt.receiver.as_str(), outcome])
                .inc();
        }
        Ok(())
    }

    /// Ends conditions of which nothing more was heard, unless there may be something that was not read yet.
    async fn rest(&self, epoch: i64, book: &Book) -> Result<(), NotifyError> {
        if !self.is_caught_up.load(Relaxed) {
            return Ok(());
        }
        let terms = book.routes.pace.terms();
        let mut client = self.ctx.pool.get().await?;
        let tx = client.transaction().await?;
        if !lease::hold(&tx, &self.ctx.worker, epoch).await? {
            return Ok(());
        }
        let now = notify::now(&tx).await?;
        let before = now.checked_sub(terms.resolve_after).unwrap_or(now);
        let mut quiet = notify::quiet(&tx, before).await?;
        let changes: Vec<_> = quiet.iter_mut().filter_map(|c| c.rest(now, &terms)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let quiet: Vec<_> = quiet.iter().collect();
        news::keep(&tx, &book.routes, &quiet, &changes, now).await?;
        tx.commit().await?;
        news::count_changes(&self.ctx, &changes);
        Ok(())
    }

    /// Makes the messages that are due.
    async fn gather(&self, epoch: i64, book: &Book) -> Result<(), NotifyError> {
        let mut client = self.ctx.pool.get().await?;
        let tx = client.transaction().await?;
        if !lease::hold(&tx, &self.ctx.worker, epoch).await? {
            return Ok(());
        }
        let (now, waiting) = messages::waiting(&tx).await?;
        let pace = &book.routes.pace;
        for (receiver, waiting) in waiting {
            for (is_critical, is_due) in [
                (true, waiting.is_critical_due(now, pace)),
                (false, waiting.are_others_due(now, pace)),
            ] {
                if !is_due {
                    continue;
                }
                let changes = messages::untold(&tx, &receiver, is_critical).await?;
                let Some(letter) = letter::compose(&receiver, &changes, now) else { continue };
                let kind = book.callers.get(&receiver).map(|caller| caller.kind);
                let repeats = kind.is_some_and(|kind| attempt::repeats(kind, &letter));
                messages::make(&tx, &letter, &changes, (is_critical, repeats)).await?;
            }
        }
        Ok(tx.commit().await?)
    }

    /// Commits the intent to send what is due, and sends it.
    async fn send(&mut self, epoch: i64, book: &Arc<Book>) -> Result<(), NotifyError> {
        let mut client = self.ctx.pool.get().await?;
        let gone = messages::gone_under(&client, &book.routes.digest).await?;
        let tx = client.transaction().await?;
        if !lease::hold(&tx, &self.ctx.worker, epoch).await? {
            return Ok(());
        }
        let claimed = messages::claim(&tx, epoch).await?;
        tx.commit().await?;
        for message in claimed {
            let is_gone = gone.contains(&message.letter.receiver);
            let call = Call {
                ctx: self.ctx.clone(),
                book: book.clone(),
                emitter: self.emitter.clone(),
                lease: self.lease.clone(),
                epoch,
                message,
                is_gone,
            };
            self.calls.spawn(call.run());
        }
        Ok(())
    }

    async fn gauge(&self) -> Result<(), NotifyError> {
        let gauges = messages::gauges(&self.ctx.pool.get().await?).await?;
        let m = &self.ctx.metrics;
        m.notify_open.reset();
        for (severity, n) in &gauges.open {
            m.notify_open.with_label_values(&[severity.as_str()]).set(*n);
        }
        m.notify_outstanding.reset();
        for (receiver, n) in &gauges.outstanding {
            m.notify_outstanding.with_label_values(&[receiver.as_str()]).set(*n);
        }
        m.notify_untold.set(gauges.untold_s);
        Ok(())
    }
}
