//! Topic `proposal-sets`: strategy proposals for one symbol.

use apache_avro::Schema;

use super::avro::Required;
use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::request::{Proposal, ProposalSetDraft};

/// What a draft without a version is written as.
pub const VERSION: &str = "1.0";

record!(ProposalSetDraft {
    schema_version => Required, trace_id, account, symbol, timeframe, as_of, requested_at,
    valid_until, reference_price, order_type, quality, idempotency_key => Required, meta, proposals,
});
record!(Proposal { strategy, intent, qty_raw, confidence, risk_score, price_hint, reasons });

/// The Avro body. A set without a key is an error, and so is a number that does not fit.
pub fn encode(value: &ProposalSetDraft) -> Result<Vec<u8>, EncodeError> {
    let version = value.schema_version.clone().unwrap_or_else(|| VERSION.into());
    let draft = ProposalSetDraft { schema_version: Some(version), ..value.clone() };
    avro::encode(Subject::ProposalSet, &draft)
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<ProposalSetDraft, DecodeError> {
    avro::decode(Subject::ProposalSet, body, writer)
}
