//! Owns which traces an experiment draws (C-DEC-8).
//! Invariant: raising the share never moves a trace out; a new version draws anew.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::policy::profiles::Cohort;
use crate::domain::text::TraceId;

/// Which profile a trace is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Arm {
    Champion,
    Challenger,
}

impl Arm {
    /// The word in a decision.
    pub fn as_str(self) -> &'static str {
        match self {
            Arm::Champion => "champion",
            Arm::Challenger => "challenger",
        }
    }
    /// Reads the word back.
    pub fn read(word: &str) -> Option<Self> {
        [Arm::Champion, Arm::Challenger].into_iter().find(|arm| arm.as_str() == word)
    }
}

/// The arm that a trace is drawn into: the challenger if its place in 0..1 is below the share.
pub(in crate::domain) fn drawn(cohort: &Cohort, trace: &TraceId) -> Arm {
    let mut hash = Sha256::new();
    for part in [
        b"noctus-cohort-v1".as_slice(),
        cohort.salt.as_bytes(),
        &cohort.version.to_be_bytes(),
        trace.as_bytes(),
    ] {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    let place = i128::from(u64::from_be_bytes(first));
    // place / 2^64 < percent / 100; the percentage has at most 4 decimals, so both sides fit 128 bits.
    let hundred = 100 * 10_i128.pow(cohort.percent.scale());
    if place * hundred < cohort.percent.mantissa() << 64 { Arm::Challenger } else { Arm::Champion }
}
