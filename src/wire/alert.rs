//! Topic `alerts`: one fired rule.

use apache_avro::Schema;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::Alert;

record!(Alert { event_id, trace_id, idempotency_key, policy_name, severity, reason, details, at });

/// The Avro body.
pub fn encode(value: &Alert) -> Result<Vec<u8>, EncodeError> {
    avro::encode(Subject::Alert, value)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<Alert, DecodeError> {
    avro::decode(Subject::Alert, body, writer)
}
