//! PURE: Avro bytes ⇄ domain, and the signature over them; one file per subject.
//! Never panics on input: bad bytes are a [`DecodeError`] with a stable reason. Never reads a registry.
//! Invariant: equal values encode to equal bytes, so an event emitted twice is the same record.

pub mod alert;
pub mod avro;
pub mod command_outcome;
pub mod decision;
pub mod exec_event;
pub mod infer_call;
pub mod lint;
pub mod order_command;
pub mod order_request;
pub mod plan_run;
pub mod proposal_set;
pub mod quote;
pub mod signature;
pub mod told;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;
use apache_avro::writer::datum::GenericDatumWriter;

/// Largest single allocation that decoding may make, bytes (the library's own limit is 512 MiB).
pub const ALLOCATION_MAX_BYTES: usize = 1 << 20;
/// Confluent's wire format: this byte, the schema id as u32 big-endian, then the Avro body.
const MAGIC: u8 = 0;
/// The header in which newer serialisers can put the schema's GUID instead.
pub const HEADER_ID: &str = "__value_schema_id";

/// Sets the limits of the Avro library: once per process, before anything is decoded. Whatever asks
/// for an embedded schema has called it.
pub fn set_limits() {
    apache_avro::util::max_allocation_bytes(ALLOCATION_MAX_BYTES);
}

/// The kinds of messages; one topic and one registry subject each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Subject {
    OrderRequest,
    ProposalSet,
    Quote,
    Decision,
    Alert,
    ExecEvent,
    PlanRun,
    InferCall,
    OrderCommand,
    CommandOutcome,
}

/// A schema and what its names mean, parsed once.
pub(crate) struct Parsed {
    pub(crate) schema: &'static Schema,
    pub(crate) resolved: ResolvedSchema<'static>,
    pub(crate) writer: GenericDatumWriter<'static>,
}

fn parse(text: &str) -> Parsed {
    set_limits();
    let schema: &'static Schema =
        Box::leak(Box::new(Schema::parse_str(text).expect("an embedded schema is valid")));
    let resolved = ResolvedSchema::try_from(schema).expect("an embedded schema stands alone");
    let writer = GenericDatumWriter::builder(schema)
        .resolved_schemata(resolved.clone())
        .human_readable(false)
        .build()
        .expect("a resolved schema can be written by");
    Parsed { schema, resolved, writer }
}

macro_rules! schemas {
    ($($subject:ident: $topic:literal, [$($file:literal),+]);+ $(;)?) => {
        impl Subject {
            /// Every subject. A new one is the last: the fuzzer's seeds know them by their place.
            pub const ALL: [Subject; 10] = [$(Subject::$subject),+];

            /// The message's name, which is also its record's name in the schema.
            pub fn name(self) -> &'static str {
                match self { $(Subject::$subject => stringify!($subject)),+ }
            }

            /// The logical name of its topic.
            pub fn topic(self) -> &'static str {
                match self { $(Subject::$subject => $topic),+ }
            }

            /// The text of every version, oldest first, as it is registered.
            pub fn versions(self) -> &'static [&'static str] {
                match self {
                    $(Subject::$subject => {
                        // Without the file's last newline: clients strip it, and registries compare texts.
                        const { &[$(include_str!(concat!("../../schemas/", $file, ".avsc"))
                            .trim_ascii_end()),+] }
                    }),+
                }
            }

            pub(crate) fn parsed(self) -> &'static Parsed {
                match self {
                    $(Subject::$subject => {
                        static PARSED: LazyLock<Parsed> =
                            LazyLock::new(|| parse(Subject::$subject.versions().last()
                                .expect("a subject has a version")));
                        &PARSED
                    }),+
                }
            }
        }
    };
}

schemas! {
    OrderRequest: "order-requests", ["order_request_v1.0", "order_request_v1.1"];
    ProposalSet: "proposal-sets", ["proposal_set"];
    Quote: "quotes", ["quote"];
    Decision: "decisions", ["decision_v1.0", "decision_v1.1"];
    Alert: "alerts", ["alert"];
    ExecEvent: "exec-events", ["exec_event_v1.0", "exec_event_v1.1", "exec_event_v1.2"];
    PlanRun: "plan-runs", ["plan_run"];
    InferCall: "infer-calls", ["infer_call"];
    OrderCommand: "order-commands", ["order_command"];
    CommandOutcome: "command-outcomes", ["command_outcome"];
}

impl Subject {
    /// The newest schema, embedded: what this build writes and reads as.
    pub fn schema(self) -> &'static Schema {
        self.parsed().schema
    }

    /// The subject whose topic has this logical name.
    pub fn of_topic(topic: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.topic() == topic)
    }
}

/// Why bytes are not a message; the reason is stable and goes into dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not Confluent's wire format: too short, or another first byte (F01).
    #[error("not in Confluent's wire format: {0}")]
    Wire(&'static str),
    /// The schema is named by a header and not in the value, as a GUID that no registry we support looks up.
    #[error("the header {HEADER_ID} names its schema; only the id before the value is read")]
    SchemaInHeader,
    /// Not Avro as its own schema says: cut short, bytes left over, a bad index, bad UTF-8 (F02).
    #[error("not a valid Avro body: {0}")]
    Avro(String),
    /// Valid by its own schema, which cannot be read as ours (F05).
    #[error("the schema it was written with cannot be read as {subject}: {why}")]
    Schema {
        /// What was expected.
        subject: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Decoded, but a field is outside what the domain takes (a time out of range, text outside its set).
    #[error("{field}: {why}")]
    Field {
        /// The field's name on the wire.
        field: &'static str,
        /// `invalid_<field>`.
        reason: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl DecodeError {
    /// The stable reason code.
    pub fn reason(&self) -> &'static str {
        match self {
            DecodeError::Wire(_) => "bad_wire",
            DecodeError::SchemaInHeader => "schema_in_header",
            DecodeError::Avro(_) => "bad_avro",
            DecodeError::Schema { .. } => "schema_mismatch",
            DecodeError::Field { reason, .. } => reason,
        }
    }
}

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{subject} cannot be encoded: {why}")]
pub struct EncodeError {
    /// The message's name.
    pub subject: &'static str,
    /// The field and what does not fit.
    pub why: String,
}

/// Puts the schema id before the body.
pub fn frame(schema_id: u32, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + body.len());
    value.push(MAGIC);
    value.extend_from_slice(&schema_id.to_be_bytes());
    value.extend_from_slice(body);
    value
}

/// Takes the schema id off the value of a record with these headers. One that names its schema in a header is
/// refused, whatever its value begins with: two places could name two schemas.
pub fn open<'v>(
    headers: &[(String, Option<Vec<u8>>)],
    value: &'v [u8],
) -> Result<(u32, &'v [u8]), DecodeError> {
    match headers.iter().any(|(name, _)| name == HEADER_ID) {
        true => Err(DecodeError::SchemaInHeader),
        false => split(value),
    }
}

/// Takes the schema id off a record's value.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [] => Err(DecodeError::Wire("the value is empty")),
        [MAGIC, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [MAGIC, ..] => Err(DecodeError::Wire("shorter than 5 bytes")),
        _ => Err(DecodeError::Wire("the first byte is not 0")),
    }
}
