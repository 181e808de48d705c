//! What must hold at every step of a world: fence, caps, lanes, sends, legal steps. Told apart from the product by
//! design: from rows and from the broker's own orders, not by the product's functions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::World;
use super::db::Sendable;
use crate::dispatch::broker::cannot_take;
use crate::dispatch::broker::protocol::BrokerStatus;
use crate::dispatch::events::{StepSeen, exec_event};
use crate::dispatch::placing::place_order;
use crate::domain::event::{Decision, ExecEvent, OrderStatus};
use crate::domain::policy::risk::NotionalBasis;
use crate::domain::request::Side;
use crate::domain::text::Symbol;
use crate::gate::admit::{Admitted, Batch};
use crate::pg::admission::{Admission, LedgerRow};
use crate::pg::lanes::LaneKey;
use crate::pg::outbox::OrderRow;
use crate::pg::positions::Move;

/// How one reading of a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was decided.
    Row,
    /// Its key had been decided, with this very order.
    Replay,
    /// Its key had been decided, with another order: a dead letter.
    Conflict,
    /// It cannot be read: a dead letter.
    Refused,
}

/// What is remembered for the audit.
#[derive(Default)]
pub struct Audit {
    /// Orders that were claimed while an outcome of their lane was unknown, and that reduce.
    ahead: BTreeSet<String>,
    /// Writes of orders.
    pub sends: u64,
    /// Everything that was told.
    pub decisions: Vec<Decision>,
    pub steps: Vec<ExecEvent>,
    /// Every end of every record.
    pub ends: BTreeMap<(i32, i64), Vec<End>>,
    /// State, number and quantity of each order's newest step.
    newest: BTreeMap<String, (OrderStatus, i32, Decimal)>,
    writes: BTreeMap<String, u32>,
}

/// Whether an order may come from one state into another (C-FSM), with a fill or without.
fn is_legal(from: OrderStatus, to: OrderStatus, fills: bool) -> bool {
    use OrderStatus::*;
    let answer = matches!(to, Accepted | PartiallyFilled | Filled | Rejected | Cancelled | Expired);
    match from {
        New => matches!(to, Sent | Rejected | Cancelled | Expired),
        Sent => answer || matches!(to, New | Unknown | Parked),
        Unknown => answer || matches!(to, New | Sent | Parked),
        Parked => answer,
        Accepted => matches!(to, PartiallyFilled | Filled | Rejected | Cancelled | Expired),
        PartiallyFilled => matches!(to, PartiallyFilled | Filled | Cancelled | Expired),
        Filled | Cancelled | Expired => to == from && fills,
        Rejected => false,
    }
}

fn signed(side: Side, qty: Decimal) -> Decimal {
    if side == Side::Sell { -qty } else { qty }
}

impl World {
    /// Nobody moves an input that is another one's, and none but from where it is (I3).
    pub(super) fn audit_moves(&mut self, moves: &[Move]) {
        for m in moves {
            let at = self.db.inputs.get(&m.place.partition);
            if at.is_none_or(|at| at.epoch != m.epoch || at.next_offset != m.from) {
                let seen = format!("input {}: {m:?} while it is {at:?}", m.place.partition);
                return self.violate("fence", seen);
            }
        }
    }

    /// Filled so far, and what still works in a direction, by the orders alone.
    fn exposure(&self, lane: &LaneKey, side: Side) -> (Decimal, Decimal) {
        let (mut position, mut working) = (Decimal::ZERO, Decimal::ZERO);
        for order in self.db.orders_of(lane) {
            let filled = self.filled(&order.row.key);
            position += signed(order.row.side, filled);
            if !order.row.state.is_final() && order.row.side == side {
                working += (order.row.qty - filled).max(Decimal::ZERO);
            }
        }
        (position, working)
    }

    fn filled(&self, key: &str) -> Decimal {
        self.db.fills.get(key).map_or(Decimal::ZERO, |f| f.values().map(|f| f.qty).sum())
    }

    /// Each decision of a batch that is about to be committed keeps the caps, by what the orders say (I7).
    pub(super) fn audit_decisions(&mut self, admitted: &Admitted, admission: &Admission) {
        let mut rows: Vec<&LedgerRow> =
            admission.rows.iter().filter(|r| r.state == "NEW").collect();
        rows.sort_by_key(|row| row.nth);
        let mut earlier: Vec<&LedgerRow> = Vec::new();
        for row in rows {
            if let Some(seen) = self.breaks_a_cap(row, &earlier) {
                return self.violate("caps", seen);
            }
            earlier.push(row);
        }
        for decided in &admitted.decided {
            if self.db.ids.contains_key(decided.decision.idempotency_key.as_str()) {
                let key = decided.decision.idempotency_key.clone();
                return self.violate("one decision per key", key.to_string());
            }
        }
    }

    fn breaks_a_cap(&self, row: &LedgerRow, earlier: &[&LedgerRow]) -> Option<String> {
        if row.opening_qty.is_zero() {
            return None;
        }
        let lane = LaneKey { account: row.account.clone(), symbol: row.symbol.clone() };
        let side = if row.action == "SELL" { Side::Sell } else { Side::Buy };
        let (position, mut working) = self.exposure(&lane, side);
        let same = |r: &&&LedgerRow| {
            r.account == row.account && r.symbol == row.symbol && r.action == row.action
        };
        working += earlier.iter().filter(same).map(|r| r.decided_qty).sum::<Decimal>();
        let worst = signed(side, position) + working;
        let reduces = row.decided_qty.min((-worst).max(Decimal::ZERO));
        let key = &row.key;
        if row.opening_qty < row.decided_qty - reduces {
            return Some(format!(
                "{key} opens {} by {worst}, told {}",
                row.decided_qty, row.opening_qty
            ));
        }
        let limits = self.plan.policies.risk.for_symbol(&Symbol::new(&row.symbol).ok()?);
        let unit = match limits.notional_basis {
            NotionalBasis::Qty => Decimal::ONE,
            NotionalBasis::Price => row.risk_price? * row.unit_value,
        };
        let notional = (worst.max(Decimal::ZERO) + row.opening_qty) * unit;
        if let Some(cap) = limits.max_position_notional.filter(|cap| notional > *cap) {
            return Some(format!("{key}: {worst} and {} at {unit} exceed {cap}", row.opening_qty));
        }
        let of_trace = |r: &&&LedgerRow| r.account == row.account && r.trace_id == row.trace_id;
        let before: Decimal = earlier.iter().filter(of_trace).map(|r| r.opening_notional).sum();
        let held = self.held_by_trace(&row.account, &row.trace_id) + before + row.opening_notional;
        // Shares of a notional are rounded to the wire's digits, one by one.
        let slack = Decimal::new(1, 4);
        let cap = limits.max_trace_notional.filter(|cap| held > *cap + slack)?;
        Some(format!("{key}: {held} opened by trace {} exceed {cap}", row.trace_id))
    }

    fn held_by_trace(&self, account: &str, trace: &str) -> Decimal {
        let of =
            |o: &&Sendable| o.row.account.as_str() == account && o.row.trace_id.as_str() == trace;
        let held = |o: &Sendable| {
            let kept = match o.row.state.is_final() {
                true => self.filled(&o.row.key).min(o.row.qty),
                false => o.row.qty,
            };
            o.row.opening_notional * kept / o.row.qty
        };
        self.db.orders().filter(of).map(held).sum()
    }

    /// A batch was committed: what became of each of its records.
    pub(super) fn admitted(&mut self, which: usize, batch: &Batch, admitted: Admitted) {
        for request in &batch.requests {
            let place = (request.record.partition, request.record.offset);
            let key = request.keys[0].as_str();
            let is_conflict =
                admitted.conflicts.iter().any(|c| (c.record.partition, c.record.offset) == place);
            let stored = self.db.ids.get(key).and_then(|id| self.db.rows.get(id));
            let end = match stored {
                _ if is_conflict => End::Conflict,
                Some(stored) if stored.source == place => End::Row,
                _ => End::Replay,
            };
            self.journal.note(self.now, format_args!("gate {which}: {place:?} {key} {end:?}"));
            self.audit.ends.entry(place).or_default().push(end);
        }
        for refusal in &batch.refused {
            let place = (refusal.record.partition, refusal.record.offset);
            self.audit.ends.entry(place).or_default().push(End::Refused);
        }
        for decided in admitted.decided {
            let decision = decided.decision;
            self.journal.note(
                self.now,
                format_args!(
                    "gate {which} decides {} {} {} of {}, opening {:?}",
                    decision.idempotency_key,
                    decision.action.as_str(),
                    decision.decided_qty,
                    decision.requested_qty,
                    decision.opening_qty,
                ),
            );
            self.audit.decisions.push(decision);
        }
        let lanes = batch.requests.iter().map(|r| LaneKey {
            account: r.intake.account().to_string(),
            symbol: r.intake.symbol().to_string(),
        });
        self.audit_lanes(lanes.collect());
    }

    /// What is reserved is what is live, and the position is what was filled (C-RISK-8).
    pub(super) fn audit_lanes(&mut self, mut lanes: Vec<LaneKey>) {
        lanes.sort();
        lanes.dedup();
        for lane in lanes {
            let risk = self.db.risk.get(&(lane.account.clone(), lane.symbol.clone()));
            let risk = risk.cloned().unwrap_or_default();
            let (position, buys) = self.exposure(&lane, Side::Buy);
            let (_, sells) = self.exposure(&lane, Side::Sell);
            let stored = (risk.position, risk.working_buy, risk.working_sell);
            if stored != (position, buys, sells) {
                let live = (position, buys, sells);
                return self
                    .violate("reserved", format!("{lane:?}: stored {stored:?}, live {live:?}"));
            }
        }
    }

    /// The step that a claim makes.
    pub(super) fn audit_step(&mut self, row: &OrderRow, before: OrderStatus, seen: &StepSeen) {
        let seq = seen.exec_seq - 1;
        let known = self.audit.newest.get(row.key.as_str()).map(|(state, seq, _)| (*state, *seq));
        if known.unwrap_or((OrderStatus::New, 0)) != (before, seq) {
            return self
                .violate("steps", format!("{}: claimed at {before:?} {seq}, {known:?}", row.key));
        }
        self.audit_ahead(row);
        self.audit_told(row, exec_event("simulated", row, &row.key, seen.clone()));
    }

    /// What reduces may overtake what opens while an outcome is unknown (C-OUT-4): as it was when it was claimed.
    fn audit_ahead(&mut self, row: &OrderRow) {
        use OrderStatus::{Parked, Unknown};
        let unsure = |o: &Sendable| matches!(o.row.state, Unknown | Parked) && o.row.id != row.id;
        let lane = row.lane();
        if row.opening_qty.is_zero() && self.db.orders_of(&lane).any(unsure) {
            self.audit.ahead.insert(row.key.to_string());
        } else {
            self.audit.ahead.remove(row.key.as_str());
        }
    }

    /// A step that is told: legal, numbered without a gap, filled no less than before (C-FSM).
    pub(super) fn audit_told(&mut self, row: &OrderRow, event: ExecEvent) {
        let key = event.idempotency_key.to_string();
        let new = (OrderStatus::New, 0, Decimal::ZERO);
        let (state, seq, executed) = self.audit.newest.get(&key).copied().unwrap_or(new);
        // A claim tells nothing of quantities.
        let grows = event.status == OrderStatus::Sent || event.executed_qty >= executed;
        if event.exec_seq != seq + 1
            || !grows
            || !is_legal(state, event.status, event.last_fill.is_some())
        {
            let seen = format!(
                "{key}: {state:?} {executed} step {seq}, then {:?} {} step {}",
                event.status, event.executed_qty, event.exec_seq
            );
            return self.violate("steps", seen);
        }
        if event.status == OrderStatus::Parked {
            self.audit_parked(row, event.reason_code.as_deref().unwrap_or_default());
        }
        let qty = event.executed_qty.max(executed);
        self.audit.newest.insert(key, (event.status, event.exec_seq, qty));
        self.audit.steps.push(event);
    }

    /// PARKED is only what the broker's class cannot tell (C-OUT-2).
    fn audit_parked(&mut self, row: &OrderRow, code: &str) {
        let caps = &self.manners.capabilities;
        let resent = caps.dedupes_by_client_id && caps.dedupe_horizon_s.is_none();
        let lives = row.send_by.is_none_or(|by| by >= row.read_at);
        let may = match code {
            "not_found" => !resent || !lives && !caps.honours_accept_by,
            "cannot_ask" => !caps.query_by_client_id && (!resent || !lives),
            code => code.starts_with("asked_in_vain:"),
        };
        if !may {
            self.violate(
                "parked",
                format!("{} is PARKED ({code}) at a broker of this class", row.key),
            );
        }
    }

    /// An order is about to be written to the broker.
    pub(super) fn audit_write(
        &mut self,
        which: usize,
        lane: &LaneKey,
        epoch: i64,
        row: &OrderRow,
        answered: &[String],
    ) {
        self.audit.sends += 1;
        *self.audit.writes.entry(row.key.to_string()).or_default() += 1;
        let (now, name, key) = (self.time(), &self.senders[which].name, row.key.as_str());
        let owns = self.db.lanes.get(lane).is_some_and(|l| l.owner == *name && l.epoch == epoch);
        let stored = self.db.order(key).map(|o| (o.row.state, o.row.attempt_no));
        let writes = self.audit.writes.get(key).copied().unwrap_or(0);
        let dedupes = self.manners.capabilities.dedupes_by_client_id;
        let seen = if !owns {
            Some(("lease", format!("{name} writes {key} in a lane that is not its own")))
        } else if stored != Some((OrderStatus::Sent, row.attempt_no))
            // What an earlier send came to may be known meanwhile; to a broker that dedupes the next one is no order.
            && !(dedupes && stored.is_some_and(|(_, attempt)| attempt == row.attempt_no))
        {
            Some((
                "attempt",
                format!("{name} writes attempt {} of {key}: {stored:?}", row.attempt_no),
            ))
        } else if !self.db.attempts.contains_key(&(key.to_string(), row.attempt_no)) {
            Some(("attempt", format!("{name} writes {key} without an attempt row")))
        } else if row.send_by.is_some_and(|by| now > by) {
            Some(("life", format!("{name} writes {key} at {now}, to be sent by {:?}", row.send_by)))
        } else if !self.manners.capabilities.dedupes_by_client_id && writes > 1 {
            Some((
                "one send",
                format!("{key} is written {writes} times, and the broker does not dedupe"),
            ))
        } else if let Some(number) = self.halted(row) {
            Some(("halt", format!("{name} writes {key} after halt {number} was acknowledged")))
        } else {
            self.overtaken(row, answered, now)
                .map(|other| ("lane order", format!("{key} is written before {other}")))
        };
        if let Some((invariant, seen)) = seen {
            self.violate(invariant, seen);
        }
    }

    /// An acknowledged halt that an order's write breaks (C-OUT-6, C-OUT-7).
    fn halted(&self, row: &OrderRow) -> Option<i64> {
        let covers =
            |scope: &Option<String>, of: Option<&str>| scope.is_none() || scope.as_deref() == of;
        let breaks = |number: &&i64| {
            let Some(halt) = self.db.halts.get(**number as usize - 1) else { return false };
            let same = |h: &&super::db::Declared| {
                (&h.account, &h.symbol, &h.strategy)
                    == (&halt.account, &halt.symbol, &halt.strategy)
            };
            let in_force = self.db.halts.iter().filter(same).all(|h| h.number <= halt.number);
            covers(&halt.account, Some(&row.account))
                && covers(&halt.symbol, Some(&row.symbol))
                && covers(&halt.strategy, row.strategy.as_deref())
                && (in_force || row.decided_at <= halt.at)
                && (halt.mode == "halted" || !row.opening_qty.is_zero())
        };
        self.operator.acknowledged.iter().find(breaks).copied()
    }

    /// An earlier order of the lane that this one must not overtake (C-OUT-4, C-OUT-5).
    fn overtaken(&self, row: &OrderRow, answered: &[String], now: Timestamp) -> Option<String> {
        use OrderStatus::{New, Parked, Sent, Unknown};
        let lane = row.lane();
        let (halts, caps) = (self.db.halt_rows(), &self.manners.capabilities);
        let unsure =
            |o: &Sendable| matches!(o.row.state, Sent | Unknown | Parked) && o.row.id != row.id;
        let reduces = row.opening_qty.is_zero();
        let any_unsure =
            self.db.orders_of(&lane).any(unsure) || self.audit.ahead.contains(row.key.as_str());
        let wanted = |o: &Sendable| {
            o.row.send_by.is_none_or(|by| by >= now)
                && crate::dispatch::halts::stops(&halts, &o.row).is_none()
                && !self.db.cancels.contains_key(o.row.key.as_str())
                && cannot_take(caps, &place_order(&o.row, caps)).is_none()
        };
        let in_the_way = |o: &&Sendable| {
            let was_answered = answered.iter().any(|key| key == o.row.key.as_str());
            match o.row.state {
                _ if o.row.id >= row.id || was_answered => false,
                New => wanted(o) && !(reduces && any_unsure),
                Sent | Unknown | Parked => !reduces,
                _ => false,
            }
        };
        let other = self.db.orders_of(&lane).find(in_the_way)?;
        Some(format!("{}, which is {}", other.row.key, other.row.state.as_str()))
    }

    /// The broker has taken an order: the first of its key, decided so, with an attempt before it (A1, A4, A5).
    pub(super) fn audit_taken(&mut self, at: usize) {
        let view = &self.broker.orders[at].view;
        let (id, order) = (view.order.client_order_id.clone(), view.order.clone());
        let accepted =
            self.broker.of(&id).filter(|o| o.view.status != BrokerStatus::Rejected).count();
        let Some(row) = self.db.find(&id, self.time()) else {
            return self.violate("attempt", format!("the broker has {id}, and no row"));
        };
        if accepted > 1 {
            return self.violate("one order", format!("the broker has {accepted} orders of {id}"));
        }
        if !self.db.attempts.keys().any(|(key, _)| *key == id) {
            return self.violate("attempt", format!("the broker has {id}, and no attempt row"));
        }
        if place_order(&row, &self.manners.capabilities) != order {
            self.violate("as decided", format!("the broker has {order:?}, decided was {row:?}"));
        }
    }
}
