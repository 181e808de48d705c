//! Owns the signature over a call to the broker: who calls, what, when, in which environment.
//! Never prints the secret. Invariant: comparison takes the same time whatever is wrong.

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Header: which key.
pub const KEY_HEADER: &str = "noctus-broker-key";
/// Header: when the call was signed, Unix milliseconds.
pub const TIMESTAMP_HEADER: &str = "noctus-broker-timestamp";
/// Header: HMAC-SHA256, lower hex.
pub const SIGNATURE_HEADER: &str = "noctus-broker-signature";
/// A call signed longer ago, or further ahead, is not taken.
pub const STALE_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// A key that calls are signed with.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The header of that name.
    pub environment: &'a str,
    /// Exact bytes; empty if there is none.
    pub body: &'a [u8],
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refused {
    Stale,
    BadSignature,
}

impl Key {
    fn mac(&self, call: &Call<'_>, timestamp_ms: i64) -> Hmac<Sha256> {
        let secret = self.secret.expose_secret().as_bytes();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        let body = hex::encode(Sha256::digest(call.body));
        let (timestamp, key) = (timestamp_ms.to_string(), self.id.as_str());
        // No part holds a line feed: a header, a path and a method cannot.
        let parts = [
            "noctus-broker-v1",
            key,
            call.method,
            call.target,
            call.environment,
            &timestamp,
            &body,
        ];
        mac.update(parts.join("\n").as_bytes());
        mac
    }

    /// The signature of a call, lower hex.
    pub fn sign(&self, call: &Call<'_>, at: Timestamp) -> String {
        hex::encode(self.mac(call, at.as_millisecond()).finalize().into_bytes())
    }

    /// Whether the call was signed with this key, not long before or after `now`.
    pub fn verify(
        &self,
        call: &Call<'_>,
        timestamp_ms: i64,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let signature = hex::decode(signature).map_err(|_| Refused::BadSignature)?;
        let right = self.mac(call, timestamp_ms).verify_slice(&signature);
        right.map_err(|_| Refused::BadSignature)?;
        let apart = now.as_millisecond().saturating_sub(timestamp_ms).unsigned_abs();
        match u128::from(apart) <= STALE_AFTER.as_millis().unsigned_abs() {
            true => Ok(()),
            false => Err(Refused::Stale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Key {
        Key { id: "k1".into(), secret: secret.into() }
    }

    const CALL: Call<'_> =
        Call { method: "POST", target: "/v1/orders", environment: "live", body: b"{}" };

    #[test]
    fn every_part_of_a_call_is_signed() {
        let now = Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
        let signed = key("secret").sign(&CALL, now);
        let verify = |by: &Key, call: &Call<'_>, ms| by.verify(call, ms, &signed, now);
        let ms = now.as_millisecond();
        assert_eq!(verify(&key("secret"), &CALL, ms), Ok(()));
        let other_id = Key { id: "k2".into(), ..key("secret") };
        let wrong = [
            (key("other"), CALL, ms),
            (other_id, CALL, ms),
            (key("secret"), Call { method: "GET", ..CALL }, ms),
            (key("secret"), Call { target: "/v1/orders?x", ..CALL }, ms),
            (key("secret"), Call { environment: "paper", ..CALL }, ms),
            (key("secret"), Call { body: b"{ }", ..CALL }, ms),
            (key("secret"), CALL, ms + 1),
        ];
        for (key, call, ms) in wrong {
            assert_eq!(verify(&key, &call, ms), Err(Refused::BadSignature), "{call:?} {ms}");
        }
        assert_eq!(key("secret").verify(&CALL, ms, "zz", now), Err(Refused::BadSignature));
    }

    #[test]
    fn a_signature_is_good_for_half_a_minute_before_and_after() {
        let signed_at = Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
        let (signed, ms) = (key("s").sign(&CALL, signed_at), signed_at.as_millisecond());
        for (apart_ms, wanted) in [
            (-30_001, Err(Refused::Stale)),
            (-30_000, Ok(())),
            (30_000, Ok(())),
            (30_001, Err(Refused::Stale)),
        ] {
            let now = signed_at + SignedDuration::from_millis(apart_ms);
            assert_eq!(key("s").verify(&CALL, ms, &signed, now), wanted, "{apart_ms}");
        }
    }

    /// The worked example of docs/broker-api.md.
    #[test]
    fn the_worked_example_is_right() {
        let at = Timestamp::from_millisecond(1_760_000_000_000).expect("in range");
        let key = Key { id: "noctus".into(), secret: "0123456789abcdef0123456789abcdef".into() };
        let call = Call {
            method: "GET",
            target: "/v1/positions?account=main",
            environment: "paper",
            body: b"",
        };
        assert_eq!(key.sign(&call, at), EXAMPLE);
    }

    const EXAMPLE: &str = "9fe9e0e72a433173cbd90124085e3db0531265cd3d73231116e2d23c52ee1b6b";
}
