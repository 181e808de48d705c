//! What a sender has in the air: a lane's batch, a question, a cancel. The road of a batch, the last look before a
//! write, and what an answer means are the product's; what is here is waiting, time-outs and the settling of outcomes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use rust_decimal::Decimal;

use super::broker::{Answer, Call};
use super::db::{Lock, Pair};
use super::fault::Fault;
use super::plan::MS;
use super::sender::Landed;
use super::{Event, World};
use crate::dispatch::broker::protocol::PlaceOrder;
use crate::dispatch::broker::{Asked, Moved, NoAnswer, Placed};
use crate::dispatch::events::exec_event;
use crate::dispatch::fence::{Lease, in_time};
use crate::dispatch::fold::Outcome;
use crate::dispatch::halts::{is_fresh, stops};
use crate::dispatch::road::Road;
use crate::dispatch::send::{answered, cancel_answered, outcome};
use crate::dispatch::settle::{fold_all, realised};
use crate::domain::event::Fill;
use crate::pg::halts::Scope;
use crate::pg::lanes::LaneKey;
use crate::pg::outbox::{OrderRow, Settled};
use crate::runtime::clock::Boot;

/// How long a sender waits for fresh knowledge of halts.
const HALT_PATIENCE: u64 = 1_000 * MS;

/// An order that is claimed and not yet on the wire.
pub struct Claimed {
    pub row: OrderRow,
    pub order: PlaceOrder,
    pub alive_until: Option<Boot>,
}

/// What a flight is for.
pub enum Task {
    /// The claimed orders of a lane, one after the other.
    Lane {
        lane: LaneKey,
        epoch: i64,
        lease: Arc<Lease>,
        batch: VecDeque<Claimed>,
        road: Road,
        outcomes: Vec<Outcome>,
    },
    /// A question about an order.
    Ask { row: OrderRow, order: PlaceOrder },
    /// A cancel of one.
    Cancel { row: OrderRow, order: PlaceOrder, code: String, lease: Arc<Lease> },
}

/// Something in the air.
pub struct Flight {
    pub task: Task,
    /// The newest halt that was known when the write under way was let pass.
    pub known: Option<i64>,
    began: u64,
    /// Which answer is waited for.
    token: u64,
    /// Since when it has waited for fresh knowledge.
    patient_since: Option<u64>,
    wrote_at: u64,
}

impl Flight {
    /// Whether it carries a batch that was claimed at this moment.
    pub fn is_new_send(&self, now: u64) -> bool {
        self.began == now && matches!(self.task, Task::Lane { .. })
    }
}

/// What reaches a flight.
#[derive(Debug, Clone)]
pub enum Signal {
    /// Its next step.
    Goes,
    /// The answer with this token.
    Answered(u64, Answer),
}

impl World {
    /// Puts something into the air.
    pub(super) fn fly(&mut self, which: usize, task: Task) {
        let number = self.number();
        let flight = Flight {
            task,
            known: None,
            began: self.now,
            token: 0,
            patient_since: None,
            wrote_at: 0,
        };
        let life = self.senders[which].life;
        self.senders[which].flights.insert(number, flight);
        self.sender_will_read_halts(which);
        let wait = self.moment();
        self.after(wait, Event::Flight(which, life, number, Signal::Goes));
    }

    /// Something reaches a flight, unless its process is another one by now, or sleeps.
    pub(super) fn flight(&mut self, which: usize, life: u32, number: u64, signal: Signal) {
        let sender = &mut self.senders[which];
        if sender.life != life || sender.is_down || !sender.flights.contains_key(&number) {
            return;
        }
        if sender.asleep_until > self.now {
            let wakes = sender.asleep_until;
            return self.at(wakes, Event::Flight(which, life, number, signal));
        }
        if self.strikes(Fault::SenderDies) {
            self.senders[which].is_down = true;
            let away = self.chance.between(50, 4_000) * MS;
            self.journal
                .note(self.now, format_args!("sender {which} dies in the middle of a send"));
            return self.after(away, Event::Starts(super::Worker::Sender(which)));
        }
        if self.strikes(Fault::SenderSleeps) {
            let wakes = self.now + self.chance.between(50, 6_000) * MS;
            self.senders[which].asleep_until = wakes;
            self.journal
                .note(self.now, format_args!("sender {which} sleeps in the middle of a send"));
            return self.at(wakes, Event::Flight(which, life, number, signal));
        }
        let Some(flight) = self.senders[which].flights.remove(&number) else { return };
        let done = match signal {
            Signal::Goes => self.flight_goes(which, number, flight),
            Signal::Answered(token, answer) if token == flight.token => {
                self.flight_lands(which, number, flight, answer)
            }
            Signal::Answered(..) => Some(flight),
        };
        if let Some(flight) = done {
            self.senders[which].flights.insert(number, flight);
        }
    }

    fn goes_again(&mut self, which: usize, number: u64, wait: u64) {
        let life = self.senders[which].life;
        self.after(wait, Event::Flight(which, life, number, Signal::Goes));
    }

    /// The next step of a flight; the flight, unless it is over.
    fn flight_goes(&mut self, which: usize, number: u64, mut flight: Flight) -> Option<Flight> {
        let boot = self.senders[which].boot(self.now);
        match &mut flight.task {
            Task::Lane { lane, epoch, lease, batch, road, .. } => {
                let Some(claimed) = batch.front() else {
                    return self.lane_lands(which, flight);
                };
                if let Some(code) = road.refuses(&claimed.row, false) {
                    return self.flight_lands(which, number, flight, not_sent(code));
                }
                let seen = self.senders[which].seen.clone();
                let fresh = seen.as_ref().is_some_and(|seen| is_fresh(seen.at, boot));
                let since = *flight.patient_since.get_or_insert(self.now);
                if !fresh && self.now - since < HALT_PATIENCE {
                    self.sender_will_read_halts(which);
                    self.goes_again(which, number, 25 * MS);
                    return Some(flight);
                }
                flight.patient_since = None;
                if self.strikes(Fault::ConnectFails) {
                    return self.flight_lands(which, number, flight, not_sent("connect"));
                }
                let Some(seen) = seen else {
                    return self.flight_lands(which, number, flight, not_sent("halts_not_read"));
                };
                let held = stops(&seen.halts, &claimed.row)
                    .or((!fresh).then_some("halts_not_read"))
                    .or(in_time(lease, claimed.alive_until, boot).err());
                if let Some(code) = held {
                    return self.flight_lands(which, number, flight, not_sent(code));
                }
                let (row, order) = (claimed.row.clone(), claimed.order.clone());
                let (lane, epoch) = (lane.clone(), *epoch);
                let earlier: Vec<_> = self.answered_of(&flight);
                self.audit_write(which, &lane, epoch, &row, &earlier);
                (flight.known, flight.wrote_at) = (Some(seen.number), self.now);
                flight.token = self.number();
                self.posts(which, number, flight.token, Call::Place { order, reply: None });
                Some(flight)
            }
            Task::Ask { order, .. } => {
                let order = order.clone();
                flight.token = self.number();
                self.posts(which, number, flight.token, Call::Ask { order, reply: None });
                Some(flight)
            }
            Task::Cancel { order, code, lease, .. } => {
                if !lease.holds(boot) {
                    let code = "lease_over";
                    let answer = Answer::Cancelled(Moved::NotSent { code });
                    return self.flight_lands(which, number, flight, answer);
                }
                let (order, code) = (order.clone(), code.clone());
                flight.token = self.number();
                self.posts(which, number, flight.token, Call::Cancel { order, code, reply: None });
                Some(flight)
            }
        }
    }

    /// Keys of a batch that were answered before the order at hand.
    fn answered_of(&self, flight: &Flight) -> Vec<String> {
        match &flight.task {
            Task::Lane { outcomes, .. } => outcomes.iter().map(|o| o.row.key.to_string()).collect(),
            _ => vec![],
        }
    }

    /// An answer, or that there was none.
    fn flight_lands(
        &mut self,
        which: usize,
        number: u64,
        mut flight: Flight,
        answer: Answer,
    ) -> Option<Flight> {
        (flight.known, flight.token) = (None, 0);
        match (&mut flight.task, answer) {
            (Task::Lane { batch, road, outcomes, .. }, Answer::Placed(placed)) => {
                let Some(claimed) = batch.pop_front() else {
                    return self.lane_lands(which, flight);
                };
                *road = road.after(&placed);
                let rtt = (self.now - flight.wrote_at) / MS;
                let rtt = (flight.wrote_at > 0).then(|| i64::try_from(rtt).unwrap_or(0));
                self.journal.note(
                    self.now,
                    format_args!("sender {which}: {} {}", claimed.row.key, word(&placed)),
                );
                let landed = outcome(claimed.row, placed, rtt);
                let at = self.plan.time(self.now, self.senders[which].skew_us);
                outcomes.push(Outcome { at, jitter: self.chance.jitter(), ..landed });
                flight.wrote_at = 0;
                if batch.is_empty() {
                    return self.lane_lands(which, flight);
                }
                let wait = self.chance.between(50, 1_000);
                self.goes_again(which, number, wait);
                Some(flight)
            }
            (Task::Ask { row, .. }, Answer::Asked(asked)) => {
                self.journal.note(
                    self.now,
                    format_args!("sender {which} asked about {}: {}", row.key, asked_word(&asked)),
                );
                let outcomes = vec![self.stamped(which, answered(row.clone(), asked))];
                self.lands(which, Landed { lane: None, cancel: None, outcomes })
            }
            (Task::Cancel { row, order, .. }, Answer::Cancelled(moved)) => {
                let found = cancel_answered(row.clone(), order, moved);
                let cancel = Some(row.key.to_string());
                let outcomes = found.map(|o| self.stamped(which, o)).into_iter().collect();
                self.lands(which, Landed { lane: None, cancel, outcomes })
            }
            _ => Some(flight),
        }
    }

    fn lane_lands(&mut self, which: usize, flight: Flight) -> Option<Flight> {
        let Task::Lane { lane, outcomes, .. } = flight.task else { return None };
        self.lands(which, Landed { lane: Some(lane), cancel: None, outcomes })
    }

    fn lands(&mut self, which: usize, landed: Landed) -> Option<Flight> {
        self.senders[which].landed.push(landed);
        self.sender_wakes(which);
        None
    }

    /// Settles findings in one transaction, as `dispatch::settle` does; false: someone else has what must be locked.
    pub(super) fn settle(&mut self, which: usize, outcomes: &[Outcome]) -> bool {
        if outcomes.is_empty() {
            return true;
        }
        let now = self.time();
        let moving = outcomes.iter().filter(|o| o.finding.moves_risk()).map(|o| &o.row);
        let (mut accounts, mut lanes, mut traces) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for row in moving {
            accounts.insert(row.account.to_string());
            lanes.insert((row.account.to_string(), row.symbol.to_string()));
            traces.insert((row.account.to_string(), row.trace_id.to_string()));
        }
        let mut locks: Vec<(Lock, bool)> =
            accounts.iter().map(|a| (Lock::Account(a.clone()), false)).collect();
        locks.extend(lanes.iter().map(|l| (Lock::Lane(l.clone()), false)));
        locks.extend(traces.iter().map(|t| (Lock::Trace(t.clone()), false)));
        let tx = self.number();
        if !self.db.lock_all(tx, &locks) {
            return false;
        }
        self.db.unlock(tx);
        let list = |set: BTreeSet<Pair>| set.into_iter().collect::<Vec<_>>();
        let accounts: Vec<String> = accounts.into_iter().collect();
        let mut positions = self.db.risk_rows(&accounts, &list(lanes), &list(traces));
        let mut rows: HashMap<String, OrderRow> = HashMap::new();
        let mut fills: HashMap<String, BTreeMap<String, Fill>> = HashMap::new();
        for outcome in outcomes {
            let key = outcome.row.key.as_str();
            let Some(row) = self.db.find(key, now) else { continue };
            rows.insert(key.into(), row);
            fills.insert(key.into(), self.db.fills.get(key).cloned().unwrap_or_default());
        }
        let folded = fold_all(outcomes, &mut rows, &mut fills, &mut positions, &self.manners);
        self.db.store_positions(positions.values());
        self.db.add_realised(&realised(&folded));
        let mut moved: BTreeMap<Pair, Decimal> = BTreeMap::new();
        for (row, done) in &folded {
            let trace = (row.account.to_string(), row.trace_id.to_string());
            *moved.entry(trace).or_default() += done.trace_moved;
        }
        moved.retain(|_, amount| !amount.is_zero());
        self.db.move_traces(&moved);
        let (mut refused, mut over) = (Vec::new(), Vec::new());
        for (row, done) in &folded {
            if self.db.store(std::slice::from_ref(&done.settled), now) != 1 {
                self.violate("settle", format!("{} moved under its lock", row.key));
            }
            if row.cancel.is_some() && done.settled.state.is_final() {
                over.push((row.key.as_str(), done.settled.state.as_str()));
            }
            if done.halt.is_some() {
                let scope = Scope {
                    account: Some(row.account.to_string()),
                    symbol: Some(row.symbol.to_string()),
                    strategy: None,
                };
                self.db.declare("halted", &scope, now);
                for sender in 0..self.senders.len() {
                    self.sender_will_read_halts(sender);
                }
            }
        }
        for outcome in outcomes {
            if let Some(ends) = outcome.ends {
                self.db.close_attempt(&outcome.row.key, outcome.attempt_no, ends);
            }
            refused
                .extend(outcome.cancel.as_deref().map(|answer| (outcome.row.key.as_str(), answer)));
        }
        self.db.cancels_answered(&refused);
        self.db.cancels_answered(&over);
        for (row, done) in &folded {
            self.settled(which, row, &done.settled);
            for seen in &done.steps {
                let event = exec_event("simulated", row, &row.key, seen.clone());
                self.audit_told(row, event);
            }
        }
        self.audit_lanes(folded.iter().map(|(row, _)| row.lane()).collect());
        true
    }

    fn settled(&mut self, which: usize, before: &OrderRow, after: &Settled) {
        if after.exec_seq == before.exec_seq && after.quarantined.is_empty() {
            return;
        }
        let (key, from, to) = (&before.key, before.state.as_str(), after.state.as_str());
        let (qty, seq) = (after.executed_qty.normalize(), after.exec_seq);
        self.journal.note(
            self.now,
            format_args!(
                "sender {which} settles {key}: {from} → {to} {qty} step {seq} {:?}",
                after.quarantined
            ),
        );
    }
}

fn not_sent(code: &'static str) -> Answer {
    Answer::Placed(Placed::NotSent { code })
}

fn word(placed: &Placed) -> &'static str {
    match placed {
        Placed::Known(_) => "answered",
        Placed::Refused { .. } => "refused",
        Placed::Mismatch(_) => "mismatch",
        Placed::NotSent { code } | Placed::Unknown { code, .. } => code,
    }
}

fn asked_word(asked: &Asked) -> &'static str {
    match asked {
        Asked::Known(_) => "known",
        Asked::Mismatch(_) => "mismatch",
        Asked::NotFound => "not found",
        Asked::Failed(NoAnswer { code, .. }) => code,
    }
}
