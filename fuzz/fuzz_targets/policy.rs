//! The text of a policy file, of any kind. The first byte chooses the kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use noctus::domain::policy::risk::utc_only;
use noctus::domain::policy::{Policies, Source, Sources};

fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let source = Some(Source { file: "f", text });
    let mut sources = Sources::default();
    match kind % 4 {
        0 => sources.risk = source,
        1 => sources.quality = source,
        2 => sources.profiles = source,
        _ => sources.instruments = source,
    }
    match Policies::parse(sources, &utc_only) {
        Ok(policies) => {
            let again = Policies::parse(sources, &utc_only).expect("it was good");
            assert_eq!(policies.digests, again.digests);
            assert!(policies.risk.diff(&again.risk).is_empty());
            assert!(policies.quality.diff(&again.quality).is_empty());
            assert!(policies.profiles.diff(&again.profiles).is_empty());
            assert!(policies.instruments.diff(&again.instruments).is_empty());
            let plan = Policies::default();
            let changes = plan.risk.diff(&policies.risk);
            assert!(changes.iter().all(|change| change.before != change.after), "{changes:?}");
        }
        Err(bad) => {
            assert!(!bad.0.is_empty());
            for violation in &bad.0 {
                assert!(violation.place.line >= 1 && violation.place.column >= 1);
                assert!(violation.to_string().contains('^'));
            }
        }
    }
});
