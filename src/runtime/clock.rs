//! The one place that looks at the clock.

/// Now, cut to microseconds, which is what the wire and Postgres hold.
#[allow(clippy::disallowed_methods)]
pub fn now() -> jiff::Timestamp {
    let t = jiff::Timestamp::now();
    jiff::Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t)
}
