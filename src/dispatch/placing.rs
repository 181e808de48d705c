//! Owns what is sent for a row of the outbox. Pure.
//! Invariant: the same row gives the same order, whatever the broker has said of itself since its first send.

use rust_decimal::Decimal;

use super::broker::protocol::{Capabilities, ClientId, PlaceOrder};
use super::broker::{client_order_id, on_tick};
use crate::pg::outbox::OrderRow;
use crate::runtime::faults::is_planted;

/// The id by which the broker knows an order, or will: once sent, it stays what it was.
pub fn order_id(row: &OrderRow, allowed: &ClientId) -> String {
    match &row.sent_as {
        Some(sent) => sent.client_order_id.clone(),
        None => client_order_id(&row.key, allowed),
    }
}

/// What a broker that can so much is sent for a row.
pub fn place_order(row: &OrderRow, capabilities: &Capabilities) -> PlaceOrder {
    let tick = match &row.sent_as {
        Some(sent) => sent.price_tick,
        None => capabilities.price_tick,
    };
    let price = |p: Option<Decimal>| p.map(|p| on_tick(p.normalize(), row.side, tick));
    PlaceOrder {
        client_order_id: match is_planted("no-dedupe") {
            true => format!("{}-{}", row.key, std::process::id()),
            false => order_id(row, &capabilities.client_id),
        },
        account: row.account.to_string(),
        symbol: row.symbol.to_string(),
        side: row.side,
        // One that took the place of another has its own quantity, and no time to arrive by.
        qty: row.at_broker.as_ref().map_or(row.qty, |at| at.qty).normalize(),
        order_type: row.order_type,
        limit_price: price(row.limit_price),
        stop_price: price(row.stop_price),
        stop_loss: price(row.stop_loss),
        take_profit: price(row.take_profit),
        reference_price: row.reference_price.map(|p| p.normalize()),
        time_in_force: row.time_in_force,
        accept_by: row.send_by.filter(|_| row.at_broker.is_none()),
        trace_id: Some(row.trace_id.to_string()),
    }
}
