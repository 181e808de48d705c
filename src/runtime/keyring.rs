//! Owns the signing keys: which kid may sign what, and when (C-SIG-2).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;

use super::secrets::{BadSecrets, DEV_SECRET, check};

/// What a key may sign; an absent list is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Scopes {
    pub topics: Option<Vec<String>>,
    pub accounts: Option<Vec<String>>,
    pub strategies: Option<Vec<String>>,
}

impl Scopes {
    /// Whether the key may sign for this topic (logical name), account and strategies. A key that is limited
    /// to strategies may not sign what names none.
    pub fn allow<'a>(
        &self,
        topic: &str,
        account: &str,
        strategies: impl Iterator<Item = &'a str>,
    ) -> bool {
        let mut strategies = strategies.peekable();
        let named = self.strategies.is_none() || strategies.peek().is_some();
        self.allow_topic(topic)
            && within(&self.accounts, account)
            && named
            && strategies.all(|s| within(&self.strategies, s))
    }

    /// Whether the key may sign for this topic (logical name) at all.
    pub fn allow_topic(&self, topic: &str) -> bool {
        within(&self.topics, topic)
    }
}

fn within(list: &Option<Vec<String>>, item: &str) -> bool {
    list.as_ref().is_none_or(|l| l.iter().any(|x| x == item))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kid: String,
    secret: String,
    #[serde(default)]
    not_before: Option<Timestamp>,
    #[serde(default)]
    not_after: Option<Timestamp>,
    #[serde(default)]
    scopes: Scopes,
}

/// One signing key.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct SigningKey {
    pub kid: String,
    pub secret: SecretString,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    pub scopes: Scopes,
}

impl SigningKey {
    /// Whether the key is in force at the record's broker timestamp (both ends inclusive).
    pub fn in_force(&self, at: Timestamp) -> bool {
        self.not_before.is_none_or(|t| t <= at) && self.not_after.is_none_or(|t| at <= t)
    }
}

/// All signing keys a process knows.
#[derive(Clone, Default)]
pub struct Keyring(Vec<SigningKey>);

impl Keyring {
    /// Reads the JSON list.
    pub fn parse(text: &str, dev: bool) -> Result<Self, BadSecrets> {
        // The parser's message never quotes the value, so no secret reaches a log.
        let entries: Vec<Entry> = serde_json::from_str(text).map_err(|e| {
            BadSecrets::BadKeyring(format!(
                "line {} column {}: {:?} error",
                e.line(),
                e.column(),
                e.classify()
            ))
        })?;
        let mut keys: Vec<SigningKey> = Vec::with_capacity(entries.len());
        for e in entries {
            check(&format!("signing key {}", e.kid), &e.secret, dev)?;
            let kid_ok = !e.kid.is_empty()
                && e.kid.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !kid_ok || keys.iter().any(|k| k.kid == e.kid) {
                return Err(BadSecrets::BadKeyring(
                    "kid must be [A-Za-z0-9._-]+ and stand once".into(),
                ));
            }
            keys.push(SigningKey {
                kid: e.kid,
                secret: e.secret.into(),
                not_before: e.not_before,
                not_after: e.not_after,
                scopes: e.scopes,
            });
        }
        if keys.is_empty() {
            return Err(BadSecrets::BadKeyring("the list is empty".into()));
        }
        Ok(Self(keys))
    }

    /// The development ring: kid `dev`, the plan's secret.
    pub fn dev() -> Self {
        Self(vec![SigningKey {
            kid: "dev".into(),
            secret: DEV_SECRET.to_string().into(),
            not_before: None,
            not_after: None,
            scopes: Scopes::default(),
        }])
    }

    /// The key of this id.
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|k| k.kid == kid)
    }

    /// Every key.
    pub fn keys(&self) -> &[SigningKey] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_a_key_signs_within_its_scopes_and_nothing_else() {
        let list = |items: &[&str]| Some(items.iter().map(|i| i.to_string()).collect());
        let all = Scopes::default();
        assert!(all.allow("order-requests", "main", [].into_iter()));
        let scopes = Scopes {
            topics: list(&["order-requests"]),
            accounts: list(&["main"]),
            strategies: list(&["Aurus", "Levia"]),
        };
        let allow = |topic, account, strategies: &[&'static str]| {
            scopes.allow(topic, account, strategies.iter().copied())
        };
        assert!(allow("order-requests", "main", &["Aurus"]));
        assert!(allow("order-requests", "main", &["Levia", "Aurus"]));
        assert!(!allow("proposal-sets", "main", &["Aurus"]));
        assert!(!allow("order-requests", "other", &["Aurus"]));
        assert!(!allow("order-requests", "main", &["Aurus", "Veritas"]));
        assert!(!allow("order-requests", "main", &[]), "no strategy is none of its own");
        assert!(!scopes.allow_topic("quotes"), "who signs orders does not set prices");
        assert!(all.allow_topic("quotes"));
    }
}
