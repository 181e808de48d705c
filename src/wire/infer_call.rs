//! Topic `infer-calls`: one call of a model.

use apache_avro::Schema;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::InferCall;

record!(InferCall {
    event_id,
    trace_id,
    model,
    version,
    called_at,
    duration_ms,
    status,
    inputs,
    outputs,
});

/// The Avro body.
pub fn encode(value: &InferCall) -> Result<Vec<u8>, EncodeError> {
    avro::encode(Subject::InferCall, value)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<InferCall, DecodeError> {
    avro::decode(Subject::InferCall, body, writer)
}
