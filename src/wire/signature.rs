//! Owns the signature over a record and over a JSON order file (C-SIG-1, C-SIG-4).
//! Never looks inside the value: exact bytes are signed, and verified before anything is decoded.
//! Invariant: comparison takes the same time whatever is wrong.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The name of the Kafka header.
pub const HEADER: &str = "noctus-signature";
/// The field of a JSON order file that holds its signature, in the form of the header.
pub const JSON_FIELD: &str = "signature";
/// The length of a null key, which no key can have.
const NULL_LENGTH: u32 = u32::MAX;

/// A header that does not say `kid=<id>,v1=<64 lower-case hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signature is written kid=<id>,v1=<64 lower-case hex digits>")]
pub struct BadHeader;

fn mac(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn over_record(secret: &[u8], topic: &str, key: Option<&[u8]>, value: &[u8]) -> Hmac<Sha256> {
    let mut mac = mac(secret);
    mac.update(b"noctus-v1");
    for part in [Some(topic.as_bytes()), key, Some(value)] {
        // A part of 4 GiB cannot be in a record: the broker's limit is far below.
        let length = part.map_or(NULL_LENGTH, |bytes| bytes.len() as u32);
        mac.update(&length.to_be_bytes());
        mac.update(part.unwrap_or_default());
    }
    mac
}

/// Lower-case hex of the signature over a record; `topic` is the logical name, `value` the framed bytes.
pub fn sign(secret: &[u8], topic: &str, key: Option<&[u8]>, value: &[u8]) -> String {
    hex::encode(over_record(secret, topic, key, value).finalize().into_bytes())
}

/// Whether `v1` is the signature over this record, in constant time.
pub fn verify(secret: &[u8], topic: &str, key: Option<&[u8]>, value: &[u8], v1: &[u8; 32]) -> bool {
    over_record(secret, topic, key, value).verify_slice(v1).is_ok()
}

/// The header's value.
pub fn header(kid: &str, v1: &str) -> String {
    format!("kid={kid},v1={v1}")
}

/// The key id and the signature of a header's value.
pub fn parse_header(text: &str) -> Result<(&str, [u8; 32]), BadHeader> {
    let (kid, v1) = text
        .strip_prefix("kid=")
        .and_then(|rest| rest.split_once(",v1="))
        .filter(|(kid, _)| (1..=128).contains(&kid.len()))
        .ok_or(BadHeader)?;
    let kid_ok = kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let hex_ok = v1.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut bytes = [0; 32];
    if !kid_ok || !hex_ok || hex::decode_to_slice(v1, &mut bytes).is_err() {
        return Err(BadHeader);
    }
    Ok((kid, bytes))
}

fn over_json(secret: &[u8], order: &Value) -> Hmac<Sha256> {
    let mut unsigned = order.clone();
    if let Value::Object(fields) = &mut unsigned {
        fields.remove(JSON_FIELD);
    }
    let canonical =
        serde_json_canonicalizer::to_vec(&unsigned).expect("a JSON tree has a canonical form");
    let mut mac = mac(secret);
    mac.update(b"noctus-json-v1");
    mac.update(&canonical);
    mac
}

/// The first whole number beyond 2^53. RFC 8785 spells numbers as doubles, so from there on two orders
/// with different numbers would have one signature.
pub fn inexact_number(order: &Value) -> Option<&Value> {
    const MOST: u64 = 1 << 53;
    match order {
        Value::Number(n) if n.as_u64().is_some_and(|n| n > MOST) => Some(order),
        Value::Number(n) if n.as_i64().is_some_and(|n| n.unsigned_abs() > MOST) => Some(order),
        Value::Array(items) => items.iter().find_map(inexact_number),
        Value::Object(fields) => fields.values().find_map(inexact_number),
        _ => None,
    }
}

/// Lower-case hex of the signature over a JSON order, its `signature` field left out (C-SIG-4).
pub fn sign_json(secret: &[u8], order: &Value) -> String {
    hex::encode(over_json(secret, order).finalize().into_bytes())
}

/// Whether `v1` is the signature over this JSON order, in constant time. An order with a number that has
/// no exact canonical form is never what was signed.
pub fn verify_json(secret: &[u8], order: &Value, v1: &[u8; 32]) -> bool {
    inexact_number(order).is_none() && over_json(secret, order).verify_slice(v1).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn signatures_are_those_of_the_vectors() {
        let cases: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/vectors/signatures.json")).unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let secret = case["secret"].as_str().unwrap().as_bytes();
            let topic = case["topic"].as_str().unwrap();
            let key = case["key"].as_str().map(|k| hex::decode(k).unwrap());
            let value = hex::decode(case["value"].as_str().unwrap()).unwrap();
            let v1 = sign(secret, topic, key.as_deref(), &value);
            assert_eq!(v1, case["v1"].as_str().unwrap(), "{case}");
            let text = header("k-1", &v1);
            let (kid, mac) = parse_header(&text).unwrap();
            assert_eq!(kid, "k-1");
            assert!(verify(secret, topic, key.as_deref(), &value, &mac));
        }
    }

    #[test]
    fn f10_a_header_in_any_other_form_is_refused() {
        let v1 = "0".repeat(64);
        let bad = [
            String::new(),
            format!("v1={v1}"),
            format!("kid=,v1={v1}"),
            format!("kid=a,v1={}", "0".repeat(63)),
            format!("kid=a,v1={}", "0".repeat(66)),
            format!("kid=a,v1={}", "A".repeat(64)),
            format!("kid=a,v2={v1}"),
            format!("kid=a, v1={v1}"),
            format!(" kid=a,v1={v1}"),
            format!("kid=a,v1={v1}\n"),
            format!("kid=a,v1={v1},v1={v1}"),
            format!("kid=ключ,v1={v1}"),
            format!("kid=a,alg=none,v1={v1}"),
        ];
        for text in bad {
            assert_eq!(parse_header(&text), Err(BadHeader), "{text:?}");
        }
    }

    #[test]
    fn the_order_of_json_fields_and_the_signature_itself_are_not_signed() {
        let secret = b"a signing secret of thirty-two bytes.";
        let order = json!({"qty": "10", "side": "BUY", "n": 1.0});
        let v1 = sign_json(secret, &order);
        let mut signed: Value = serde_json::from_str(r#"{"side":"BUY","n":1,"qty":"10"}"#).unwrap();
        signed[JSON_FIELD] = json!(header("k", &v1));
        assert_eq!(sign_json(secret, &signed), v1);
        signed["qty"] = json!("11");
        assert_ne!(sign_json(secret, &signed), v1);
    }

    #[test]
    fn f10_two_numbers_that_one_double_stands_for_do_not_share_a_signature() {
        let secret = b"a signing secret of thirty-two bytes.";
        let order = |qty: u64| json!({"symbol": "USDJPY", "legs": [{"qty": qty}]});
        let (even, odd) = (order(1 << 53), order((1 << 53) + 1));
        assert_eq!(sign_json(secret, &even), sign_json(secret, &odd), "RFC 8785 has doubles only");
        let text = header("k", &sign_json(secret, &even));
        let (_, mac) = parse_header(&text).unwrap();
        assert!(verify_json(secret, &even, &mac));
        assert!(!verify_json(secret, &odd, &mac));
        assert_eq!(inexact_number(&odd), Some(&json!((1_u64 << 53) + 1)));
        assert_eq!(inexact_number(&json!([-(1_i64 << 53), 1e300, "9007199254740993"])), None);
        assert!(inexact_number(&json!(-(1_i64 << 53) - 1)).is_some());
    }

    proptest! {
        #[test]
        fn f10_one_changed_bit_anywhere_is_noticed(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            value in proptest::collection::vec(any::<u8>(), 1..60),
            at in any::<proptest::sample::Index>(), bit in 0u8..8,
        ) {
            let secret = b"a signing secret of thirty-two bytes.";
            let text = header("k", &sign(secret, "order-requests", key.as_deref(), &value));
            let (_, mac) = parse_header(&text).unwrap();
            prop_assert!(verify(secret, "order-requests", key.as_deref(), &value, &mac));
            let mut other = value.clone();
            other[at.index(value.len())] ^= 1 << bit;
            prop_assert!(!verify(secret, "order-requests", key.as_deref(), &other, &mac));
            prop_assert!(!verify(secret, "proposal-sets", key.as_deref(), &value, &mac));
            let mut wrong = mac;
            wrong[at.index(32)] ^= 1 << bit;
            prop_assert!(!verify(secret, "order-requests", key.as_deref(), &value, &wrong));
        }

        #[test]
        fn a_null_key_and_an_empty_key_are_signed_differently(value in ".*") {
            let (a, b) = (sign(b"s", "t", None, value.as_bytes()), sign(b"s", "t", Some(b""), value.as_bytes()));
            prop_assert_ne!(a, b);
        }
    }
}
