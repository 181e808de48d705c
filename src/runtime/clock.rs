//! The one place that looks at the clock.

/// Now, cut to microseconds, which is what the wire and Postgres hold.
#[allow(clippy::disallowed_methods)]
pub fn now() -> jiff::Timestamp {
    let t = jiff::Timestamp::now();
    let us = t.as_microsecond().saturating_add(super::faults::planted_skew_us());
    jiff::Timestamp::from_microsecond(us).unwrap_or(t)
}

/// A point on the clock that runs on while the process is stopped or the machine sleeps, so that what
/// wakes up late can tell. Never compared between machines or written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot {
    since_boot: std::time::Duration,
}

/// Now on that clock.
pub fn boot() -> Boot {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let t = rustix::time::clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(t.tv_sec), u32::try_from(t.tv_nsec));
    let since_boot = std::time::Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0));
    Boot { since_boot }
}

impl Boot {
    /// This long after the start of a machine whose time is simulated.
    pub const fn at(since_boot: std::time::Duration) -> Self {
        Self { since_boot }
    }
    /// This much later.
    pub fn after(self, time: std::time::Duration) -> Self {
        Self { since_boot: self.since_boot.saturating_add(time) }
    }
    /// How long after `earlier` this is; 0 if it is not.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        self.since_boot.saturating_sub(earlier.since_boot)
    }
}
