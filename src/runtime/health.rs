//! Who is ready: each part reports, `/readyz` and `/livez` read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The state of every part of the process, by name.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Health {
    /// Reports a part as ready.
    pub fn ready(&self, part: &'static str) {
        self.set(part, Ok(()));
    }

    /// Reports a part as not ready, with what an operator should know.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.set(part, Err(why.into()));
    }

    fn set(&self, part: &'static str, state: Result<(), String>) {
        self.0.lock().expect("no panic while the health map is held").insert(part, state);
    }

    /// Every part that has reported, and whether it is ready.
    pub fn parts(&self) -> Vec<(&'static str, bool)> {
        let parts = self.0.lock().expect("no panic while the health map is held");
        parts.iter().map(|(part, state)| (*part, state.is_ok())).collect()
    }

    /// The parts that are not ready; empty = ready. A process in which nothing reported is not ready.
    pub fn problems(&self) -> Vec<(String, String)> {
        let parts = self.0.lock().expect("no panic while the health map is held");
        if parts.is_empty() {
            return vec![("process".into(), "starting".into())];
        }
        parts.iter().filter_map(|(p, s)| Some((p.to_string(), s.clone().err()?))).collect()
    }
}
