//! A dispatch worker: rounds of settling, renewing and taking lanes, heeding, claiming, cancelling, asking. What is
//! decided in them is the product's; what is here is what `dispatch::run` and `Lanes` do around it, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::fault::Fault;
use super::flight::{Flight, Task};
use super::plan::MS;
use super::{Event, Worker, World};
use crate::dispatch::broker::events;
use crate::dispatch::broker::protocol::OrderView;
use crate::dispatch::choose::{Chosen, begin, choose};
use crate::dispatch::fence::{Lease, alive_until};
use crate::dispatch::fold::{Finding, Outcome};
use crate::dispatch::heed::{has_more_fills, moves};
use crate::dispatch::placing::place_order;
use crate::dispatch::send::{taken_over, told, unasked};
use crate::domain::event::OrderStatus;
use crate::domain::order::Event as Happened;
use crate::pg::lanes::{HeldLane, LaneKey};
use crate::pg::outbox::OrderRow;
use crate::pg::risk::HaltRow;
use crate::runtime::clock::Boot;

/// Pause between two rounds of a sender with nothing to do; it grows to a third of the lease.
const IDLE_US: u64 = 50 * MS;
/// Pause after a failed round.
const RETRY: u64 = 250 * MS;
/// Pause between two looks for lanes that nobody holds.
const LOOK: u64 = 300 * MS;
/// Pause between two reads of the halts.
const READ: u64 = 50 * MS;
/// Longest pause of a lane whose sends do not leave, milliseconds.
const PAUSE_MAX_MS: u64 = 5_000;
/// Orders of one lane claimed together from a broker that dedupes.
const PER_LANE_DEDUPED: usize = 16;

/// One step of a sender's round, or of what goes on beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderStep {
    Settles,
    Renews,
    Takes,
    /// Settles what it found in lanes that it has just taken.
    TakesOver,
    Doubts,
    Heeds,
    Claims,
    Cancels,
    Asks,
    ReadsHalts,
}

impl SenderStep {
    /// The one after it, of a round in which it has nothing to do.
    fn next(self) -> Option<Self> {
        use SenderStep::*;
        Some(match self {
            Settles => Renews,
            Renews => Takes,
            Takes => TakesOver,
            TakesOver => Doubts,
            Doubts => Heeds,
            Heeds => Claims,
            Claims => Cancels,
            Cancels => Asks,
            Asks | ReadsHalts => return None,
        })
    }

    /// Whether it ends with a commit.
    fn commits(self) -> bool {
        use SenderStep::*;
        matches!(self, Settles | Takes | TakesOver | Doubts | Claims)
    }
}

/// A lane in hand, as `dispatch::lanes` has it.
pub struct Lane {
    pub epoch: i64,
    pub lease: Arc<Lease>,
    busy: bool,
    pause_ms: u64,
    not_before: Option<u64>,
    worked_at: u64,
}

/// Something that a flight came back with.
pub struct Landed {
    pub lane: Option<LaneKey>,
    pub cancel: Option<String>,
    pub outcomes: Vec<Outcome>,
}

/// What is known of the halts.
#[derive(Clone)]
pub struct Seen {
    pub at: Boot,
    pub halts: Vec<HaltRow>,
    pub number: i64,
}

/// A sender.
pub struct Sender {
    pub life: u32,
    pub is_down: bool,
    pub asleep_until: u64,
    pub skew_us: i64,
    pub name: String,
    which: usize,
    boot_us: u64,
    pub lanes: BTreeMap<LaneKey, Lane>,
    taking: Vec<(HeldLane, Boot)>,
    findings: Vec<Outcome>,
    renewed: Option<u64>,
    looked: Option<u64>,
    in_doubt: bool,
    pub landed: Vec<Landed>,
    pub flights: BTreeMap<u64, Flight>,
    asking: BTreeSet<String>,
    cancelling: BTreeSet<String>,
    pub seen: Option<Seen>,
    told: Option<i64>,
    ear: BTreeMap<String, Vec<OrderView>>,
    /// The event of its round that counts: any older one was overtaken by a wake-up.
    pub round: (u64, SenderStep),
    /// Whether its round waits for nothing but time.
    idles: bool,
    idle_us: u64,
    /// When the statement of the step at hand was sent.
    asked_us: u64,
    pub reads_halts: bool,
}

impl Sender {
    pub fn new(which: usize, chance: &mut Chance) -> Self {
        Self {
            life: 0,
            is_down: true,
            asleep_until: 0,
            skew_us: chance.around(200_000),
            name: String::new(),
            which,
            boot_us: 0,
            lanes: BTreeMap::new(),
            taking: Vec::new(),
            findings: Vec::new(),
            renewed: None,
            looked: None,
            in_doubt: false,
            landed: Vec::new(),
            flights: BTreeMap::new(),
            asking: BTreeSet::new(),
            cancelling: BTreeSet::new(),
            seen: None,
            told: None,
            ear: BTreeMap::new(),
            round: (0, SenderStep::Settles),
            idles: false,
            idle_us: IDLE_US,
            asked_us: 0,
            reads_halts: false,
        }
    }

    /// A new process on a machine that has been up for so long.
    pub fn starts(&mut self, boot_us: u64) {
        let (which, life, skew_us) = (self.which, self.life + 1, self.skew_us);
        let fresh = Self::new(which, &mut Chance::new(0));
        let name = format!("sender-{which}.{life}");
        *self = Self { life, is_down: false, skew_us, name, boot_us, reads_halts: true, ..fresh };
    }

    /// Its clock that runs on while it sleeps.
    pub fn boot(&self, at_us: u64) -> Boot {
        Boot::at(Duration::from_micros(at_us + self.boot_us))
    }

    fn held(&self, wanted: impl Fn(&Lane) -> bool) -> Vec<HeldLane> {
        let wanted = self.lanes.iter().filter(|(_, lane)| wanted(lane));
        wanted.map(|(key, lane)| HeldLane { key: key.clone(), epoch: lane.epoch }).collect()
    }

    /// Whether nothing is under way in it.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.landed.is_empty() && self.findings.is_empty()
    }
}

impl World {
    /// The next step of a sender's round.
    pub(super) fn sender_next(&mut self, which: usize, step: SenderStep, wait: u64) {
        let sender = &mut self.senders[which];
        sender.asked_us = self.now;
        sender.round = (self.now + wait, step);
        let life = sender.life;
        self.after(wait, Event::Sender(which, life, step));
    }

    /// Ends the pause of a sender that has nothing to do.
    pub(super) fn sender_wakes(&mut self, which: usize) {
        let sender = &mut self.senders[which];
        sender.idle_us = IDLE_US;
        if sender.idles {
            sender.idles = false;
            let wait = self.moment();
            self.sender_next(which, SenderStep::Settles, wait);
        }
    }

    /// Something new is in the outbox.
    pub(super) fn wake_senders(&mut self) {
        for which in 0..self.senders.len() {
            self.senders[which].looked = None;
            self.sender_wakes(which);
        }
    }

    /// A step of a sender, unless it is another process by now, sleeps, or dies of it.
    pub(super) fn sender(&mut self, which: usize, life: u32, step: SenderStep) {
        let sender = &mut self.senders[which];
        if sender.life != life || sender.is_down {
            return;
        }
        let beside = step == SenderStep::ReadsHalts;
        if !beside && sender.round != (self.now, step) {
            return;
        }
        if sender.asleep_until > self.now {
            let wakes = sender.asleep_until;
            if !beside {
                sender.round = (wakes, step);
            }
            return self.at(wakes, Event::Sender(which, life, step));
        }
        if beside {
            return self.sender_reads_halts(which);
        }
        if self.sender_is_struck(which) {
            return;
        }
        let mut step = step;
        while !self.speaks(which, step)
            && let Some(next) = step.next()
        {
            step = next;
        }
        let step = match (step, self.db_outcome(step)) {
            (step, DbOutcome::Works) => step,
            (_, DbOutcome::Refuses) => return self.sender_retries(which),
            // What the statement did stays; what it said was not heard.
            (SenderStep::Settles, DbOutcome::Unheard) => {
                let landed = self.senders[which].landed.iter();
                let outcomes: Vec<Outcome> = landed.flat_map(|l| l.outcomes.clone()).collect();
                self.settle(which, &outcomes);
                return self.sender_retries(which);
            }
            (step, DbOutcome::Unheard) => {
                self.sender_step(which, step);
                return self.sender_deaf(which, step);
            }
        };
        if let Some((next, wait)) = self.sender_step(which, step) {
            self.sender_next(which, next, wait);
        }
    }

    /// Dies or falls asleep right before a step, now and then.
    fn sender_is_struck(&mut self, which: usize) -> bool {
        if self.senders[which].idles {
            self.senders[which].idles = false;
            return false;
        }
        if self.strikes(Fault::SenderDies) {
            self.senders[which].is_down = true;
            let away = self.chance.between(50, 4_000) * MS;
            self.journal.note(self.now, format_args!("sender {which} dies"));
            self.after(away, Event::Starts(Worker::Sender(which)));
            return true;
        }
        if self.strikes(Fault::SenderSleeps) {
            let wakes = self.now + self.chance.between(50, 6_000) * MS;
            let sender = &mut self.senders[which];
            sender.asleep_until = wakes;
            let (life, step) = (sender.life, sender.round.1);
            sender.round = (wakes, step);
            self.journal.note(self.now, format_args!("sender {which} sleeps"));
            self.at(wakes, Event::Sender(which, life, step));
            return true;
        }
        false
    }

    /// Whether a step has anything to do; the last one always has.
    fn speaks(&self, which: usize, step: SenderStep) -> bool {
        let (at, sender) = (self.now, &self.senders[which]);
        let over = |since: Option<u64>, us: u64| since.is_none_or(|since| at - since >= us);
        match step {
            SenderStep::Settles => !sender.landed.is_empty(),
            SenderStep::Renews => over(sender.renewed, self.plan.lease_ms * MS / 3),
            SenderStep::Takes => over(sender.looked, LOOK),
            SenderStep::TakesOver => !sender.taking.is_empty() || !sender.findings.is_empty(),
            SenderStep::Doubts => sender.in_doubt,
            SenderStep::Heeds => !sender.ear.is_empty(),
            SenderStep::Claims | SenderStep::Cancels => !sender.lanes.is_empty(),
            SenderStep::Asks | SenderStep::ReadsHalts => true,
        }
    }

    /// What becomes of the statement of a step.
    fn db_outcome(&mut self, step: SenderStep) -> DbOutcome {
        let speaks = step != SenderStep::ReadsHalts;
        if speaks && self.strikes(Fault::DatabaseFails) {
            DbOutcome::Refuses
        } else if speaks && step.commits() && self.strikes(Fault::CommitUnheard) {
            DbOutcome::Unheard
        } else {
            DbOutcome::Works
        }
    }

    fn sender_retries(&mut self, which: usize) {
        self.senders[which].in_doubt = true;
        self.senders[which].taking.clear();
        self.senders[which].findings.clear();
        self.sender_next(which, SenderStep::Settles, RETRY);
    }

    /// Forgets what a step learned.
    fn sender_deaf(&mut self, which: usize, step: SenderStep) {
        match step {
            SenderStep::Claims => {
                let sender = &mut self.senders[which];
                let new: Vec<u64> = sender
                    .flights
                    .iter()
                    .filter(|(_, flight)| flight.is_new_send(self.now))
                    .map(|(number, _)| *number)
                    .collect();
                for number in new {
                    if let Some(Flight { task: Task::Lane { lane, .. }, .. }) =
                        sender.flights.remove(&number)
                        && let Some(lane) = sender.lanes.get_mut(&lane)
                    {
                        lane.busy = false;
                    }
                }
            }
            SenderStep::TakesOver => self.senders[which].taking.clear(),
            _ => {}
        }
        self.sender_retries(which);
    }

    /// Carries a step out; the next one and the pause before it.
    fn sender_step(&mut self, which: usize, step: SenderStep) -> Option<(SenderStep, u64)> {
        use SenderStep::*;
        let next = match step {
            Settles => {
                if !self.sender_settles(which) {
                    return Some((Settles, self.chance.between(1, 10) * MS));
                }
                Renews
            }
            Renews => {
                self.sender_renews(which);
                Takes
            }
            Takes => {
                self.sender_takes(which);
                TakesOver
            }
            TakesOver => {
                if !self.sender_takes_over(which) {
                    return Some((TakesOver, self.chance.between(1, 10) * MS));
                }
                Doubts
            }
            Doubts => {
                if !self.sender_doubts(which) {
                    return Some((Doubts, self.chance.between(1, 10) * MS));
                }
                Heeds
            }
            Heeds => {
                if self.sender_heeds(which) {
                    Settles
                } else {
                    Claims
                }
            }
            Claims => {
                if self.sender_claims(which) {
                    Settles
                } else {
                    Cancels
                }
            }
            Cancels => {
                self.sender_cancels(which);
                Asks
            }
            Asks => {
                self.sender_asks(which);
                let sender = &mut self.senders[which];
                if !sender.landed.is_empty() {
                    return Some((Settles, self.moment()));
                }
                // Time is all that it waits for: longer each time, but leases must be renewed.
                let most = self.plan.lease_ms * MS / 3;
                sender.idle_us = (sender.idle_us * 2).min(most);
                let wait = self.sender_wait(which);
                self.senders[which].idles = true;
                return Some((Settles, wait));
            }
            ReadsHalts => return None,
        };
        let wait = if step == Claims || step == Settles { self.moment() } else { 300 };
        Some((next, wait))
    }

    /// Until something may be due.
    fn sender_wait(&self, which: usize) -> u64 {
        let sender = &self.senders[which];
        let of_ours = |o: &&super::db::Sendable| sender.lanes.contains_key(&o.row.lane());
        let now = self.time();
        let questions = self.db.orders().filter(of_ours).filter_map(|o| o.next_query_at);
        let ask = questions.map(|at| at.duration_since(now).as_micros().max(1_000)).min();
        let ask = ask.and_then(|us| u64::try_from(us).ok()).unwrap_or(u64::MAX);
        sender.idle_us.min(ask)
    }

    fn sender_renews(&mut self, which: usize) {
        let (now, lease_ms, at) = (self.time(), self.plan.lease_ms, self.now);
        let sender = &mut self.senders[which];
        if sender.renewed.is_some_and(|since| at - since < lease_ms * MS / 3) {
            return;
        }
        let asked = sender.boot(sender.asked_us);
        let idle = |lane: &Lane| !lane.busy && at - lane.worked_at > lease_ms * MS;
        let (leaving, staying) = (sender.held(idle), sender.held(|lane| !idle(lane)));
        for lane in &leaving {
            sender.lanes.remove(&lane.key);
        }
        self.db.release_lanes(&sender.name, &leaving);
        let ours = self.db.renew_lanes(&sender.name, lease_ms, &staying, now);
        for lane in staying {
            let Some(held) = sender.lanes.get(&lane.key) else { continue };
            if ours.contains(&lane) {
                held.lease.prolong(asked, lease_ms);
            } else {
                held.lease.lose();
                if !held.busy {
                    sender.lanes.remove(&lane.key);
                }
            }
        }
        sender.renewed = Some(at);
    }

    fn sender_takes(&mut self, which: usize) {
        let (now, at) = (self.time(), self.now);
        let mut work = self.db.lanes_with_work();
        // First those in which something moves.
        work.sort_by_key(|lane| !lane.moves);
        let mut wanted: Vec<LaneKey> = work.into_iter().map(|lane| lane.key).collect();
        let sender = &mut self.senders[which];
        if sender.looked.is_some_and(|since| at - since < LOOK) {
            return;
        }
        for key in &wanted {
            if let Some(lane) = sender.lanes.get_mut(key) {
                lane.worked_at = at;
            }
        }
        wanted.retain(|key| !sender.lanes.contains_key(key));
        sender.looked = Some(at);
        if wanted.is_empty() {
            return;
        }
        let asked = sender.boot(sender.asked_us);
        let room = (self.plan.in_flight_max * 2).saturating_sub(sender.lanes.len());
        let taken = self.db.take_lanes(&sender.name, self.plan.lease_ms, &wanted, room, now);
        for lane in &taken {
            let HeldLane { key, epoch } = lane;
            self.journal.note(
                self.now,
                format_args!("sender {which} takes {}|{}, epoch {epoch}", key.account, key.symbol),
            );
        }
        sender.findings.extend(self.db.stranded(&taken, now).into_iter().map(taken_over));
        sender.taking = taken.into_iter().map(|lane| (lane, asked)).collect();
    }

    fn sender_takes_over(&mut self, which: usize) -> bool {
        let findings = std::mem::take(&mut self.senders[which].findings);
        if !self.settle(which, &findings) {
            self.senders[which].findings = findings;
            return false;
        }
        let (at, lease_ms) = (self.now, self.plan.lease_ms);
        let sender = &mut self.senders[which];
        for (lane, asked) in std::mem::take(&mut sender.taking) {
            let held = Lane {
                epoch: lane.epoch,
                lease: Arc::new(Lease::new(asked, lease_ms)),
                busy: false,
                pause_ms: 0,
                not_before: None,
                worked_at: at,
            };
            sender.lanes.insert(lane.key, held);
        }
        true
    }

    /// Attempts without an outcome in lanes in which nothing flies are unknown.
    fn sender_doubts(&mut self, which: usize) -> bool {
        if !self.senders[which].in_doubt {
            return true;
        }
        let lanes = self.senders[which].held(|lane| !lane.busy);
        let stranded = self.db.stranded(&lanes, self.time());
        let findings: Vec<Outcome> = stranded.into_iter().map(taken_over).collect();
        let settled = self.settle(which, &findings);
        if settled {
            self.senders[which].in_doubt = false;
        }
        settled
    }

    /// What the broker told by itself, as `dispatch::heed` takes it; whether anything is to be settled.
    fn sender_heeds(&mut self, which: usize) -> bool {
        let now = self.time();
        let mut staying = BTreeMap::new();
        let heard = std::mem::take(&mut self.senders[which].ear);
        let mut outcomes = Vec::new();
        for (id, views) in heard {
            let Some(row) = self.db.find(&id, now).filter(|row| row.attempt_no > 0) else {
                continue;
            };
            let ours = self.senders[which].lanes.contains_key(&row.lane());
            if row.state == OrderStatus::Sent {
                if ours {
                    staying.insert(id, views);
                }
                continue;
            }
            let fills = self.db.fills.get(&id).cloned().unwrap_or_default();
            let ended = row.state.is_final();
            if !(if ended { has_more_fills(&views, fills.len() as i64) } else { ours }) {
                continue;
            }
            let Some(last) = views.last().cloned() else { continue };
            if place_order(&row, &self.manners.capabilities) != last.order {
                let finding = Finding::Mismatch(Box::new(last.clone()));
                outcomes.push(self.stamped(which, told(row, finding, &last)));
                continue;
            }
            let said: Vec<Happened> = views.iter().flat_map(events).collect();
            if moves(&row, fills, &said) {
                outcomes.push(self.stamped(which, told(row, Finding::Facts(said), &last)));
            }
        }
        let sender = &mut self.senders[which];
        sender.ear = staying;
        let any = !outcomes.is_empty();
        if any {
            sender.landed.push(Landed { lane: None, cancel: None, outcomes });
        }
        any
    }

    /// An outcome as this sender would write it down.
    pub(super) fn stamped(&mut self, which: usize, outcome: Outcome) -> Outcome {
        let at = self.plan.time(self.now, self.senders[which].skew_us);
        Outcome { at, jitter: self.chance.jitter(), ..outcome }
    }

    /// Claims what its lanes have; whether something is to be settled.
    fn sender_claims(&mut self, which: usize) -> bool {
        let (now, at) = (self.time(), self.now);
        let sender = &self.senders[which];
        let boot = sender.boot(at);
        let room = self.plan.in_flight_max.saturating_sub(sender.flights.len());
        let mut idle = sender.held(|lane| {
            !lane.busy && lane.not_before.is_none_or(|t| at >= t) && lane.lease.holds(boot)
        });
        // Who comes first is chance, so that no lane is always last.
        let turn = if idle.is_empty() { 0 } else { self.chance.index(idle.len()) };
        idle.rotate_left(turn);
        idle.truncate(room);
        if idle.is_empty() {
            return false;
        }
        let sender = &self.senders[which];
        let asked = sender.boot(sender.asked_us);
        let ours = self.db.hold_lanes(&sender.name, &idle, now);
        let halts = self.db.halt_rows();
        let caps = &self.manners.capabilities;
        let per_lane = if caps.dedupes_by_client_id { PER_LANE_DEDUPED } else { 1 };
        let rows = self.db.claimable(&ours, &halts, (per_lane, 64), now);
        let Chosen { going, staying } = choose(rows, &halts, caps, |_| true);
        let epochs: BTreeMap<LaneKey, i64> = ours.into_iter().map(|l| (l.key, l.epoch)).collect();
        let attempts: Vec<(&OrderRow, i64)> =
            going.iter().map(|(row, _)| (row, epochs[&row.lane()])).collect();
        let ids: Vec<&str> = going.iter().map(|(_, o)| o.client_order_id.as_str()).collect();
        let name = &self.senders[which].name;
        let begun = self.db.begin_attempts(name, &attempts, &ids, caps.price_tick, now);
        let mut lanes: BTreeMap<LaneKey, Vec<super::flight::Claimed>> = BTreeMap::new();
        let told_at = self.plan.time(at, self.senders[which].skew_us);
        for ((mut row, order), (key, sent_at)) in going.into_iter().zip(begun) {
            self.journal.note(
                self.now,
                format_args!("sender {which} claims {key} #{}", row.attempt_no + 1),
            );
            let before = row.state;
            let seen = begin(&mut row, Some(sent_at), told_at);
            self.audit_step(&row, before, &seen);
            let alive_until = alive_until(&row, &self.manners.capabilities, asked);
            lanes.entry(row.lane()).or_default().push(super::flight::Claimed {
                row,
                order,
                alive_until,
            });
        }
        for (key, batch) in lanes {
            let Some(lane) = self.senders[which].lanes.get_mut(&key) else { continue };
            (lane.busy, lane.worked_at) = (true, at);
            let (lease, epoch) = (lane.lease.clone(), lane.epoch);
            self.fly(
                which,
                Task::Lane {
                    lane: key,
                    epoch,
                    lease,
                    batch: batch.into(),
                    road: Default::default(),
                    outcomes: vec![],
                },
            );
        }
        let any = !staying.is_empty();
        if any {
            let local = |(row, finding): (OrderRow, Finding)| Outcome {
                attempt_no: row.attempt_no,
                row,
                finding,
                ends: None,
                detail: serde_json::Value::Null,
                response: None,
                cancel: None,
                rtt_ms: None,
                at: told_at,
                jitter: 0.0,
            };
            let outcomes = staying.into_iter().map(local).collect();
            self.senders[which].landed.push(Landed { lane: None, cancel: None, outcomes });
        }
        any
    }

    fn sender_cancels(&mut self, which: usize) {
        let now = self.time();
        let sender = &self.senders[which];
        let held = sender.held(|_| true);
        let room = self.plan.in_flight_max.saturating_sub(sender.flights.len());
        let Some(seen) = sender.seen.clone() else { return };
        if held.is_empty() || room == 0 {
            return;
        }
        self.db.want_halted(&held, &seen.halts, now);
        let asking: Vec<&str> = sender.cancelling.iter().map(String::as_str).collect();
        for (key, code) in self.db.due_cancels(&held, &asking, room, now) {
            let Some(row) = self.db.find(&key, now) else { continue };
            let Some(lane) = self.senders[which].lanes.get(&row.lane()) else { continue };
            let lease = lane.lease.clone();
            self.senders[which].cancelling.insert(key);
            let order = place_order(&row, &self.manners.capabilities);
            self.fly(which, Task::Cancel { row, order, code, lease });
        }
    }

    fn sender_asks(&mut self, which: usize) {
        let now = self.time();
        let sender = &self.senders[which];
        let room = self.plan.in_flight_max.saturating_sub(sender.flights.len());
        let held = sender.held(|_| true);
        for row in self.db.questions(&held, room, now) {
            if !self.senders[which].asking.insert(row.key.to_string()) {
                continue;
            }
            if self.manners.capabilities.query_by_client_id {
                let order = place_order(&row, &self.manners.capabilities);
                self.fly(which, Task::Ask { row, order });
            } else {
                let outcomes = vec![self.stamped(which, unasked(row))];
                let landed = Landed { lane: None, cancel: None, outcomes };
                self.senders[which].landed.push(landed);
            }
        }
    }

    /// Settles everything that landed, and frees its lanes; false: it must wait for locks.
    fn sender_settles(&mut self, which: usize) -> bool {
        let landed = std::mem::take(&mut self.senders[which].landed);
        let outcomes: Vec<Outcome> =
            landed.iter().flat_map(|l| l.outcomes.iter().cloned()).collect();
        if !self.settle(which, &outcomes) {
            let newer = std::mem::replace(&mut self.senders[which].landed, landed);
            self.senders[which].landed.extend(newer);
            return false;
        }
        let (at, sender) = (self.now, &mut self.senders[which]);
        let boot = sender.boot(at);
        for landed in landed {
            if let Some(key) = &landed.cancel {
                sender.cancelling.remove(key);
            }
            for outcome in &landed.outcomes {
                sender.asking.remove(outcome.row.key.as_str());
            }
            let Some(lane) = landed.lane.and_then(|key| sender.lanes.get_mut(&key)) else {
                continue;
            };
            lane.busy = false;
            let stuck = landed.outcomes.iter().any(|o| match &o.finding {
                Finding::NotSent { code } => !matches!(*code, "halted" | "reduce_only" | "too_old"),
                _ => false,
            });
            lane.pause_ms = if stuck { (lane.pause_ms * 2).clamp(100, PAUSE_MAX_MS) } else { 0 };
            lane.not_before = stuck.then(|| at + lane.pause_ms * MS);
            if !lane.lease.holds(boot) {
                sender.renewed = None;
            }
        }
        true
    }

    /// Reads the halts, and confirms the newest once no write on older knowledge is under way.
    fn sender_reads_halts(&mut self, which: usize) {
        let refused = self.strikes(Fault::DatabaseFails);
        let (at, halts) = (self.now, self.db.halt_rows());
        let number = self.db.halts.len() as i64;
        let sender = &mut self.senders[which];
        if !refused {
            sender.seen = Some(Seen { at: sender.boot(at), halts, number });
            let older =
                sender.flights.values().any(|f| f.known.is_some_and(|known| known < number));
            if !older && sender.told != Some(number) {
                self.db.confirm(&sender.name, number);
                sender.told = Some(number);
            }
        }
        let goes_on = refused || !sender.flights.is_empty() || sender.told != Some(number);
        sender.reads_halts = goes_on;
        let life = sender.life;
        if goes_on {
            self.after(READ, Event::Sender(which, life, SenderStep::ReadsHalts));
        }
    }

    /// Has a sender read the halts soon.
    pub(super) fn sender_will_read_halts(&mut self, which: usize) {
        let sender = &mut self.senders[which];
        if !sender.reads_halts && !sender.is_down {
            sender.reads_halts = true;
            let life = sender.life;
            let wait = self.chance.between(1, READ);
            self.after(wait, Event::Sender(which, life, SenderStep::ReadsHalts));
        }
    }

    /// Hears what the broker tells.
    pub(super) fn hears(&mut self, which: usize, life: u32, view: Box<OrderView>) {
        let sender = &mut self.senders[which];
        if sender.life != life || sender.is_down {
            return;
        }
        if sender.asleep_until > self.now {
            let wakes = sender.asleep_until;
            return self.at(wakes, Event::Heard(which, life, view));
        }
        sender.ear.entry(view.order.client_order_id.clone()).or_default().push(*view);
        self.sender_wakes(which);
    }
}

/// What becomes of a statement.
enum DbOutcome {
    Works,
    Refuses,
    Unheard,
}
