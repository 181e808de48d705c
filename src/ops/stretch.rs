//! Owns how an operator names a part of a topic and a stretch of it: partitions, offsets, times, ages.
//! Never looks at a clock itself: an age is given the time that it is counted from.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A topic by its logical name, and one partition of it if not all: `TOPIC[:PARTITION]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Part {
    pub topic: String,
    pub partition: Option<i32>,
}

impl FromStr for Part {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((topic, partition)) = text.split_once(':') else {
            return Ok(Self { topic: text.into(), partition: None });
        };
        let number = partition.parse::<i32>().ok().filter(|n| *n >= 0);
        let partition = number.ok_or_else(|| format!("{partition:?} is no partition"))?;
        Ok(Self { topic: topic.into(), partition: Some(partition) })
    }
}

/// A point in time: RFC 3339, a day (its beginning, UTC), or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This time.
    Time(Timestamp),
    /// So long ago.
    Age(SignedDuration),
}

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Moment::Time(time));
        }
        let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
        if let Some(start) = day.and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok())
        {
            return Ok(Moment::Time(start));
        }
        // Days have 24 hours here.
        let days = text.strip_suffix('d').and_then(|n| n.parse::<u16>().ok());
        let age = match days {
            Some(days) => Some(SignedDuration::from_hours(24 * i64::from(days))),
            None => text.parse().ok(),
        };
        let age = age.filter(|age| !age.is_negative()).map(Moment::Age);
        age.ok_or_else(|| {
            "neither a time such as 2026-11-25T08:00:00Z, a day such as 2026-11-25, nor an age such as 2h".into()
        })
    }
}

impl Moment {
    /// The time that is meant; none if it is before all time.
    pub fn time(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Moment::Time(time) => Some(time),
            Moment::Age(age) => now.checked_sub(age).ok(),
        }
    }
}

/// Where a stretch of a topic begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At this offset, of every partition.
    Offset(i64),
    /// At the first record from this time on, by Kafka's timestamps.
    Moment(Moment),
}

impl FromStr for Bound {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<i64>() {
            Ok(offset @ 0..) => Ok(Bound::Offset(offset)),
            Ok(_) => Err("an offset is 0 or more".into()),
            Err(_) => {
                text.parse().map(Bound::Moment).map_err(|why: String| format!("no offset, {why}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_topic_with_or_without_a_partition() {
        let part = |topic: &str, partition| Ok(Part { topic: topic.into(), partition });
        assert_eq!("decisions".parse::<Part>(), part("decisions", None));
        assert_eq!("decisions:11".parse::<Part>(), part("decisions", Some(11)));
        for bad in ["decisions:", "decisions:-1", "decisions:x"] {
            assert!(bad.parse::<Part>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_a_day_or_an_age_says_when() {
        let hours = |n| Ok(Moment::Age(SignedDuration::from_hours(n)));
        assert_eq!("2h".parse::<Moment>(), hours(2));
        assert_eq!("3d".parse::<Moment>(), hours(72));
        let time = "2026-11-25T08:00:00Z";
        assert_eq!(time.parse::<Moment>(), Ok(Moment::Time(time.parse().unwrap())));
        let day = Moment::Time("2026-11-25T00:00:00Z".parse().unwrap());
        assert_eq!("2026-11-25".parse::<Moment>(), Ok(day));
        for bad in ["", "soon", "-2h", "-1d", "2026-11", "20261125"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
        let now: Timestamp = "2026-11-25T08:00:00Z".parse().unwrap();
        let before = "2h".parse::<Moment>().unwrap().time(now);
        assert_eq!(before, Some("2026-11-25T06:00:00Z".parse().unwrap()));
        assert_eq!(Moment::Age(SignedDuration::MAX).time(now), None);
    }

    #[test]
    fn a_whole_number_is_an_offset() {
        assert_eq!("1200".parse::<Bound>(), Ok(Bound::Offset(1200)));
        assert!("-1".parse::<Bound>().is_err());
        let age = Bound::Moment(Moment::Age(SignedDuration::from_hours(1)));
        assert_eq!("1h".parse::<Bound>(), Ok(age));
        assert!("one".parse::<Bound>().is_err());
    }
}
