//! Owns when a request comes too late or too early to be judged (C-KEY-5). Limits are inclusive.
//! Never looks at anything but the request's times, its type and the time of the decision.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use crate::domain::money::plain;
use crate::domain::request::{Intake, OrderType, TimeInForce};

/// What a market order, IOC or FOK may be old when it is decided.
const MAX_AGE_NOW: SignedDuration = SignedDuration::from_mins(5);
/// What any other order may be old.
const MAX_AGE_REST: SignedDuration = SignedDuration::from_hours(24);
/// How far ahead of us a producer's clock may be.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// How long a market order, IOC or FOK may wait for its first send (C-KEY-6).
const MAX_WAIT_NOW: SignedDuration = SignedDuration::from_secs(60);
/// How long any other order may wait.
const MAX_WAIT_REST: SignedDuration = SignedDuration::from_mins(15);

fn is_urgent(intake: &Intake) -> bool {
    intake.order_type() == OrderType::Market
        || matches!(intake.time_in_force(), TimeInForce::Ioc | TimeInForce::Fok)
}

/// Until when an order decided at this moment may be sent first (C-KEY-6); its own valid_until comes on top.
pub fn dispatch_by(intake: &Intake, decided_at: Timestamp) -> Timestamp {
    let wait = if is_urgent(intake) { MAX_WAIT_NOW } else { MAX_WAIT_REST };
    let by = decided_at.checked_add(wait).unwrap_or(Timestamp::MAX);
    if intake.time_in_force() != TimeInForce::Day {
        return by;
    }
    // The last microsecond of the UTC day: what is sent then is still of the day.
    let day_us: i64 = 24 * 60 * 60 * 1_000_000;
    let end_us = (decided_at.as_microsecond().div_euclid(day_us) + 1).saturating_mul(day_us) - 1;
    Timestamp::from_microsecond(end_us).map_or(by, |end| by.min(end))
}

/// A request that comes too late, or too early (C-KEY-5).
pub(super) struct Late {
    /// `expired` or `from_the_future`.
    pub code: &'static str,
    /// The times, for a person.
    pub why: String,
}

/// Why a request is too late or too early to be judged at `now`; none if it is in time.
pub(super) fn refuse_late(intake: &Intake, now: Timestamp) -> Option<Late> {
    let age = now.duration_since(*intake.requested_at());
    let most = if is_urgent(intake) { MAX_AGE_NOW } else { MAX_AGE_REST };
    if -age > MAX_AHEAD {
        let why = format!("requested_at is {} s ahead, more than 5 s", seconds(-age));
        return Some(Late { code: "from_the_future", why });
    }
    if age > most {
        let why = format!("requested {} s ago, more than {} s", seconds(age), most.as_secs());
        return Some(Late { code: "expired", why });
    }
    match intake.valid_until() {
        Some(until) if now > *until => {
            Some(Late { code: "expired", why: format!("valid until {until}, decided at {now}") })
        }
        _ => None,
    }
}

/// Seconds with as many decimals as it has.
fn seconds(age: SignedDuration) -> String {
    let nanos = Decimal::try_from_i128_with_scale(age.as_nanos(), 9);
    nanos.map_or_else(|_| age.as_secs().to_string(), plain)
}
