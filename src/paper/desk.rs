//! Owns the paper broker's desk: it takes, fills, cancels and replaces orders, and counts for its lies.
//! Never answers by itself. Invariant: one client order id, one order, for ever (but for `no_dedupe`); what
//! changes is in the ledger.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::book::{Book, REPLACED, filled};
use super::fill::{Match, PaperQuote, matched, own_price};
use super::ledger::{Entry, Ledger, Record};
use super::lies::{After, Before, Lies, Mischief};
use super::telling::claims;
use crate::dispatch::broker::protocol::{
    BrokerStatus, Capabilities, OrderView, PlaceOrder, ReplaceOrder,
};
use crate::domain::event::Fill;
use crate::domain::money::{QTY_DECIMALS, has_at_most};
use crate::domain::request::{Side, TimeInForce};

/// What placing or replacing an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A new order.
    New(OrderView),
    /// The same order came again.
    Repeat(OrderView),
    /// Another order has this client order id.
    Conflict(OrderView),
    /// There is no such order to replace.
    Unknown,
    /// The order to replace has ended.
    Ended(OrderView),
    /// Another quantity of the order to replace is filled than was said.
    Filled(OrderView),
}

/// What a call is for; the lies count each kind by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Order,
    Cancel,
    Replace,
}

/// A call, and what the lies have in mind for it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Arrival {
    pub before: Option<Before>,
    pub after: Option<After>,
    pub delay_ms: u64,
    pub mischief: Mischief,
    /// A cancel is refused.
    pub refused: bool,
}

/// The desk.
pub struct Desk {
    pub(super) book: Book,
    quotes: BTreeMap<String, PaperQuote>,
    pub(super) claims: Capabilities,
    pub(super) lies: Lies,
    /// Orders, and cancels and replaces, since the lies were set.
    calls: (u64, u64),
    events: u64,
    pub(super) mischief: HashMap<String, Mischief>,
    /// How often an event is told, if not once.
    pub(super) tellings: HashMap<u64, u8>,
    pub(super) told: BTreeMap<&'static str, u64>,
    pub(super) ledger: Ledger,
}

impl Desk {
    /// The desk as the ledger left it. What it says it can is honest about the lies it starts with.
    pub fn new(
        ledger: Ledger,
        records: Vec<Record>,
        environment: &str,
        quotes: BTreeMap<String, PaperQuote>,
        lies: Lies,
    ) -> Self {
        let mut book = Book::default();
        records.into_iter().for_each(|record| book.take(record));
        Self {
            book,
            quotes,
            claims: claims(environment, &lies),
            lies,
            calls: (0, 0),
            events: 0,
            mischief: HashMap::new(),
            tellings: HashMap::new(),
            told: BTreeMap::new(),
            ledger,
        }
    }

    fn write(&mut self, at: Timestamp, entry: Entry) {
        let n = self.ledger.append(at, entry.clone());
        let before = self.book.moments();
        self.book.take(Record { n, at, entry });
        for n in before + 1..=self.book.moments() {
            self.events += 1;
            let tellings = self.lies.tellings(self.events);
            if tellings != 1 {
                self.tell_tale(if tellings == 0 { "drop_event" } else { "duplicate_event" });
                self.tellings.insert(n, tellings);
            }
        }
    }

    /// Counts a call that arrived and asks the lies about it.
    pub fn arrived(&mut self, call: Call) -> Arrival {
        let count = match call {
            Call::Order => &mut self.calls.0,
            Call::Cancel | Call::Replace => &mut self.calls.1,
        };
        *count += 1;
        let nth = *count;
        let before = self.lies.before(nth);
        let after = self.lies.after(nth).filter(|_| before.is_none());
        let mischief = match call {
            Call::Order => self.lies.mischief(nth),
            Call::Cancel | Call::Replace => Mischief::default(),
        };
        let refused = call == Call::Cancel && before.is_none() && self.lies.refuses_cancel(nth);
        if refused {
            self.tell_tale("refuse_cancel");
        }
        let names = before.map(Before::name).into_iter().chain(after.map(After::name));
        for name in names {
            self.tell_tale(name);
        }
        Arrival { before, after, delay_ms: self.lies.delay_ms, mischief, refused }
    }

    fn tell_tale(&mut self, lie: &'static str) {
        *self.told.entry(lie).or_default() += 1;
    }

    /// Notes that a lie kept a call from being carried out.
    pub fn turn_away(&mut self, call: Call, client_order_id: &str, by: Before, now: Timestamp) {
        let (client_order_id, by) = (client_order_id.to_string(), by.name().to_string());
        self.write(now, Entry::TurnedAway { what: call.name().into(), client_order_id, by });
    }

    /// Takes an order, once per client order id.
    pub fn place(&mut self, order: PlaceOrder, mischief: Mischief, now: Timestamp) -> Placed {
        if let Some(known) = self.book.find(&order.client_order_id).filter(|_| !self.lies.no_dedupe)
        {
            let view = OrderView { duplicate: true, ..self.shown(known) };
            let same = view.order == order;
            let client_order_id = order.client_order_id;
            self.write(now, Entry::Repeat { client_order_id, same });
            return if same { Placed::Repeat(view) } else { Placed::Conflict(view) };
        }
        Placed::New(self.take_in(order, None, mischief, now))
    }

    fn take_in(
        &mut self,
        order: PlaceOrder,
        replaces: Option<String>,
        mischief: Mischief,
        now: Timestamp,
    ) -> OrderView {
        if self.book.find(&order.client_order_id).is_some() {
            self.tell_tale("no_dedupe");
        }
        let outcome = match refused(&order, now) {
            Some(code) => Match::Reject(code),
            None if mischief.rejected => {
                self.tell_tale("reject");
                Match::Reject("no_margin")
            }
            None => matched(&order, self.quotes.get(&order.symbol).copied()),
        };
        let order_ref = format!("p-{}", self.book.orders().len() + 1);
        if mischief != Mischief::default() {
            self.mischief.insert(order_ref.clone(), mischief);
        }
        let (status, code, fills) = match outcome {
            Match::Fill(px) => {
                (BrokerStatus::Filled, None, self.fills(&order_ref, order.qty, px, now))
            }
            Match::Rest => (BrokerStatus::Working, None, vec![]),
            Match::Cancel => (BrokerStatus::Cancelled, Some("not_crossed"), vec![]),
            Match::Reject(code) => (BrokerStatus::Rejected, Some(code), vec![]),
        };
        let code = code.map(String::from);
        let view = OrderView {
            order,
            order_ref,
            status,
            code,
            fills,
            received_at: now,
            duplicate: false,
            replaces,
        };
        self.write(now, Entry::Order(Box::new(view.clone())));
        if status == BrokerStatus::Cancelled {
            self.fill_late(&view, now);
        }
        self.shown(&view)
    }

    /// An order that is not cancelled, since a lie will not have it. None: there is no such order.
    pub fn refuse_cancel(&mut self, id: &str, now: Timestamp) -> Option<OrderView> {
        let view = self.book.find(id)?.clone();
        self.write(now, Entry::Moot { what: "cancel".into(), client_order_id: id.into() });
        Some(self.shown(&view))
    }

    /// Cancels a working order; one that has ended stays as it is. None: there is no such order.
    pub fn cancel(&mut self, id: &str, code: Option<String>, now: Timestamp) -> Option<OrderView> {
        let view = self.book.find(id)?.clone();
        if view.status != BrokerStatus::Working {
            self.write(now, Entry::Moot { what: "cancel".into(), client_order_id: id.into() });
            return Some(self.shown(&view));
        }
        let code = code.unwrap_or_else(|| "cancelled".into());
        Some(self.end(&view, BrokerStatus::Cancelled, &code, now))
    }

    /// Puts another order in the place of a working one.
    pub fn replace(&mut self, id: &str, with: ReplaceOrder, now: Timestamp) -> Placed {
        let Some(old) = self.book.find(id).cloned() else { return Placed::Unknown };
        let unfilled = (old.order.qty - filled(&old.fills)).max(Decimal::ZERO);
        let order = PlaceOrder {
            client_order_id: with.client_order_id.clone(),
            qty: with.qty.unwrap_or(unfilled),
            limit_price: with.limit_price.or(old.order.limit_price),
            stop_price: with.stop_price.or(old.order.stop_price),
            accept_by: None,
            ..old.order.clone()
        };
        if let Some(known) = self.book.find(&with.client_order_id) {
            let view = OrderView { duplicate: true, ..self.shown(known) };
            // What was unfilled then is not known any more: an absent quantity fits any.
            let order = PlaceOrder { qty: with.qty.unwrap_or(view.order.qty), ..order };
            let same = view.replaces.as_ref() == Some(&old.order_ref) && view.order == order;
            let client_order_id = with.client_order_id;
            self.write(now, Entry::Moot { what: "replace".into(), client_order_id });
            return if same { Placed::Repeat(view) } else { Placed::Conflict(view) };
        }
        if old.status != BrokerStatus::Working {
            self.write(now, Entry::Moot { what: "replace".into(), client_order_id: id.into() });
            return Placed::Ended(self.shown(&old));
        }
        if with.if_filled.is_some_and(|wanted| wanted != filled(&old.fills)) {
            self.write(now, Entry::Moot { what: "replace".into(), client_order_id: id.into() });
            return Placed::Filled(self.shown(&old));
        }
        let new = self.take_in(order, Some(old.order_ref.clone()), Mischief::default(), now);
        self.end(&old, BrokerStatus::Cancelled, REPLACED, now);
        Placed::New(new)
    }

    /// The trading day is over: DAY orders that still work expire. How many.
    pub fn end_day(&mut self, now: Timestamp) -> usize {
        let day = |view: &&OrderView| view.order.time_in_force == TimeInForce::Day;
        let over: Vec<OrderView> = self.book.working().filter(day).cloned().collect();
        for view in &over {
            self.end(view, BrokerStatus::Expired, "end_of_day", now);
        }
        over.len()
    }

    fn end(
        &mut self,
        view: &OrderView,
        status: BrokerStatus,
        code: &str,
        now: Timestamp,
    ) -> OrderView {
        self.update(view, status, Some(code.to_string()), vec![], now);
        let ended = OrderView { status, code: Some(code.into()), ..self.shown(view) };
        self.fill_late(view, now);
        ended
    }

    fn update(
        &mut self,
        view: &OrderView,
        status: BrokerStatus,
        code: Option<String>,
        fills: Vec<Fill>,
        now: Timestamp,
    ) {
        let client_order_id = view.order.client_order_id.clone();
        let order_ref = Some(view.order_ref.clone());
        self.write(now, Entry::Update { client_order_id, order_ref, status, code, fills });
    }

    /// A lie that is no lie: what was ended is filled all the same.
    fn fill_late(&mut self, view: &OrderView, now: Timestamp) {
        let asked = self.mischief.get(&view.order_ref).is_some_and(|m| m.fills_late);
        let quote = self.quotes.get(&view.order.symbol).copied();
        let px = own_price(&view.order, quote).filter(|_| asked);
        let left = view.order.qty - filled(&view.fills);
        let (Some(px), Some(now_is)) = (px, self.book.of_ref(&view.order_ref).cloned()) else {
            return;
        };
        if left > Decimal::ZERO {
            self.tell_tale("late_fill");
            let fill = Fill { fill_id: format!("{}-late", view.order_ref), px, qty: left, at: now };
            self.update(view, now_is.status, now_is.code, vec![fill], now);
        }
    }

    /// Sets a quote and fills what it crosses.
    pub fn quote(&mut self, symbol: String, quote: PaperQuote, now: Timestamp) {
        self.quotes.insert(symbol.clone(), quote);
        let working = self.book.working().filter(|view| view.order.symbol == symbol);
        let crossed: Vec<(OrderView, Decimal)> = working
            .filter_map(|view| match matched(&view.order, Some(quote)) {
                Match::Fill(px) => Some((view.clone(), px)),
                _ => None,
            })
            .collect();
        for (view, px) in crossed {
            let left = view.order.qty - filled(&view.fills);
            let fills = self.fills(&view.order_ref, left, px, now);
            self.update(&view, BrokerStatus::Filled, None, fills, now);
        }
    }

    /// Fills this much of a working order; the order as it is then.
    pub fn fill(
        &mut self,
        id: &str,
        qty: Decimal,
        px: Decimal,
        now: Timestamp,
    ) -> Option<OrderView> {
        let view = self.book.find(id).filter(|v| v.status == BrokerStatus::Working)?.clone();
        let left = view.order.qty - filled(&view.fills);
        let qty = qty.min(left);
        let fill_id = format!("{}-by-hand-{}", view.order_ref, view.fills.len() + 1);
        let status = if qty == left { BrokerStatus::Filled } else { BrokerStatus::Working };
        self.update(&view, status, None, vec![Fill { fill_id, px, qty, at: now }], now);
        self.book.of_ref(&view.order_ref).map(|view| self.shown(view))
    }

    /// The fills of what is left of an order: one, or as many parts as the lies ask for, and perhaps too much.
    fn fills(&mut self, order_ref: &str, qty: Decimal, px: Decimal, at: Timestamp) -> Vec<Fill> {
        let parts = self.lies.fill_parts.max(1);
        let part = (qty / Decimal::from(parts)).trunc_with_scale(QTY_DECIMALS);
        let mut left = qty;
        let mut fills = Vec::new();
        for n in 1..=parts {
            let qty = if n == parts { left } else { part };
            left -= qty;
            if !qty.is_zero() {
                fills.push(Fill { fill_id: format!("{order_ref}-{n}"), px, qty, at });
            }
        }
        if self.mischief.get(order_ref).is_some_and(|m| m.fills_too_much) {
            self.tell_tale("over_fill");
            let tenth = (qty / Decimal::TEN).trunc_with_scale(QTY_DECIMALS).normalize();
            let qty = if tenth.is_zero() { Decimal::new(1, QTY_DECIMALS) } else { tenth };
            fills.push(Fill { fill_id: format!("{order_ref}-over"), px, qty, at });
        }
        fills
    }

    /// Sets the lies; their counts begin anew. What it claims stays.
    pub fn set_lies(&mut self, lies: Lies) {
        self.lies = lies;
        (self.calls, self.events) = ((0, 0), 0);
    }
}

impl Call {
    /// Its name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Call::Order => "order",
            Call::Cancel => "cancel",
            Call::Replace => "replace",
        }
    }
}

fn refused(order: &PlaceOrder, now: Timestamp) -> Option<&'static str> {
    if order.accept_by.is_some_and(|by| now > by) {
        Some("too_late")
    } else if order.side == Side::Flat {
        Some("bad_side")
    } else if order.qty <= Decimal::ZERO || !has_at_most(order.qty, QTY_DECIMALS) {
        Some("bad_qty")
    } else {
        None
    }
}
