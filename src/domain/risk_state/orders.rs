//! Owns the orders of the ledger that are not told to their ends, and what was told of each.
//! Never keeps more than it must: an order that is told to its end is compared and let go.
//! Invariant: each event of an order is taken once, and none that the ledger does not count.

use std::collections::HashMap;

use rust_decimal::Decimal;

use super::compare::{Found, compare_progress};
use super::difference::{Difference, Lack};
use super::{Order, Progress, Terms};
use crate::domain::event::{ExecEvent, OrderStatus};
use crate::domain::order::average_price;
use crate::domain::text::IdempotencyKey;

/// Orders on their way to being compared.
pub(super) struct Orders {
    pub stored: HashMap<IdempotencyKey, Box<Order>>,
    pub told: HashMap<IdempotencyKey, Box<Told>>,
    /// What those that were compared differ by.
    pub differences: Vec<Difference>,
}

/// What the events told of an order.
#[derive(Default)]
pub(super) struct Told {
    pub decision: Decided,
    /// The numbers of its exec events, in order.
    seqs: Vec<i32>,
    status: Option<OrderStatus>,
    /// Fill id, price, units; in the order of ids.
    fills: Vec<(String, Decimal, Decimal)>,
    /// What still works, what was realised, and whether it is over: by the moves that are booked.
    pub working: Decimal,
    pub realised: Decimal,
    pub has_ended: bool,
    /// The quantity in all and its opening notional, once terms were replaced.
    pub in_force: Option<(Decimal, Decimal)>,
    /// Moves told that wait for one before them, or for the decision.
    pub waiting: u32,
}

/// What an order's decision told.
#[derive(Default)]
pub(super) enum Decided {
    #[default]
    NotTold,
    /// What the ledger says too.
    AsStored,
    Otherwise(Box<Terms>),
    /// A build decided that did not tell what it reserved.
    Unreserved,
    /// It sends nothing, though the ledger has an order.
    Nothing,
}

impl Decided {
    /// Whether it tells what the order reserved.
    pub fn is_known(&self) -> bool {
        matches!(self, Decided::AsStored | Decided::Otherwise(_))
    }
}

impl Orders {
    pub fn new(stored: HashMap<IdempotencyKey, Box<Order>>) -> Self {
        Self { stored, told: HashMap::new(), differences: Vec::new() }
    }

    /// Takes an exec event; what was told before, if it is new and the ledger counts it.
    pub fn stepped(&mut self, event: &ExecEvent) -> Option<&mut Told> {
        let order = self.stored.get(&event.idempotency_key)?;
        if !(1..=order.exec_seq).contains(&event.exec_seq) {
            return None;
        }
        let told = self.told.entry(event.idempotency_key.clone()).or_default();
        let Err(at) = told.seqs.binary_search(&event.exec_seq) else { return None };
        told.seqs.insert(at, event.exec_seq);
        if at + 1 == told.seqs.len() {
            told.status = Some(event.status);
        }
        if let Some(fill) = &event.last_fill {
            let at = told.fills.partition_point(|(id, ..)| *id < fill.fill_id);
            told.fills.insert(at, (fill.fill_id.clone(), fill.px, fill.qty));
        }
        Some(told)
    }

    /// What was decided about an order and what was told of it; none if its decision was not told.
    pub fn terms(&mut self, key: &IdempotencyKey) -> Option<(Terms, &mut Told)> {
        let (order, told) = (self.stored.get(key)?, self.told.get_mut(key)?);
        let terms = match &told.decision {
            Decided::AsStored => order.terms.clone(),
            Decided::Otherwise(terms) => (**terms).clone(),
            Decided::NotTold | Decided::Unreserved | Decided::Nothing => return None,
        };
        Some((terms, told))
    }

    /// Compares an order if it is told to its end, and forgets it: what is told of it again is not new.
    pub fn let_go(&mut self, key: &IdempotencyKey) {
        let (Some(order), Some(told)) = (self.stored.get(key), self.told.get(key)) else { return };
        if !told.is_whole(order) {
            return;
        }
        let found = Found::order(key, &order.terms.lane, &mut self.differences);
        compare_progress(found, &order.progress, &told.progress());
        self.stored.remove(key);
        self.told.remove(key);
    }
}

impl Told {
    fn is_whole(&self, order: &Order) -> bool {
        self.decision.is_known()
            && self.waiting == 0
            && self.seqs.len() as i64 == i64::from(order.exec_seq)
    }

    /// How far the order has come by its events.
    fn progress(&self) -> Progress {
        let parts = || self.fills.iter().map(|(_, px, qty)| (*px, *qty));
        Progress {
            status: self.status.unwrap_or(OrderStatus::New),
            executed_qty: parts().fold(Decimal::ZERO, |sum, (_, qty)| sum.saturating_add(qty)),
            avg_price: average_price(parts()),
            working_qty: self.working,
            realised_pnl: self.realised,
        }
    }

    /// What is lacking until it is whole.
    pub fn lacking(&self, order: &Order) -> Vec<Lack> {
        let decision = match self.decision {
            Decided::NotTold => Some(Lack::Decision),
            Decided::Unreserved => Some(Lack::Reservation),
            Decided::AsStored | Decided::Otherwise(_) | Decided::Nothing => None,
        };
        let seqs = self.seqs.iter().copied().map(i64::from);
        let events = stretches(1, seqs, order.exec_seq.into());
        let events = events.into_iter().map(|(from, to)| Lack::Events { from, to });
        decision.into_iter().chain(events).collect()
    }
}

/// The stretches of numbers from `first` to `last` that are not among `seen`, which is in order.
pub(super) fn stretches(first: i64, seen: impl Iterator<Item = i64>, last: i64) -> Vec<(i64, i64)> {
    let mut missing = Vec::new();
    let mut next = first;
    for number in seen {
        if next < number {
            missing.push((next, number - 1));
        }
        next = number.saturating_add(1);
    }
    if next <= last {
        missing.push((next, last));
    }
    missing
}
