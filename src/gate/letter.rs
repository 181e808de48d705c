//! Owns reading a dead letter back: what `refusal` wrote before the original headers, and what is sent again.
//! Never changes a byte of key, value or original headers, but for the count of redrives (C-SIG-5).
//! Invariant: an original header that looks like one of ours stays an original header.

use jiff::Timestamp;

use super::refusal::header;
use crate::kafka::record::Record;

/// The header that counts how often a record was redriven.
pub const REDRIVEN: &str = "noctus-redriven";
/// After so many redrives a record stays a dead letter: what refuses it is not mended.
pub const REDRIVES_MAX: u32 = 3;

type Header = (String, Option<Vec<u8>>);

/// A dead letter, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Letter {
    /// The topic it came from, its actual name.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The original record's timestamp.
    pub at: Option<Timestamp>,
    pub reason: String,
    pub detail: String,
    /// Of a value that was too large to be kept: its digest and its length.
    pub cut: Option<(String, String)>,
    /// The original headers.
    pub headers: Vec<Header>,
}

/// Takes headers from the front, in the order in which they are written.
struct Front<'a>(std::slice::Iter<'a, Header>);

impl Front<'_> {
    fn take(&mut self, name: &str) -> Option<String> {
        let (found, value) = self.0.as_slice().first()?;
        if found != name {
            return None;
        }
        self.0.next();
        Some(String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
    }
}

impl Letter {
    /// Takes a record of the dead letters apart; none if no gate or sink wrote it.
    pub fn read(record: &Record) -> Option<Self> {
        let mut front = Front(record.headers.iter());
        let topic = front.take(header::TOPIC)?;
        let partition = front.take(header::PARTITION)?.parse().ok()?;
        let offset = front.take(header::OFFSET)?.parse().ok()?;
        let millis = front.take(header::TIMESTAMP).and_then(|ms| ms.parse().ok());
        let at = millis.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let (reason, detail) = (front.take(header::REASON)?, front.take(header::DETAIL)?);
        let cut = match record.value {
            None => front.take(header::SHA256).zip(front.take(header::BYTES)),
            Some(_) => None,
        };
        let headers = front.0.cloned().collect();
        Some(Self { topic, partition, offset, at, reason, detail, cut, headers })
    }

    /// How often it was redriven before it came back.
    pub fn redriven(&self) -> u32 {
        let count = |(name, value): &Header| {
            let text = std::str::from_utf8(value.as_deref()?).ok()?;
            if name == REDRIVEN { text.parse().ok() } else { None }
        };
        self.headers.iter().filter_map(count).max().unwrap_or(0)
    }

    /// The headers to send it again with: the original ones, and the count.
    pub fn again(&self) -> Vec<Header> {
        let count = self.redriven().saturating_add(1).to_string();
        let mut headers: Vec<Header> =
            self.headers.iter().filter(|(name, _)| name != REDRIVEN).cloned().collect();
        headers.push((REDRIVEN.into(), Some(count.into_bytes())));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusal::dead_letter;
    use super::*;

    fn record(headers: Vec<Header>, value: Option<Vec<u8>>) -> Record {
        Record {
            topic: "order-requests".into(),
            logical: "order-requests",
            topic_id: "id".into(),
            partition: 3,
            offset: 17,
            timestamp: Timestamp::from_millisecond(1_700_000_000_000).ok(),
            key: Some(b"main|USDJPY".to_vec()),
            value,
            headers,
            epoch: 1,
        }
    }

    fn sent(original: &Record, reason: &str) -> Record {
        let owed = dead_letter(original, reason, "why");
        Record { headers: owed.headers, value: owed.value, ..original.clone() }
    }

    fn header(name: &str, value: &str) -> Header {
        (name.into(), Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn a_letter_comes_apart_into_what_it_was_made_of() {
        let headers = vec![
            header("noctus-signature", "kid=k,v1=00"),
            header("noctus-origin-topic", "forged"),
            ("empty".into(), None),
        ];
        let original = record(headers.clone(), Some(b"value".to_vec()));
        let letter = Letter::read(&sent(&original, "bad_signature")).expect("a letter");
        assert_eq!(
            (letter.topic.as_str(), letter.partition, letter.offset),
            ("order-requests", 3, 17)
        );
        assert_eq!((letter.at, letter.reason.as_str()), (original.timestamp, "bad_signature"));
        assert_eq!(letter.headers, headers, "also one that looks like ours");
        assert_eq!((letter.cut.clone(), letter.redriven()), (None, 0));
        assert_eq!(letter.again()[..3], headers[..]);
        assert_eq!(letter.again()[3], header(REDRIVEN, "1"));
        assert_eq!(Letter::read(&original), None, "no gate wrote this");
    }

    #[test]
    fn a_value_that_was_not_kept_is_known_by_its_digest() {
        let original = record(vec![header("a", "b")], Some(vec![0; 2 << 20]));
        let letter = Letter::read(&sent(&original, "too_large")).expect("a letter");
        assert_eq!(letter.cut.expect("it was cut").1, "2097152");
        assert_eq!(letter.headers, [header("a", "b")]);
    }

    #[test]
    fn redrives_are_counted_in_one_header() {
        let original = record(vec![header(REDRIVEN, "2"), header("a", "b")], Some(vec![1]));
        let letter = Letter::read(&sent(&original, "bad_avro")).expect("a letter");
        assert_eq!(letter.redriven(), 2);
        assert_eq!(letter.again(), [header("a", "b"), header(REDRIVEN, "3")]);
    }
}
