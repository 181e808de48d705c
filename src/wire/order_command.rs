//! Topic `order-commands`: what a producer wants done with an order that it asked for before.

use apache_avro::Schema;

use super::avro::Required;
use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::command::CommandDraft;

/// What a draft without a version is written as.
pub const VERSION: &str = "1.0";

record!(CommandDraft {
    schema_version => Required, trace_id, account, symbol, action, target_key, qty, limit_price,
    requested_at, valid_until, reason, meta, idempotency_key,
});

/// The Avro body. Never rounds: a number that does not fit is an error.
pub fn encode(value: &CommandDraft) -> Result<Vec<u8>, EncodeError> {
    let version = value.schema_version.clone().unwrap_or_else(|| VERSION.into());
    let draft = CommandDraft { schema_version: Some(version), ..value.clone() };
    avro::encode(Subject::OrderCommand, &draft)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<CommandDraft, DecodeError> {
    avro::decode(Subject::OrderCommand, body, writer)
}
