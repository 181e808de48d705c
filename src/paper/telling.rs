//! Owns what the paper broker's desk tells: orders, events, positions, what it can, what it has lied about.
//! Never changes anything. Invariant: what is told comes from the book; only lies differ from it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::desk::Desk;
use super::ledger::Ledger;
use super::lies::Lies;
use crate::dispatch::broker::protocol::{
    BrokerPosition, CallKind, Capabilities, ClientId, EventPage, LedgerDigest, OrderView,
    Positions, RateLimit,
};
use crate::domain::money::QTY_DECIMALS;
use crate::domain::request::{OrderType, TimeInForce};

/// Most events in one answer.
const EVENTS_MAX: u64 = 500;
/// With `reorder_events` an event waits this long for the one that overtakes it, milliseconds.
const PAIR_MS: i64 = 300;

impl Desk {
    /// An order as it is told: some are told every fill twice.
    pub(super) fn shown(&self, view: &OrderView) -> OrderView {
        let mut shown = view.clone();
        if self.mischief.get(&view.order_ref).is_some_and(|m| m.fills_twice) {
            shown.fills = view.fills.iter().flat_map(|f| [f.clone(), f.clone()]).collect();
        }
        shown
    }

    /// The order of this client order id, if it can be seen already.
    pub fn find(&self, client_order_id: &str, now: Timestamp) -> Option<OrderView> {
        let view = self.book.find(client_order_id)?;
        let age_ms = now.duration_since(view.received_at).as_millis();
        (age_ms >= i128::from(self.lies.visible_after_ms)).then(|| self.shown(view))
    }

    /// Whether orders can be asked about now.
    pub fn answers_queries(&self) -> bool {
        !self.lies.no_query
    }

    /// Whether orders can be replaced now.
    pub fn replaces_orders(&self) -> bool {
        !self.lies.no_replace
    }

    /// Orders in the order in which they came.
    pub fn orders(&self, after: usize, limit: usize) -> Vec<OrderView> {
        self.book.orders().iter().skip(after).take(limit).cloned().collect()
    }

    /// Events after this number, as many as can be told now.
    pub fn events(&self, after: u64, limit: Option<u64>, now: Timestamp) -> EventPage {
        let age_ms = |n| {
            let moment = self.book.moment(n);
            moment.map_or(0, |m| i64::try_from(now.duration_since(m.at).as_millis()).unwrap_or(0))
        };
        let limit = limit.unwrap_or(EVENTS_MAX).clamp(1, EVENTS_MAX);
        let wait_ms = i64::try_from(self.lies.delay_event_ms).unwrap_or(i64::MAX);
        let mut last = self.book.moments().min(after.saturating_add(limit)).max(after);
        while last > after && age_ms(last) < wait_ms {
            last -= 1;
        }
        let pairs = self.lies.reorder_events;
        if pairs && last == after + 1 && age_ms(last) < wait_ms.saturating_add(PAIR_MS) {
            last = after;
        }
        let mut events = Vec::new();
        for n in after + 1..=last {
            let told = self.tellings.get(&n).copied().unwrap_or(1);
            if let Some(mut event) = self.book.moment(n) {
                event.order = self.shown(&event.order);
                events.extend(std::iter::repeat_n(event, usize::from(told)));
            }
        }
        if pairs {
            events.reverse();
        }
        EventPage { events, last }
    }

    /// The number of the newest event.
    pub fn newest_event(&self) -> u64 {
        self.book.moments()
    }

    /// What an account holds, as it is told.
    pub fn positions(&self, account: &str, now: Timestamp) -> Positions {
        let mut told = self.book.positions(account, now);
        for (symbol, offset) in &self.lies.position_offset.0 {
            match told.positions.iter_mut().find(|p| p.symbol == *symbol) {
                Some(position) => position.qty += offset,
                None => {
                    told.positions.push(BrokerPosition { symbol: symbol.clone(), qty: *offset })
                }
            }
        }
        told
    }

    /// What it says it is and can.
    pub fn capabilities(&self) -> &Capabilities {
        &self.claims
    }

    /// The lies in force.
    pub fn lies(&self) -> &Lies {
        &self.lies
    }

    /// How often which lie was told since the start.
    pub fn told(&self) -> &BTreeMap<&'static str, u64> {
        &self.told
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the ledger holds.
    pub fn digest(&self) -> LedgerDigest {
        LedgerDigest {
            records: self.ledger.written(),
            orders: self.book.orders().len() as u64,
            digest: self.ledger.digest(),
        }
    }
}

fn rate_limits(orders_per_s: u32) -> Vec<RateLimit> {
    let calls = vec![CallKind::Order, CallKind::Cancel, CallKind::Replace];
    let limit = RateLimit { calls, max: orders_per_s, per_ms: 1_000, burst: 1 };
    if orders_per_s == 0 { vec![] } else { vec![limit] }
}

/// What a broker says that starts with these lies: the truth.
pub(super) fn claims(environment: &str, lies: &Lies) -> Capabilities {
    use OrderType::*;
    use TimeInForce::*;
    Capabilities {
        name: "paper".into(),
        environment: environment.to_string(),
        min_qty: Decimal::new(1, QTY_DECIMALS),
        qty_step: Decimal::new(1, QTY_DECIMALS),
        price_tick: None,
        time_in_force: vec![Gtc, Ioc, Fok, Day],
        order_types: vec![Market, Limit, Stop, StopLimit],
        client_id: ClientId { chars: "A-Za-z0-9_-".into(), max_length: 128 },
        dedupes_by_client_id: !lies.no_dedupe,
        dedupe_horizon_s: None,
        query_by_client_id: !lies.no_query,
        visible_within_ms: lies.visible_after_ms,
        honours_accept_by: true,
        cancel: true,
        replace: !lies.no_replace,
        events: !lies.no_events,
        positions: true,
        rate_limits: rate_limits(lies.orders_per_s),
    }
}
