//! Owns alerts that are born in a process and are about no request.
//! Never asks what time it is. Invariant (I4): an alert's id is a function of its name, what it is about, and the minute in
//! which that began.

use jiff::Timestamp;
use serde_json::Value;

use super::event::{Alert, EventId, Severity, Subject as About};

const MINUTE_US: i64 = 60_000_000;

/// The minute that a moment is in: what happens again within it is the same event.
pub fn minute_of(at: Timestamp) -> Timestamp {
    let start_us = at.as_microsecond().div_euclid(MINUTE_US) * MINUTE_US;
    Timestamp::from_microsecond(start_us).unwrap_or(at)
}

/// What is told.
pub struct News<'a> {
    /// The rule.
    pub policy_name: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: with the name and the minute its identity. Whoever tells news of one identity says the same.
    pub subject: &'a str,
    /// The minute.
    pub window_start: Timestamp,
    /// For a person.
    pub reason: String,
    /// A JSON object.
    pub details: Value,
}

impl News<'_> {
    /// The alert that it is.
    pub fn alert(self) -> Alert {
        let Self { policy_name, severity, subject, window_start, reason, details } = self;
        let about = About::Process { subject, window_start };
        Alert {
            event_id: EventId::new(about, &format!("alert:{policy_name}"), 0),
            trace_id: None,
            idempotency_key: None,
            policy_name,
            severity,
            reason,
            details,
            at: window_start,
        }
    }
}
