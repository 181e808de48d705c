//! Owns laying the stored risk state beside the one made again.
//! Never guesses: what cannot be made again because events are lacking is counted, not compared.
//! Invariant: every difference names one field of one thing; equal states give none.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::difference::{Compared, Difference, Gap, Lack, What};
use super::orders::{Told, stretches};
use super::rebuild::{LaneTold, Rebuild, within_a_minute};
use super::{Lane, LaneName, Progress, Terms, TraceName};
use crate::domain::money::plain;
use crate::domain::risk::RECENT_KEPT;
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};

/// Times of orders that a difference names.
const TIMES_TOLD: usize = 5;

/// What cannot be made again.
#[derive(Default)]
struct Torn {
    lanes: BTreeSet<LaneName>,
    traces: BTreeSet<TraceName>,
    /// Lanes of orders that lack something: moves they miss are told with those.
    of_lacking: BTreeSet<LaneName>,
}

impl Rebuild {
    /// Lays both states side by side.
    pub fn compared(mut self) -> Compared {
        let mut torn = Torn::default();
        let mut out = Compared {
            stored: self.counts,
            decisions: self.decisions,
            events: self.events,
            differences: std::mem::take(&mut self.orders.differences),
            gaps: std::mem::take(&mut self.flawed),
            ..Compared::default()
        };
        self.leave_orders_out(&mut out, &mut torn);
        self.compare_lanes(&mut out, &mut torn);
        self.compare_accounts(&mut out, &torn);
        self.compare_traces(&mut out, &torn);
        out.differences.sort_unstable();
        out.gaps.sort_unstable();
        out
    }

    /// Those that were not told to their ends; the others are compared already.
    fn leave_orders_out(&self, out: &mut Compared, torn: &mut Torn) {
        let nothing = Told::default();
        for (key, order) in &self.orders.stored {
            let told = self.orders.told.get(key).map_or(&nothing, |told| &**told);
            let Terms { lane, trace_id, .. } = &order.terms;
            out.left_out.orders += 1;
            torn.traces.insert((lane.0.clone(), trace_id.clone()));
            if !told.decision.is_known() {
                torn.lanes.insert(lane.clone());
            }
            let lacking = told.lacking(order);
            if !lacking.is_empty() {
                torn.of_lacking.insert(lane.clone());
            }
            let gap = |lack| Gap::of(lane, Some(key.clone()), lack);
            out.gaps.extend(lacking.into_iter().map(gap));
        }
    }

    fn compare_lanes(&self, out: &mut Compared, torn: &mut Torn) {
        let nothing = LaneTold::default();
        for name in both(self.stored.lanes.keys(), self.lanes.keys()) {
            let told = self.lanes.get(name).unwrap_or(&nothing);
            let stored = self.stored.lanes.get(name);
            let missing = missing_moves(told, stored.map_or(0, |lane| lane.moves));
            if !missing.is_empty() || !told.waiting.is_empty() || told.is_torn {
                torn.lanes.insert(name.clone());
            }
            if !told.is_torn && !torn.of_lacking.contains(name) {
                let gap = |(from, to)| Gap::of(name, None, Lack::Moves { from, to });
                out.gaps.extend(missing.into_iter().map(gap));
            }
            if torn.lanes.contains(name) {
                out.left_out.lanes += 1;
                continue;
            }
            let found = Found::lane(name, &mut out.differences);
            match stored {
                Some(stored) => compare_lane(found, stored, &told.lane),
                None => found.no_row(),
            }
        }
    }

    fn compare_accounts(&self, out: &mut Compared, torn: &Torn) {
        for account in both(self.stored.accounts.keys(), self.accounts.keys()) {
            if torn.lanes.iter().any(|(of, _)| of == account) {
                out.left_out.accounts += 1;
                continue;
            }
            let mut found = Found::account(account, &mut out.differences);
            let rebuilt = self.accounts.get(account).copied().unwrap_or_default();
            let Some(stored) = self.stored.accounts.get(account) else {
                found.no_row();
                continue;
            };
            let day = |d: &jiff::civil::Date| Some(d.to_string());
            found.field("pnl_day", &stored.pnl_day, &rebuilt.pnl_day, day);
            found.field("daily_pnl", &stored.daily_pnl, &rebuilt.daily_pnl, number);
        }
    }

    fn compare_traces(&self, out: &mut Compared, torn: &Torn) {
        for trace in both(self.stored.traces.keys(), self.traces.keys()) {
            if torn.traces.contains(trace) {
                out.left_out.traces += 1;
                continue;
            }
            let mut found = Found::trace(trace, &mut out.differences);
            let rebuilt = self.traces.get(trace).copied().unwrap_or_default();
            match self.stored.traces.get(trace) {
                Some(stored) => found.field("opening_notional", stored, &rebuilt, number),
                None => found.no_row(),
            }
        }
    }
}

/// Moves that the table counts, or that come before one that was told, and were not told.
fn missing_moves(told: &LaneTold, stored: i64) -> Vec<(i64, i64)> {
    stretches(told.lane.moves + 1, told.waiting.keys().copied(), stored)
}

pub(super) fn compare_terms(found: &mut Found<'_>, stored: &Terms, told: &Terms) {
    found.field("account", &stored.lane.0, &told.lane.0, |a| Some(a.to_string()));
    found.field("symbol", &stored.lane.1, &told.lane.1, |s| Some(s.to_string()));
    found.field("trace_id", &stored.trace_id, &told.trace_id, |t| Some(t.to_string()));
    found.field("action", &stored.side, &told.side, |s| Some(s.as_str().to_string()));
    found.field("decided_qty", &stored.decided_qty, &told.decided_qty, number);
    found.field("opening_qty", &stored.opening_qty, &told.opening_qty, number);
    found.field("opening_notional", &stored.opening_notional, &told.opening_notional, number);
    found.field("unit_value", &stored.unit_value, &told.unit_value, number);
    found.field("arm", &stored.arm, &told.arm, Clone::clone);
}

pub(super) fn compare_progress(mut found: Found<'_>, stored: &Progress, told: &Progress) {
    found.field("state", &stored.status, &told.status, |s| Some(s.as_str().to_string()));
    found.field("executed_qty", &stored.executed_qty, &told.executed_qty, number);
    found.field("avg_price", &stored.avg_price, &told.avg_price, |p| p.map(plain));
    found.field("working_qty", &stored.working_qty, &told.working_qty, number);
    found.field("realised_pnl", &stored.realised_pnl, &told.realised_pnl, number);
}

fn compare_lane(mut found: Found<'_>, stored: &Lane, told: &Lane) {
    found.field("position", &stored.position, &told.position, number);
    found.field("avg_price", &stored.avg_price, &told.avg_price, |p| p.map(plain));
    found.field("working_buy", &stored.working_buy, &told.working_buy, number);
    found.field("working_sell", &stored.working_sell, &told.working_sell, number);
    found.field("realised_pnl", &stored.realised_pnl, &told.realised_pnl, number);
    let losses = (&stored.consecutive_losses, &told.consecutive_losses);
    found.field("consecutive_losses", losses.0, losses.1, |n| Some(n.to_string()));
    found.field("lots", &stored.lots, &told.lots, |lots| {
        let lot = |l: &crate::domain::lots::Lot| {
            format!("{} {}", l.arm.as_deref().unwrap_or("-"), plain(l.qty))
        };
        Some(lots.iter().map(lot).collect::<Vec<_>>().join(", "))
    });
    found.field("moves", &stored.moves, &told.moves, |n| Some(n.to_string()));
    compare_recent(found, &stored.recent_orders, &told.recent_orders);
}

/// The gate keeps the last minute's orders, and of more than RECENT_KEPT perhaps only the newest.
fn compare_recent(found: Found<'_>, stored: &[Timestamp], told: &[Timestamp]) {
    let told = within_a_minute(told);
    let mut stored = stored.to_vec();
    stored.sort_unstable();
    let unknown = without(&stored, &told);
    let forgotten = match stored.len() {
        0..RECENT_KEPT => without(&told, &stored),
        _ => Vec::new(),
    };
    if unknown.is_empty() && forgotten.is_empty() {
        return;
    }
    let tell = |all: usize, which: &str, times: &[Timestamp]| {
        let some = times.iter().take(TIMES_TOLD).map(Timestamp::to_string).collect::<Vec<_>>();
        let more = if times.len() > TIMES_TOLD { " …" } else { "" };
        match times.is_empty() {
            true => format!("{all} times"),
            false => format!("{all} times, {which}: {}{more}", some.join(" ")),
        }
    };
    found.differs(
        "recent_orders",
        Some(tell(stored.len(), "of no order", &unknown)),
        Some(tell(told.len(), "not stored", &forgotten)),
    );
}

/// What of `all` is not in `other`, each as often as it is missing there; both are sorted.
fn without(all: &[Timestamp], other: &[Timestamp]) -> Vec<Timestamp> {
    let mut other = other.iter().peekable();
    let mut left = Vec::new();
    for time in all {
        while other.next_if(|t| *t < time).is_some() {}
        if other.next_if_eq(&time).is_none() {
            left.push(*time);
        }
    }
    left
}

/// The names of both, each once, in order.
fn both<'a, T: Ord>(
    stored: impl Iterator<Item = &'a T>,
    told: impl Iterator<Item = &'a T>,
) -> BTreeSet<&'a T> {
    stored.chain(told).collect()
}

fn number(number: &Decimal) -> Option<String> {
    Some(plain(*number))
}

/// Where differences of one thing go.
pub(super) struct Found<'a> {
    about: Difference,
    out: &'a mut Vec<Difference>,
}

impl<'a> Found<'a> {
    fn of(what: What, account: &Account, out: &'a mut Vec<Difference>) -> Self {
        let about = Difference {
            what,
            account: account.clone(),
            symbol: None,
            trace_id: None,
            idempotency_key: None,
            field: "row",
            stored: None,
            rebuilt: None,
        };
        Self { about, out }
    }

    fn account(account: &Account, out: &'a mut Vec<Difference>) -> Self {
        Self::of(What::Account, account, out)
    }

    fn lane((account, symbol): &LaneName, out: &'a mut Vec<Difference>) -> Self {
        let mut found = Self::of(What::Position, account, out);
        found.about.symbol = Some(Symbol::clone(symbol));
        found
    }

    fn trace((account, trace_id): &TraceName, out: &'a mut Vec<Difference>) -> Self {
        let mut found = Self::of(What::Trace, account, out);
        found.about.trace_id = Some(TraceId::clone(trace_id));
        found
    }

    pub fn order(key: &IdempotencyKey, lane: &LaneName, out: &'a mut Vec<Difference>) -> Self {
        let mut found = Self::lane(lane, out);
        (found.about.what, found.about.idempotency_key) = (What::Order, Some(key.clone()));
        found
    }

    fn field<T: PartialEq>(
        &mut self,
        field: &'static str,
        stored: &T,
        rebuilt: &T,
        tell: impl Fn(&T) -> Option<String>,
    ) {
        if stored != rebuilt {
            let (stored, rebuilt) = (tell(stored), tell(rebuilt));
            self.out.push(Difference { field, stored, rebuilt, ..self.about.clone() });
        }
    }

    pub fn differs(self, field: &'static str, stored: Option<String>, rebuilt: Option<String>) {
        self.out.push(Difference { field, stored, rebuilt, ..self.about });
    }

    /// The events tell of something that has no row.
    fn no_row(self) {
        self.differs("row", None, Some("there".into()));
    }
}
