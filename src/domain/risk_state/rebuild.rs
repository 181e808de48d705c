//! Owns making the risk state again from decisions and exec events alone.
//! Never books by a second rule where the domain has one: positions, lots, shares and losses are its own functions.
//! Invariant: a lane's moves are booked in the order of their numbers, each once; of an order nothing is taken that is
//! newer than the ledger it is compared with.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::difference::{Gap, Lack};
use super::{AccountDay, Lane, LaneName, Order, Progress, RiskState, Terms, TraceName};
use crate::domain::event::{Action, Decision, ExecEvent, Fill, OrderStatus};
use crate::domain::lots;
use crate::domain::money::Overflow;
use crate::domain::order::average_price;
use crate::domain::position::{Position, losses_in_a_row, share, utc_day};
use crate::domain::request::Side;
use crate::domain::risk::RATE_WINDOW;
use crate::domain::text::{Account, IdempotencyKey};

/// Times of orders held before those that are too old are looked for.
const TIMES_HELD: usize = 4_096;

/// The risk state while it is made again, beside the one that is stored.
pub struct Rebuild {
    pub(super) stored: RiskState,
    pub(super) orders: HashMap<IdempotencyKey, Told>,
    pub(super) lanes: BTreeMap<LaneName, LaneTold>,
    pub(super) accounts: BTreeMap<Account, AccountDay>,
    pub(super) traces: BTreeMap<TraceName, Decimal>,
    /// What is wrong with an event that was told.
    pub(super) flawed: Vec<Gap>,
    pub(super) decisions: u64,
    pub(super) events: u64,
    /// Events of the ledger that were not told yet.
    left: u64,
}

/// What the events told of an order.
#[derive(Default)]
pub(super) struct Told {
    /// By its decision; none as long as that was not told.
    pub terms: Option<Terms>,
    /// Its decision was told, by a build that did not tell what it reserved.
    pub unreserved: bool,
    /// The numbers of its exec events, in order.
    pub seqs: Vec<i32>,
    status: Option<OrderStatus>,
    /// Fill id, price, units; in the order of ids.
    fills: Vec<(String, Decimal, Decimal)>,
    working: Decimal,
    realised: Decimal,
    has_ended: bool,
    /// Moves told that wait for one before them, or for the decision.
    pub waiting: u32,
}

/// What the events told of a lane.
#[derive(Default)]
pub(super) struct LaneTold {
    pub lane: Lane,
    /// Moves that wait for the one before them, by their numbers.
    pub waiting: BTreeMap<i64, Move>,
    /// Nothing can be booked any more, or in which order is not known.
    pub is_torn: bool,
}

/// One step of an order that moves its lane.
pub(super) struct Move {
    key: IdempotencyKey,
    status: OrderStatus,
    /// The fill to book; none: what is left of the reservation is let go.
    fill: Option<Fill>,
    day: Date,
}

impl Rebuild {
    /// Begins beside the state as it is stored at one moment.
    pub fn new(stored: RiskState) -> Self {
        let events = |order: &Order| 1 + u64::try_from(order.exec_seq).unwrap_or(0);
        Self {
            left: stored.orders.values().map(events).sum(),
            orders: HashMap::with_capacity(stored.orders.len()),
            stored,
            lanes: BTreeMap::new(),
            accounts: BTreeMap::new(),
            traces: BTreeMap::new(),
            flawed: Vec::new(),
            decisions: 0,
            events: 0,
        }
    }

    /// How many events of the ledger were not told yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes a decision; one that the ledger does not have, or that sends nothing, reserves nothing.
    pub fn decided(&mut self, decision: Decision) {
        let key = &decision.idempotency_key;
        if !self.stored.orders.contains_key(key) || !decision.action.sends() {
            return;
        }
        let told = self.orders.entry(key.clone()).or_default();
        if told.terms.is_some() || told.unreserved {
            return;
        }
        self.decisions += 1;
        self.left -= 1;
        let decided_at = decision.decided_at;
        let Some(terms) = terms(decision) else {
            told.unreserved = true;
            return;
        };
        told.working += terms.decided_qty;
        let name = terms.lane.clone();
        let at = self.lanes.entry(name.clone()).or_default();
        *working(&mut at.lane, terms.side) += terms.decided_qty;
        remember(&mut at.lane.recent_orders, decided_at);
        self.accounts.entry(name.0.clone()).or_default();
        let trace = (name.0.clone(), terms.trace_id.clone());
        *self.traces.entry(trace).or_default() += terms.opening_notional;
        told.terms = Some(terms);
        self.book_what_can_be(&name);
    }

    /// Takes an exec event; one that is newer than the ledger, or was told before, changes nothing.
    pub fn stepped(&mut self, event: ExecEvent) {
        let Some(order) = self.stored.orders.get(&event.idempotency_key) else { return };
        if !(1..=order.exec_seq).contains(&event.exec_seq) {
            return;
        }
        let told = self.orders.entry(event.idempotency_key.clone()).or_default();
        let Err(at) = told.seqs.binary_search(&event.exec_seq) else { return };
        told.seqs.insert(at, event.exec_seq);
        self.events += 1;
        self.left -= 1;
        if at + 1 == told.seqs.len() {
            told.status = Some(event.status);
        }
        if let Some(fill) = &event.last_fill {
            let at = told.fills.partition_point(|(id, ..)| *id < fill.fill_id);
            told.fills.insert(at, (fill.fill_id.clone(), fill.px, fill.qty));
        }
        if event.last_fill.is_some() || lets_go(event.status) {
            told.waiting += 1;
            self.moved(event);
        }
    }

    /// Puts a move to its place in its lane.
    fn moved(&mut self, event: ExecEvent) {
        let name = (event.account, event.symbol);
        let at = self.lanes.entry(name.clone()).or_default();
        let exec_seq = event.exec_seq;
        let is_taken = |n: i64| n <= at.lane.moves || at.waiting.contains_key(&n);
        let lack = match event.lane_seq {
            None => Lack::Number { exec_seq },
            Some(lane_seq) if is_taken(lane_seq) => Lack::Taken { exec_seq, lane_seq },
            Some(lane_seq) => {
                let (key, day) = (event.idempotency_key, utc_day(event.at));
                let step = Move { key, status: event.status, fill: event.last_fill, day };
                at.waiting.insert(lane_seq, step);
                return self.book_what_can_be(&name);
            }
        };
        at.is_torn = true;
        self.flawed.push(Gap::of(&name, Some(event.idempotency_key), lack));
    }

    /// Books the moves whose turn it is.
    fn book_what_can_be(&mut self, name: &LaneName) {
        let Some(at) = self.lanes.get_mut(name) else { return };
        while let Some(first) = at.waiting.first_entry().filter(|_| !at.is_torn) {
            let lane_seq = *first.key();
            if lane_seq != at.lane.moves + 1 {
                return;
            }
            let Some(told) = self.orders.get_mut(&first.get().key) else { return };
            let Some(terms) = told.terms.clone() else { return };
            let step = first.remove();
            let trace = self.traces.entry((name.0.clone(), terms.trace_id.clone())).or_default();
            let account = self.accounts.entry(name.0.clone()).or_default();
            let books = Books { lane: &mut at.lane, told, trace, account, terms: &terms };
            match books.book(&step) {
                Ok(()) => at.lane.moves = lane_seq,
                Err(Overflow) => {
                    at.is_torn = true;
                    self.flawed.push(Gap::of(name, Some(step.key), Lack::Sum { lane_seq }));
                }
            }
        }
    }
}

impl Told {
    /// How far the order has come by its events.
    pub fn progress(&self) -> Progress {
        let parts = || self.fills.iter().map(|(_, px, qty)| (*px, *qty));
        Progress {
            status: self.status.unwrap_or(OrderStatus::New),
            executed_qty: parts().fold(Decimal::ZERO, |sum, (_, qty)| sum.saturating_add(qty)),
            avg_price: average_price(parts()),
            working_qty: self.working,
            realised_pnl: self.realised,
        }
    }
}

/// Everything that one move books in.
struct Books<'a> {
    lane: &'a mut Lane,
    told: &'a mut Told,
    trace: &'a mut Decimal,
    account: &'a mut AccountDay,
    terms: &'a Terms,
}

impl Books<'_> {
    /// Books a move; an overflow leaves everything as it was.
    fn book(mut self, step: &Move) -> Result<(), Overflow> {
        let counted = if self.told.has_ended { self.told.realised } else { Decimal::ZERO };
        match &step.fill {
            Some(fill) => self.fill(fill, step.day)?,
            None => {
                let left = self.told.working;
                self.take_working(left);
                *self.trace -= self.share(left);
            }
        }
        self.told.waiting -= 1;
        self.told.has_ended = step.status.is_final();
        if self.told.has_ended {
            let before = self.lane.consecutive_losses;
            self.lane.consecutive_losses = losses_in_a_row(before, counted, self.told.realised);
        }
        Ok(())
    }

    fn fill(&mut self, fill: &Fill, day: Date) -> Result<(), Overflow> {
        let terms = self.terms;
        let before = Position { qty: self.lane.position, avg_price: self.lane.avg_price };
        let moved = before.book(terms.side, fill.qty, fill.px, terms.unit_value)?;
        let plus = |sum: Decimal| sum.checked_add(moved.realised).ok_or(Overflow);
        let (of_lane, of_order) = (plus(self.lane.realised_pnl)?, plus(self.told.realised)?);
        (self.lane.position, self.lane.avg_price) = (moved.position.qty, moved.position.avg_price);
        (self.lane.realised_pnl, self.told.realised) = (of_lane, of_order);
        let opened = fill.qty - moved.reduced;
        lots::fill(&mut self.lane.lots, moved.reduced, opened, terms.arm.as_deref());
        self.realise(moved.realised, day);
        let reserved = self.told.working.min(fill.qty);
        self.take_working(reserved);
        // What had been let go, or was never reserved, is taken again.
        let again = (fill.qty - reserved).min(terms.decided_qty);
        if !again.is_zero() && self.told.has_ended {
            *self.trace += self.share(again);
        }
        Ok(())
    }

    /// Only the newest day of an account is kept, so the order in which lanes come does not matter.
    fn realise(&mut self, amount: Decimal, day: Date) {
        if amount.is_zero() || day < self.account.pnl_day {
            return;
        }
        if day > self.account.pnl_day {
            *self.account = AccountDay { pnl_day: day, daily_pnl: Decimal::ZERO };
        }
        self.account.daily_pnl = self.account.daily_pnl.saturating_add(amount);
    }

    fn take_working(&mut self, qty: Decimal) {
        self.told.working -= qty;
        *working(self.lane, self.terms.side) -= qty;
    }

    fn share(&self, qty: Decimal) -> Decimal {
        share(self.terms.opening_notional, qty, self.terms.decided_qty)
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

fn working(lane: &mut Lane, side: Side) -> &mut Decimal {
    match side {
        Side::Sell => &mut lane.working_sell,
        Side::Buy | Side::Flat => &mut lane.working_buy,
    }
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
