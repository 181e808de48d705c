//! Owns what dispatch may ask of a broker, and how a broker's words become events of an order.
//! Never guesses: what is not a clear answer is [`Placed::Unknown`], never a failure (C-OUT-3).
//! Invariant: the client order id is a function of the key, so every retry carries the same one.

pub mod protocol;
pub mod rest;

use std::time::Duration;

use rust_decimal::{Decimal, RoundingStrategy};
use sha2::{Digest, Sha256};

use crate::domain::event::Fill;
use crate::domain::money::WIRE_DECIMALS;
use crate::domain::order::Event;
use crate::domain::request::Side;
use crate::domain::text::IdempotencyKey;
use protocol::{BrokerStatus, Capabilities, ClientId, OrderView, PlaceOrder};

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
    Failed {
        /// Why, a stable code.
        code: &'static str,
        /// For a person.
        detail: String,
    },
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
    events.extend(view.fills.iter().map(|fill| Event::Fill(held(fill))));
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

/// Why dispatch cannot work with a broker that is like this, if it cannot.
pub fn unusable(capabilities: &Capabilities, environment: &str) -> Option<String> {
    let ids = &capabilities.client_id;
    if capabilities.environment != environment {
        Some(format!(
            "broker.environment is {environment}, and the broker says it is {}",
            capabilities.environment
        ))
    } else if ids.max_length < 16 || !"0123456789abcdef".chars().all(|c| takes(&ids.chars, c)) {
        Some("its client order ids cannot hold 16 hex digits".into())
    } else if capabilities.qty_step <= Decimal::ZERO {
        Some("its qty_step is not above 0".into())
    } else {
        None
    }
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
