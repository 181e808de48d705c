//! Owns the paper broker's book: orders by client order id, quotes, lies.
//! Never answers by itself. Invariant: one client order id, one order, for ever.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::fill::{Match, PaperQuote, matched};
use super::ledger::{Entry, Ledger, Record};
use super::lies::Lies;
use crate::dispatch::broker::protocol::{BrokerStatus, LedgerDigest, OrderView, PlaceOrder};
use crate::domain::event::Fill;
use crate::domain::money::{QTY_DECIMALS, has_at_most};
use crate::domain::request::Side;

/// What placing an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A new order.
    New(OrderView),
    /// The same order came again.
    Repeat(OrderView),
    /// Another order has this client order id.
    Conflict(OrderView),
}

/// The book.
pub struct Desk {
    orders: HashMap<String, OrderView>,
    sequence: Vec<String>,
    working: HashSet<String>,
    quotes: BTreeMap<String, PaperQuote>,
    lies: Lies,
    placed: u64,
    ledger: Ledger,
}

impl Desk {
    /// The book as the ledger tells it.
    pub fn new(
        ledger: Ledger,
        records: Vec<Record>,
        quotes: BTreeMap<String, PaperQuote>,
        lies: Lies,
    ) -> Self {
        let mut desk = Self {
            orders: HashMap::new(),
            sequence: Vec::new(),
            working: HashSet::new(),
            quotes,
            lies,
            placed: 0,
            ledger,
        };
        for record in records {
            desk.take(record.entry);
        }
        desk
    }

    fn take(&mut self, entry: Entry) {
        let moved = match entry {
            Entry::Order(view) => {
                let id = view.order.client_order_id.clone();
                self.sequence.push(id.clone());
                self.orders.insert(id.clone(), *view);
                id
            }
            Entry::Update { client_order_id, status, fills } => {
                if let Some(view) = self.orders.get_mut(&client_order_id) {
                    view.status = status;
                    view.fills.extend(fills);
                }
                client_order_id
            }
            Entry::Repeat { .. } => return,
        };
        match self.orders.get(&moved).map(|view| view.status) {
            Some(BrokerStatus::Working) => self.working.insert(moved),
            _ => self.working.remove(&moved),
        };
    }

    fn write(&mut self, at: Timestamp, entry: Entry) {
        self.ledger.append(at, entry.clone());
        self.take(entry);
    }

    /// Counts an order that arrived; returns the lies in force and its number since they were set.
    pub fn arrived(&mut self) -> (Lies, u64) {
        self.placed += 1;
        (self.lies, self.placed)
    }

    /// Takes an order, once per client order id.
    pub fn place(&mut self, order: PlaceOrder, now: Timestamp) -> Placed {
        if let Some(known) = self.orders.get(&order.client_order_id) {
            let view = OrderView { duplicate: true, ..known.clone() };
            let same = view.order == order;
            let client_order_id = order.client_order_id;
            self.write(now, Entry::Repeat { client_order_id, same });
            return if same { Placed::Repeat(view) } else { Placed::Conflict(view) };
        }
        let outcome = match refused(&order, now) {
            Some(code) => Match::Reject(code),
            None => matched(&order, self.quotes.get(&order.symbol).copied()),
        };
        let order_ref = format!("p-{}", self.sequence.len() + 1);
        let (status, code, fills) = match outcome {
            Match::Fill(px) => {
                (BrokerStatus::Filled, None, fills(&order_ref, order.qty, px, self.lies, now))
            }
            Match::Rest => (BrokerStatus::Working, None, vec![]),
            Match::Cancel => (BrokerStatus::Cancelled, Some("not_crossed"), vec![]),
            Match::Reject(code) => (BrokerStatus::Rejected, Some(code), vec![]),
        };
        let code = code.map(String::from);
        let view =
            OrderView { order, order_ref, status, code, fills, received_at: now, duplicate: false };
        self.write(now, Entry::Order(Box::new(view.clone())));
        Placed::New(view)
    }

    /// Sets a quote and fills what it crosses.
    pub fn quote(&mut self, symbol: String, quote: PaperQuote, now: Timestamp) {
        self.quotes.insert(symbol.clone(), quote);
        let mut crossed: Vec<(String, Decimal)> = Vec::new();
        for id in &self.working {
            let Some(view) = self.orders.get(id).filter(|v| v.order.symbol == symbol) else {
                continue;
            };
            if let Match::Fill(px) = matched(&view.order, Some(quote)) {
                crossed.push((id.clone(), px));
            }
        }
        crossed.sort();
        for (client_order_id, px) in crossed {
            let view = &self.orders[&client_order_id];
            let fills = fills(&view.order_ref, view.order.qty, px, self.lies, now);
            self.write(now, Entry::Update { client_order_id, status: BrokerStatus::Filled, fills });
        }
    }

    /// The order of this client order id.
    pub fn find(&self, client_order_id: &str) -> Option<OrderView> {
        self.orders.get(client_order_id).cloned()
    }

    /// Orders in the order in which they came.
    pub fn orders(&self, after: usize, limit: usize) -> Vec<OrderView> {
        self.sequence.iter().skip(after).take(limit).map(|id| self.orders[id].clone()).collect()
    }

    /// The lies in force.
    pub fn lies(&self) -> Lies {
        self.lies
    }

    /// Sets the lies; their count begins anew.
    pub fn set_lies(&mut self, lies: Lies) {
        (self.lies, self.placed) = (lies, 0);
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the ledger holds.
    pub fn digest(&self) -> LedgerDigest {
        LedgerDigest {
            records: self.ledger.written(),
            orders: self.sequence.len() as u64,
            digest: self.ledger.digest(),
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

/// The fills of a whole order: one, or as many parts as the lies ask for.
fn fills(order_ref: &str, qty: Decimal, px: Decimal, lies: Lies, at: Timestamp) -> Vec<Fill> {
    let parts = lies.fill_parts.max(1);
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
    fills
}
