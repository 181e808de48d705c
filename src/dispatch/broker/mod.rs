//! Owns what dispatch may ask of a broker ([`Broker`]), and how a broker's words become events of an order.
//! Never guesses: what is not a clear answer is [`Placed::Unknown`], never a failure (C-OUT-3).
//! Invariant: the client order id is a function of the key, so every retry carries the same one.

pub mod desk;
pub mod handshake;
pub mod protocol;
pub mod rest;
pub mod signing;
pub mod traced;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use rust_decimal::{Decimal, RoundingStrategy};
use sha2::{Digest, Sha256};

use crate::domain::event::Fill;
use crate::domain::money::WIRE_DECIMALS;
use crate::domain::order::Event;
use crate::domain::request::Side;
use crate::domain::text::IdempotencyKey;
use handshake::HandshakeError;
use protocol::{
    BrokerStatus, Capabilities, ClientId, EventPage, OrderView, PlaceOrder, Positions, ReplaceOrder,
};

/// Asked right before the first byte is written; its refusal, a stable code, means that none was.
pub type MayWrite<'a> = Box<dyn FnOnce() -> Result<(), &'static str> + Send + 'a>;

/// A broker, as dispatch uses one. Adapters pass one conformance suite (`tests/it/conformance`).
///
/// No call retries by itself, follows a redirect, or takes longer or more than it is configured to.
#[async_trait]
pub trait Broker: Send + Sync {
    /// What it is and can.
    async fn capabilities(&self) -> Result<Capabilities, HandshakeError>;
    /// Sends one order. The same order again is the same order at a broker that dedupes.
    async fn place(&self, order: &PlaceOrder, may_write: MayWrite<'_>) -> Placed;
    /// Asks what became of an order, by its client order id.
    async fn ask(&self, order: &PlaceOrder) -> Asked;
    /// Cancels what works of an order; one that has ended stays as it is.
    async fn cancel(&self, order: &PlaceOrder, reason: &str, may_write: MayWrite<'_>) -> Moved;
    /// Puts another order in the place of a working one; the same replacement again is the same order.
    async fn replace(
        &self,
        order: &PlaceOrder,
        with: &ReplaceOrder,
        may_write: MayWrite<'_>,
    ) -> Moved;
    /// What it holds for an account.
    async fn positions(&self, account: &str) -> Result<Positions, NoAnswer>;
    /// Events after a number, as soon as there are some, an empty page after `wait`; without a number:
    /// an empty page that says which is the newest.
    async fn events(&self, after: Option<u64>, wait: Duration) -> Result<EventPage, NoAnswer>;
    /// The broker refuses us: reads the secret that calls are signed with again, if there is one.
    fn renew_secret(&self) {}
}

/// How a send ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// The broker has the order, or refused it for good.
    Known(Box<OrderView>),
    /// Refused for good, and the broker kept nothing to show.
    Refused {
        /// The broker's code.
        code: String,
    },
    /// The broker has another order under this client order id (F55).
    Mismatch(Box<OrderView>),
    /// No byte of it left this process, provably.
    NotSent {
        /// Why, a stable code.
        code: &'static str,
    },
    /// Anything may have happened.
    Unknown {
        /// Why, a stable code.
        code: &'static str,
        /// For a person.
        detail: String,
        /// The broker asked for this much peace.
        retry_after: Option<Duration>,
    },
}

/// How a question about an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The broker has it.
    Known(Box<OrderView>),
    /// The broker has another order under this client order id.
    Mismatch(Box<OrderView>),
    /// The broker says clearly that it has no such order.
    NotFound,
    /// No clear answer.
    Failed(NoAnswer),
}

/// How a cancel or a replace ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// Carried out, or it was so already: the order as it is now, of a replace the new one.
    Known(Box<OrderView>),
    /// Refused for good.
    Refused {
        /// The broker's code; `not_working`: the order to replace has ended.
        code: String,
        /// The order it is about, if the broker showed it.
        original: Option<Box<OrderView>>,
    },
    /// The broker has another order under this client order id.
    Mismatch(Box<OrderView>),
    /// The broker says clearly that it has no such order.
    NotFound,
    /// No byte of it left this process, provably.
    NotSent {
        /// Why, a stable code.
        code: &'static str,
    },
    /// Anything may have happened: the order must be asked about.
    Unknown {
        /// Why, a stable code.
        code: &'static str,
        /// For a person.
        detail: String,
        /// The broker asked for this much peace.
        retry_after: Option<Duration>,
    },
}

/// A question that got no clear answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct NoAnswer {
    /// Why, a stable code.
    pub code: &'static str,
    /// For a person.
    pub detail: String,
    /// The broker asked for this much peace.
    pub retry_after: Option<Duration>,
}

/// Whether `new` is what `with` makes of `old`.
pub fn replacement_fits(new: &PlaceOrder, old: &PlaceOrder, with: &ReplaceOrder) -> bool {
    let wanted = PlaceOrder {
        client_order_id: with.client_order_id.clone(),
        qty: with.qty.unwrap_or(new.qty),
        limit_price: with.limit_price.or(old.limit_price),
        stop_price: with.stop_price.or(old.stop_price),
        accept_by: None,
        ..old.clone()
    };
    *new == wanted
}

/// What an order as the broker shows it means for ours, in the order in which it is applied.
pub fn events(view: &OrderView) -> Vec<Event> {
    let code = || view.code.clone().unwrap_or_else(|| "broker".into());
    if view.status == BrokerStatus::Rejected && view.fills.is_empty() {
        return vec![Event::Reject { code: code() }];
    }
    let mut events = vec![Event::Accept { broker_ref: Some(view.order_ref.clone()) }];
    // Prices are held with 9 decimals; a quantity is never rounded.
    let held = |fill: &Fill| Fill { px: fill.px.round_dp(WIRE_DECIMALS), ..fill.clone() };
    // A fill that is told twice is one; under one id with other numbers it is for the order to refuse.
    let mut told = BTreeSet::new();
    let once = view.fills.iter().filter(|fill| told.insert((&fill.fill_id, fill.qty, fill.px)));
    events.extend(once.map(|fill| Event::Fill(held(fill))));
    match view.status {
        BrokerStatus::Working | BrokerStatus::Filled => {}
        BrokerStatus::Rejected => events.push(Event::Reject { code: code() }),
        BrokerStatus::Cancelled => events.push(Event::Cancel { code: code() }),
        BrokerStatus::Expired => events.push(Event::Expire { code: code() }),
    }
    events
}

/// The id by which the broker knows the order: the key itself if the broker takes it, else a hash of it.
pub fn client_order_id(key: &IdempotencyKey, allowed: &ClientId) -> String {
    if key.len() <= allowed.max_length && key.chars().all(|c| takes(&allowed.chars, c)) {
        return key.to_string();
    }
    let mut id = hex::encode(Sha256::digest(key.as_bytes()));
    id.truncate(allowed.max_length);
    id
}

/// Whether a pattern's bracket such as `A-Za-z0-9_-` holds the character.
fn takes(chars: &str, wanted: char) -> bool {
    let chars: Vec<char> = chars.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        if at + 2 < chars.len() && chars[at + 1] == '-' {
            if (chars[at]..=chars[at + 2]).contains(&wanted) {
                return true;
            }
            at += 3;
        } else {
            if chars[at] == wanted {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// Why the broker could not take this order, a stable code: it is then refused here (C-OUT-8).
pub fn cannot_take(capabilities: &Capabilities, order: &PlaceOrder) -> Option<&'static str> {
    if !capabilities.time_in_force.contains(&order.time_in_force) {
        Some("broker_time_in_force")
    } else if !capabilities.order_types.contains(&order.order_type) {
        Some("broker_order_type")
    } else if order.qty < capabilities.min_qty {
        Some("broker_min_qty")
    } else if order.qty.checked_rem(capabilities.qty_step) != Some(Decimal::ZERO) {
        Some("broker_qty_step")
    } else {
        None
    }
}

/// A price on the broker's tick: BUY down, SELL up (C-OUT-8).
pub fn on_tick(price: Decimal, side: Side, tick: Option<Decimal>) -> Decimal {
    let Some(tick) = tick.filter(|t| *t > Decimal::ZERO) else { return price };
    let strategy = match side {
        Side::Sell => RoundingStrategy::ToPositiveInfinity,
        Side::Buy | Side::Flat => RoundingStrategy::ToNegativeInfinity,
    };
    let rounded = price.checked_div(tick).map(|n| n.round_dp_with_strategy(0, strategy));
    rounded.and_then(|n| n.checked_mul(tick)).map_or(price, |p| p.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(chars: &str, max_length: usize) -> ClientId {
        ClientId { chars: chars.into(), max_length }
    }

    #[test]
    fn a_key_the_broker_takes_is_the_client_order_id_else_its_hash_is() {
        let key = IdempotencyKey::new("order_2025-08-23").expect("a key");
        assert_eq!(client_order_id(&key, &ids("A-Za-z0-9_-", 128)), "order_2025-08-23");
        let short = client_order_id(&key, &ids("A-Za-z0-9_-", 15));
        let narrow = client_order_id(&key, &ids("a-z0-9", 36));
        assert_eq!((short.len(), narrow.len()), (15, 36));
        assert!(narrow.starts_with(&short), "both are the key's hash");
        assert_eq!(narrow, client_order_id(&key, &ids("a-z0-9", 36)));
    }

    #[test]
    fn a_buy_price_goes_down_to_the_tick_and_a_sell_price_up() {
        let d = |t: &str| t.parse::<Decimal>().expect("a number");
        for (side, wanted) in [(Side::Buy, "147.250"), (Side::Sell, "147.255")] {
            assert_eq!(on_tick(d("147.2512"), side, Some(d("0.005"))), d(wanted));
            assert_eq!(on_tick(d("147.25"), side, Some(d("0.005"))), d("147.25"));
            assert_eq!(on_tick(d("147.2512"), side, None), d("147.2512"));
        }
    }
}
