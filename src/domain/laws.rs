//! How often a law is tried: `NOCTUS_PROPTEST_CASES`, else 1 000 cases.

use proptest::prelude::ProptestConfig;

/// The configuration of every law of the domain.
pub fn cases() -> ProptestConfig {
    let cases = std::env::var("NOCTUS_PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let cases = cases.unwrap_or(1_000);
    // Some laws pass over what exact arithmetic does not hold: a share of the cases, however many there are.
    let max_global_rejects = 1_024.max(cases / 10);
    ProptestConfig { cases, max_global_rejects, ..ProptestConfig::default() }
}
