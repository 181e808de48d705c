//! Owns making the risk state again from decisions and exec events alone.
//! Never reads the stored state but for which orders it has, and how many events of each.
//! Invariant: a lane's moves are booked in the order of their numbers, each once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::books::{Books, Move, working};
use super::compare::{Found, compare_terms};
use super::difference::{Counts, Gap, Lack};
use super::orders::{Decided, Orders};
use super::{AccountDay, Lane, LaneName, RiskState, Terms, TraceName};
use crate::domain::event::{Action, Decision, ExecEvent, OrderStatus};
use crate::domain::money::Overflow;
use crate::domain::position::utc_day;
use crate::domain::request::Side;
use crate::domain::risk::RATE_WINDOW;
use crate::domain::text::{Account, IdempotencyKey};

/// Times of orders held before those that are too old are looked for.
const TIMES_HELD: usize = 4_096;

/// The risk state while it is made again, beside the one that is stored.
pub struct Rebuild {
    /// Without its orders.
    pub(super) stored: RiskState,
    pub(super) orders: Orders,
    pub(super) lanes: BTreeMap<LaneName, LaneTold>,
    pub(super) accounts: BTreeMap<Account, AccountDay>,
    pub(super) traces: BTreeMap<TraceName, Decimal>,
    /// What is wrong with an event that was told.
    pub(super) flawed: Vec<Gap>,
    pub(super) counts: Counts,
    pub(super) decisions: u64,
    pub(super) events: u64,
    /// Events of the ledger that were not told yet.
    left: u64,
}

/// What the events told of a lane.
#[derive(Default)]
pub(super) struct LaneTold {
    pub lane: Lane,
    /// Moves that wait for the one before them, or for their order's decision, by their numbers.
    pub waiting: BTreeMap<i64, (IdempotencyKey, Move)>,
    /// Nothing can be booked any more, or in which order is not known.
    pub is_torn: bool,
}

impl Rebuild {
    /// Begins beside the state as it is stored at one moment.
    pub fn new(mut stored: RiskState) -> Self {
        let orders = std::mem::take(&mut stored.orders);
        let counts = Counts {
            orders: orders.len() as u64,
            lanes: stored.lanes.len() as u64,
            accounts: stored.accounts.len() as u64,
            traces: stored.traces.len() as u64,
        };
        let events = orders.values().map(|order| u64::try_from(order.exec_seq).unwrap_or(0));
        Self {
            left: counts.orders + events.sum::<u64>(),
            stored,
            orders: Orders::new(orders),
            lanes: BTreeMap::new(),
            accounts: BTreeMap::new(),
            traces: BTreeMap::new(),
            flawed: Vec::new(),
            counts,
            decisions: 0,
            events: 0,
        }
    }

    /// How many events of the ledger were not told yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes a decision; one that the ledger does not have, or that was told before, changes nothing.
    pub fn decided(&mut self, decision: Decision) {
        let Orders { stored, told, differences } = &mut self.orders;
        let key = decision.idempotency_key.clone();
        let Some(order) = stored.get(&key) else { return };
        let told = told.entry(key.clone()).or_default();
        if !matches!(told.decision, Decided::NotTold) {
            return;
        }
        self.decisions += 1;
        self.left -= 1;
        let (action, decided_at) = (decision.action, decision.decided_at);
        let mut found = Found::order(&key, &order.terms.lane, differences);
        if !action.sends() {
            told.decision = Decided::Nothing;
            let stored = order.terms.side.as_str().to_string();
            return found.differs("action", Some(stored), Some(action.as_str().into()));
        }
        let Some(terms) = terms(decision) else {
            told.decision = Decided::Unreserved;
            return;
        };
        compare_terms(&mut found, &order.terms, &terms);
        let name = terms.lane.clone();
        let at = self.lanes.entry(name.clone()).or_default();
        *working(&mut at.lane, terms.side) += terms.decided_qty;
        remember(&mut at.lane.recent_orders, decided_at);
        self.accounts.entry(name.0.clone()).or_default();
        let trace = (name.0.clone(), terms.trace_id.clone());
        *self.traces.entry(trace).or_default() += terms.opening_notional;
        told.working = terms.decided_qty;
        told.decision = match order.terms == terms {
            true => Decided::AsStored,
            false => Decided::Otherwise(Box::new(terms)),
        };
        self.book_what_can_be(&name);
        self.orders.let_go(&key);
    }

    /// Takes an exec event; one that is newer than the ledger, or was told before, changes nothing.
    pub fn stepped(&mut self, event: ExecEvent) {
        let Some(told) = self.orders.stepped(&event) else { return };
        self.events += 1;
        self.left -= 1;
        let key = event.idempotency_key.clone();
        if event.last_fill.is_some() || event.replaced.is_some() || lets_go(event.status) {
            told.waiting += 1;
            self.moved(event);
        }
        self.orders.let_go(&key);
    }

    /// Puts a move to its place in its lane.
    fn moved(&mut self, event: ExecEvent) {
        let (name, key) = ((event.account, event.symbol), event.idempotency_key);
        let at = self.lanes.entry(name.clone()).or_default();
        let exec_seq = event.exec_seq;
        let is_taken = |n: i64| n <= at.lane.moves || at.waiting.contains_key(&n);
        let lack = match event.lane_seq {
            None => Lack::Number { exec_seq },
            Some(lane_seq) if is_taken(lane_seq) => Lack::Taken { exec_seq, lane_seq },
            Some(lane_seq) => {
                let day = utc_day(event.at);
                let replaced = event.replaced.map(|replaced| (event.qty, replaced));
                let step = Move { status: event.status, fill: event.last_fill, replaced, day };
                at.waiting.insert(lane_seq, (key, step));
                return self.book_what_can_be(&name);
            }
        };
        at.is_torn = true;
        self.flawed.push(Gap::of(&name, Some(key), lack));
    }

    /// Books the moves whose turn it is.
    fn book_what_can_be(&mut self, name: &LaneName) {
        let Some(at) = self.lanes.get_mut(name) else { return };
        while let Some(first) = at.waiting.first_entry().filter(|_| !at.is_torn) {
            let lane_seq = *first.key();
            if lane_seq != at.lane.moves + 1 {
                return;
            }
            let Some((terms, told)) = self.orders.terms(&first.get().0) else { return };
            let (key, step) = first.remove();
            let trace = self.traces.entry((name.0.clone(), terms.trace_id.clone())).or_default();
            let account = self.accounts.entry(name.0.clone()).or_default();
            let books = Books { lane: &mut at.lane, told, trace, account, terms: &terms };
            match books.book(&step) {
                Ok(()) => at.lane.moves = lane_seq,
                Err(Overflow) => {
                    at.is_torn = true;
                    let lack = Lack::Sum { lane_seq };
                    self.flawed.push(Gap::of(name, Some(key.clone()), lack));
                }
            }
            self.orders.let_go(&key);
        }
    }
}

/// What a decision reserved; none if it does not tell.
fn terms(decision: Decision) -> Option<Terms> {
    Some(Terms {
        lane: (decision.account, decision.symbol),
        trace_id: decision.trace_id,
        side: match decision.action {
            Action::Sell => Side::Sell,
            _ => Side::Buy,
        },
        decided_qty: decision.decided_qty,
        opening_qty: decision.opening_qty?,
        opening_notional: decision.opening_notional?,
        unit_value: decision.unit_value.unwrap_or(Decimal::ONE),
        arm: decision.arm,
    })
}

/// Whether a step without a fill that leads to this state lets a reservation go.
fn lets_go(status: OrderStatus) -> bool {
    use OrderStatus::{Cancelled, Expired, Rejected};
    matches!(status, Rejected | Cancelled | Expired)
}

fn remember(times: &mut Vec<Timestamp>, at: Timestamp) {
    times.push(at);
    if times.len() >= TIMES_HELD && times.len().is_power_of_two() {
        *times = within_a_minute(times);
    }
}

/// The times within a minute of the newest, in order.
pub(super) fn within_a_minute(times: &[Timestamp]) -> Vec<Timestamp> {
    let Some(newest) = times.iter().max().copied() else { return Vec::new() };
    let is_recent = |at: &&Timestamp| newest.duration_since(**at) <= RATE_WINDOW;
    let mut recent: Vec<Timestamp> = times.iter().filter(is_recent).copied().collect();
    recent.sort_unstable();
    recent
}
