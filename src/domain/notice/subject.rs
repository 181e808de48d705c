//! What a condition is about, and what stands for it: made of few, bounded things, so that a storm is one condition.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::plain;

/// Keys of an alert's details that say what it is about. Not among them: traces, keys, offsets and workers, which are
/// new each time.
const TELLING: [&str; 8] =
    ["account", "symbol", "strategy", "topic", "broker", "whose", "receiver", "window"];
/// Longest value, characters.
const VALUE_MAX: usize = 64;

/// What a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// `account=main symbol=USDJPY`; empty if the rule alone says it.
    #[serde(rename = "subject")]
    pub text: String,
    /// The account, for routes.
    pub account: Option<String>,
    /// The symbol, for routes.
    pub symbol: Option<String>,
}

impl Subject {
    /// Of an alert: what its details say; the lane of its order where they say none.
    pub fn of(details: &Value, lane: Option<(&str, &str)>) -> Self {
        let mut told: Vec<(&str, String)> = Vec::new();
        for key in TELLING {
            let value = match (&details[key], key, lane) {
                (Value::String(text), ..) => plain(text, VALUE_MAX),
                (Value::Number(number), ..) => number.to_string(),
                (_, "account", Some((account, _))) => account.to_string(),
                (_, "symbol", Some((_, symbol))) => symbol.to_string(),
                _ => continue,
            };
            told.push((key, value));
        }
        let text: Vec<String> = told.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let of = |name| told.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        Self { text: text.join(" "), account: of("account"), symbol: of("symbol") }
    }
}

/// 32 hex digits for a rule and what it is about.
pub fn fingerprint(policy_name: &str, subject: &Subject) -> String {
    digest("noctus-condition-v1", &[policy_name.as_bytes(), subject.text.as_bytes()])
}

/// 32 hex digits of texts, each with its length before it.
pub(super) fn digest(what: &str, parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(&what.as_bytes()).chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}
