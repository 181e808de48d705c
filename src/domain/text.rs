//! Owns the text newtypes of the contract (symbol, account, strategy, trace id, key).
//! Never normalises: bytes are taken as they are or refused, so a signature still covers what is used.
//! Invariant: none of these contains `|`, so `account|symbol` splits in one way only.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is outside its character set or length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {allowed}")]
pub struct InvalidText {
    /// The field's name on the wire, e.g. `symbol`.
    pub field: &'static str,
    /// What is allowed, as a pattern.
    pub allowed: &'static str,
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $field:literal, $allowed:literal, $min:literal ..= $max:literal, $class:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The allowed form, as a pattern.
            pub const ALLOWED: &'static str = $allowed;

            /// Takes the text if every byte is allowed and the length (bytes) is within limits.
            pub fn new(text: &str) -> Result<Self, InvalidText> {
                let class: fn(u8) -> bool = $class;
                if ($min..=$max).contains(&text.len()) && text.bytes().all(class) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidText { field: $field, allowed: $allowed })
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text!(
    /// An instrument's name, e.g. `USDJPY`.
    Symbol, "symbol", "[A-Z0-9._-]{1,20}", 1..=20,
    |b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
);
text!(
    /// A trading account's name; `main` unless given.
    Account, "account", "[A-Za-z0-9._-]{1,32}", 1..=32,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);
text!(
    /// A strategy's name, e.g. `Aurus`.
    StrategyName, "strategy", "[A-Za-z0-9._-]{1,32}", 1..=32,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);
text!(
    /// What joins everything that one run of the loop caused.
    TraceId, "trace_id", "[A-Za-z0-9_:.-]{1,128}", 1..=128,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.' | b'-')
);
text!(
    /// The opaque key that stands for one intended order, reused on every retry (C-KEY-1).
    IdempotencyKey, "idempotency_key", "[A-Za-z0-9_-]{8,128}", 8..=128,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
);
text!(
    /// A bar size such as `1h`; part of the quality memory's scope.
    Timeframe, "timeframe", "[A-Za-z0-9._-]{1,32}", 1..=32,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);

/// The record key of both input topics: `account|symbol`.
pub fn record_key(account: &Account, symbol: &Symbol) -> String {
    format!("{account}|{symbol}")
}
