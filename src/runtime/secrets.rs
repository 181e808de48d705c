//! Owns secrets: idempotency secrets (a ring; the first is current) and the signing keyring.
//! Never prints one. Invariant: without `--dev` every secret has at least 32 bytes and is not `dev-secret`.

use secrecy::{ExposeSecret, SecretString};

use super::keyring::Keyring;

/// The least length of a secret, bytes.
pub const SECRET_MIN_BYTES: usize = 32;

/// Everything secret that a process holds.
pub struct Secrets {
    /// Secrets for recipe v1, the current one first; retired ones only look keys up (C-KEY-3).
    pub idempotency: Vec<SecretString>,
    /// Keys that producers sign with.
    pub signing: Keyring,
}

/// Why a process refuses to start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadSecrets {
    #[error(
        "{name} is not set: give a secret of at least {SECRET_MIN_BYTES} bytes, or {name}_FILE, or --dev to try things out"
    )]
    Missing { name: &'static str },
    #[error(
        "{name} {why}: use at least {SECRET_MIN_BYTES} random bytes, e.g. `openssl rand -hex 32`, or --dev to try things out"
    )]
    Weak { name: String, why: &'static str },
    #[error("{name}_FILE cannot be read: {source}")]
    Unreadable { name: &'static str, source: std::io::Error },
    #[error(
        "NOCTUS_SIGNING_KEYS is not a JSON list of {{kid, secret, not_before?, not_after?, scopes?}}: {0}"
    )]
    BadKeyring(String),
}

/// The development secret of the plan; refused without `--dev`.
pub const DEV_SECRET: &str = "dev-secret";

/// Reads `NAME` or the file named by `NAME_FILE`.
pub fn read(name: &'static str) -> Result<Option<String>, BadSecrets> {
    read_named(name).map_err(|source| BadSecrets::Unreadable { name, source })
}

/// The same of a name that is made at run time.
pub fn read_named(name: &str) -> std::io::Result<Option<String>> {
    if let Some(path) = std::env::var_os(format!("{name}_FILE")) {
        let text = std::fs::read_to_string(path)?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_string()));
    }
    Ok(std::env::var(name).ok().filter(|s| !s.is_empty()))
}

/// Refuses a short or well-known secret.
pub fn check(name: &str, secret: &str, dev: bool) -> Result<(), BadSecrets> {
    let weak = |why| Err(BadSecrets::Weak { name: name.to_string(), why });
    match secret {
        _ if dev => Ok(()),
        DEV_SECRET => weak("is the development secret"),
        s if s.len() < SECRET_MIN_BYTES => weak("is too short"),
        _ => Ok(()),
    }
}

/// The files that secrets come from, if they come from files.
pub fn files() -> Vec<std::path::PathBuf> {
    let named = |name: &str| std::env::var_os(format!("{name}_FILE")).map(Into::into);
    [IDEMPOTENCY, RETIRED, SIGNING].into_iter().filter_map(named).collect()
}

const IDEMPOTENCY: &str = "NOCTRIA_IDEMPOTENCY_SECRET";
const RETIRED: &str = "NOCTRIA_IDEMPOTENCY_SECRETS_RETIRED";
const SIGNING: &str = "NOCTUS_SIGNING_KEYS";
/// Where the broker's secret comes from.
pub const BROKER: &str = "NOCTUS_BROKER_SECRET";

/// Reads `NOCTUS_BROKER_SECRET` (or `…_FILE`), with which calls to the broker are signed.
pub fn broker(dev: bool) -> Result<Option<SecretString>, BadSecrets> {
    let Some(secret) = read(BROKER)? else { return Ok(None) };
    check(BROKER, &secret, dev)?;
    Ok(Some(secret.into()))
}

impl Secrets {
    /// Reads `NOCTRIA_IDEMPOTENCY_SECRET` (and retired ones, one a line, in
    /// `NOCTRIA_IDEMPOTENCY_SECRETS_RETIRED`) and `NOCTUS_SIGNING_KEYS`, each also as `…_FILE`.
    pub fn from_env(dev: bool) -> Result<Self, BadSecrets> {
        let current = match read(IDEMPOTENCY)? {
            Some(secret) => secret,
            None if dev => DEV_SECRET.to_string(),
            None => return Err(BadSecrets::Missing { name: IDEMPOTENCY }),
        };
        check(IDEMPOTENCY, &current, dev)?;
        let mut idempotency = vec![SecretString::from(current)];
        let retired = read(RETIRED)?.unwrap_or_default();
        for retired in retired.lines().filter(|line| !line.is_empty()) {
            idempotency.push(SecretString::from(retired.to_string()));
        }
        let signing = match read(SIGNING)? {
            Some(text) => Keyring::parse(&text, dev)?,
            None if dev => Keyring::dev(),
            None => return Err(BadSecrets::Missing { name: SIGNING }),
        };
        for key in signing.keys() {
            let same = |s: &SecretString| s.expose_secret() == key.secret.expose_secret();
            if !dev && idempotency.iter().any(same) {
                return Err(BadSecrets::Weak {
                    name: format!("signing key {}", key.kid),
                    why: "is also an idempotency secret",
                });
            }
        }
        Ok(Self { idempotency, signing })
    }

    /// Goes on looking keys up under every secret that was known before: files of secrets do not change
    /// in one moment, and a secret forgotten in between would turn a re-read into a second order (C-KEY-3).
    pub fn remembering(mut self, before: &Self) -> Self {
        for old in &before.idempotency {
            let same = |s: &SecretString| s.expose_secret() == old.expose_secret();
            if !self.idempotency.iter().any(same) {
                self.idempotency.push(old.clone());
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(idempotency: &[&str]) -> Secrets {
        let secret = |s: &&str| SecretString::from(s.to_string());
        Secrets { idempotency: idempotency.iter().map(secret).collect(), signing: Keyring::dev() }
    }

    #[test]
    fn f13_a_secret_that_is_replaced_is_still_looked_up_and_the_new_one_is_current() {
        let first = known(&["a"]);
        let second = known(&["b"]).remembering(&first);
        let third = known(&["c", "b"]).remembering(&second);
        let all: Vec<&str> = third.idempotency.iter().map(|s| s.expose_secret()).collect();
        assert_eq!(all, ["c", "b", "a"]);
    }

    #[test]
    fn a_weak_secret_is_refused_unless_it_is_development() {
        for (secret, is_good) in [
            ("dev-secret", false),
            ("", false),
            ("a secret of more than thirty-two bytes", true),
            ("1234567890123456789012345678901", false),
            ("12345678901234567890123456789012", true),
        ] {
            assert_eq!(check("X", secret, false).is_ok(), is_good, "{secret}");
            assert!(check("X", secret, true).is_ok());
        }
    }
}
