//! What is due when: months ahead, the hour of the day, what is too old to keep. No clock, no database: given the time.
//! Invariant: a month is too old only if all of it is.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan};

use crate::pg::upkeep::TABLES;
use crate::runtime::config::Upkeep;

/// Rows are kept for so long at least: service levels look back 31 days, and a day is counted two days later.
const LEAST_DAYS: i32 = 35;
const LEAST_MONTHS: i32 = 2;
const MONTHS_AHEAD_MAX: u32 = 24;

/// For how long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Keep {
    Days(i32),
    Months(i32),
}

impl Keep {
    /// Reads `90 days` or `13 months`.
    pub fn read(text: &str) -> Option<Self> {
        let (number, unit) = text.trim().split_once(' ')?;
        let number: i32 = number.parse().ok().filter(|n| (1..=36_500).contains(n))?;
        match unit.trim() {
            "day" | "days" => Some(Keep::Days(number)),
            "month" | "months" => Some(Keep::Months(number)).filter(|_| number <= 1_200),
            _ => None,
        }
    }

    fn is_enough(self) -> bool {
        match self {
            Keep::Days(days) => days >= LEAST_DAYS,
            Keep::Months(months) => months >= LEAST_MONTHS,
        }
    }

    /// What is older than this may go.
    pub fn limit(self, now: Timestamp) -> Timestamp {
        let span: Span = match self {
            Keep::Days(days) => days.days(),
            Keep::Months(months) => months.months(),
        };
        // Before all that is written, if there is no such time.
        TimeZone::UTC.to_datetime(now).checked_sub(span).map_or(Timestamp::MIN, moment)
    }
}

/// What is wrong with the section `upkeep` of the configuration.
pub fn violations(upkeep: &Upkeep) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |ok: bool, text: String| {
        if !ok {
            found.push(text);
        }
    };
    check(
        upkeep.months_ahead <= MONTHS_AHEAD_MAX,
        format!("upkeep.months_ahead must be 0..{MONTHS_AHEAD_MAX}"),
    );
    check(
        daily_at(&upkeep.daily_at).is_some(),
        "upkeep.daily_at must be a time of day such as 00:20, from 00:05 on".into(),
    );
    check(
        (10..=86_400).contains(&upkeep.statement_timeout_s),
        "upkeep.statement_timeout_s must be 10..86400".into(),
    );
    check(
        (50..=60_000).contains(&upkeep.lock_timeout_ms),
        "upkeep.lock_timeout_ms must be 50..60000".into(),
    );
    // Looks are what keeps the session from being silent for too long.
    check(
        (100..=30_000).contains(&upkeep.look_every_ms),
        "upkeep.look_every_ms must be 100..30000".into(),
    );
    for (table, kept) in &upkeep.retention {
        let known = TABLES.iter().any(|(name, _)| name == table);
        check(
            known,
            format!("upkeep.retention names {table}, which is no table that is kept by months"),
        );
        let is_good = Keep::read(kept).is_some_and(Keep::is_enough);
        let what = format!(
            "upkeep.retention.{table} must be a time such as 90 days or 13 months, at least {LEAST_DAYS} days or \
             {LEAST_MONTHS} months"
        );
        check(is_good, what);
    }
    found
}

/// The time of day, not so early that the day before may still be written.
fn daily_at(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
    (two(hour) && two(minute) && (time.hour(), time.minute()) >= (0, 5)).then_some(time)
}

/// The newest moment, not after now, at which the daily work was due.
pub fn last_daily(upkeep: &Upkeep, now: Timestamp) -> Timestamp {
    let today = day_of(now);
    let at = daily_at(&upkeep.daily_at).unwrap_or(Time::MIN);
    let due = |day: Date| moment(day.to_datetime(at));
    match due(today) {
        moment if moment <= now => moment,
        _ => today.yesterday().map_or(Timestamp::MIN, due),
    }
}

/// The day (UTC) that a moment is in.
pub fn day_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

/// The first moment of a day (UTC).
pub fn start_of(day: Date) -> Timestamp {
    moment(day.to_datetime(Time::MIN))
}

fn moment(at: jiff::civil::DateTime) -> Timestamp {
    TimeZone::UTC.to_timestamp(at).unwrap_or(Timestamp::MIN)
}

/// The newest day that may be counted: rows up to a day later belong to its traces, so all of that is over, too.
pub fn last_over(now: Timestamp) -> Date {
    day_of(now).checked_sub(2.days()).unwrap_or(Date::MIN)
}

/// The first moments of the month that it is, and of so many after it.
pub fn months(now: Timestamp, ahead: u32) -> Vec<Timestamp> {
    let first = day_of(now).first_of_month();
    let month = |n: u32| first.checked_add(i64::from(n).months()).ok().map(start_of);
    (0..=ahead).filter_map(month).collect()
}

/// The hour (UTC) that a moment is in.
pub fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(3_600) * 3_600).unwrap_or(at)
}

/// Earlier by so many hours.
pub fn hours_before(at: Timestamp, hours: i64) -> Timestamp {
    at.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_month_may_go_when_all_of_it_is_older_than_the_limit() {
        let now = at("2026-03-31T10:00:00Z");
        let limit = |text: &str| Keep::read(text).map(|keep| keep.limit(now).to_string());
        assert_eq!(limit("1 month").as_deref(), Some("2026-02-28T10:00:00Z"));
        assert_eq!(limit("13 months").as_deref(), Some("2025-02-28T10:00:00Z"));
        assert_eq!(limit("90 days").as_deref(), Some("2025-12-31T10:00:00Z"));
        for bad in [
            "",
            "90",
            "90days",
            "0 days",
            "-1 days",
            "1.5 months",
            "2 years",
            "99999 days",
            "9999 months",
        ] {
            assert_eq!(Keep::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_wrong_setting_is_told_at_once() {
        assert_eq!(violations(&Upkeep::default()), Vec::<String>::new());
        let retention = [
            ("obs_alerts", "34 days"),
            ("outbox_orders", "90 days"),
            ("obs_decisions", "13 months"),
        ];
        let bad = Upkeep {
            months_ahead: 25,
            daily_at: "00:04".into(),
            statement_timeout_s: 1,
            lock_timeout_ms: 0,
            look_every_ms: 60_000,
            retention: retention.map(|(t, k)| (t.to_string(), k.to_string())).into(),
            ..Upkeep::default()
        };
        assert_eq!(violations(&bad).len(), 7, "{:?}", violations(&bad));
        for time in ["24:00", "1:30", "01:60", "0130", "", "01:30:00"] {
            assert_eq!(daily_at(time), None, "{time}");
        }
    }

    #[test]
    fn the_daily_work_is_due_at_its_time_and_a_missed_one_still_is() {
        let upkeep = Upkeep { daily_at: "03:30".into(), ..Upkeep::default() };
        let last = |now: &str| last_daily(&upkeep, at(now)).to_string();
        assert_eq!(last("2026-03-01T03:29:59Z"), "2026-02-28T03:30:00Z");
        assert_eq!(last("2026-03-01T03:30:00Z"), "2026-03-01T03:30:00Z");
        assert_eq!(last("2026-03-01T23:59:59Z"), "2026-03-01T03:30:00Z");
    }

    #[test]
    fn months_ahead_go_over_the_years_end_and_days_are_utc() {
        let months: Vec<String> =
            months(at("2026-11-30T23:59:59Z"), 2).iter().map(Timestamp::to_string).collect();
        assert_eq!(
            months,
            ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]
        );
        assert_eq!(last_over(at("2026-03-01T00:20:00Z")).to_string(), "2026-02-27");
        assert_eq!(hour_of(at("2026-03-01T10:59:59.9Z")).to_string(), "2026-03-01T10:00:00Z");
        assert_eq!(hours_before(at("2026-03-01T01:00:00Z"), 2).to_string(), "2026-02-28T23:00:00Z");
    }
}
