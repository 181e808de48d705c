//! The steps of a sender's round, each as `dispatch::run` and `Lanes` take it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{LOOK, Landed, Lane, PAUSE_MAX_MS, PER_LANE_DEDUPED};
use crate::dispatch::broker::events;
use crate::dispatch::cancel::cancellable;
use crate::dispatch::choose::{Chosen, begin, choose};
use crate::dispatch::fence::{Lease, alive_until};
use crate::dispatch::fold::{Finding, Outcome};
use crate::dispatch::heed::{has_more_fills, moves};
use crate::dispatch::placing::place_order;
use crate::dispatch::send::{taken_over, told, unasked};
use crate::domain::event::OrderStatus;
use crate::domain::order::Event as Happened;
use crate::pg::lanes::{HeldLane, LaneKey, Work};
use crate::pg::outbox::OrderRow;
use crate::sim::World;
use crate::sim::flight::{Claimed, Task};
use crate::sim::plan::MS;

impl World {
    pub(super) fn sender_renews(&mut self, which: usize) {
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

    pub(super) fn sender_takes(&mut self, which: usize) {
        let (now, at) = (self.time(), self.now);
        let work = self.db.lanes_with_work();
        let sender = &mut self.senders[which];
        if sender.looked.is_some_and(|since| at - since < LOOK) {
            return;
        }
        sender.lanes.values_mut().for_each(|lane| lane.moves = false);
        let (mut moving, mut resting) = (Vec::new(), Vec::new());
        for Work { key, moves } in work {
            match sender.lanes.get_mut(&key) {
                Some(lane) => {
                    (lane.worked_at, lane.moves) = (at, moves);
                    lane.barren &= moves;
                }
                None if moves => moving.push(key),
                None => resting.push(key),
            }
        }
        sender.looked = Some(at);
        let asked = sender.boot(sender.asked_us);
        // What only rests takes no place of what moves.
        let counted = sender.lanes.values().filter(|lane| lane.counts()).count();
        let room = (self.plan.in_flight_max * 2).saturating_sub(counted);
        let lease_ms = self.plan.lease_ms;
        let mut taken = self.db.take_lanes(&sender.name, lease_ms, &moving, room, now);
        taken.extend(self.db.take_lanes(&sender.name, lease_ms, &resting, usize::MAX, now));
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

    pub(super) fn sender_takes_over(&mut self, which: usize) -> bool {
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
                moves: true,
                barren: false,
            };
            sender.lanes.insert(lane.key, held);
        }
        true
    }

    /// Attempts without an outcome in lanes in which nothing flies are unknown.
    pub(super) fn sender_doubts(&mut self, which: usize) -> bool {
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
    pub(super) fn sender_heeds(&mut self, which: usize) -> bool {
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
    pub(in crate::sim) fn stamped(&mut self, which: usize, outcome: Outcome) -> Outcome {
        let at = self.plan.time(self.now, self.senders[which].skew_us);
        Outcome { at, jitter: self.chance.jitter(), ..outcome }
    }

    /// Claims what its lanes have; whether something is to be settled.
    pub(super) fn sender_claims(&mut self, which: usize) -> bool {
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
        let full: BTreeSet<LaneKey> = rows.iter().map(OrderRow::lane).collect();
        for lane in idle.iter().filter(|lane| !full.contains(&lane.key)) {
            if let Some(held) = self.senders[which].lanes.get_mut(&lane.key) {
                held.barren = true;
            }
        }
        let Chosen { going, staying } = choose(rows, &halts, caps, |_| true);
        let epochs: BTreeMap<LaneKey, i64> = ours.into_iter().map(|l| (l.key, l.epoch)).collect();
        let attempts: Vec<(&OrderRow, i64)> =
            going.iter().map(|(row, _)| (row, epochs[&row.lane()])).collect();
        let ids: Vec<&str> = going.iter().map(|(_, o)| o.client_order_id.as_str()).collect();
        let name = &self.senders[which].name;
        let begun = self.db.begin_attempts(name, &attempts, &ids, caps.price_tick, now);
        let mut lanes: BTreeMap<LaneKey, Vec<Claimed>> = BTreeMap::new();
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
            lanes.entry(row.lane()).or_default().push(Claimed { row, order, alive_until });
        }
        for (key, batch) in lanes {
            let Some(lane) = self.senders[which].lanes.get_mut(&key) else { continue };
            (lane.busy, lane.barren, lane.worked_at) = (true, false, at);
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

    pub(super) fn sender_cancels(&mut self, which: usize) {
        let now = self.time();
        let sender = &self.senders[which];
        let held = sender.held(|_| true);
        let room = self.plan.in_flight_max.saturating_sub(sender.flights.len());
        let Some(seen) = sender.seen.clone() else { return };
        if held.is_empty() || room == 0 {
            return;
        }
        let states = cancellable(&self.manners.capabilities);
        self.db.want_halted(&held, &seen.halts, states, now);
        let asking: Vec<&str> = sender.cancelling.iter().map(String::as_str).collect();
        for (key, code) in self.db.due_cancels(&held, states, &asking, room, now) {
            let Some(row) = self.db.find(&key, now) else { continue };
            let Some(lane) = self.senders[which].lanes.get(&row.lane()) else { continue };
            let lease = lane.lease.clone();
            self.senders[which].cancelling.insert(key);
            let order = place_order(&row, &self.manners.capabilities);
            self.fly(which, Task::Cancel { row, order, code, lease });
        }
    }

    pub(super) fn sender_asks(&mut self, which: usize) {
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
    pub(super) fn sender_settles(&mut self, which: usize) -> bool {
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
}
