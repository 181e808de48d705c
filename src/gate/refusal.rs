//! Owns what becomes of an input that is refused: a dead letter with its bytes unchanged, and an alert.
//! Never loses a byte up to the size limit. Invariant (I4): both are functions of the record alone, so refusing
//! it again makes the same ones.

use std::fmt;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::domain::event::{Alert, EventId, Severity, Subject as About};
use crate::domain::text::{IdempotencyKey, TraceId};
use crate::domain::trace_context::{self, headers_of};
use crate::kafka::record::Record;
use crate::owed::{DEAD_LETTERS, Owed};

/// Headers of a dead letter; those of the original record follow them.
pub mod header {
    /// The topic it came from, its actual name.
    pub const TOPIC: &str = "noctus-origin-topic";
    /// The partition.
    pub const PARTITION: &str = "noctus-origin-partition";
    /// The offset.
    pub const OFFSET: &str = "noctus-origin-offset";
    /// The record's timestamp, Unix milliseconds.
    pub const TIMESTAMP: &str = "noctus-origin-timestamp";
    /// The stable reason code.
    pub const REASON: &str = "noctus-reason";
    /// For a person.
    pub const DETAIL: &str = "noctus-detail";
    /// SHA-256 of a value that was too large to be kept, lower hex.
    pub const SHA256: &str = "noctus-value-sha256";
    /// Its length, bytes.
    pub const BYTES: &str = "noctus-value-bytes";
}

/// Why an input is refused; the text is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    BadWire,
    SchemaInHeader,
    TooLarge,
    BadSignature,
    NotAuthorised,
    UnknownSchema,
    SchemaMismatch,
    BadAvro,
    /// `invalid_<field>`.
    Invalid(String),
    KeyMismatch,
    IdempotencyConflict,
    /// Neither the ledger nor the wire can hold what becomes of it.
    Unstorable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::BadWire => "bad_wire",
            Reason::SchemaInHeader => "schema_in_header",
            Reason::TooLarge => "too_large",
            Reason::BadSignature => "bad_signature",
            Reason::NotAuthorised => "not_authorised",
            Reason::UnknownSchema => "unknown_schema",
            Reason::SchemaMismatch => "schema_mismatch",
            Reason::BadAvro => "bad_avro",
            Reason::Invalid(code) => code,
            Reason::KeyMismatch => "key_mismatch",
            Reason::IdempotencyConflict => "idempotency_conflict",
            Reason::Unstorable => "unstorable",
        })
    }
}

impl Reason {
    /// The rule that its alert names.
    fn policy_name(&self) -> String {
        match self {
            Reason::IdempotencyConflict => "do.idempotency_conflict".into(),
            other => format!("ingest.{other}"),
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Reason::BadSignature | Reason::NotAuthorised | Reason::IdempotencyConflict => {
                Severity::High
            }
            Reason::Unstorable => Severity::Critical,
            _ => Severity::Medium,
        }
    }
}

/// A record that is refused, and why.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Refusal {
    pub record: Record,
    pub reason: Reason,
    /// For a person.
    pub why: String,
    /// If it could be read and is valid.
    pub trace_id: Option<TraceId>,
    /// Of a conflict: the key that stands for another order. Of what cannot be stored: its own.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl Refusal {
    /// The dead letter.
    pub fn dead_letter(&self) -> Owed {
        dead_letter(&self.record, &self.reason.to_string(), &self.why)
    }

    /// The rule that its alert names, and how much it matters.
    pub fn rule(&self) -> (String, Severity) {
        (self.reason.policy_name(), self.reason.severity())
    }

    /// The trace of its alert; the dead letter keeps the record's own headers.
    pub fn trace_headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        trace_headers(&self.record)
    }

    /// The alert.
    pub fn alert(&self) -> Alert {
        let r = &self.record;
        let policy_name = self.reason.policy_name();
        let about =
            About::Input { topic_id: &r.topic_id, partition: r.partition, offset: r.offset };
        Alert {
            event_id: EventId::new(about, &format!("alert:{policy_name}"), 0),
            trace_id: self.trace_id.clone(),
            idempotency_key: self.idempotency_key.clone(),
            policy_name,
            severity: self.reason.severity(),
            reason: self.why.clone(),
            details: json!({"topic": &*r.topic, "partition": r.partition, "offset": r.offset}),
            at: r.timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

/// The trace in which a record is refused.
pub fn trace_headers(record: &Record) -> Vec<(String, Option<Vec<u8>>)> {
    let hop = trace_context::refuse(&record.topic_id, record.partition, record.offset);
    headers_of(record.trace().as_ref(), &hop)
}

/// Values beyond this are told by their digest only, bytes.
const KEPT_MAX_BYTES: usize = 1 << 20;

/// A record as a dead letter: key, value and headers as they were, where it lay and why in headers before them.
pub fn dead_letter(record: &Record, reason: &str, why: &str) -> Owed {
    let own = |name: &str, value: String| (name.to_string(), Some(value.into_bytes()));
    let mut headers = vec![
        own(header::TOPIC, record.topic.to_string()),
        own(header::PARTITION, record.partition.to_string()),
        own(header::OFFSET, record.offset.to_string()),
    ];
    if let Some(at) = record.timestamp {
        headers.push(own(header::TIMESTAMP, at.as_millisecond().to_string()));
    }
    headers.push(own(header::REASON, reason.to_string()));
    headers.push(own(header::DETAIL, why.to_string()));
    let value = match &record.value {
        Some(bytes) if reason == "too_large" || bytes.len() > KEPT_MAX_BYTES => {
            headers.push(own(header::SHA256, hex::encode(Sha256::digest(bytes))));
            headers.push(own(header::BYTES, bytes.len().to_string()));
            None
        }
        value => value.clone(),
    };
    headers.extend(record.headers.iter().cloned());
    Owed { topic: DEAD_LETTERS, key: record.key.clone(), value, headers }
}
