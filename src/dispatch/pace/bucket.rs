//! Owns how often one process may call the broker under one limit: a bucket that fills evenly.
//! Pure: the time comes in. Never lets more through than the process's share.
//! Invariant: whatever a change of the share was, no call is granted that the old and the new bucket both refuse.

use std::time::Duration;

use crate::dispatch::broker::protocol::{CallKind, RateLimit};
use crate::runtime::clock::Boot;

/// A limit and what this process has used of its share.
///
/// The generic cell rate algorithm; crates that have it (governor, leaky-bucket) fix the rate when a limiter is
/// made and take from one limiter at a time, and here the share changes and a call takes from all its limits or none.
#[derive(Debug, Clone)]
pub struct Bucket {
    limit: RateLimit,
    /// Between two calls, when they come evenly.
    interval: Duration,
    /// How much earlier than evenly a call may come.
    slack: Duration,
    /// When the next call would come, if all came evenly.
    even: Boot,
}

impl Bucket {
    /// An empty bucket for one of so many senders: a start grants nothing at once.
    pub fn new(limit: RateLimit, senders: u32, now: Boot) -> Self {
        let (interval, slack) = share(&limit, senders);
        Self { even: now.after(slack).after(interval), limit, interval, slack }
    }

    /// One of so many senders from now on; what the old share had saved is lost.
    pub fn shared_by(&mut self, senders: u32, now: Boot) {
        let (interval, slack) = share(&self.limit, senders);
        if (interval, slack) != (self.interval, self.slack) {
            *self = Self::new(self.limit.clone(), senders, now);
        }
    }

    /// Whether calls of this kind count.
    pub fn covers(&self, call: CallKind) -> bool {
        self.limit.calls.contains(&call)
    }

    /// How long until a call is granted; 0: now.
    pub fn wait(&self, now: Boot) -> Duration {
        self.even.since(now.after(self.slack))
    }

    /// A call is made.
    pub fn take(&mut self, now: Boot) {
        self.even = self.even.max(now).after(self.interval);
    }
}

/// The interval and the slack of one of so many senders.
fn share(limit: &RateLimit, senders: u32) -> (Duration, Duration) {
    let senders = senders.max(1);
    let per_call = Duration::from_millis(limit.per_ms) / limit.max.max(1);
    let interval = per_call.saturating_mul(senders);
    // Rounded down, but never to nothing: who holds one call at most is never early.
    let at_once = (limit.burst / senders).max(1);
    (interval, interval.saturating_mul(at_once - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::clock::boot;

    fn limit(max: u32, per_ms: u64, burst: u32) -> RateLimit {
        RateLimit { calls: vec![CallKind::Order], max, per_ms, burst }
    }

    /// When calls are granted, milliseconds after the start, to one who always wants one.
    fn granted(mut bucket: Bucket, start: Boot, until_ms: u64) -> Vec<u64> {
        let mut granted = Vec::new();
        for ms in 0..until_ms {
            let now = start.after(Duration::from_millis(ms));
            while bucket.wait(now).is_zero() {
                bucket.take(now);
                granted.push(ms);
            }
        }
        granted
    }

    #[test]
    fn f57_calls_are_granted_evenly_and_a_start_grants_none_at_once() {
        let start = boot();
        let alone = Bucket::new(limit(10, 1_000, 1), 1, start);
        assert_eq!(granted(alone, start, 350), [100, 200, 300]);
        let of_three = Bucket::new(limit(10, 1_000, 1), 3, start);
        assert_eq!(granted(of_three, start, 700), [300, 600]);
    }

    #[test]
    fn f57_what_was_saved_may_come_at_once_up_to_the_share_of_the_burst() {
        let start = boot();
        let later = start.after(Duration::from_secs(60));
        for (senders, wanted) in [(1, 4), (2, 2), (3, 1), (9, 1)] {
            let bucket = Bucket::new(limit(10, 1_000, 4), senders, start);
            assert_eq!(granted(bucket, later, 1).len(), wanted, "{senders} senders");
        }
    }

    #[test]
    fn f57_another_share_begins_empty_and_the_same_share_changes_nothing() {
        let start = boot();
        let later = start.after(Duration::from_secs(60));
        let mut bucket = Bucket::new(limit(10, 1_000, 4), 1, start);
        bucket.shared_by(1, later);
        assert!(bucket.wait(later).is_zero());
        bucket.shared_by(2, later);
        assert_eq!(bucket.wait(later), Duration::from_millis(200));
    }

    proptest! {
        #[test]
        fn f57_no_stretch_of_time_has_more_calls_than_its_limit(
            max in 1u32..50,
            burst in 1u32..20,
            senders in 1u32..5,
            wants in prop::collection::vec(0u64..400, 1..120),
        ) {
            let start = boot();
            let mut bucket = Bucket::new(limit(max, 1_000, burst), senders, start);
            let (mut now_ms, mut calls) = (0, Vec::new());
            for pause in wants {
                now_ms += pause;
                let now = start.after(Duration::from_millis(now_ms));
                if bucket.wait(now).is_zero() {
                    bucket.take(now);
                    calls.push(now_ms);
                }
            }
            let at_once = f64::from((burst / senders).max(1));
            let per_ms = f64::from(max) / f64::from(senders) / 1_000.0;
            for first in 0..calls.len() {
                for last in first..calls.len() {
                    let stretch_ms = (calls[last] - calls[first]) as f64;
                    let allowed = at_once + stretch_ms * per_ms + 0.001;
                    prop_assert!(((last - first + 1) as f64) <= allowed, "{calls:?}");
                }
            }
        }
    }
}
