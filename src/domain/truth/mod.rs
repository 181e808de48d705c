//! PURE. Owns whether two records of the same events say the same: what an event's content is, how much of it there
//! is in an hour, and what differs.
//! Never holds an event: an [`Entry`] stands for one, of a fixed size, so that any number of them can be sorted.
//! Invariant: a sum of contents does not depend on order, and an event that is there twice does not cancel itself.

pub mod compare;
pub mod fields;

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Microseconds of an hour.
const HOUR_US: i64 = 3_600_000_000;

/// An hour (UTC), counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i32);

impl Hour {
    /// The hour that a time is in.
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.as_microsecond().div_euclid(HOUR_US)).unwrap_or(i32::MAX))
    }

    /// When it begins.
    pub fn start(self) -> Timestamp {
        Timestamp::from_microsecond(i64::from(self.0) * HOUR_US).unwrap_or(Timestamp::MAX)
    }

    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.start().serialize(out)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(f)
    }
}

/// 128 bits of SHA-256: of an id, or of what an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short(pub [u8; 16]);

impl Short {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&Sha256::digest(bytes)[..16]);
        Self(short)
    }

    /// Of a value's canonical JSON (RFC 8785), so that neither the order of fields nor the way a number is written counts.
    pub fn of_json(value: &Value) -> Self {
        let canonical = serde_json_canonicalizer::to_vec(value);
        Self::of(&canonical.expect("a tree of JSON has a canonical form"))
    }
}

/// Whether an event must be on the other side too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It must.
    Sure,
    /// It is in a topic and was not read by the sink at that moment.
    Unread,
    /// It came to a topic after the ends that were there before the moment: the ledger may not have it yet.
    Young,
    /// It is committed and not in its topic yet.
    Owed,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Sure, Self::Unread, Self::Young, Self::Owed];
}

/// Where something is: a topic's partition and offset, or a table's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition; of a row, which step of it.
    pub part: i32,
    /// The offset; a row's number, if it has one.
    pub at: i64,
}

/// One event on one side. Entries are sorted by it: those of one id are beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Of the event's id.
    pub id: Short,
    /// Of the event's own time.
    pub hour: Hour,
    /// Of what both sides are to agree about.
    pub content: Short,
    /// Of the exact bytes, where there are some: a repeat has the same.
    pub bytes: u64,
    /// Where it is.
    pub place: Place,
    /// Whether the other side must have it.
    pub standing: Standing,
    /// Another one, of a higher number of the same order, is known.
    pub is_inner: bool,
}

impl Entry {
    /// Bytes of one entry.
    pub const BYTES: usize = 58;

    /// As it is kept in a file.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&self.id.0);
        out[16..20].copy_from_slice(&self.hour.0.to_be_bytes());
        out[20..36].copy_from_slice(&self.content.0);
        out[36..44].copy_from_slice(&self.bytes.to_be_bytes());
        out[44..48].copy_from_slice(&self.place.part.to_be_bytes());
        out[48..56].copy_from_slice(&self.place.at.to_be_bytes());
        out[56] = self.standing as u8;
        out[57] = u8::from(self.is_inner);
        out
    }

    /// Reads it back; none if these are no bytes of an entry.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..at + N)?.try_into().ok()
        }
        Some(Self {
            id: Short(part(bytes, 0)?),
            hour: Hour(i32::from_be_bytes(part(bytes, 16)?)),
            content: Short(part(bytes, 20)?),
            bytes: u64::from_be_bytes(part(bytes, 36)?),
            place: Place {
                part: i32::from_be_bytes(part(bytes, 44)?),
                at: i64::from_be_bytes(part(bytes, 48)?),
            },
            standing: *Standing::ALL.get(usize::from(bytes[56]))?,
            is_inner: bytes[57] == 1,
        })
    }
}

/// How many events there are, and the sum of their contents mod 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// The sum.
    #[serde(serialize_with = "hex")]
    pub hash: u128,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, content: Short) {
        self.events += 1;
        self.hash = self.hash.wrapping_add(u128::from_be_bytes(content.0));
    }
}

fn hex<S: Serializer>(hash: &u128, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{hash:032x}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_read_back_as_it_was_kept() {
        let entry = Entry {
            id: Short::of(b"id"),
            hour: Hour(-3),
            content: Short::of(b"content"),
            bytes: u64::MAX - 1,
            place: Place { part: -1, at: i64::MIN + 7 },
            standing: Standing::Owed,
            is_inner: true,
        };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        let mut wrong = entry.to_bytes();
        wrong[56] = 9;
        assert_eq!(Entry::from_bytes(&wrong), None);
    }

    #[test]
    fn a_sum_does_not_depend_on_order_and_what_is_there_twice_counts_twice() {
        let (a, b) = (Short::of(b"a"), Short::of(b"b"));
        let sum = |contents: &[Short]| {
            let mut tally = Tally::default();
            contents.iter().for_each(|content| tally.add(*content));
            tally
        };
        assert_eq!(sum(&[a, b]), sum(&[b, a]));
        assert_ne!(sum(&[a, a]), sum(&[]));
        assert_ne!(sum(&[a, a]).hash, sum(&[b, b]).hash);
        assert_eq!(json!(sum(&[]))["hash"], json!("0".repeat(32)));
    }

    #[test]
    fn content_is_what_is_said_and_not_how_it_is_written() {
        let read = |text: &str| Short::of_json(&serde_json::from_str(text).expect("JSON"));
        let big = read(r#"{"a": 1e17, "b": [1.50, "x"]}"#);
        assert_eq!(big, read(r#"{"b":[1.5,"x"],"a":100000000000000000}"#));
        assert_ne!(big, read(r#"{"b":["1.5","x"],"a":100000000000000000}"#));
    }

    #[test]
    fn an_hour_has_its_beginning_and_not_its_end() {
        let hour = |text: &str| Hour::of(text.parse().expect("a time"));
        assert_eq!(hour("2026-11-26T08:00:00Z"), hour("2026-11-26T08:59:59.999999Z"));
        assert_eq!(hour("2026-11-26T08:59:59Z").next(), hour("2026-11-26T09:00:00Z"));
        assert_eq!(hour("2026-11-26T08:30:00Z").to_string(), "2026-11-26T08:00:00Z");
        assert_eq!(hour("1969-12-31T23:59:59Z"), Hour(-1));
    }
}
