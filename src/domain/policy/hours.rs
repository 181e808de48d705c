//! Owns trading hours (C-RISK-4): windows of the UTC day, or sessions of a zone's week with holidays.
//! Never reads a zone from a file: it is given. Invariant: a window is half-open and never empty.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

/// A part of a day `[from, to)` in minutes; `to` ≤ `from` ends on the next day. `from` ≠ `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from_min: u16,
    to_min: u16,
}

const DAY_MIN: u16 = 24 * 60;

impl Window {
    /// A window from two times of day, `HH:MM`; `24:00` is allowed as an end.
    pub fn new(from: &str, to: &str) -> Result<Self, String> {
        let minutes = |text: &str, most: u16| -> Option<u16> {
            let (h, m) = text.split_once(':')?;
            let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
            let (h, m): (u16, u16) =
                (digits(h).then(|| h.parse().ok())??, digits(m).then(|| m.parse().ok())??);
            let all = h * 60 + m;
            (m < 60 && all <= most).then_some(all)
        };
        let from_min =
            minutes(from, DAY_MIN - 1).ok_or(format!("{from:?} is not 00:00 to 23:59"))?;
        let to_min = minutes(to, DAY_MIN).ok_or(format!("{to:?} is not 00:00 to 24:00"))?;
        if from_min == to_min {
            return Err("start and end are the same: that is no time or all of it".into());
        }
        Ok(Self { from_min, to_min })
    }

    /// `HH:MM-HH:MM`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('-') {
            Some((from, to)) => Self::new(from.trim(), to.trim()),
            None => Err("must be HH:MM-HH:MM".into()),
        }
    }

    fn crosses_midnight(self) -> bool {
        self.to_min < self.from_min
    }

    /// Whether it holds the minute, if it starts on that day.
    fn holds_today(self, minute: u16) -> bool {
        minute >= self.from_min && (self.crosses_midnight() || minute < self.to_min)
    }

    /// Whether it holds the minute, if it started the day before.
    fn holds_from_yesterday(self, minute: u16) -> bool {
        self.crosses_midnight() && minute < self.to_min
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (self.from_min, self.to_min);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// One window on some days of the week; it belongs to the day on which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// On which days it starts.
    pub days: Vec<Weekday>,
    /// When.
    pub window: Window,
}

impl Serialize for Session {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let days: Vec<i8> = self.days.iter().map(|d| d.to_monday_one_offset()).collect();
        (days, self.window).serialize(s)
    }
}

/// Sessions of a zone's week.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// The zone's name, e.g. `America/New_York`.
    pub zone: String,
    /// The zone itself.
    pub rules: TimeZone,
    /// When it is open; none = always, but for the holidays.
    pub sessions: Vec<Session>,
    /// Days of the zone on which it is closed.
    pub holidays: Vec<Date>,
}

impl Serialize for Calendar {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        (&self.zone, &self.sessions, &self.holidays).serialize(s)
    }
}

/// When orders may be decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Hours {
    /// Windows of every UTC day; none = always.
    Utc(Vec<Window>),
    /// Sessions of a zone's week.
    Calendar(Calendar),
}

impl Hours {
    /// No limit.
    pub const ALWAYS: Hours = Hours::Utc(Vec::new());

    /// Whether `at` is inside.
    pub fn are_open(&self, at: Timestamp) -> bool {
        match self {
            Hours::Utc(windows) => {
                let minute = minute_of(TimeZone::UTC.to_datetime(at));
                let open = |w: &Window| w.holds_today(minute) || w.holds_from_yesterday(minute);
                windows.is_empty() || windows.iter().any(open)
            }
            Hours::Calendar(calendar) => calendar.is_open(at),
        }
    }
}

impl Hours {
    /// Whether `other` is open whenever this is, for certain. Hours of different zones are not compared.
    pub fn is_within(&self, other: &Hours) -> bool {
        if *other == Hours::ALWAYS {
            return true;
        }
        let (a, b) = (Week::of(self), Week::of(other));
        let open = |at: usize| b.today[at] || b.carried[at];
        a.zone == b.zone
            && b.holidays.iter().all(|day| a.holidays.contains(day))
            && (0..Week::MINUTES)
                .all(|at| (!a.today[at] || b.today[at]) && (!a.carried[at] || open(at)))
    }

    /// All of it on one line.
    pub fn told(&self) -> String {
        let calendar = match self {
            Hours::Utc(windows) if windows.is_empty() => return "always open".into(),
            Hours::Utc(_) => return self.to_string(),
            Hours::Calendar(calendar) => calendar,
        };
        let session = |s: &Session| {
            let days: Vec<&str> = s.days.iter().map(|day| day_name(*day)).collect();
            format!("{} {}", days.join(","), s.window)
        };
        let mut parts: Vec<String> = calendar.sessions.iter().map(session).collect();
        if parts.is_empty() {
            parts.push("always open".into());
        }
        if !calendar.holidays.is_empty() {
            let days: Vec<String> = calendar.holidays.iter().map(Date::to_string).collect();
            parts.push(format!("but for {}", days.join(", ")));
        }
        format!("{} {}", calendar.zone, parts.join("; "))
    }
}

/// The days of a week as they are written in a file.
pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

fn day_name(day: Weekday) -> &'static str {
    DAYS.iter().find(|(_, d)| *d == day).map_or("", |(name, _)| name)
}

/// The minutes of a week that are open: by a session of the same day, or by one that started the day
/// before (which a holiday of that day closes too).
struct Week<'h> {
    zone: &'h str,
    today: Vec<bool>,
    carried: Vec<bool>,
    holidays: &'h [Date],
}

impl<'h> Week<'h> {
    const MINUTES: usize = 7 * DAY_MIN as usize;

    fn of(hours: &'h Hours) -> Self {
        let (zone, sessions, holidays): (_, Vec<(&[Weekday], Window)>, &[Date]) = match hours {
            Hours::Utc(windows) => {
                ("UTC", windows.iter().map(|w| (EVERY_DAY.as_slice(), *w)).collect(), &[])
            }
            Hours::Calendar(c) => {
                let sessions = c.sessions.iter().map(|s| (s.days.as_slice(), s.window)).collect();
                (&c.zone, sessions, &c.holidays)
            }
        };
        let closed = !sessions.is_empty();
        let mut week = Self {
            zone,
            today: vec![!closed; Self::MINUTES],
            carried: vec![false; Self::MINUTES],
            holidays,
        };
        // Without holidays it does not matter on which day a window started.
        let tells_carried = !holidays.is_empty();
        for (days, window) in sessions {
            for day in days {
                let start = day.to_monday_zero_offset().unsigned_abs() as usize * DAY_MIN as usize;
                for minute in 0..DAY_MIN {
                    let at = |start: usize| (start + minute as usize) % Self::MINUTES;
                    if window.holds_today(minute) {
                        week.today[at(start)] = true;
                    }
                    if window.holds_from_yesterday(minute) {
                        let set = if tells_carried { &mut week.carried } else { &mut week.today };
                        set[at(start + DAY_MIN as usize)] = true;
                    }
                }
            }
        }
        week
    }
}

const EVERY_DAY: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hours::Utc(windows) => {
                let all: Vec<String> = windows.iter().map(Window::to_string).collect();
                write!(f, "{} UTC", all.join(", "))
            }
            Hours::Calendar(c) => write!(f, "the sessions of {}", c.zone),
        }
    }
}

impl Calendar {
    fn is_open(&self, at: Timestamp) -> bool {
        let local = self.rules.to_datetime(at);
        let today = local.date();
        if self.holidays.contains(&today) {
            return false;
        }
        let minute = minute_of(local);
        // A session that a holiday did not let start is not open after midnight either.
        let yesterday = today.yesterday().ok().filter(|day| !self.holidays.contains(day));
        self.sessions.is_empty()
            || self.sessions.iter().any(|s| {
                let on = |day: Date| s.days.contains(&day.weekday());
                (on(today) && s.window.holds_today(minute))
                    || (yesterday.is_some_and(on) && s.window.holds_from_yesterday(minute))
            })
    }
}

fn minute_of(local: DateTime) -> u16 {
    // Hours and minutes of a civil time are never negative.
    local.hour().unsigned_abs() as u16 * 60 + local.minute().unsigned_abs() as u16
}
