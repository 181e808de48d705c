//! Owns the policies a request is judged under: quality, profiles, risk, instruments.
//! Never reads a file: text in, policy or every violation out.

use super::event::PolicyDigests;

/// Everything a judgement depends on besides the request and the facts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    /// Digest of each part, recorded in every decision.
    pub digests: PolicyDigests,
}
