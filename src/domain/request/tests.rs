//! The shape of requests: which field is named when it is wrong.

use serde_json::{Value, json};

use super::*;

fn order(change: Value) -> Result<OrderRequest, InvalidShape> {
    let mut order = json!({"trace_id": "t", "symbol": "USDJPY", "side": "BUY", "qty": "1",
        "requested_at": "2026-11-23T10:00:00Z"});
    order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value::<OrderDraft>(order).unwrap().check()
}

fn set(change: Value, proposal: Value) -> Result<ProposalSet, InvalidShape> {
    let mut one = json!({"strategy": "Aurus", "intent": "LONG", "qty_raw": "1", "confidence": 1});
    one.as_object_mut().unwrap().extend(proposal.as_object().unwrap().clone());
    let mut set = json!({"trace_id": "t", "symbol": "USDJPY",
        "requested_at": "2026-11-23T10:00:00Z", "proposals": [one]});
    set.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value::<ProposalSetDraft>(set).unwrap().check()
}

#[test]
fn f07_an_order_is_refused_by_the_field_that_is_wrong() {
    for (change, code) in [
        (json!({"qty": "0"}), "invalid_qty"),
        (json!({"qty": "-1"}), "invalid_qty"),
        (json!({"qty": "0.0000001"}), "invalid_qty"),
        (json!({"qty": "10000000000000000000"}), "invalid_qty"),
        (json!({"side": "FLAT"}), "invalid_qty"),
        (json!({"order_type": "LIMIT"}), "invalid_limit_price"),
        (json!({"order_type": "STOP_LIMIT", "limit_price": "1"}), "invalid_stop_price"),
        (
            json!({"order_type": "STOP", "stop_price": "1", "limit_price": "1"}),
            "invalid_limit_price",
        ),
        (json!({"limit_price": "1"}), "invalid_limit_price"),
        (json!({"stop_price": "1"}), "invalid_stop_price"),
        (json!({"order_type": "LIMIT", "limit_price": "0"}), "invalid_limit_price"),
        (json!({"order_type": "LIMIT", "limit_price": "0.0000000001"}), "invalid_limit_price"),
        (json!({"reference_price": "-1"}), "invalid_reference_price"),
        (json!({"stop_loss": "0"}), "invalid_stop_loss"),
        (json!({"take_profit": "0"}), "invalid_take_profit"),
        (json!({"symbol": "usdjpy"}), "invalid_symbol"),
        (json!({"account": "a|b"}), "invalid_account"),
        (json!({"trace_id": ""}), "invalid_trace_id"),
        (json!({"strategy": "ключ"}), "invalid_strategy"),
        (json!({"idempotency_key": "short"}), "invalid_idempotency_key"),
        (json!({"qty": "0", "limit_price": "1"}), "invalid_qty"),
    ] {
        assert_eq!(order(change.clone()).unwrap_err().code(), code, "{change}");
    }
    assert!(order(json!({"side": "FLAT", "qty": "-0.000"})).is_ok(), "FLAT asks for nothing");
    let most = order(json!({"qty": "9999999999999999999.999999"})).unwrap();
    assert_eq!(most.qty.to_string(), "9999999999999999999.999999");
}

#[test]
fn every_price_of_a_proposal_set_is_above_0_and_it_has_1_to_64_proposals() {
    assert!(set(json!({}), json!({"price_hint": "0.000000001"})).is_ok());
    for hint in ["0", "-1", "0.0000000001"] {
        let refused = set(json!({}), json!({"price_hint": hint})).unwrap_err();
        assert_eq!(refused.code(), "invalid_price_hint", "{hint}");
    }
    let refused = set(json!({"reference_price": "0"}), json!({"price_hint": "0"})).unwrap_err();
    assert_eq!(refused.code(), "invalid_reference_price", "the set's own fields come first");
    assert_eq!(set(json!({"proposals": []}), json!({})).unwrap_err().code(), "invalid_proposals");
    assert!(
        set(json!({}), json!({"qty_raw": "-1", "confidence": 7})).is_ok(),
        "the engine drops it"
    );
    let limit = set(json!({"order_type": "LIMIT"}), json!({})).unwrap_err();
    assert_eq!(limit.code(), "invalid_limit_price");
}
