//! Owns the words of the REST contract with a broker (`docs/broker-api.md`), as JSON.
//! Never sends: `rest` does, and the paper broker answers.
//! Invariant: numbers are strings, times are RFC 3339, so nothing is rounded on the way.

use jiff::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::serde::{str as number, str_option as number_option};
use serde::{Deserialize, Serialize};

use crate::domain::event::Fill;
use crate::domain::request::{OrderType, Side, TimeInForce};

/// Header of every call: the environment the caller means to trade in (F61).
pub const ENVIRONMENT_HEADER: &str = "noctus-environment";
/// Header of every call that changes something: the same on every retry of it.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// `POST /v1/orders`: one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PlaceOrder {
    /// The same on every retry: the broker dedupes by it.
    pub client_order_id: String,
    pub account: String,
    pub symbol: String,
    pub side: Side,
    /// Units.
    #[serde(with = "number")]
    pub qty: Decimal,
    pub order_type: OrderType,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub limit_price: Option<Decimal>,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub stop_price: Option<Decimal>,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub stop_loss: Option<Decimal>,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub take_profit: Option<Decimal>,
    /// The price the order was decided at; brokers of paper fill at it when they have no quote.
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub reference_price: Option<Decimal>,
    pub time_in_force: TimeInForce,
    /// The broker must refuse the order (`too_late`) when it reaches it after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_by: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// Where an order is at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum BrokerStatus {
    Working,
    Filled,
    Rejected,
    Cancelled,
    Expired,
}

/// An order as the broker has it: the answer to placing it and to asking about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OrderView {
    pub order: PlaceOrder,
    pub order_ref: String,
    pub status: BrokerStatus,
    /// Why it was rejected, cancelled or expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default)]
    pub fills: Vec<Fill>,
    pub received_at: Timestamp,
    /// The client order id was known, with this very order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The order_ref of the order it took the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// `POST /v1/orders/by-client-id/{id}/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CancelOrder {
    /// A code; the order shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/orders/by-client-id/{id}/replace`: what differs in the order that takes the place of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ReplaceOrder {
    /// Of the new order; the same on every retry.
    pub client_order_id: String,
    /// Of the new order, in units; absent: what is unfilled of the old one.
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub qty: Option<Decimal>,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub limit_price: Option<Decimal>,
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub stop_price: Option<Decimal>,
    /// Only while exactly so much of the old order is filled.
    #[serde(default, with = "number_option", skip_serializing_if = "Option::is_none")]
    pub if_filled: Option<Decimal>,
}

/// One event of `GET /v1/events`: the order as it was right after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BrokerEvent {
    /// 1, 2, 3 … without a gap.
    pub n: u64,
    pub at: Timestamp,
    pub order: OrderView,
}

/// `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventPage {
    /// What happened after the number asked for.
    pub events: Vec<BrokerEvent>,
    /// To be asked for next: everything up to this number has been told.
    pub last: u64,
}

/// `GET /v1/positions`: what the broker holds for an account; a symbol that is not there is flat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Positions {
    pub account: String,
    pub positions: Vec<BrokerPosition>,
    /// They hold for this moment.
    pub as_of: Timestamp,
}

/// One symbol of [`Positions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BrokerPosition {
    pub symbol: String,
    /// Units; below 0: short.
    #[serde(with = "number")]
    pub qty: Decimal,
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code, e.g. `no_price`.
    pub error: String,
    /// For a person.
    #[serde(default)]
    pub detail: String,
    /// With 409: the order that has this client order id; with 422: the order as rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OrderView>,
}

/// Which client order ids the broker takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientId {
    /// Characters and ranges, as inside the brackets of a pattern, e.g. `A-Za-z0-9_-`.
    pub chars: String,
    /// Most of them.
    pub max_length: usize,
}

/// `GET /v1/capabilities`: what the broker is and can (C-OUT-8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Capabilities {
    pub name: String,
    /// `paper`, `live` …: must be what the configuration says.
    pub environment: String,
    #[serde(with = "number")]
    pub min_qty: Decimal,
    #[serde(with = "number")]
    pub qty_step: Decimal,
    #[serde(default, with = "number_option")]
    pub price_tick: Option<Decimal>,
    pub time_in_force: Vec<TimeInForce>,
    pub order_types: Vec<OrderType>,
    pub client_id: ClientId,
    /// The same client order id with the same order makes no second order.
    pub dedupes_by_client_id: bool,
    /// For how long after the first; absent = for ever.
    #[serde(default)]
    pub dedupe_horizon_s: Option<u64>,
    pub query_by_client_id: bool,
    /// An order placed can be found by query at the latest after this.
    #[serde(default)]
    pub visible_within_ms: u64,
    /// It refuses an order that reaches it after `accept_by`.
    #[serde(default)]
    pub honours_accept_by: bool,
    /// Orders can be cancelled.
    #[serde(default)]
    pub cancel: bool,
    /// Orders can be replaced.
    #[serde(default)]
    pub replace: bool,
    /// It tells what happens as it happens.
    #[serde(default)]
    pub events: bool,
    /// It tells positions.
    #[serde(default)]
    pub positions: bool,
    /// How often it may be called; none: as often as one likes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
}

impl Capabilities {
    /// It answers no questions and tells by itself what happens: that is all that is ever known of an order there.
    pub fn only_tells(&self) -> bool {
        self.events && !self.query_by_client_id
    }
}

/// A call, as rate limits tell calls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// Placing an order.
    Order,
    /// Cancelling one.
    Cancel,
    /// Replacing one.
    Replace,
    /// Asking about an order, for positions, or for capabilities.
    Query,
    /// Asking for events.
    Events,
}

/// How often the broker may be called: a bucket of `burst` calls that is filled again by `max` in every `per_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Calls of these kinds, counted together.
    pub calls: Vec<CallKind>,
    /// So many calls, above 0.
    pub max: u32,
    /// In this long, milliseconds, above 0.
    pub per_ms: u64,
    /// So many may come at once.
    #[serde(default = "one")]
    pub burst: u32,
}

fn one() -> u32 {
    1
}

/// `GET /v1/ledger` of the paper broker: enough to compare two looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerDigest {
    /// Lines.
    pub records: u64,
    /// Orders, rejected ones included.
    pub orders: u64,
    /// SHA-256 of the file, lower hex.
    pub digest: String,
}
