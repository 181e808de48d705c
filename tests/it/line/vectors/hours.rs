//! A window of trading hours moved with the case that it belongs to.

use jiff::Timestamp;

const MINUTE_US: i64 = 60_000_000;
const DAY_MIN: i64 = 24 * 60;

/// A window as far from the new time as it was from the old one. Windows have whole minutes: an edge is rounded
/// away from now, so that what was inside, or outside, for a while is so for as long.
pub fn moved(window: &str, was: Timestamp, now: Timestamp) -> String {
    let minutes = |text: &str| -> i64 {
        let (h, m) = text.split_once(':').expect("HH:MM");
        h.parse::<i64>().expect("hours") * 60 + m.parse::<i64>().expect("minutes")
    };
    let (from, to) = window.split_once('-').expect("HH:MM-HH:MM");
    if minutes(to) - minutes(from) == DAY_MIN {
        return window.to_string();
    }
    let edge = |text: &str| {
        let day_us = DAY_MIN * MINUTE_US;
        let ahead_us = (minutes(text) * MINUTE_US - was.as_microsecond()).rem_euclid(day_us);
        let minute = if (1..=day_us / 2).contains(&ahead_us) {
            (now.as_microsecond() + ahead_us - 1).div_euclid(MINUTE_US) + 1
        } else {
            (now.as_microsecond() + ahead_us).div_euclid(MINUTE_US)
        };
        let minute = minute.rem_euclid(DAY_MIN);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    format!("{}-{}", edge(from), edge(to))
}

#[test]
fn a_moved_window_holds_what_it_held_at_any_time_of_the_day() {
    use jiff::SignedDuration;
    use noctus::domain::policy::risk::{RiskPolicy, utc_only};

    use super::moved::WINDOW_S;

    let s = SignedDuration::from_secs;
    let day: Timestamp = "2026-11-23T00:00:00Z".parse().expect("a time");
    let hours = |window: &str| {
        let policy = serde_json::json!({"default": {"trading_hours_utc": [window]}}).to_string();
        RiskPolicy::parse("risk", &policy, &utc_only).expect("a good policy").limits.hours
    };
    let edges = [0, 6, 9, 12, 15, 22, 23]
        .into_iter()
        .flat_map(|hour| [-61, -60, -51, -1, 0, 1, 30, 60].map(|second| hour * 3_600 + second));
    let moments: Vec<i64> = edges.chain((0..24).map(|n| n * 3_607)).collect();
    let mut held = 0;
    for window in ["00:00-22:00", "22:00-06:00", "21:59-22:00", "12:30-15:00", "00:00-24:00"] {
        let before = hours(window);
        for (n, at) in moments.iter().enumerate() {
            let was = day + s(*at);
            let now = day + s(moments[(n * 37 + 5) % moments.len()] + 86_400) + s(n as i64 % 60);
            let after = hours(&moved(window, was, now));
            for sign in [1, -1] {
                let steps = || (0..=WINDOW_S).step_by(5).chain([1]).map(|step| s(sign * step));
                let open = before.are_open(was);
                if steps().all(|step| before.are_open(was + step) == open) {
                    held += 1;
                    let holds = steps().all(|step| after.are_open(now + step) == open);
                    assert!(holds, "{window} at {was}, moved to {now}");
                }
            }
        }
    }
    assert!(held > 600, "{held}");
}
