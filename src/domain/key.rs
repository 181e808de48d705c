//! Owns what makes two requests one order: recipe v1 of the idempotency key, and the digest of what was asked.
//! Never puts a clock field into the digest, nor account or price into the recipe (C-KEY-2, C-KEY-4).
//! Invariant: decimals and times are normalised first, so equal requests give equal keys and digests.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::money::{QTY_DECIMALS, plain};
use super::request::{Intake, Side};
use super::text::{IdempotencyKey, Symbol, TraceId};

/// Recipe v1 (C-KEY-2): lower-case hex HMAC-SHA256 over `symbol|side|qty|minute|trace_id`, the quantity
/// with exactly 6 decimals, the minute of `requested_at` in UTC.
pub fn recipe_v1(
    secret: impl AsRef<[u8]>,
    symbol: &Symbol,
    side: Side,
    qty: Decimal,
    requested_at: Timestamp,
    trace_id: &TraceId,
) -> IdempotencyKey {
    let mut qty = qty.round_dp(QTY_DECIMALS);
    qty.rescale(QTY_DECIMALS);
    // A timestamp formats itself in UTC.
    let minute = requested_at.strftime("%Y-%m-%dT%H:%MZ").to_string();
    let text = format!("{symbol}|{}|{qty}|{minute}|{trace_id}", side.as_str());
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_ref()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    IdempotencyKey::new(&hex::encode(mac.finalize().into_bytes()))
        .expect("64 hex digits are a valid key")
}

/// The digest of what was asked (C-KEY-4): SHA-256 of `d1` and the RFC 8785 JSON of every field that
/// makes it this order and no other. Same key and same digest is a replay, another digest a conflict.
pub fn digest(intake: &Intake) -> [u8; 32] {
    let canonical = serde_json_canonicalizer::to_vec(&digested(intake))
        .expect("a tree of strings, numbers and nulls has a canonical form");
    let mut hash = Sha256::new();
    hash.update(b"d1");
    hash.update(&canonical);
    hash.finalize().into()
}

fn digested(intake: &Intake) -> Value {
    match intake {
        Intake::Order(r) => json!({
            "account": r.account,
            "symbol": r.symbol,
            "side": r.side,
            "qty": plain(r.qty),
            "order_type": r.order_type,
            "limit_price": r.limit_price.map(plain),
            "stop_price": r.stop_price.map(plain),
            "stop_loss": r.stop_loss.map(plain),
            "take_profit": r.take_profit.map(plain),
            "time_in_force": r.time_in_force,
        }),
        Intake::Proposals(p) => json!({
            "account": p.account,
            "symbol": p.symbol,
            "order_type": p.order_type,
            "proposals": p.proposals.iter().map(|p| json!({
                "strategy": p.strategy,
                "intent": p.intent,
                "qty_raw": plain(p.qty_raw),
                "confidence": double(p.confidence),
                "risk_score": double(p.risk_score),
                "price_hint": p.price_hint.map(plain),
                "reasons": p.reasons,
            })).collect::<Vec<_>>(),
        }),
    }
}

/// JSON has no NaN and no infinities, and they must not all look the same.
fn double(number: f64) -> Value {
    if number.is_finite() { json!(number) } else { json!(number.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::request::{OrderDraft, ProposalSetDraft};

    fn order(change: impl FnOnce(&mut Value)) -> [u8; 32] {
        let mut draft = json!({"trace_id": "t-1", "symbol": "USDJPY", "side": "BUY", "qty": "10000",
            "requested_at": "2025-08-23T11:00:30Z"});
        change(&mut draft);
        let draft: OrderDraft = serde_json::from_value(draft).unwrap();
        digest(&Intake::Order(draft.check().unwrap()))
    }

    #[test]
    fn recipe_v1_gives_the_keys_of_the_vectors() {
        let cases: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/vectors/keys.json")).unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let key = recipe_v1(
                text("secret"),
                &Symbol::new(text("symbol")).unwrap(),
                serde_json::from_value(case["side"].clone()).unwrap(),
                text("qty").parse().unwrap(),
                text("requested_at").parse().unwrap(),
                &TraceId::new(text("trace_id")).unwrap(),
            );
            assert_eq!(key.as_str(), text("key"), "{case}");
        }
    }

    #[test]
    fn the_digest_knows_a_number_by_its_value_and_not_by_its_spelling() {
        assert_eq!(order(|_| ()), order(|d| d["qty"] = json!("10000.000")));
    }

    #[test]
    fn the_digest_ignores_clocks_traces_and_notes() {
        let other = order(|d| {
            d["requested_at"] = json!("2026-01-01T00:00:00Z");
            d["valid_until"] = json!("2026-01-02T00:00:00Z");
            d["trace_id"] = json!("t-2");
            d["meta"] = json!({"a": "b"});
            d["reference_price"] = json!("150");
        });
        assert_eq!(order(|_| ()), other);
    }

    #[test]
    fn the_digest_tells_every_field_that_changes_the_order() {
        let plain = order(|_| ());
        let changes: [(&str, Value); 7] = [
            ("account", json!("other")),
            ("symbol", json!("EURUSD")),
            ("side", json!("SELL")),
            ("qty", json!("10001")),
            ("stop_loss", json!("1.1")),
            ("take_profit", json!("1.1")),
            ("time_in_force", json!("IOC")),
        ];
        for (field, value) in changes {
            assert_ne!(plain, order(|d| d[field] = value), "{field}");
        }
        let limit = |price: &'static str| {
            order(|d| {
                d["order_type"] = json!("LIMIT");
                d["limit_price"] = json!(price);
            })
        };
        assert_ne!(plain, limit("150"));
        assert_ne!(limit("150"), limit("150.1"));
    }

    #[test]
    fn the_digest_of_a_proposal_set_covers_its_proposals_nan_included() {
        let set = |confidence: f64| {
            let draft: ProposalSetDraft = serde_json::from_value(json!({"trace_id": "t-1",
                "symbol": "USDJPY", "requested_at": "2025-08-23T11:00:30Z", "proposals": [{
                "strategy": "A", "intent": "LONG", "qty_raw": "1", "confidence": 0.5}]}))
            .unwrap();
            let mut set = draft.check().unwrap();
            set.proposals[0].confidence = confidence;
            digest(&Intake::Proposals(set))
        };
        assert_eq!(set(0.5), set(0.5));
        assert_ne!(set(0.5), set(0.6));
        assert_ne!(set(f64::NAN), set(f64::INFINITY));
        assert_ne!(set(f64::INFINITY), set(f64::NEG_INFINITY));
    }
}
