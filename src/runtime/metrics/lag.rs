//! Owns how far readers are behind in the partitions that are theirs, in records and in time. Shared: the reader, and
//! what Kafka calls back, tell it; a scrape reads it.
//! Never asks Kafka. Invariant: a partition that was given away is not told of any more, from that moment on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prometheus::{GaugeVec, IntGaugeVec};

/// Ends of a partition that are remembered, with when they were heard: about so many seconds of a reader that stands still.
const ENDS_MAX: usize = 256;

type Key = (&'static str, Arc<str>, i32);

/// What every reader of a process is behind; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lag(Arc<Mutex<HashMap<Key, Part>>>);

/// A partition that is ours.
#[derive(Debug, Default)]
struct Part {
    /// The next offset that is not done.
    next: i64,
    /// Ends that Kafka told, the newest last, and when each was heard first.
    ends: VecDeque<(i64, Timestamp)>,
    /// Records that were read and are not done, and since when they are in the partition.
    read: VecDeque<(i64, Timestamp)>,
}

impl Lag {
    fn parts(&self) -> MutexGuard<'_, HashMap<Key, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(
        &self,
        reader: &'static str,
        (topic, partition): (&Arc<str>, i32),
        act: impl FnOnce(&mut Part),
    ) {
        if let Some(part) = self.parts().get_mut(&(reader, topic.clone(), partition)) {
            act(part);
        }
    }

    /// The partition is the reader's, and is read from this offset on.
    pub fn taken(&self, reader: &'static str, (topic, partition): (&Arc<str>, i32), next: i64) {
        let mut parts = self.parts();
        let part = parts.entry((reader, topic.clone(), partition)).or_default();
        if next < part.next {
            // Moved back by an operator: nothing that is known is about what comes next.
            *part = Part::default();
        }
        part.done(next);
    }

    /// The partition is not the reader's any more.
    pub fn gone(&self, reader: &'static str, (topic, partition): (&Arc<str>, i32)) {
        self.parts().remove(&(reader, topic.clone(), partition));
    }

    /// A record was read that is in the partition since then.
    pub fn read(&self, reader: &'static str, at: (&Arc<str>, i32), offset: i64, since: Timestamp) {
        self.of(reader, at, |part| part.note_read(offset, since));
    }

    /// Everything before this offset is done.
    pub fn done(&self, reader: &'static str, at: (&Arc<str>, i32), next: i64) {
        self.of(reader, at, |part| part.done(next));
    }

    /// Kafka says that this is the end of the partition.
    pub fn end(&self, reader: &'static str, at: (&Arc<str>, i32), end: i64, now: Timestamp) {
        self.of(reader, at, |part| part.note_end(end, now));
    }

    /// Records that are not done in all partitions of the reader; none while Kafka has not told the end of one.
    pub fn behind(&self, reader: &'static str) -> Option<i64> {
        let parts = self.parts();
        parts.iter().filter(|((of, ..), _)| *of == reader).map(|(_, part)| part.records()).sum()
    }

    /// Sets the gauges to what is known, and to nothing else.
    pub(super) fn tell(&self, records: &IntGaugeVec, seconds: &GaugeVec, now: Timestamp) {
        let parts = self.parts();
        records.reset();
        seconds.reset();
        for ((reader, topic, partition), part) in parts.iter() {
            let partition = partition.to_string();
            let labels = [*reader, topic, partition.as_str()];
            if let Some(behind) = part.records() {
                records.with_label_values(&labels).set(behind);
                seconds.with_label_values(&labels).set(part.seconds(now));
            }
        }
    }
}

impl Part {
    fn note_read(&mut self, offset: i64, since: Timestamp) {
        // One that is read again, after a pause, is known.
        if offset >= self.next && self.read.back().is_none_or(|(last, _)| *last < offset) {
            self.read.push_back((offset, since));
        }
    }

    fn note_end(&mut self, end: i64, now: Timestamp) {
        if self.ends.back().is_none_or(|(last, _)| *last < end) {
            self.ends.push_back((end, now));
        }
        self.forget_read();
        if self.ends.len() > ENDS_MAX {
            // Half of them will do; the first says since when something waits, the last where the end is.
            let last = self.ends.len() - 1;
            let mut at = 0;
            self.ends.retain(|_| {
                at += 1;
                (at - 1) % 2 == 0 || at - 1 == last
            });
        }
    }

    fn done(&mut self, next: i64) {
        self.next = next;
        while self.read.front().is_some_and(|(offset, _)| *offset < next) {
            self.read.pop_front();
        }
        self.forget_read();
    }

    /// Ends that were reached say nothing any more, but for the newest.
    fn forget_read(&mut self) {
        while self.ends.len() > 1 && self.ends[0].0 <= self.next {
            self.ends.pop_front();
        }
    }

    /// Records that are not done; none before Kafka has said anything.
    fn records(&self) -> Option<i64> {
        let end = self.ends.back().map(|(end, _)| *end);
        let read = self.read.back().map(|(offset, _)| offset + 1);
        Some((end.max(read)? - self.next).max(0))
    }

    /// Since when the oldest record that is not done has been there: by its own time if it was read, else by when the
    /// partition was first heard to reach beyond what is done.
    fn since(&self) -> Option<Timestamp> {
        if let Some((_, since)) = self.read.front() {
            return Some(*since);
        }
        self.ends.iter().find(|(end, _)| *end > self.next).map(|(_, heard)| *heard)
    }

    fn seconds(&self, now: Timestamp) -> f64 {
        self.since().map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0))
    }
}

#[cfg(test)]
mod tests;
