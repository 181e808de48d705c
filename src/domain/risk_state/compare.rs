//! Owns laying the stored risk state beside the one made again.
//! Never guesses: what cannot be made again because events are lacking is counted, not compared.
//! Invariant: every difference names one field of one thing; equal states give none.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::difference::{Compared, Counts, Difference, Gap, Lack, What};
use super::rebuild::{LaneTold, Rebuild, Told, within_a_minute};
use super::{Lane, LaneName, Order, Progress, Terms, TraceName};
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
            decisions: self.decisions,
            events: self.events,
            gaps: std::mem::take(&mut self.flawed),
            ..Compared::default()
        };
        let stored = &self.stored;
        out.stored = Counts {
            orders: stored.orders.len() as u64,
            lanes: stored.lanes.len() as u64,
            accounts: stored.accounts.len() as u64,
            traces: stored.traces.len() as u64,
        };
        self.compare_orders(&mut out, &mut torn);
        self.compare_lanes(&mut out, &mut torn);
        self.compare_accounts(&mut out, &torn);
        self.compare_traces(&mut out, &torn);
        out.differences.sort_unstable();
        out.gaps.sort_unstable();
        out
    }

    fn compare_orders(&self, out: &mut Compared, torn: &mut Torn) {
        let nothing = Told::default();
        for (key, order) in &self.stored.orders {
            let told = self.orders.get(key).unwrap_or(&nothing);
            let Terms { lane, trace_id, .. } = &order.terms;
            let lacking = lacking(told, order);
            if told.terms.is_none() {
                torn.lanes.insert(lane.clone());
            }
            match &told.terms {
                Some(terms) if lacking.is_empty() && told.waiting == 0 => {
                    let found = Found::order(key, lane, &mut out.differences);
                    compare_order(found, order, terms, &told.progress());
                }
                _ => {
                    torn.traces.insert((lane.0.clone(), trace_id.clone()));
                    out.left_out.orders += 1;
                }
            }
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

/// What an order of the ledger lacks.
fn lacking(told: &Told, order: &Order) -> Vec<Lack> {
    let decision = match (&told.terms, told.unreserved) {
        (Some(_), _) => None,
        (None, true) => Some(Lack::Reservation),
        (None, false) => Some(Lack::Decision),
    };
    let seqs = told.seqs.iter().copied().map(i64::from);
    let events = stretches(1, seqs, order.exec_seq.into());
    let events = events.into_iter().map(|(from, to)| Lack::Events { from, to });
    decision.into_iter().chain(events).collect()
}

/// Moves that the table counts, or that come before one that was told, and were not told.
fn missing_moves(told: &LaneTold, stored: i64) -> Vec<(i64, i64)> {
    stretches(told.lane.moves + 1, told.waiting.keys().copied(), stored)
}

/// The stretches of numbers from `first` to `last` that are not among `seen`, which is in order.
fn stretches(first: i64, seen: impl Iterator<Item = i64>, last: i64) -> Vec<(i64, i64)> {
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

fn compare_order(mut found: Found<'_>, order: &Order, terms: &Terms, told: &Progress) {
    let (stored, progress) = (&order.terms, &order.progress);
    found.field("account", &stored.lane.0, &terms.lane.0, |a| Some(a.to_string()));
    found.field("symbol", &stored.lane.1, &terms.lane.1, |s| Some(s.to_string()));
    found.field("trace_id", &stored.trace_id, &terms.trace_id, |t| Some(t.to_string()));
    found.field("action", &stored.side, &terms.side, |s| Some(s.as_str().to_string()));
    found.field("decided_qty", &stored.decided_qty, &terms.decided_qty, number);
    found.field("opening_qty", &stored.opening_qty, &terms.opening_qty, number);
    found.field("opening_notional", &stored.opening_notional, &terms.opening_notional, number);
    found.field("unit_value", &stored.unit_value, &terms.unit_value, number);
    found.field("arm", &stored.arm, &terms.arm, Clone::clone);
    found.field("state", &progress.status, &told.status, |s| Some(s.as_str().to_string()));
    found.field("executed_qty", &progress.executed_qty, &told.executed_qty, number);
    found.field("avg_price", &progress.avg_price, &told.avg_price, |p| p.map(plain));
    found.field("working_qty", &progress.working_qty, &told.working_qty, number);
    found.field("realised_pnl", &progress.realised_pnl, &told.realised_pnl, number);
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
struct Found<'a> {
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

    fn order(key: &IdempotencyKey, lane: &LaneName, out: &'a mut Vec<Difference>) -> Self {
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

    fn differs(self, field: &'static str, stored: Option<String>, rebuilt: Option<String>) {
        self.out.push(Difference { field, stored, rebuilt, ..self.about });
    }

    /// The events tell of something that has no row.
    fn no_row(self) {
        self.differs("row", None, Some("there".into()));
    }
}
