//! Owns at what price an order of paper fills. Pure.
//! The market is the symbol's quote. Without one, a MARKET or STOP order takes its reference price for both
//! bid and ask, and a LIMIT order fills at once at its limit price.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::dispatch::broker::protocol::PlaceOrder;
use crate::domain::request::{OrderType, Side, TimeInForce};

/// What the paper market shows for a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperQuote {
    /// What a seller gets.
    pub bid: Decimal,
    /// What a buyer pays.
    pub ask: Decimal,
}

impl std::str::FromStr for PaperQuote {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let price = |t: &str| t.parse::<Decimal>().map_err(|e| format!("{t}: {e}"));
        let (bid, ask) = text.split_once('/').ok_or("a quote is bid/ask, e.g. 147.250/147.252")?;
        let quote = Self { bid: price(bid)?, ask: price(ask)? };
        match Decimal::ZERO < quote.bid && quote.bid <= quote.ask {
            true => Ok(quote),
            false => Err("a quote needs 0 < bid ≤ ask".into()),
        }
    }
}

/// What becomes of an order at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// All of it fills at this price.
    Fill(Decimal),
    /// It waits for the market.
    Rest,
    /// It does not wait (IOC, FOK).
    Cancel,
    /// It cannot be taken; the code says why.
    Reject(&'static str),
}

/// Matches an order with the market.
pub fn matched(order: &PlaceOrder, quote: Option<PaperQuote>) -> Match {
    let seen = quote.or(order.reference_price.map(|p| PaperQuote { bid: p, ask: p }));
    let side_price = |q: PaperQuote| if order.side == Side::Sell { q.bid } else { q.ask };
    let rest = match order.time_in_force {
        TimeInForce::Gtc | TimeInForce::Day => Match::Rest,
        TimeInForce::Ioc | TimeInForce::Fok => Match::Cancel,
    };
    let limited = |limit: Option<Decimal>| match (limit, quote.map(side_price)) {
        (None, _) => Match::Reject("no_limit_price"),
        (Some(limit), None) => Match::Fill(limit),
        (Some(limit), Some(px)) if within(order.side, px, limit) => Match::Fill(px),
        _ => rest,
    };
    match order.order_type {
        OrderType::Market => seen.map_or(Match::Reject("no_price"), |q| Match::Fill(side_price(q))),
        OrderType::Limit => limited(order.limit_price),
        OrderType::Stop | OrderType::StopLimit => match (order.stop_price, seen.map(side_price)) {
            (None, _) => Match::Reject("no_stop_price"),
            (Some(stop), Some(px)) if within(order.side, stop, px) => match order.order_type {
                OrderType::Stop => Match::Fill(px),
                _ => limited(order.limit_price),
            },
            _ => rest,
        },
    }
}

/// A price for an order that fills although it should not: its own, else the market's, else its reference.
pub fn own_price(order: &PlaceOrder, quote: Option<PaperQuote>) -> Option<Decimal> {
    let side_price = |q: PaperQuote| if order.side == Side::Sell { q.bid } else { q.ask };
    let own = order.limit_price.or(order.stop_price);
    own.or(quote.map(side_price)).or(order.reference_price)
}

/// Whether `px` is as good as `limit` or better for this side.
fn within(side: Side, px: Decimal, limit: Decimal) -> bool {
    if side == Side::Sell { px >= limit } else { px <= limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(side: Side, order_type: OrderType) -> PlaceOrder {
        PlaceOrder {
            client_order_id: "k".into(),
            account: "main".into(),
            symbol: "USDJPY".into(),
            side,
            qty: Decimal::ONE_HUNDRED,
            order_type,
            limit_price: None,
            stop_price: None,
            stop_loss: None,
            take_profit: None,
            reference_price: None,
            time_in_force: TimeInForce::Gtc,
            accept_by: None,
            trace_id: None,
        }
    }

    #[test]
    fn orders_fill_at_the_quote_else_at_their_own_price_else_not_at_all() {
        use Match::*;
        use OrderType::*;
        use Side::*;
        let quote: Option<PaperQuote> = "99/101".parse().ok();
        let n = |p: u32| Decimal::from(p);
        let cases = [
            (order(Buy, Market), quote, Fill(n(101))),
            (order(Sell, Market), quote, Fill(n(99))),
            (order(Buy, Market), None, Reject("no_price")),
            (
                PlaceOrder { reference_price: Some(n(100)), ..order(Buy, Market) },
                None,
                Fill(n(100)),
            ),
            (PlaceOrder { limit_price: Some(n(102)), ..order(Buy, Limit) }, quote, Fill(n(101))),
            (PlaceOrder { limit_price: Some(n(100)), ..order(Buy, Limit) }, quote, Rest),
            (PlaceOrder { limit_price: Some(n(100)), ..order(Buy, Limit) }, None, Fill(n(100))),
            (PlaceOrder { limit_price: Some(n(98)), ..order(Sell, Limit) }, quote, Fill(n(99))),
            (PlaceOrder { stop_price: Some(n(101)), ..order(Buy, Stop) }, quote, Fill(n(101))),
            (PlaceOrder { stop_price: Some(n(102)), ..order(Buy, Stop) }, quote, Rest),
            (PlaceOrder { stop_price: Some(n(99)), ..order(Sell, Stop) }, quote, Fill(n(99))),
            (PlaceOrder { stop_price: Some(n(99)), ..order(Sell, Stop) }, None, Rest),
            (
                PlaceOrder {
                    stop_price: Some(n(100)),
                    limit_price: Some(n(100)),
                    ..order(Buy, StopLimit)
                },
                quote,
                Rest,
            ),
            (
                PlaceOrder {
                    limit_price: Some(n(100)),
                    time_in_force: TimeInForce::Ioc,
                    ..order(Buy, Limit)
                },
                quote,
                Cancel,
            ),
        ];
        for (order, quote, wanted) in cases {
            assert_eq!(matched(&order, quote), wanted, "{order:?} {quote:?}");
        }
    }
}
