//! Owns what is known of the broker: what it says it is and can, whether that will do, and how it has changed.
//! Never sends an order. Invariant (F61): a broker of another environment is not used.

use rust_decimal::Decimal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::protocol::Capabilities;
use super::{Broker, NoAnswer, takes};
use crate::runtime::secrets::BadSecrets;

/// Why dispatch does not start with this broker.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HandshakeError {
    #[error("the HTTP client cannot be built: {0}")]
    Client(reqwest::Error),
    #[error(transparent)]
    Secret(#[from] BadSecrets),
    #[error("{broker} does not tell what it can: {why}")]
    Unavailable { broker: String, why: NoAnswer },
    #[error("{broker} must not be used: {why}")]
    Unusable { broker: String, why: String },
}

/// What the broker said, and the digest by which that is recorded with each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Known {
    pub capabilities: Capabilities,
    /// SHA-256 of their canonical JSON, lower hex.
    pub digest: String,
}

impl From<Capabilities> for Known {
    fn from(capabilities: Capabilities) -> Self {
        let digest = digest(&capabilities);
        Self { capabilities, digest }
    }
}

/// Asks the broker what it is and can; one that cannot be used is an error.
pub async fn shake_hands(broker: &dyn Broker, environment: &str) -> Result<Known, HandshakeError> {
    let capabilities = broker.capabilities().await?;
    match unusable(&capabilities, environment) {
        None => Ok(capabilities.into()),
        Some(why) => {
            let broker = format!("the broker {}", capabilities.name);
            Err(HandshakeError::Unusable { broker, why })
        }
    }
}

/// SHA-256 of the canonical JSON (RFC 8785), lower hex.
pub fn digest(capabilities: &Capabilities) -> String {
    let bytes =
        serde_json_canonicalizer::to_vec(capabilities).expect("capabilities are plain data");
    hex::encode(Sha256::digest(bytes))
}

/// What differs, a line for each field: `min_qty: "1" → "5"`.
pub fn drift(before: &Capabilities, now: &Capabilities) -> Vec<String> {
    let fields = |of: &Capabilities| match serde_json::to_value(of) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, now) = (fields(before), fields(now));
    let changed = |(name, value): (&String, &Value)| {
        let was = before.get(name).unwrap_or(&Value::Null);
        (was != value).then(|| format!("{name}: {was} → {value}"))
    };
    now.iter().filter_map(changed).collect()
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
    } else if capabilities.rate_limits.iter().any(|l| l.max == 0 || l.per_ms == 0 || l.burst == 0) {
        Some("one of its rate limits lets nothing through".into())
    } else {
        None
    }
}
