//! Topic `order-requests`: v1.1 is written, v1.0 and v1.1 are read, for ever.

use apache_avro::Schema;

use super::avro::Required;
use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::request::{OrderDraft, QualityInput};

/// What a draft without a version is written as.
pub const VERSION: &str = "1.1";

record!(OrderDraft {
    schema_version => Required, trace_id, account, symbol, side, qty, order_type, limit_price,
    stop_price, time_in_force, requested_at, valid_until, decision_id, reference_price, stop_loss,
    take_profit, strategy, timeframe, quality, meta, idempotency_key,
});
record!(QualityInput { missing_ratio, data_lag_min });

/// The Avro body, by v1.1. Never rounds: a number that does not fit is an error.
pub fn encode(value: &OrderDraft) -> Result<Vec<u8>, EncodeError> {
    let version = value.schema_version.clone().unwrap_or_else(|| VERSION.into());
    let draft = OrderDraft { schema_version: Some(version), ..value.clone() };
    avro::encode(Subject::OrderRequest, &draft)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<OrderDraft, DecodeError> {
    avro::decode(Subject::OrderRequest, body, writer)
}
