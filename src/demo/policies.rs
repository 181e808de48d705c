//! The policies of a scenario: the plan's, open around the clock, or what its file says instead.

use serde_json::Value;

use super::scenario::PolicyParts;
use crate::domain::policy::hours::Hours;
use crate::domain::policy::{Policies, Source, Sources};
use crate::runtime::policies::zones;

/// The policies that a scenario is played under.
pub fn of(parts: &PolicyParts) -> anyhow::Result<Policies> {
    let text = |part: &Option<Value>| part.as_ref().map(Value::to_string);
    let (risk, quality) = (text(&parts.risk), text(&parts.quality));
    let sources = Sources {
        risk: risk.as_deref().map(|text| Source { file: "policies.risk", text }),
        quality: quality.as_deref().map(|text| Source { file: "policies.quality", text }),
        ..Sources::default()
    };
    let Policies { quality, profiles, mut risk, instruments, .. } =
        Policies::parse(sources, &zones)?;
    if parts.risk.is_none() {
        // The plan's hours end at 22:00 UTC; the demo is played at any hour.
        let symbols = risk.overrides.values_mut();
        symbols.chain([&mut risk.limits]).for_each(|limits| limits.hours = Hours::ALWAYS);
    }
    Ok(Policies::new(quality, profiles, risk, instruments))
}
