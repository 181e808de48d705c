//! How often a law is tried: `NOCTUS_PROPTEST_CASES`, else 1 000 cases.

use proptest::prelude::ProptestConfig;

/// The configuration of every law of the domain.
pub fn cases() -> ProptestConfig {
    let cases = std::env::var("NOCTUS_PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(1_000))
}
