//! Pace: when the broker may be called next: its rate limits, and the peace that it asks for (C-OUT-8, F57).
//! Never calls, and never says that a write is still wanted: who has waited asks that afterwards.
//! Invariant: what cancels or reduces never waits behind what opens, where the same limit holds both back.

mod bucket;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use self::bucket::Bucket;
use super::broker::protocol::{CallKind, RateLimit};
use crate::runtime::clock::{Boot, boot};
use crate::runtime::metrics::Metrics;

/// How much a call matters; what matters more goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It takes risk away: a cancel, an order that only reduces.
    First,
    /// It opens, or only asks.
    Later,
}

/// When calls may be made; shared by everything that calls.
pub struct Pace {
    state: Mutex<State>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

struct State {
    limits: Vec<RateLimit>,
    buckets: Vec<Bucket>,
    senders: u32,
    quiet_until: Option<Boot>,
    /// Who waits: what matters more before what matters less, then in the order in which they came.
    waiting: BTreeMap<(Rank, u64), CallKind>,
    tickets: u64,
}

/// A place among those who wait; given up when dropped.
struct Place<'a> {
    pace: &'a Pace,
    ticket: (Rank, u64),
}

impl Pace {
    /// Without limits, until the broker has told them.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let state = State {
            limits: vec![],
            buckets: vec![],
            senders: 1,
            quiet_until: None,
            waiting: BTreeMap::new(),
            tickets: 0,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the pace is held")
    }

    /// What the broker says of itself now.
    pub fn limit(&self, limits: &[RateLimit]) {
        let mut state = self.state();
        if state.limits != limits {
            let (senders, now) = (state.senders, boot());
            state.limits = limits.to_vec();
            let bucket = |limit: &RateLimit| Bucket::new(limit.clone(), senders, now);
            state.buckets = limits.iter().map(bucket).collect();
            self.changed.notify_waiters();
        }
    }

    /// How many processes call the broker: each takes its part.
    pub fn share(&self, senders: u32) {
        let mut state = self.state();
        self.metrics.broker_senders.set(i64::from(senders));
        if state.senders != senders {
            state.senders = senders;
            let now = boot();
            state.buckets.iter_mut().for_each(|bucket| bucket.shared_by(senders, now));
            self.changed.notify_waiters();
        }
    }

    /// Nothing is called for so long.
    pub fn keep_quiet(&self, time: Duration, why: &'static str) {
        let until = boot().after(time);
        let mut state = self.state();
        if state.quiet_until.is_none_or(|known| known < until) {
            if !state.is_quiet(boot()) {
                self.metrics.broker_pauses.with_label_values(&[why]).inc();
                tracing::warn!(why, ms = time.as_millis(), "the broker is left in peace");
            }
            state.quiet_until = Some(until);
        }
    }

    /// Whether the broker is left in peace.
    pub fn is_quiet(&self) -> bool {
        self.state().is_quiet(boot())
    }

    /// How many more orders that open may be made to wait here, if at most `waiting_max` may.
    pub fn room(&self, waiting_max: usize) -> usize {
        let state = self.state();
        if !state.buckets.iter().any(|bucket| bucket.covers(CallKind::Order)) {
            return usize::MAX;
        }
        let opens = |(ticket, call): (&(Rank, u64), &CallKind)| {
            ticket.0 == Rank::Later && *call == CallKind::Order
        };
        let waiting = state.waiting.iter().filter(|waits| opens(*waits)).count();
        waiting_max.saturating_sub(waiting)
    }

    /// Waits until a call of this kind may be made now. Given up at any time, it has taken nothing.
    pub async fn turn(&self, call: CallKind, rank: Rank) {
        let begun = boot();
        let place = self.place(call, rank);
        let mut waited = false;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            let Some(wait) = self.try_take(place.ticket, call) else { break };
            if !waited {
                waited = true;
                self.metrics.broker_waits.inc();
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if waited {
            self.metrics.broker_wait_seconds.observe(boot().since(begun).as_secs_f64());
        }
    }

    fn place(&self, call: CallKind, rank: Rank) -> Place<'_> {
        let mut state = self.state();
        state.tickets += 1;
        let ticket = (rank, state.tickets);
        state.waiting.insert(ticket, call);
        Place { pace: self, ticket }
    }

    /// Takes from every limit on the call, or from none: how long to wait then at least.
    fn try_take(&self, ticket: (Rank, u64), call: CallKind) -> Option<Duration> {
        let now = boot();
        let mut state = self.state();
        let wait = state.wait(ticket, call, now);
        if wait.is_some() {
            return wait;
        }
        let covering = state.buckets.iter_mut().filter(|bucket| bucket.covers(call));
        covering.for_each(|bucket| bucket.take(now));
        None
    }
}

impl State {
    fn is_quiet(&self, now: Boot) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// How long this one waits at least; none: it may go.
    fn wait(&self, ticket: (Rank, u64), call: CallKind, now: Boot) -> Option<Duration> {
        if let Some(until) = self.quiet_until.filter(|until| now < *until) {
            return Some(until.since(now));
        }
        let mine = || self.buckets.iter().filter(|bucket| bucket.covers(call));
        let wait = mine().map(|bucket| bucket.wait(now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Some(wait);
        }
        // Whoever is before us goes first, unless a limit that is none of ours holds it back.
        let goes_first = |theirs: CallKind| {
            let shared = mine().any(|bucket| bucket.covers(theirs));
            let held = |bucket: &Bucket| {
                bucket.covers(theirs) && !bucket.covers(call) && !bucket.wait(now).is_zero()
            };
            shared && !self.buckets.iter().any(held)
        };
        let before = self.waiting.range(..ticket).any(|(_, theirs)| goes_first(*theirs));
        before.then_some(SOON)
    }
}

/// Whoever is before us is about to go and says so; this is for the case that it cannot any more.
const SOON: Duration = Duration::from_millis(5);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pace.state().waiting.remove(&self.ticket);
        self.pace.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
