//! Owns what the paper broker's ledger says: orders, who works, positions, events in their order.
//! Never writes, and never judges an order. Invariant: the same lines in the same order make the same book.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::ledger::{Entry, Record};
use crate::dispatch::broker::protocol::{
    BrokerEvent, BrokerPosition, BrokerStatus, OrderView, PlaceOrder, Positions,
};
use crate::domain::event::Fill;
use crate::domain::request::Side;

/// Code of an order whose place another one took.
pub const REPLACED: &str = "replaced";

/// An order as it was right after an event.
#[derive(Debug, Clone)]
struct Moment {
    at: Timestamp,
    order: usize,
    status: BrokerStatus,
    code: Option<String>,
    fills: usize,
}

/// The book.
#[derive(Default)]
pub struct Book {
    orders: Vec<OrderView>,
    by_ref: HashMap<String, usize>,
    by_client: HashMap<String, Vec<usize>>,
    working: BTreeSet<usize>,
    moments: Vec<Moment>,
    /// The sum of the fills, by account and symbol.
    held: BTreeMap<String, BTreeMap<String, Decimal>>,
}

impl Book {
    /// Takes a line.
    pub fn take(&mut self, record: Record) {
        match record.entry {
            Entry::Order(view) => {
                let at = self.orders.len();
                self.by_ref.insert(view.order_ref.clone(), at);
                self.by_client.entry(view.order.client_order_id.clone()).or_default().push(at);
                self.hold(&view.order, &view.fills);
                let replaced = view.replaces.as_ref().and_then(|old| self.by_ref.get(old)).copied();
                self.orders.push(*view);
                self.moved(at, record.at);
                // Said by the next line too; this one alone must leave one of the two at work.
                if let Some(old) = replaced.filter(|old| self.working.contains(old)) {
                    self.end(old, BrokerStatus::Cancelled, Some(REPLACED.into()));
                }
            }
            Entry::Update { client_order_id, order_ref, status, code, fills } => {
                let found = match &order_ref {
                    Some(order_ref) => self.by_ref.get(order_ref).copied(),
                    None => {
                        self.by_client.get(&client_order_id).and_then(|all| all.first()).copied()
                    }
                };
                let Some(at) = found else { return };
                self.hold(&self.orders[at].order.clone(), &fills);
                self.orders[at].fills.extend(fills);
                let code = code.or_else(|| self.orders[at].code.clone());
                self.end(at, status, code);
                self.moved(at, record.at);
            }
            Entry::Repeat { .. } | Entry::Moot { .. } | Entry::TurnedAway { .. } => {}
        }
    }

    fn end(&mut self, order: usize, status: BrokerStatus, code: Option<String>) {
        self.orders[order].status = status;
        self.orders[order].code = code;
        if status != BrokerStatus::Working {
            self.working.remove(&order);
        }
    }

    fn hold(&mut self, order: &PlaceOrder, fills: &[Fill]) {
        let filled = filled(fills);
        let signed = if order.side == Side::Sell { -filled } else { filled };
        let account = self.held.entry(order.account.clone()).or_default();
        *account.entry(order.symbol.clone()).or_default() += signed;
    }

    fn moved(&mut self, order: usize, at: Timestamp) {
        let view = &self.orders[order];
        let (status, code, fills) = (view.status, view.code.clone(), view.fills.len());
        if status == BrokerStatus::Working {
            self.working.insert(order);
        }
        self.moments.push(Moment { at, order, status, code, fills });
    }

    /// The first order of this client order id.
    pub fn find(&self, client_order_id: &str) -> Option<&OrderView> {
        self.by_client.get(client_order_id).and_then(|all| all.first()).map(|at| &self.orders[*at])
    }

    /// The order with this reference.
    pub fn of_ref(&self, order_ref: &str) -> Option<&OrderView> {
        self.by_ref.get(order_ref).map(|at| &self.orders[*at])
    }

    /// Orders in the order in which they came.
    pub fn orders(&self) -> &[OrderView] {
        &self.orders
    }

    /// Orders that wait for the market, oldest first.
    pub fn working(&self) -> impl Iterator<Item = &OrderView> {
        self.working.iter().map(|at| &self.orders[*at])
    }

    /// How many events there were.
    pub fn moments(&self) -> u64 {
        self.moments.len() as u64
    }

    /// The `n`-th event (1, 2, …) and when it was.
    pub fn moment(&self, n: u64) -> Option<BrokerEvent> {
        let moment = self.moments.get(usize::try_from(n.checked_sub(1)?).ok()?)?;
        let view = &self.orders[moment.order];
        let order = OrderView {
            status: moment.status,
            code: moment.code.clone(),
            fills: view.fills[..moment.fills].to_vec(),
            ..view.clone()
        };
        Some(BrokerEvent { n, at: moment.at, order })
    }

    /// What an account holds: the sum of its fills.
    pub fn positions(&self, account: &str, as_of: Timestamp) -> Positions {
        let held = self.held.get(account).into_iter().flatten();
        let position = |(symbol, qty): (&String, &Decimal)| BrokerPosition {
            symbol: symbol.clone(),
            qty: qty.normalize(),
        };
        let positions = held.filter(|(_, qty)| !qty.is_zero()).map(position).collect();
        Positions { account: account.to_string(), positions, as_of }
    }
}

/// The sum of fills.
pub fn filled(fills: &[Fill]) -> Decimal {
    fills.iter().map(|fill| fill.qty).sum()
}
