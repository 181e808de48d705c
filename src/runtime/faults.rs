//! Owns faults that tests plant: crash points, and mistakes that a test must notice. Only in builds with the feature
//! `faults`; in any other build every function here is empty.
//! Never used with real orders: a build with the feature says so when a role starts.

/// Whether this build can be told to fail.
pub const COMPILED_IN: bool = cfg!(feature = "faults");

/// Every crash point there is, as `stage/name`. `docs/campaign.md` says where each of them is.
pub const POINTS: &[&str] = &[
    "gate/after-poll",
    "gate/verified",
    "gate/decoded",
    "gate/judged",
    "gate/rows-written",
    "gate/commit-in-flight",
    "gate/after-commit",
    "gate/offset-stored",
    "gate/in-revoke",
    "gate/dead-letter-unacked",
    "dispatch/claim-in-flight",
    "dispatch/after-claim",
    "dispatch/connected",
    "dispatch/half-written",
    "dispatch/all-written",
    "dispatch/answer-read",
    "dispatch/settled",
    "dispatch/commit-in-flight",
    "dispatch/after-commit",
    "dispatch/reconcile-queried",
    "dispatch/reconcile-decided",
    "dispatch/cancel-noted",
    "dispatch/cancel-in-flight",
    "dispatch/cancel-answered",
    "emission/produced",
    "emission/acked",
    "emission/settled",
    "sink/polled",
    "sink/upserted",
    "sink/commit-in-flight",
    "sink/committed",
    "sink/upkeep-noted",
    "sink/upkeep-detached",
    "sink/upkeep-refreshed",
    "notify/before-post",
    "notify/after-post",
    "sink/rebuild-written",
    "sink/rebuild-commit-in-flight",
    "sink/rebuild-copied",
    "sink/rebuild-before-swap",
    "sink/rebuild-exchanged",
    "sink/rebuild-swap-in-flight",
    "sink/rebuild-swapped",
];

#[cfg(feature = "faults")]
static ARMED: std::sync::LazyLock<Option<(String, u32)>> = std::sync::LazyLock::new(|| {
    let armed = std::env::var("NOCTUS_CRASH").ok()?;
    let (name, nth) = armed.rsplit_once(':')?;
    assert!(POINTS.contains(&name), "NOCTUS_CRASH names {name}, which is no crash point");
    Some((name.to_string(), nth.parse().ok()?))
});

/// Whether this point is armed, were it for a later pass.
#[cfg(feature = "faults")]
pub fn is_armed(name: &str) -> bool {
    ARMED.as_ref().is_some_and(|(armed, _)| armed == name)
}

/// Whether this pass of an armed point is the one to die at.
#[cfg(feature = "faults")]
fn is_over(name: &str) -> bool {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Some((armed, nth)) = &*ARMED else { return false };
    armed == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *nth
}

#[cfg(feature = "faults")]
fn die() -> ! {
    let pid = rustix::process::getpid();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Kills the process (SIGKILL) when it comes here for the n-th time, if `NOCTUS_CRASH` is `name:n`.
#[cfg(feature = "faults")]
pub fn crash_point(name: &str) {
    if is_over(name) {
        die();
    }
}

/// Empty.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn crash_point(_name: &str) {}

/// Awaits what talks to a service. Armed, the process is killed when the question has been put and its answer has not
/// been seen: within 3 ms, so the service may have received it or not, and may have acted on it or not.
#[cfg(feature = "faults")]
pub async fn in_flight<F: Future>(name: &str, question: F) -> F::Output {
    if !is_over(name) {
        return question.await;
    }
    let mut question = std::pin::pin!(question);
    let _ = futures::poll!(question.as_mut());
    // Meanwhile the tasks and threads that own the connection write.
    tokio::time::sleep(std::time::Duration::from_micros(rand::random_range(0..3_000))).await;
    die()
}

/// Awaits it.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub async fn in_flight<F: Future>(_name: &str, question: F) -> F::Output {
    question.await
}

/// Whether this mistake is to be made: `NOCTUS_PLANTED` lists it.
#[cfg(feature = "faults")]
pub fn is_planted(mistake: &str) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("NOCTUS_PLANTED").unwrap_or_default());
    planted_here(mistake) || PLANTED.split(',').any(|planted| planted == mistake)
}

#[cfg(feature = "faults")]
thread_local! {
    static HERE: std::cell::Cell<&'static [&'static str]> = const { std::cell::Cell::new(&[]) };
}

#[cfg(feature = "faults")]
fn planted_here(mistake: &str) -> bool {
    HERE.with(|here| here.get().contains(&mistake))
}

/// Plants mistakes in this thread alone, until what is returned is dropped.
#[cfg(feature = "faults")]
pub fn plant_here(mistakes: &'static [&'static str]) -> Planted {
    Planted(HERE.with(|here| here.replace(mistakes)))
}

/// Mistakes planted in a thread; dropped, what was planted before counts again.
#[cfg(feature = "faults")]
#[must_use]
pub struct Planted(&'static [&'static str]);

#[cfg(feature = "faults")]
impl Drop for Planted {
    fn drop(&mut self) {
        HERE.with(|here| here.set(self.0));
    }
}

/// Never.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn is_planted(_mistake: &str) -> bool {
    false
}

/// How wrong the clock is made: `NOCTUS_SKEW` names a file with a number of milliseconds, which may change.
#[cfg(feature = "faults")]
pub fn planted_skew_us() -> i64 {
    static FILE: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("NOCTUS_SKEW"));
    let Some(file) = &*FILE else { return 0 };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse::<i64>().map_or(0, |ms| ms.saturating_mul(1_000))
}

/// Not at all.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn planted_skew_us() -> i64 {
    0
}
