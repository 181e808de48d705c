//! Any message as JSON, for people and their tools. Decimals are texts, times are UTC.
//! Never takes part in deciding anything.

use apache_avro::Schema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{DecodeError, Subject};

/// The JSON of an Avro body of this subject that was written by `writer`.
pub fn json(subject: Subject, body: &[u8], writer: &Schema) -> Result<Value, DecodeError> {
    match subject {
        Subject::OrderRequest => of(subject, super::order_request::decode(body, writer)?),
        Subject::ProposalSet => of(subject, super::proposal_set::decode(body, writer)?),
        Subject::Quote => {
            let (symbol, quote) = super::quote::decode(body, writer)?;
            Ok(json!({"symbol": symbol, "bid": quote.bid, "ask": quote.ask, "at": quote.at}))
        }
        Subject::Decision => of(subject, super::decision::decode(body, writer)?),
        Subject::Alert => of(subject, super::alert::decode(body, writer)?),
        Subject::ExecEvent => of(subject, super::exec_event::decode(body, writer)?),
        Subject::PlanRun => of(subject, super::plan_run::decode(body, writer)?),
        Subject::InferCall => of(subject, super::infer_call::decode(body, writer)?),
        Subject::OrderCommand => of(subject, super::order_command::decode(body, writer)?),
        Subject::CommandOutcome => of(subject, super::command_outcome::decode(body, writer)?),
    }
}

fn of(subject: Subject, message: impl Serialize) -> Result<Value, DecodeError> {
    let unfit =
        |e: serde_json::Error| DecodeError::Schema { subject: subject.name(), why: e.to_string() };
    serde_json::to_value(message).map_err(unfit)
}
