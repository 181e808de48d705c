//! Owns how often batches were fenced off, by partition. Pure.
//! Never forgets one within a minute. Invariant: at most one time too many is kept of each partition.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::domain::news::minute_of;
use crate::pg::positions::Place;

/// Fenced batches of a partition within a minute beyond which a person should look (I3).
pub const FENCED_PER_MINUTE: usize = 3;
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// Fenced batches.
#[derive(Debug, Default)]
pub struct Fences(HashMap<Place, Fenced>);

/// Those of one partition.
#[derive(Debug, Default)]
struct Fenced {
    times: VecDeque<Timestamp>,
    told: Option<Timestamp>,
}

impl Fences {
    /// Notes a fenced batch. The minute to tell about, if there were too many and nothing was told in it.
    pub fn note(&mut self, place: &Place, now: Timestamp) -> Option<Timestamp> {
        let is_old = |at: &Timestamp| now.duration_since(*at) >= MINUTE;
        self.0.retain(|_, fenced| fenced.times.back().is_some_and(|at| !is_old(at)));
        let fenced = self.0.entry(place.clone()).or_default();
        fenced.times.push_back(now);
        while fenced.times.len() > FENCED_PER_MINUTE + 1 || fenced.times.front().is_some_and(is_old)
        {
            fenced.times.pop_front();
        }
        let minute = minute_of(now);
        let tells = fenced.times.len() > FENCED_PER_MINUTE && fenced.told != Some(minute);
        if tells {
            fenced.told = Some(minute);
        }
        tells.then_some(minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        Place { topic_id: "id".into(), topic: "order-requests".into(), partition }
    }

    /// The seconds at which something is told of partition 0, if it is fenced at these.
    fn told(seconds: &[i64]) -> Vec<(i64, i64)> {
        let mut fences = Fences::default();
        let note = |second: &i64| {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*second);
            let minute = fences.note(&place(0), now)?;
            Some((*second, minute.as_second()))
        };
        seconds.iter().filter_map(note).collect()
    }

    #[test]
    fn three_within_a_minute_are_borne_and_the_fourth_is_told_once_a_minute() {
        assert_eq!(told(&[0, 1, 2]), []);
        assert_eq!(told(&[0, 1, 2, 3, 4, 5, 59]), [(3, 0)]);
        assert_eq!(told(&[0, 1, 2, 3, 58, 59, 61, 62, 119]), [(3, 0), (61, 60)]);
        assert_eq!(told(&[0, 20, 40, 60, 80, 100]), [], "never four within 60 s");
        assert_eq!(told(&[0, 20, 40, 59, 60]), [(59, 0), (60, 60)]);
    }

    #[test]
    fn partitions_are_counted_apart_and_forgotten_when_they_are_quiet() {
        let mut fences = Fences::default();
        let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        for n in 0..8 {
            let minute = fences.note(&place(n % 4), at(i64::from(n)));
            assert_eq!(minute, None, "two of each");
        }
        assert_eq!(fences.0.len(), 4);
        assert_eq!(fences.note(&place(9), at(600)), None);
        assert_eq!(fences.0.len(), 1);
    }
}
