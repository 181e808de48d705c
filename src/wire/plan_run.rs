//! Topic `plan-runs`: one step of a PLAN run.

use apache_avro::Schema;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::PlanRun;

record!(PlanRun { event_id, trace_id, status, symbol, timeframe, started_at, finished_at, meta });

/// The Avro body.
pub fn encode(value: &PlanRun) -> Result<Vec<u8>, EncodeError> {
    avro::encode(Subject::PlanRun, value)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<PlanRun, DecodeError> {
    avro::decode(Subject::PlanRun, body, writer)
}
