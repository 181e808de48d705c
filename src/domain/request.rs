//! Owns what an order request and a proposal set are, and the shape they must have.
//! Never looks at a clock, a policy or a position.
//! Invariant: an [`OrderRequest`] or [`ProposalSet`] that exists has passed every shape rule.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::money::{self, QTY_DECIMALS, fits_wire, has_at_most};
use super::text::{Account, IdempotencyKey, StrategyName, Symbol, Timeframe, TraceId};

/// What a producer asks for. FLAT asks for nothing and closes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Side {
    Buy,
    Sell,
    Flat,
}

impl Side {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "BUY",
            Side::Sell => "SELL",
            Side::Flat => "FLAT",
        }
    }
}

/// How an order is priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OrderType {
    #[default]
    Market,
    Limit,
    Stop,
    StopLimit,
}

impl OrderType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderType::Market => "MARKET",
            OrderType::Limit => "LIMIT",
            OrderType::Stop => "STOP",
            OrderType::StopLimit => "STOP_LIMIT",
        }
    }
    /// LIMIT and STOP_LIMIT carry a limit price; the others must not.
    pub fn uses_limit_price(self) -> bool {
        matches!(self, OrderType::Limit | OrderType::StopLimit)
    }
    /// STOP and STOP_LIMIT carry a stop price; the others must not.
    pub fn uses_stop_price(self) -> bool {
        matches!(self, OrderType::Stop | OrderType::StopLimit)
    }
}

/// How long an order lives at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum TimeInForce {
    #[default]
    Gtc,
    Ioc,
    Fok,
    Day,
}

impl TimeInForce {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeInForce::Gtc => "GTC",
            TimeInForce::Ioc => "IOC",
            TimeInForce::Fok => "FOK",
            TimeInForce::Day => "DAY",
        }
    }
}

/// The two measurements that the quality gate judges. Absent, NaN, infinite or negative is *unknown*.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityInput {
    /// Share of missing data, 0..=1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_ratio: Option<f64>,
    /// Age of the newest data, minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_lag_min: Option<f64>,
}

fn main_account() -> String {
    "main".into()
}

/// An order request as it was written, before its shape was checked: JSON of a producer's file, or a decoded Avro value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct OrderDraft {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    pub trace_id: String,
    #[serde(default = "main_account")]
    pub account: String,
    pub symbol: String,
    pub side: Side,
    /// Units, at most 6 decimals; 0 for FLAT.
    #[serde(deserialize_with = "money::deserialize")]
    pub qty: Decimal,
    #[serde(default)]
    pub order_type: OrderType,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub limit_price: Option<Decimal>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub stop_price: Option<Decimal>,
    #[serde(default)]
    pub time_in_force: TimeInForce,
    pub requested_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference_price: Option<Decimal>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub stop_loss: Option<Decimal>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub take_profit: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityInput>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// One signed request for one order, its shape checked. Source: topic `order-requests`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OrderRequest {
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub side: Side,
    /// Units, at most 6 decimals; > 0 for BUY and SELL, 0 for FLAT.
    pub qty: Decimal,
    pub order_type: OrderType,
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub time_in_force: TimeInForce,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub decision_id: Option<String>,
    pub reference_price: Option<Decimal>,
    pub stop_loss: Option<Decimal>,
    pub take_profit: Option<Decimal>,
    pub strategy: Option<StrategyName>,
    pub timeframe: Option<Timeframe>,
    pub quality: Option<QualityInput>,
    pub meta: BTreeMap<String, String>,
    pub idempotency_key: Option<IdempotencyKey>,
}

/// What a strategy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Intent {
    Long,
    Short,
    Flat,
}

fn default_risk_score() -> f64 {
    0.5
}

/// One strategy's proposal. But for its price hint, a bad one is dropped with a reason by the decision
/// engine, not refused by shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Proposal {
    pub strategy: String,
    pub intent: Intent,
    /// Units.
    #[serde(deserialize_with = "money::deserialize")]
    pub qty_raw: Decimal,
    /// 0..=1.
    pub confidence: f64,
    /// 0..=1, higher is riskier.
    #[serde(default = "default_risk_score")]
    pub risk_score: f64,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub price_hint: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A proposal set as it was written, before its shape was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ProposalSetDraft {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    pub trace_id: String,
    #[serde(default = "main_account")]
    pub account: String,
    pub symbol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeframe: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Timestamp>,
    pub requested_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    #[serde(
        default,
        deserialize_with = "money::deserialize_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference_price: Option<Decimal>,
    #[serde(default)]
    pub order_type: OrderType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityInput>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    pub proposals: Vec<Proposal>,
}

/// Strategy proposals for one symbol, their shape checked. Source: topic `proposal-sets`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ProposalSet {
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub timeframe: Option<Timeframe>,
    pub as_of: Option<Timestamp>,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub reference_price: Option<Decimal>,
    pub order_type: OrderType,
    /// Never on the wire; given only in cases judged by hand, like the next two.
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub time_in_force: TimeInForce,
    pub quality: Option<QualityInput>,
    /// Required on the wire; absent only in cases judged by hand.
    pub idempotency_key: Option<IdempotencyKey>,
    pub meta: BTreeMap<String, String>,
    pub proposals: Vec<Proposal>,
}

/// What a proposal set cannot say on the wire and a case judged by hand can.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs)]
pub struct OrderTerms {
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub time_in_force: TimeInForce,
}

/// Most proposals in one set.
pub const PROPOSALS_MAX: usize = 64;

/// A request whose shape is wrong: `invalid_<field>`. It is refused before the ledger, so its key stays free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid_{field}: {why}")]
pub struct InvalidShape {
    /// The wrong field's name on the wire.
    pub field: &'static str,
    /// What is wrong and what is allowed, for a person.
    pub why: String,
}

impl InvalidShape {
    pub(super) fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
    /// The stable reason code, e.g. `invalid_qty`.
    pub fn code(&self) -> String {
        format!("invalid_{}", self.field)
    }
}

impl From<super::text::InvalidText> for InvalidShape {
    fn from(e: super::text::InvalidText) -> Self {
        Self::new(e.field, format!("must be {}", e.allowed))
    }
}

fn optional<T>(
    text: &Option<String>,
    new: fn(&str) -> Result<T, super::text::InvalidText>,
) -> Result<Option<T>, InvalidShape> {
    Ok(text.as_deref().map(new).transpose()?)
}

/// A price that is there is above 0 and fits the wire.
pub(super) fn optional_price(
    field: &'static str,
    value: Option<Decimal>,
) -> Result<(), InvalidShape> {
    price(field, value)
}

/// A quantity of an order: above 0, at most 6 decimals.
pub(super) fn positive_qty(qty: Decimal) -> Result<(), InvalidShape> {
    if qty <= Decimal::ZERO {
        return Err(InvalidShape::new("qty", "must be above 0"));
    }
    digits_of_qty(qty)
}

fn digits_of_qty(qty: Decimal) -> Result<(), InvalidShape> {
    match has_at_most(qty, QTY_DECIMALS) && fits_wire(qty) {
        true => Ok(()),
        false => Err(InvalidShape::new("qty", "at most 6 decimals and 28 digits")),
    }
}

fn price(field: &'static str, value: Option<Decimal>) -> Result<(), InvalidShape> {
    match value {
        Some(p) if p <= Decimal::ZERO => Err(InvalidShape::new(field, "a price must be above 0")),
        Some(p) if !fits_wire(p) => {
            Err(InvalidShape::new(field, "a price has at most 9 decimals and 28 digits"))
        }
        _ => Ok(()),
    }
}

fn typed_price(
    field: &'static str,
    value: Option<Decimal>,
    used: bool,
    order_type: OrderType,
) -> Result<(), InvalidShape> {
    match (used, value) {
        (true, None) => Err(InvalidShape::new(field, format!("{} needs it", order_type.as_str()))),
        (false, Some(_)) => {
            Err(InvalidShape::new(field, format!("{} does not use it", order_type.as_str())))
        }
        _ => price(field, value),
    }
}

impl OrderDraft {
    /// Checks the shape. The first wrong field is named, in the order qty, limit_price, stop_price,
    /// reference_price, then the rest.
    pub fn check(&self) -> Result<OrderRequest, InvalidShape> {
        let trace_id = TraceId::new(&self.trace_id)?;
        let account = Account::new(&self.account)?;
        let symbol = Symbol::new(&self.symbol)?;
        if self.side == Side::Flat {
            if !self.qty.is_zero() {
                return Err(InvalidShape::new("qty", "FLAT asks for nothing: qty must be 0"));
            }
        } else if self.qty <= Decimal::ZERO {
            return Err(InvalidShape::new("qty", "must be above 0 for BUY and SELL"));
        }
        digits_of_qty(self.qty)?;
        let t = self.order_type;
        typed_price("limit_price", self.limit_price, t.uses_limit_price(), t)?;
        typed_price("stop_price", self.stop_price, t.uses_stop_price(), t)?;
        price("reference_price", self.reference_price)?;
        price("stop_loss", self.stop_loss)?;
        price("take_profit", self.take_profit)?;
        Ok(OrderRequest {
            trace_id,
            account,
            symbol,
            side: self.side,
            qty: self.qty.normalize(),
            order_type: t,
            limit_price: self.limit_price,
            stop_price: self.stop_price,
            time_in_force: self.time_in_force,
            requested_at: self.requested_at,
            valid_until: self.valid_until,
            decision_id: self.decision_id.clone(),
            reference_price: self.reference_price,
            stop_loss: self.stop_loss,
            take_profit: self.take_profit,
            strategy: optional(&self.strategy, StrategyName::new)?,
            timeframe: optional(&self.timeframe, Timeframe::new)?,
            quality: self.quality,
            meta: self.meta.clone(),
            idempotency_key: optional(&self.idempotency_key, IdempotencyKey::new)?,
        })
    }
}

impl ProposalSetDraft {
    /// Checks the shape: 1..=64 proposals, every price above 0. All else in a proposal is the engine's.
    pub fn check(&self) -> Result<ProposalSet, InvalidShape> {
        self.check_with(OrderTerms::default())
    }

    /// The same with terms that the wire does not have.
    pub fn check_with(&self, terms: OrderTerms) -> Result<ProposalSet, InvalidShape> {
        let trace_id = TraceId::new(&self.trace_id)?;
        let account = Account::new(&self.account)?;
        let symbol = Symbol::new(&self.symbol)?;
        if !(1..=PROPOSALS_MAX).contains(&self.proposals.len()) {
            return Err(InvalidShape::new("proposals", format!("1 to {PROPOSALS_MAX} of them")));
        }
        let t = self.order_type;
        typed_price("limit_price", terms.limit_price, t.uses_limit_price(), t)?;
        typed_price("stop_price", terms.stop_price, t.uses_stop_price(), t)?;
        price("reference_price", self.reference_price)?;
        for proposal in &self.proposals {
            price("price_hint", proposal.price_hint)?;
        }
        Ok(ProposalSet {
            trace_id,
            account,
            symbol,
            timeframe: optional(&self.timeframe, Timeframe::new)?,
            as_of: self.as_of,
            requested_at: self.requested_at,
            valid_until: self.valid_until,
            reference_price: self.reference_price,
            order_type: t,
            limit_price: terms.limit_price,
            stop_price: terms.stop_price,
            time_in_force: terms.time_in_force,
            quality: self.quality,
            idempotency_key: optional(&self.idempotency_key, IdempotencyKey::new)?,
            meta: self.meta.clone(),
            proposals: self.proposals.clone(),
        })
    }
}

/// What the gate is asked to judge.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Intake {
    Order(OrderRequest),
    Proposals(ProposalSet),
}

macro_rules! both {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty),+ $(,)?) => {
        impl Intake {
            $($(#[$doc])*
            pub fn $name(&self) -> $ty {
                match self {
                    Intake::Order(r) => &r.$name,
                    Intake::Proposals(p) => &p.$name,
                }
            })+
        }
    };
}

both! {
    /// The trace.
    trace_id -> &TraceId,
    /// The account.
    account -> &Account,
    /// The symbol.
    symbol -> &Symbol,
    /// The bar size, if given.
    timeframe -> &Option<Timeframe>,
    /// When the producer asked, by its own clock.
    requested_at -> &Timestamp,
    /// Until when the producer wants it, inclusive.
    valid_until -> &Option<Timestamp>,
    /// The producer's own price, if given.
    reference_price -> &Option<Decimal>,
    /// The measurements for the quality gate.
    quality -> &Option<QualityInput>,
    /// The producer's key, if given.
    idempotency_key -> &Option<IdempotencyKey>,
}

impl Intake {
    /// The order type asked for.
    pub fn order_type(&self) -> OrderType {
        match self {
            Intake::Order(r) => r.order_type,
            Intake::Proposals(p) => p.order_type,
        }
    }
    /// The time in force; proposal sets on the wire are GTC.
    pub fn time_in_force(&self) -> TimeInForce {
        match self {
            Intake::Order(r) => r.time_in_force,
            Intake::Proposals(p) => p.time_in_force,
        }
    }
    /// The limit price, if the type has one.
    pub fn limit_price(&self) -> Option<Decimal> {
        match self {
            Intake::Order(r) => r.limit_price,
            Intake::Proposals(p) => p.limit_price,
        }
    }
    /// The stop price, if the type has one.
    pub fn stop_price(&self) -> Option<Decimal> {
        match self {
            Intake::Order(r) => r.stop_price,
            Intake::Proposals(p) => p.stop_price,
        }
    }
}

#[cfg(test)]
mod tests;
