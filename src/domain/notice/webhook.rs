//! A message as a webhook: the JSON body, and the signature that Standard Webhooks asks for.
//! Never signs anything but `id.timestamp.body`. Invariant: the same letter is the same bytes, at every attempt.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::letter::{Group, Letter, Named};

/// The type of a message about conditions.
pub const CHANGES: &str = "noctus.conditions.changed";
/// The type of a trial.
pub const TEST: &str = "noctus.test";
/// What a secret begins with.
const SECRET: &str = "whsec_";
/// Bytes of a secret, least and most.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The JSON body.
pub fn body(letter: &Letter) -> Vec<u8> {
    let [opened, updated, resolved, alerts] = letter.counts();
    let kind = if letter.is_test { TEST } else { CHANGES };
    let value = json!({
        "type": kind,
        "timestamp": letter.at,
        "data": {
            "id": letter.id,
            "receiver": letter.receiver,
            "severity": letter.severity,
            "headline": letter.headline(),
            "opened": opened,
            "updated": updated,
            "resolved": resolved,
            "alerts": alerts,
            "groups": letter.groups.iter().map(group).collect::<Vec<Value>>(),
        },
    });
    value.to_string().into_bytes()
}

fn group(group: &Group) -> Value {
    json!({
        "policy_name": group.policy_name,
        "severity": group.severity,
        "opened": group.opened,
        "updated": group.updated,
        "resolved": group.resolved,
        "alerts": group.alerts,
        "conditions": group.conditions.iter().map(named).collect::<Vec<Value>>(),
        "more": group.more,
    })
}

fn named(named: &Named) -> Value {
    json!({
        "fingerprint": named.fingerprint,
        "change": named.change,
        "kind": named.kind,
        "is_new": named.is_new,
        "subject": named.subject.text,
        "account": named.subject.account,
        "symbol": named.subject.symbol,
        "alerts": named.alerts,
        "opened_at": named.opened_at,
        "last_at": named.last_at,
        "reason": named.reason,
        "trace_id": named.trace_id,
    })
}

/// Why a text is no secret of Standard Webhooks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ and base64 of 24 to 64 random bytes, e.g. `echo whsec_$(openssl rand -base64 32)`"
)]
pub struct BadSecret;

/// The keys in a text: one secret, or the new and the old one while it is rotated, with a space in between.
pub fn keys(text: &str) -> Result<Vec<Vec<u8>>, BadSecret> {
    let key = |secret: &str| {
        let bytes = BASE64.decode(secret.strip_prefix(SECRET).ok_or(BadSecret)?);
        bytes.ok().filter(|bytes| SECRET_BYTES.contains(&bytes.len())).ok_or(BadSecret)
    };
    let keys: Vec<Vec<u8>> = text.split_whitespace().map(key).collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(BadSecret) } else { Ok(keys) }
}

/// The header `webhook-signature`: one signature per key.
pub fn signature(keys: &[Vec<u8>], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let sign = |key: &Vec<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(sign).collect::<Vec<String>>().join(" ")
}
