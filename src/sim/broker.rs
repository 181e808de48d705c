//! The broker and the network to it: orders are lost, late, doubled, half answered; what is taken fills, ends, fills
//! late. It is what it says it is (its capabilities hold), but for what is planted.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;

use super::fault::Fault;
use super::flight::Signal;
use super::plan::{MS, SECOND};
use super::{Event, World};
use crate::dispatch::broker::protocol::{BrokerStatus, OrderView, PlaceOrder};
use crate::dispatch::broker::{Asked, Moved, NoAnswer, Placed};
use crate::domain::event::Fill;
use crate::domain::request::{OrderType, TimeInForce};

/// The planted mistake of a broker that says it dedupes and does not.
pub const BROKER_FORGETS: &str = "broker-forgets";

/// Where an answer goes: the sender, its life, the flight, the token.
pub type Reply = (usize, u32, u64, u64);

/// A call on its way to the broker.
#[derive(Debug, Clone)]
pub enum Call {
    Place { order: PlaceOrder, reply: Option<Reply> },
    Ask { order: PlaceOrder, reply: Option<Reply> },
    Cancel { order: PlaceOrder, code: String, reply: Option<Reply> },
}

/// An answer on its way back.
#[derive(Debug, Clone)]
pub enum Answer {
    Placed(Placed),
    Asked(Asked),
    Cancelled(Moved),
}

/// What moves an order at the broker.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// The market fills some of it.
    Fills,
    /// Its life ends.
    Ends,
    /// It is filled although it has ended.
    FillsLate,
}

/// An order as the broker has it.
pub struct Taken {
    pub view: OrderView,
    pub received_us: u64,
    visible_us: u64,
    /// A fill came after its end.
    pub is_late: bool,
}

/// The broker.
pub struct Broker {
    pub orders: Vec<Taken>,
    by_id: BTreeMap<String, Vec<usize>>,
    skew_us: i64,
    pub is_closed: bool,
}

impl Broker {
    pub fn new(skew_us: i64) -> Self {
        Self { orders: Vec::new(), by_id: BTreeMap::new(), skew_us, is_closed: false }
    }

    /// The orders under a client order id, the first one first.
    pub fn of(&self, id: &str) -> impl Iterator<Item = &Taken> {
        self.by_id.get(id).into_iter().flatten().map(|at| &self.orders[*at])
    }

    /// Whether anything still works there.
    pub fn works(&self) -> bool {
        self.orders.iter().any(|o| o.view.status == BrokerStatus::Working)
    }
}

fn filled(fills: &[Fill]) -> Decimal {
    fills.iter().map(|fill| fill.qty).sum()
}

fn unknown(code: &'static str, retry_ms: u64) -> Placed {
    let retry_after = (retry_ms > 0).then(|| Duration::from_millis(retry_ms));
    Placed::Unknown { code, detail: String::new(), retry_after }
}

fn silence(code: &'static str) -> NoAnswer {
    NoAnswer { code, detail: String::new(), retry_after: None }
}

fn moved_unknown(code: &'static str) -> Moved {
    Moved::Unknown { code, detail: String::new(), retry_after: None }
}

impl World {
    /// Sends a call; its time-out begins.
    pub(super) fn posts(&mut self, which: usize, flight: u64, token: u64, call: Call) {
        let reply = (which, self.senders[which].life, flight, token);
        let late = match &call {
            Call::Place { .. } => Answer::Placed(unknown("timeout", 0)),
            Call::Ask { .. } => Answer::Asked(Asked::Failed(silence("timeout"))),
            Call::Cancel { .. } => Answer::Cancelled(moved_unknown("timeout")),
        };
        self.replies(reply, late, self.plan.timeout_us);
        let mut way = self.chance.between(500, 20_000);
        let arriving = match call {
            Call::Place { order, .. } => {
                self.journal.note(
                    self.now,
                    format_args!(
                        "sender {which} writes {} {:?} {}",
                        order.client_order_id, order.side, order.qty
                    ),
                );
                if self.strikes(Fault::ResetBefore) {
                    return self.replies(reply, Answer::Placed(unknown("reset", 0)), way);
                }
                if self.strikes(Fault::RequestLost) {
                    return;
                }
                if self.strikes(Fault::RequestLate) {
                    // Nothing is on its way for longer than dispatch reckons with where a broker forgets.
                    let forgets = self.plan.capabilities.dedupe_horizon_s.is_some();
                    let more = if forgets { 600 } else { 8_000 };
                    way += self.plan.timeout_us + self.chance.between(0, more) * MS;
                }
                let dedupes = self.plan.capabilities.dedupes_by_client_id
                    && self.plan.capabilities.dedupe_horizon_s.is_none();
                if dedupes && self.strikes(Fault::RequestTwice) {
                    let again = way + self.chance.between(1, 3_000) * MS;
                    let call = Call::Place { order: order.clone(), reply: None };
                    self.after(again, Event::Arrives(Box::new(call)));
                }
                Call::Place { order, reply: Some(reply) }
            }
            Call::Ask { order, .. } => Call::Ask { order, reply: Some(reply) },
            Call::Cancel { order, code, .. } => Call::Cancel { order, code, reply: Some(reply) },
        };
        self.after(way, Event::Arrives(Box::new(arriving)));
    }

    fn replies(&mut self, (which, life, flight, token): Reply, answer: Answer, wait: u64) {
        self.after(wait, Event::Flight(which, life, flight, Signal::Answered(token, answer)));
    }

    /// A call reaches the broker.
    pub(super) fn arrives(&mut self, call: Call) {
        let way = self.chance.between(500, 20_000);
        match call {
            Call::Place { order, reply } => self.arrives_order(order, reply, way),
            Call::Ask { order, reply: Some(reply) } => {
                if self.strikes(Fault::AskFails) {
                    if self.chance.permille(500) {
                        let failed = Asked::Failed(silence("broker_error"));
                        self.replies(reply, Answer::Asked(failed), way);
                    }
                    return;
                }
                let now = self.now;
                let found = self.broker.of(&order.client_order_id).next();
                let asked = match found.filter(|taken| taken.visible_us <= now) {
                    None => Asked::NotFound,
                    Some(taken) if taken.view.order == order => {
                        Asked::Known(Box::new(taken.view.clone()))
                    }
                    Some(taken) => Asked::Mismatch(Box::new(taken.view.clone())),
                };
                self.replies(reply, Answer::Asked(asked), way);
            }
            Call::Cancel { order, code, reply: Some(reply) } => {
                self.arrives_cancel(order, &code, reply, way);
            }
            Call::Ask { .. } | Call::Cancel { .. } => {}
        }
    }

    fn arrives_order(&mut self, order: PlaceOrder, reply: Option<Reply>, way: u64) {
        let say = |world: &mut Self, placed: Placed, wait: u64| {
            if let Some(reply) = reply {
                world.replies(reply, Answer::Placed(placed), wait);
            }
        };
        if self.strikes(Fault::ErrorBefore) {
            return say(self, unknown("broker_error", 0), way);
        }
        if self.strikes(Fault::RateLimited) {
            let peace = self.chance.between(100, 3_000);
            return say(self, unknown("rate_limited", peace), way);
        }
        let wanted = order.clone();
        let view = self.takes_order(order);
        let placed = match view.order == wanted {
            true => Placed::Known(Box::new(view)),
            false => Placed::Mismatch(Box::new(view)),
        };
        if self.strikes(Fault::AnswerLost) {
            return;
        }
        if self.strikes(Fault::ErrorAfter) {
            return say(self, unknown("broker_error", 0), way);
        }
        if self.strikes(Fault::AnswerBroken) {
            return say(self, unknown("answer_malformed", 0), way);
        }
        let late = if self.strikes(Fault::AnswerLate) { self.plan.timeout_us } else { 0 };
        say(self, placed, way + late);
    }

    /// Takes an order, once per client order id as far as it dedupes.
    fn takes_order(&mut self, order: PlaceOrder) -> OrderView {
        let caps = &self.plan.capabilities;
        let dedupes = caps.dedupes_by_client_id && !self.planted.contains(&BROKER_FORGETS);
        let horizon = caps.dedupe_horizon_s.map(|s| s * SECOND);
        let known = self.broker.of(&order.client_order_id).next().filter(|known| {
            dedupes && horizon.is_none_or(|horizon| self.now < known.received_us + horizon)
        });
        if let Some(known) = known {
            return OrderView { duplicate: true, ..known.view.clone() };
        }
        let visible_us = match self.strikes(Fault::NotVisible) {
            true => {
                self.now + self.chance.between(0, self.plan.capabilities.visible_within_ms) * MS
            }
            false => self.now,
        };
        let at = self.broker.orders.len();
        let received_at = self.plan.time(self.now, self.broker.skew_us);
        let too_late = self.plan.capabilities.honours_accept_by
            && order.accept_by.is_some_and(|by| received_at > by);
        let rejected = if too_late {
            Some("too_late")
        } else if self.strikes(Fault::Rejects) {
            Some("no_margin")
        } else {
            None
        };
        let view = OrderView {
            order_ref: format!("b-{}", at + 1),
            status: if rejected.is_some() { BrokerStatus::Rejected } else { BrokerStatus::Working },
            code: rejected.map(String::from),
            fills: vec![],
            received_at,
            duplicate: false,
            replaces: None,
            order,
        };
        let id = view.order.client_order_id.clone();
        self.journal.note(
            self.now,
            format_args!("broker takes {id} as {} {}", view.order_ref, rejected.unwrap_or("")),
        );
        self.broker.by_id.entry(id).or_default().push(at);
        let taken = Taken { view, received_us: self.now, visible_us, is_late: false };
        self.broker.orders.push(taken);
        self.audit_taken(at);
        if rejected.is_none() {
            self.opens(at);
        }
        self.broker.orders[at].view.clone()
    }

    /// What the market makes of a new order at once.
    fn opens(&mut self, at: usize) {
        let order = self.broker.orders[at].view.order.clone();
        let crosses = order.order_type == OrderType::Market || self.chance.permille(400);
        match order.time_in_force {
            TimeInForce::Fok if crosses => self.fills(at, order.qty),
            TimeInForce::Ioc if crosses => {
                let part = self.part_of(order.qty);
                self.fills(at, part);
            }
            TimeInForce::Gtc | TimeInForce::Day if crosses => {
                let part = self.part_of(order.qty);
                self.fills(at, part);
            }
            _ => {}
        }
        let waits = matches!(order.time_in_force, TimeInForce::Gtc | TimeInForce::Day);
        if self.broker.orders[at].view.status != BrokerStatus::Working {
            return;
        }
        if !waits || self.broker.is_closed {
            self.ends(at, BrokerStatus::Cancelled, "not_crossed");
        } else {
            self.tells(at);
            self.will_move(at);
        }
    }

    fn part_of(&mut self, qty: Decimal) -> Decimal {
        if self.strikes(Fault::PartialFill) {
            let tenths = self.chance.between(1, 9);
            (qty * Decimal::new(tenths as i64, 1)).max(Decimal::ONE).min(qty)
        } else {
            qty
        }
    }

    fn will_move(&mut self, at: usize) {
        let wait = self.chance.between(100, 5_000) * MS;
        let deed = if self.strikes(Fault::LifeEnds) { Deed::Ends } else { Deed::Fills };
        self.after(wait, Event::Moves(at, deed));
    }

    /// The market, or a clock, moves an order.
    pub(super) fn moves(&mut self, at: usize, deed: Deed) {
        let taken = &self.broker.orders[at];
        let works = taken.view.status == BrokerStatus::Working;
        let left = taken.view.order.qty - filled(&taken.view.fills);
        match deed {
            Deed::Fills if works => {
                let part = self.part_of(left);
                self.fills(at, part);
                if self.broker.orders[at].view.status == BrokerStatus::Working {
                    self.will_move(at);
                }
            }
            Deed::Ends if works => self.ends(at, BrokerStatus::Expired, "end_of_day"),
            Deed::FillsLate if left > Decimal::ZERO => {
                self.broker.orders[at].is_late = true;
                self.fill(at, left);
                self.tells(at);
            }
            _ => {}
        }
    }

    fn fill(&mut self, at: usize, qty: Decimal) {
        let time = self.plan.time(self.now, self.broker.skew_us);
        let px = Decimal::new(15_000 + self.chance.around(150), 2);
        let view = &mut self.broker.orders[at].view;
        let fill_id = format!("{}-{}", view.order_ref, view.fills.len() + 1);
        self.journal.note(self.now, format_args!("broker fills {fill_id}: {qty} at {px}"));
        view.fills.push(Fill { fill_id, px, qty, at: time });
    }

    /// Fills so much; an order that is full is over.
    fn fills(&mut self, at: usize, qty: Decimal) {
        let left = {
            let view = &self.broker.orders[at].view;
            view.order.qty - filled(&view.fills)
        };
        self.fill(at, qty.min(left));
        if qty >= left {
            if self.strikes(Fault::OverFill) {
                self.fill(at, Decimal::TEN);
            }
            self.broker.orders[at].view.status = BrokerStatus::Filled;
        }
        self.tells(at);
    }

    fn ends(&mut self, at: usize, status: BrokerStatus, code: &str) {
        let view = &mut self.broker.orders[at].view;
        (view.status, view.code) = (status, Some(code.into()));
        self.journal.note(self.now, format_args!("broker ends {}: {code}", view.order_ref));
        self.tells(at);
        if self.strikes(Fault::LateFill) {
            let wait = self.chance.between(0, 3_000) * MS;
            self.after(wait, Event::Moves(at, Deed::FillsLate));
        }
    }

    /// Tells everybody who listens how an order is now.
    fn tells(&mut self, at: usize) {
        if !self.plan.capabilities.events {
            return;
        }
        let mut view = self.broker.orders[at].view.clone();
        if self.strikes(Fault::FillTwice)
            && let Some(fill) = view.fills.first().cloned()
        {
            view.fills.push(fill);
        }
        for which in 0..self.senders.len() {
            if self.strikes(Fault::EventLost) || self.senders[which].is_down {
                continue;
            }
            let times = if self.strikes(Fault::EventTwice) { 2 } else { 1 };
            for _ in 0..times {
                let late =
                    if self.strikes(Fault::EventLate) { self.chance.between(0, 5_000) } else { 0 };
                let wait = self.chance.between(500, 20_000) + late * MS;
                let life = self.senders[which].life;
                self.after(wait, Event::Heard(which, life, Box::new(view.clone())));
            }
        }
    }

    fn arrives_cancel(&mut self, order: PlaceOrder, code: &str, reply: Reply, way: u64) {
        if self.strikes(Fault::CancelFails) && self.chance.permille(500) {
            return;
        }
        let found =
            self.broker.by_id.get(&order.client_order_id).and_then(|all| all.first()).copied();
        let moved = match found {
            None => Moved::NotFound,
            Some(at) if self.broker.orders[at].view.order != order => {
                Moved::Mismatch(Box::new(self.broker.orders[at].view.clone()))
            }
            Some(at) if self.broker.orders[at].view.status == BrokerStatus::Working => {
                if self.strikes(Fault::CancelRefused) {
                    let original = Some(Box::new(self.broker.orders[at].view.clone()));
                    Moved::Refused { code: "too_late_to_cancel".into(), original }
                } else {
                    self.ends(at, BrokerStatus::Cancelled, code);
                    Moved::Known(Box::new(self.broker.orders[at].view.clone()))
                }
            }
            Some(at) => Moved::Known(Box::new(self.broker.orders[at].view.clone())),
        };
        let moved =
            if self.strikes(Fault::CancelFails) { moved_unknown("broker_error") } else { moved };
        self.replies(reply, Answer::Cancelled(moved), way);
    }

    /// The market closes: what works ends, and what comes later ends at once.
    pub(super) fn closes(&mut self) {
        self.broker.is_closed = true;
        for at in 0..self.broker.orders.len() {
            if self.broker.orders[at].view.status == BrokerStatus::Working {
                self.ends(at, BrokerStatus::Expired, "closed");
            }
        }
    }
}
