//! Owns faults that tests plant: crash points, and mistakes that a test must notice. Only in builds with the feature
//! `faults`; in any other build every function here is empty.
//! Never used with real orders: a build with the feature says so when a role starts.

/// Whether this build can be told to fail.
pub const COMPILED_IN: bool = cfg!(feature = "faults");

/// Kills the process (SIGKILL) when it comes here for the n-th time, if `NOCTUS_CRASH` is `name:n`.
#[cfg(feature = "faults")]
pub fn crash_point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    static ARMED: std::sync::LazyLock<Option<(String, u32)>> = std::sync::LazyLock::new(|| {
        let armed = std::env::var("NOCTUS_CRASH").ok()?;
        let (name, nth) = armed.rsplit_once(':')?;
        Some((name.to_string(), nth.parse().ok()?))
    });
    if let Some((armed, nth)) = &*ARMED
        && armed == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        let pid = rustix::process::getpid();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        std::thread::park();
    }
}

/// Empty.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn crash_point(_name: &str) {}

/// Whether this mistake is to be made: `NOCTUS_PLANTED` lists it.
#[cfg(feature = "faults")]
pub fn is_planted(mistake: &str) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("NOCTUS_PLANTED").unwrap_or_default());
    PLANTED.split(',').any(|planted| planted == mistake)
}

/// Never.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn is_planted(_mistake: &str) -> bool {
    false
}
