//! Owns that our clock agrees with that of Postgres (F11): requests are judged by their age, halts and hours by the
//! time of day. Never sets a clock. Invariant: nothing is decided before the clocks were compared, nor while they are
//! further apart than the limit; and a comparison that could not be made changes nothing of that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::herald::Herald;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::pg;
use crate::runtime::clock;
use crate::runtime::context::Context;

/// Pause between two comparisons.
const EVERY: Duration = Duration::from_secs(5);
/// The same while the clocks are apart, or could not be compared.
const AGAIN: Duration = Duration::from_secs(1);

/// The clocks of a gate; cheap to clone.
#[derive(Clone, Default)]
pub struct Clocks(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// How far a broker's clock was ahead of ours in the records since the last comparison, milliseconds.
    kafka_ahead_ms: AtomicU64,
}

#[derive(Default)]
struct State {
    is_compared: bool,
    apart: Apart,
    /// Why they could not be compared last time.
    unanswered: Option<String>,
}

impl Clocks {
    /// Why nothing may be decided now, if so.
    pub fn problem(&self) -> Option<String> {
        let state = self.state();
        match state.is_compared {
            false => Some("our clock has not been compared with that of Postgres yet".into()),
            true if state.apart.is_paused => {
                Some("our clock and that of Postgres are apart".into())
            }
            true => None,
        }
    }

    /// Why Postgres could not be asked, if so: a gate that has nothing to do notices by this that it is away.
    pub fn unanswered(&self) -> Option<String> {
        self.state().unanswered.clone()
    }

    /// Notes by how much a broker's clock was ahead of ours when it wrote a record that we have already.
    pub fn heard(&self, ahead: Duration) {
        let ahead_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.0.kafka_ahead_ms.fetch_max(ahead_ms, Relaxed);
    }

    /// Compares until `stop`.
    pub async fn watch(self, ctx: Context, herald: Herald, stop: CancellationToken) {
        let mut kafka = Apart::default();
        loop {
            let compared = compare(&ctx).await;
            let ahead_ms = self.0.kafka_ahead_ms.swap(0, Relaxed);
            let ahead = SignedDuration::from_millis(i64::try_from(ahead_ms).unwrap_or(i64::MAX));
            // Records are not always there to be compared: their clock is told of and never waited for.
            let limits = Limits::of(&ctx);
            let noted = kafka.note(ahead, &Limits { pause: SignedDuration::MAX, ..limits });
            if let Some(severity) = noted {
                tell(&herald, "Kafka", ahead, severity, &ctx);
            }
            let pause = match compared {
                Ok(skew) => self.note(skew, &limits, &ctx, &herald),
                Err(why) => {
                    tracing::warn!(why, "our clock could not be compared with that of Postgres");
                    self.state().unanswered = Some(why);
                    AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn note(
        &self,
        skew: SignedDuration,
        limits: &Limits,
        ctx: &Context,
        herald: &Herald,
    ) -> Duration {
        let skew_ms = i64::try_from(skew.as_millis()).unwrap_or(i64::MAX);
        ctx.metrics.clock_skew.set(skew.as_secs_f64());
        let mut state = self.state();
        (state.is_compared, state.unanswered) = (true, None);
        let was_paused = state.apart.is_paused;
        let noted = state.apart.note(skew, limits);
        let (is_paused, is_told) = (state.apart.is_paused, state.apart.is_told);
        drop(state);
        if was_paused && !is_paused {
            tracing::info!(skew_ms, "the clocks agree again: the gate goes on");
        }
        if let Some(severity) = noted {
            tell(herald, "Postgres", skew, severity, ctx);
        }
        if is_told { AGAIN } else { EVERY }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// By how much Postgres' clock is certainly ahead of ours; the time that the question took is not certain.
async fn compare(ctx: &Context) -> Result<SignedDuration, String> {
    let client = ctx.pool.get().await.map_err(|error| error.to_string())?;
    // Were the machine asleep in between, that clock would know.
    let (before, began) = (clock::now(), clock::boot());
    let theirs = pg::time::now(&client).await.map_err(|error| pg::told(&error))?;
    Ok(certain(before, clock::boot().since(began), theirs))
}

fn certain(before: Timestamp, took: Duration, theirs: Timestamp) -> SignedDuration {
    let half = SignedDuration::try_from(took / 2).unwrap_or(SignedDuration::MAX);
    let ahead = theirs.duration_since(before).saturating_sub(half);
    let least = ahead.abs().saturating_sub(half).max(SignedDuration::ZERO);
    if ahead.is_negative() { -least } else { least }
}

#[derive(Clone, Copy)]
struct Limits {
    alert: SignedDuration,
    pause: SignedDuration,
}

impl Limits {
    fn of(ctx: &Context) -> Self {
        let ms = |ms: u64| SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        let gate = &ctx.config.gate;
        Self { alert: ms(gate.clock_alert_ms), pause: ms(gate.clock_pause_ms) }
    }
}

/// What is known of two clocks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Apart {
    is_told: bool,
    is_paused: bool,
}

impl Apart {
    /// How much this matters, if it is news. Both end when the clocks agree, not when they are just less apart.
    fn note(&mut self, skew: SignedDuration, limits: &Limits) -> Option<Severity> {
        let apart = skew.abs();
        let was = *self;
        *self = match apart {
            apart if apart > limits.pause => Apart { is_told: true, is_paused: true },
            apart if apart > limits.alert => Apart { is_told: true, ..was },
            _ => Apart::default(),
        };
        match (self.is_paused && !was.is_paused, self.is_told && !was.is_told) {
            (true, _) => Some(Severity::Critical),
            (false, true) => Some(Severity::High),
            (false, false) => None,
        }
    }
}

fn tell(herald: &Herald, whose: &str, skew: SignedDuration, severity: Severity, ctx: &Context) {
    let skew_ms = skew.as_millis();
    tracing::error!(whose, skew_ms, "our clock is wrong, or theirs");
    let (policy_name, then) = match severity {
        Severity::Critical => ("clock.apart", ": nothing is decided"),
        _ => ("clock.skew", ""),
    };
    herald.tell(News {
        policy_name: policy_name.into(),
        severity,
        subject: &format!("{whose} {}", ctx.worker),
        window_start: minute_of(clock::now()),
        reason: format!("the clock of {whose} is {skew_ms} ms ahead of that of {}{then}", ctx.worker),
        details: json!({"whose": whose, "ahead_ms": i64::try_from(skew_ms).ok(), "worker": &*ctx.worker}),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { alert: SignedDuration::from_secs(2), pause: SignedDuration::from_secs(5) };

    #[test]
    fn f11_clocks_are_told_of_beyond_two_seconds_and_waited_for_beyond_five_until_they_agree() {
        let mut apart = Apart::default();
        for (skew_ms, told, is_paused) in [
            (0, None, false),
            (2_000, None, false),
            (-2_001, Some(Severity::High), false),
            (4_000, None, false),
            (5_000, None, false),
            (5_001, Some(Severity::Critical), true),
            (-9_000, None, true),
            (4_000, None, true),
            (2_001, None, true),
            (2_000, None, false),
            (-5_001, Some(Severity::Critical), true),
            (0, None, false),
            (3_000, Some(Severity::High), false),
        ] {
            let noted = apart.note(SignedDuration::from_millis(skew_ms), &LIMITS);
            assert_eq!((noted, apart.is_paused), (told, is_paused), "{skew_ms}");
        }
    }

    #[test]
    fn f11_the_time_that_the_question_took_is_not_taken_for_a_difference() {
        let at = |ms: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms);
        for (took_ms, theirs_ms, certain_ms) in [
            (0, 0, 0),
            (0, 3_000, 3_000),
            (0, -3_000, -3_000),
            (4_000, 0, 0),
            (4_000, 4_000, 0),
            (4_000, 7_000, 3_000),
            (4_000, -3_000, -3_000),
        ] {
            let got = certain(at(0), Duration::from_millis(took_ms), at(theirs_ms));
            assert_eq!(got, SignedDuration::from_millis(certain_ms), "{took_ms} {theirs_ms}");
        }
    }
}
