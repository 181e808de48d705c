//! Topic `command-outcomes`: what became of one order command.

use apache_avro::Schema;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::command::CommandOutcome;

record!(CommandOutcome {
    event_id,
    idempotency_key,
    target_key,
    trace_id,
    account,
    symbol,
    action,
    status,
    reason_code,
    reason,
    order_status,
    qty,
    limit_price,
    requested_at,
    at,
});

/// The Avro body.
pub fn encode(value: &CommandOutcome) -> Result<Vec<u8>, EncodeError> {
    avro::encode(Subject::CommandOutcome, value)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<CommandOutcome, DecodeError> {
    avro::decode(Subject::CommandOutcome, body, writer)
}
