//! What the statements about halts and cancels do: `pg::halts`, `pg::risk::halts`, `pg::cancels`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Cancel, Db, Declared};
use crate::dispatch::halts::stops;
use crate::pg::halts::Scope;
use crate::pg::lanes::HeldLane;
use crate::pg::risk::HaltRow;

/// First pause after the broker was asked to cancel, and the longest, milliseconds.
const PAUSE_MS: i64 = 250;
const PAUSE_MAX_MS: i64 = 30_000;
/// After its lease a sender may still be in the middle of a write, milliseconds.
const AFTER_LEASE_MS: i64 = 250;

/// Whether every sender that may still write knows of a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ack {
    Waits,
    Given,
}

impl Db {
    /// `halts::declare`; its number.
    pub fn declare(&mut self, mode: &str, scope: &Scope, now: Timestamp) -> i64 {
        let number = self.halts.len() as i64 + 1;
        self.halts.push(Declared {
            number,
            mode: mode.into(),
            account: scope.account.clone(),
            symbol: scope.symbol.clone(),
            strategy: scope.strategy.clone(),
            at: now,
        });
        number
    }

    /// `risk::halts`: per scope the newest row, and the newest `halted` and `reduce_only` rows.
    pub fn halt_rows(&self) -> Vec<HaltRow> {
        type Of<'a> = (&'a Option<String>, &'a Option<String>, &'a Option<String>);
        fn of(h: &Declared) -> Of<'_> {
            (&h.account, &h.symbol, &h.strategy)
        }
        let row = |h: &Declared, in_force| HaltRow {
            number: h.number,
            in_force,
            mode: h.mode.clone(),
            account: h.account.clone(),
            symbol: h.symbol.clone(),
            strategy: h.strategy.clone(),
            at: h.at,
        };
        let newest: BTreeMap<Of<'_>, &Declared> = self.halts.iter().map(|h| (of(h), h)).collect();
        let stopping = self.halts.iter().filter(|h| h.mode != "resumed");
        let earlier: BTreeMap<(&str, Of<'_>), &Declared> =
            stopping.map(|h| ((h.mode.as_str(), of(h)), h)).collect();
        let newest = newest.values().map(|h| row(h, true));
        newest.chain(earlier.values().map(|h| row(h, false))).collect()
    }

    /// `halts::confirm`.
    pub fn confirm(&mut self, worker: &str, number: i64) {
        self.confirmed.insert(worker.into(), number);
    }

    /// Whether `halts::unconfirmed` names nobody any more.
    pub fn ack(&self, number: i64, now: Timestamp) -> Ack {
        let may_write = |until: Timestamp| {
            until > Timestamp::MIN && until + SignedDuration::from_millis(AFTER_LEASE_MS) > now
        };
        let waits = self.lanes.values().any(|lane| {
            let confirmed = self.confirmed.get(&lane.owner).copied().unwrap_or(0);
            !lane.owner.is_empty() && may_write(lane.lease_until) && confirmed < number
        });
        if waits { Ack::Waits } else { Ack::Given }
    }

    /// `cancels::want`.
    pub fn want_cancel(&mut self, key: &str, code: &str, now: Timestamp) {
        let wanted = Cancel { code: code.into(), asked: 0, next_ask_at: Some(now), answer: None };
        self.cancels.insert(key.into(), wanted);
    }

    /// `cancels::want_halted`; how many are new.
    pub fn want_halted(
        &mut self,
        lanes: &[HeldLane],
        halts: &[HaltRow],
        states: &[&str],
        now: Timestamp,
    ) -> usize {
        let halts: Vec<HaltRow> = halts.iter().filter(|h| h.mode == "halted").cloned().collect();
        let keys = self.in_states(lanes, states);
        let new: Vec<String> = keys
            .into_iter()
            .filter(|key| !self.cancels.contains_key(key))
            .filter(|key| self.order(key).is_some_and(|o| stops(&halts, &o.row).is_some()))
            .collect();
        new.iter().for_each(|key| self.want_cancel(key, "halted", now));
        new.len()
    }

    fn in_states(&self, lanes: &[HeldLane], states: &[&str]) -> Vec<String> {
        let is = |o: &&super::Sendable| states.contains(&o.row.state.as_str());
        let of_lane = |lane: &HeldLane| {
            let of = self.orders_of(&lane.key).filter(is);
            of.map(|o| o.row.key.to_string()).collect::<Vec<_>>()
        };
        lanes.iter().flat_map(of_lane).collect()
    }

    /// `cancels::due`: keys and codes.
    pub fn due_cancels(
        &mut self,
        lanes: &[HeldLane],
        states: &[&str],
        asking: &[&str],
        limit: usize,
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let mut due: Vec<(Timestamp, String)> = self
            .in_states(lanes, states)
            .into_iter()
            .filter(|key| !asking.contains(&key.as_str()))
            .filter_map(|key| Some((self.cancels.get(&key)?.next_ask_at?, key)))
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort();
        due.truncate(limit);
        let mut asked = Vec::with_capacity(due.len());
        for (_, key) in due {
            let Some(cancel) = self.cancels.get_mut(&key) else { continue };
            let pause = PAUSE_MS.saturating_mul(1 << cancel.asked.clamp(0, 20)).min(PAUSE_MAX_MS);
            cancel.asked += 1;
            cancel.next_ask_at = Some(now + SignedDuration::from_millis(pause));
            asked.push((key, cancel.code.clone()));
        }
        asked
    }

    /// `cancels::answered`.
    pub fn cancels_answered(&mut self, answers: &[(&str, &str)]) {
        for (key, answer) in answers {
            if let Some(cancel) = self.cancels.get_mut(*key) {
                (cancel.next_ask_at, cancel.answer) = (None, Some((*answer).into()));
            }
        }
    }
}
