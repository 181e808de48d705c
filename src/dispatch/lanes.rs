//! Owns which lanes this process holds, and what each is doing.
//! Never hands out a lane whose earlier attempts have no outcome: a takeover settles them as UNKNOWN first.
//! Invariant: one batch of a lane in flight at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::fence::Lease;
use super::fold::{Finding, Outcome};
use super::send::taken_over;
use super::settle::{count, settle};
use super::{Dispatch, DispatchError};
use crate::pg::cancels;
use crate::pg::lanes::{self, HeldLane, LaneKey, Work};
use crate::pg::outbox;
use crate::runtime::clock::{Boot, boot};

/// Longest pause of a lane whose sends do not leave, milliseconds; it begins at 100 and doubles.
const PAUSE_MAX_MS: u64 = 5_000;

/// Lanes held at most, those included whose orders only rest.
const RESTING_MAX: usize = 10_000;

struct Lane {
    epoch: i64,
    lease: Arc<Lease>,
    busy: bool,
    /// As of the last look: something in it may be to be sent.
    moves: bool,
    /// And yet nothing could be claimed when it was offered last.
    barren: bool,
    pause_ms: u64,
    not_before: Option<Boot>,
    worked_at: Boot,
    /// When it was last offered for a claim.
    offered: Option<Boot>,
}

/// The lanes held, and when they were last looked after.
#[derive(Default)]
pub struct Lanes {
    held: HashMap<LaneKey, Lane>,
    looked: Option<Boot>,
    renewed: Option<Boot>,
    in_doubt: bool,
    /// A lane was taken whose last holder may not have acted on what the broker told after this place.
    hear_from: Option<u64>,
}

impl Lanes {
    /// Something new may be waiting in lanes not held.
    pub fn look_again(&mut self) {
        self.looked = None;
    }

    /// A round failed: perhaps its claim was committed all the same (F35), and nobody is sending it.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// From where on what the broker told must be heard again.
    pub fn hear_from(&mut self) -> Option<u64> {
        self.hear_from.take()
    }

    /// Renews what is held (every third of a lease) and takes lanes that have work and no holder. `heard` is how far this
    /// process has acted on what the broker tells, if nothing but that tells of an order.
    pub async fn keep(
        &mut self,
        dispatch: &Dispatch,
        heard: Option<u64>,
    ) -> Result<(), DispatchError> {
        let config = &dispatch.ctx.config.dispatch;
        let over = |since: Option<Boot>, ms: u64| {
            since.is_none_or(|since| boot().since(since) >= Duration::from_millis(ms))
        };
        if over(self.renewed, config.lease_ms / 3) {
            self.renew(dispatch, config.lease_ms, heard).await?;
        }
        if over(self.looked, config.poll_ms) {
            self.take(dispatch, config.lease_ms, heard).await?;
        }
        if self.in_doubt {
            reconcile(dispatch, &self.list(|lane| !lane.busy)).await?;
            self.in_doubt = false;
        }
        Ok(())
    }

    async fn renew(
        &mut self,
        dispatch: &Dispatch,
        lease_ms: u64,
        heard: Option<u64>,
    ) -> Result<(), DispatchError> {
        let asked = boot();
        // A lane without work for a whole lease is let go: another worker may be less busy.
        let idle = |lane: &Lane| {
            !lane.busy && asked.since(lane.worked_at) > Duration::from_millis(lease_ms)
        };
        let leaving = self.list(|lane| idle(lane));
        let staying = self.list(|lane| !idle(lane));
        let client = dispatch.ctx.pool.get().await?;
        note_heard(dispatch, &client, &self.all(), heard).await?;
        if !leaving.is_empty() {
            for lane in &leaving {
                self.held.remove(&lane.key);
            }
            lanes::release(&client, &dispatch.ctx.worker, &leaving).await?;
        }
        if !staying.is_empty() {
            let ours = lanes::renew(&client, &dispatch.ctx.worker, lease_ms, &staying).await?;
            let ours: HashSet<LaneKey> = ours.into_iter().map(|l| l.key).collect();
            for lane in staying {
                match self.held.get(&lane.key) {
                    Some(held) if ours.contains(&lane.key) => held.lease.prolong(asked, lease_ms),
                    Some(held) => {
                        held.lease.lose();
                        tracing::warn!(lane = ?lane.key, "lane taken by another worker");
                    }
                    None => {}
                }
                let lost = !ours.contains(&lane.key);
                if lost && self.held.get(&lane.key).is_some_and(|held| !held.busy) {
                    self.held.remove(&lane.key);
                }
            }
        }
        self.renewed = Some(asked);
        Ok(())
    }

    async fn take(
        &mut self,
        dispatch: &Dispatch,
        lease_ms: u64,
        heard: Option<u64>,
    ) -> Result<(), DispatchError> {
        let asked = boot();
        let client = dispatch.ctx.pool.get().await?;
        let work = lanes::with_work(&client).await?;
        drop(client);
        self.held.values_mut().for_each(|lane| lane.moves = false);
        let (mut moving, mut resting) = (Vec::new(), Vec::new());
        for Work { key, moves } in work {
            match self.held.get_mut(&key) {
                Some(lane) => {
                    (lane.worked_at, lane.moves) = (asked, moves);
                    // What comes next may be claimable.
                    lane.barren &= moves;
                }
                None if moves => moving.push(key),
                None => resting.push(key),
            }
        }
        // A host that is halted by its own file leaves them to others.
        let (held_here, _) = dispatch.halts.here();
        if !held_here {
            // Twice what can fly: the rest is for other workers. What only rests takes no place of what moves.
            let most = dispatch.ctx.config.dispatch.in_flight_max * 2;
            let room = most.saturating_sub(self.held.values().filter(|lane| lane.counts()).count());
            self.take_some(dispatch, (lease_ms, heard), &moving, room).await?;
            let room = RESTING_MAX.saturating_sub(self.held.len());
            self.take_some(dispatch, (lease_ms, heard), &resting, room).await?;
        }
        self.looked = Some(asked);
        Ok(())
    }

    /// Takes those of the lanes that nobody holds, at most `room`, and settles what their last holder left.
    async fn take_some(
        &mut self,
        dispatch: &Dispatch,
        (lease_ms, heard): (u64, Option<u64>),
        wanted: &[LaneKey],
        room: usize,
    ) -> Result<(), DispatchError> {
        if wanted.is_empty() || room == 0 {
            return Ok(());
        }
        let asked = boot();
        let mut client = dispatch.ctx.pool.get().await?;
        let taken = lanes::take(&mut client, &dispatch.ctx.worker, lease_ms, wanted, room).await?;
        if taken.is_empty() {
            return Ok(());
        }
        cancels::hurry(&client, &taken).await?;
        if let Some(heard) = heard.and_then(|heard| i64::try_from(heard).ok()) {
            let worker = &dispatch.ctx.worker;
            let from = lanes::begin_hearing(&client, worker, &taken, heard).await?;
            let from = from.and_then(|from| u64::try_from(from).ok());
            self.hear_from = self.hear_from.into_iter().chain(from).min();
        }
        drop(client);
        reconcile(dispatch, &taken).await?;
        self.held.extend(taken.into_iter().map(|lane| {
            let lease = Arc::new(Lease::new(asked, lease_ms));
            (lane.key, Lane::new(lane.epoch, lease, asked))
        }));
        Ok(())
    }

    fn list(&self, wanted: impl Fn(&Lane) -> bool) -> Vec<HeldLane> {
        let lane =
            |(key, lane): (&LaneKey, &Lane)| HeldLane { key: key.clone(), epoch: lane.epoch };
        self.held.iter().filter(|(_, l)| wanted(l)).map(lane).collect()
    }

    /// Lanes that may be claimed from now, at most `limit`: those in which something moves first, then those that were
    /// offered longest ago, or lanes in which there is nothing to claim would keep others waiting for ever.
    pub fn idle(&mut self, limit: usize) -> Vec<HeldLane> {
        let now = boot();
        let is_idle = |lane: &Lane| {
            !lane.busy && lane.not_before.is_none_or(|at| now >= at) && lane.lease.holds(now)
        };
        let mut idle: Vec<_> = self.held.iter_mut().filter(|(_, lane)| is_idle(lane)).collect();
        idle.sort_by_key(|(_, lane)| (!lane.counts(), lane.offered));
        idle.truncate(limit);
        let offer = |(key, lane): (&LaneKey, &mut Lane)| {
            lane.offered = Some(now);
            HeldLane { key: key.clone(), epoch: lane.epoch }
        };
        idle.into_iter().map(offer).collect()
    }

    /// Nothing was to be claimed in these lanes: what is in them waits for something else.
    pub fn found_nothing<'a>(&mut self, lanes: impl Iterator<Item = &'a LaneKey>) {
        for key in lanes {
            if let Some(lane) = self.held.get_mut(key) {
                lane.barren = true;
            }
        }
    }

    /// How many lanes have a batch in flight.
    pub fn busy(&self) -> usize {
        self.held.values().filter(|lane| lane.busy).count()
    }

    /// Every lane held.
    pub fn all(&self) -> Vec<HeldLane> {
        self.list(|_| true)
    }

    /// A batch of the lane is about to fly; its fence.
    pub fn depart(&mut self, key: &LaneKey) -> Option<Arc<Lease>> {
        let lane = self.held.get_mut(key)?;
        (lane.busy, lane.barren) = (true, false);
        lane.worked_at = boot();
        Some(lane.lease.clone())
    }

    /// The lane's batch has been settled. A lane whose sends do not leave pauses, longer each time.
    pub fn arrive(&mut self, key: &LaneKey, outcomes: &[Outcome]) {
        let Some(lane) = self.held.get_mut(key) else { return };
        lane.busy = false;
        let stuck = outcomes.iter().any(|o| match &o.finding {
            Finding::NotSent { code } => !matches!(*code, "halted" | "reduce_only" | "too_old"),
            _ => false,
        });
        lane.pause_ms = if stuck { (lane.pause_ms * 2).clamp(100, PAUSE_MAX_MS) } else { 0 };
        lane.not_before = stuck.then(|| boot().after(Duration::from_millis(lane.pause_ms)));
        if !lane.lease.holds(boot()) {
            self.renewed = None; // find out now whether it is still ours
        }
    }

    /// The fence of a lane, whatever it is doing.
    pub fn lease(&self, key: &LaneKey) -> Option<Arc<Lease>> {
        self.held.get(key).map(|lane| lane.lease.clone())
    }

    /// Lets every lane go.
    pub async fn release(
        self,
        dispatch: &Dispatch,
        heard: Option<u64>,
    ) -> Result<(), DispatchError> {
        let client = dispatch.ctx.pool.get().await?;
        note_heard(dispatch, &client, &self.all(), heard).await?;
        lanes::release(&client, &dispatch.ctx.worker, &self.all()).await?;
        Ok(())
    }
}

async fn note_heard(
    dispatch: &Dispatch,
    client: &tokio_postgres::Client,
    held: &[HeldLane],
    heard: Option<u64>,
) -> Result<(), DispatchError> {
    if let (Some(Ok(heard)), false) = (heard.map(i64::try_from), held.is_empty()) {
        lanes::note_heard(client, &dispatch.ctx.worker, held, heard).await?;
    }
    Ok(())
}

/// Attempts without an outcome in lanes in which nothing flies become UNKNOWN, to be asked about.
async fn reconcile(dispatch: &Dispatch, lanes: &[HeldLane]) -> Result<(), DispatchError> {
    let client = dispatch.ctx.pool.get().await?;
    let stranded = outbox::stranded(&client, lanes).await?;
    drop(client);
    let findings: Vec<Outcome> = stranded.into_iter().map(taken_over).collect();
    if !findings.is_empty() {
        tracing::warn!(orders = findings.len(), "took over attempts without an outcome");
        count(dispatch, &settle(dispatch, &findings).await?);
    }
    Ok(())
}

impl Lane {
    fn new(epoch: i64, lease: Arc<Lease>, worked_at: Boot) -> Self {
        Self {
            epoch,
            lease,
            busy: false,
            moves: true,
            barren: false,
            pause_ms: 0,
            not_before: None,
            worked_at,
            offered: None,
        }
    }

    /// Whether it takes a place among those in which something moves.
    fn counts(&self) -> bool {
        self.busy || self.moves && !self.barren
    }
}
