//! Owns the policies a request is judged under: quality, profiles, risk, instruments.
//! Never reads a file: text in, policy or every violation out.
//! Invariant: a policy that exists is complete and within bounds; its digest is of what it means, not of its text.

pub mod diff;
pub mod hours;
pub mod instruments;
pub mod profiles;
pub mod quality;
mod read;
pub mod risk;
mod routes;
pub mod schema;
pub mod slo;
mod tree;
pub mod violation;

#[cfg(test)]
pub(crate) mod corpus;
#[cfg(test)]
mod tests;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use self::instruments::InstrumentsPolicy;
pub use self::profiles::ProfilesPolicy;
pub use self::quality::QualityPolicy;
pub use self::risk::{RiskPolicy, Zones};
pub use self::violation::{BadPolicy, Place, Violation};
use super::event::PolicyDigests;

/// Everything a judgement depends on besides the request and the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// When data is good enough.
    pub quality: QualityPolicy,
    /// How proposals become one order.
    pub profiles: ProfilesPolicy,
    /// What may be risked.
    pub risk: RiskPolicy,
    /// Sizes, steps and currencies.
    pub instruments: InstrumentsPolicy,
    /// Digest of each part, recorded in every decision.
    pub digests: PolicyDigests,
}

/// A policy file's name and text.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Source<'t> {
    pub file: &'t str,
    pub text: &'t str,
}

/// The texts of a set of policies; an absent one is the plan's.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Sources<'t> {
    pub quality: Option<Source<'t>>,
    pub profiles: Option<Source<'t>>,
    pub risk: Option<Source<'t>>,
    pub instruments: Option<Source<'t>>,
}

impl Policies {
    /// These four policies, with their digests.
    pub fn new(
        quality: QualityPolicy,
        profiles: ProfilesPolicy,
        risk: RiskPolicy,
        instruments: InstrumentsPolicy,
    ) -> Self {
        let digests = PolicyDigests {
            quality: digest("quality", &quality),
            profiles: digest("profiles", &profiles),
            risk: digest("risk", &risk),
            instruments: digest("instruments", &instruments),
        };
        Self { quality, profiles, risk, instruments, digests }
    }

    /// Reads a set of policies; every violation of every text is listed.
    pub fn parse(sources: Sources, zones: Zones) -> Result<Self, BadPolicy> {
        let mut found = Vec::new();
        let mut part = |bad: BadPolicy| found.extend(bad.0);
        let quality = sources.quality.map(|s| QualityPolicy::parse(s.file, s.text));
        let quality = quality.transpose().map_err(&mut part);
        let profiles = sources.profiles.map(|s| ProfilesPolicy::parse(s.file, s.text));
        let profiles = profiles.transpose().map_err(&mut part);
        let risk = sources.risk.map(|s| RiskPolicy::parse(s.file, s.text, zones));
        let risk = risk.transpose().map_err(&mut part);
        let instruments = sources.instruments.map(|s| InstrumentsPolicy::parse(s.file, s.text));
        let instruments = instruments.transpose().map_err(&mut part);
        match (quality, profiles, risk, instruments) {
            (Ok(quality), Ok(profiles), Ok(risk), Ok(instruments)) => Ok(Self::new(
                quality.unwrap_or_default(),
                profiles.unwrap_or_default(),
                risk.unwrap_or_default(),
                instruments.unwrap_or_default(),
            )),
            _ => Err(BadPolicy(found)),
        }
    }
}

impl Default for Policies {
    /// The plan's.
    fn default() -> Self {
        Self::new(
            QualityPolicy::default(),
            ProfilesPolicy::default(),
            RiskPolicy::default(),
            InstrumentsPolicy::default(),
        )
    }
}

/// SHA-256 (lower hex) of a policy's canonical form: RFC 8785 JSON of what was read, decimals as texts.
fn digest(kind: &str, policy: &impl Serialize) -> String {
    let canonical = serde_json_canonicalizer::to_vec(policy)
        .expect("a policy is a tree of texts, whole numbers and nulls");
    let mut hash = Sha256::new();
    hash.update(b"noctus-policy-v1\0");
    hash.update(kind.as_bytes());
    hash.update(b"\0");
    hash.update(&canonical);
    hex::encode(hash.finalize())
}
