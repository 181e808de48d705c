//! Rows for the unit tests of dispatch.

use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::dispatch::broker::protocol::{BrokerStatus, OrderView, PlaceOrder};
use crate::domain::event::OrderStatus;
use crate::domain::request::{OrderType, Side, TimeInForce};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};
use crate::pg::outbox::OrderRow;

/// A new market order to buy 100, reserved and decided at second 1000.
pub fn order_row(key: &str) -> OrderRow {
    let at = |s| Timestamp::from_second(s).expect("in range");
    OrderRow {
        id: 1,
        key: IdempotencyKey::new(key).expect("a key"),
        trace_id: TraceId::new("t-1").expect("a trace"),
        account: Account::new("main").expect("an account"),
        symbol: Symbol::new("USDJPY").expect("a symbol"),
        side: Side::Buy,
        qty: Decimal::ONE_HUNDRED,
        order_type: OrderType::Market,
        limit_price: None,
        stop_price: None,
        stop_loss: None,
        take_profit: None,
        reference_price: Some(Decimal::from(150)),
        time_in_force: TimeInForce::Gtc,
        strategy: None,
        requested_at: at(999),
        decided_at: at(1000),
        send_by: Some(at(1060)),
        sent_at: None,
        state: OrderStatus::New,
        exec_seq: 0,
        attempt_no: 0,
        query_no: 0,
        broker_ref: None,
        quarantined: vec![],
        opening_qty: Decimal::ONE_HUNDRED,
        opening_notional: Decimal::from(15_000),
        working_qty: Decimal::ONE_HUNDRED,
        realised_pnl: Decimal::ZERO,
        unit_value: Decimal::ONE,
        arm: None,
        read_at: at(1001),
        sent_as: None,
        cancel: None,
        unsure_before: false,
        replace: None,
        at_broker: None,
        trace: None,
    }
}

/// A working order at the broker, to buy 100.
pub fn order_view(id: &str) -> OrderView {
    let order = PlaceOrder {
        client_order_id: id.into(),
        account: "main".into(),
        symbol: "USDJPY".into(),
        side: Side::Buy,
        qty: Decimal::ONE_HUNDRED,
        order_type: OrderType::Market,
        limit_price: None,
        stop_price: None,
        stop_loss: None,
        take_profit: None,
        reference_price: Some(Decimal::from(150)),
        time_in_force: TimeInForce::Gtc,
        accept_by: None,
        trace_id: Some("t-1".into()),
    };
    OrderView {
        order,
        order_ref: "p-1".into(),
        status: BrokerStatus::Working,
        code: None,
        fills: vec![],
        received_at: Timestamp::UNIX_EPOCH,
        duplicate: false,
        replaces: None,
    }
}
