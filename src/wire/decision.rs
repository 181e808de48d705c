//! Topic `decisions`: what was decided about one request and why.

use apache_avro::Schema;

use super::avro::informative;
use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::{Candidate, Decision, PolicyDigests, Quality, Quote, Step};
use crate::domain::money::bounded;

record!(Decision {
    event_id,
    decision_id,
    idempotency_key,
    trace_id,
    account,
    symbol,
    action,
    requested_qty,
    decided_qty,
    steps,
    quality,
    score,
    strategy_name,
    top_candidates,
    arm,
    reason,
    engine_version,
    policies,
    quote,
    price,
    unit_value,
    order_type,
    time_in_force,
    requested_at,
    decided_at,
    request,
    facts,
    opening_qty,
    opening_notional,
});
record!(Step { rule, before, after, reason });
record!(Quality { verdict, multiplier });
record!(Candidate {
    strategy,
    intent,
    qty_raw,
    score,
    confidence_term,
    risk_term,
    weight,
    confidence,
    risk_score,
});
record!(PolicyDigests { quality, profiles, risk, instruments });
record!(Quote { bid, ask, at });

/// The Avro body. Quantities are cut and ratios rounded to the wire's 9 decimals; a decided quantity
/// that does not fit them is an error.
pub fn encode(value: &Decision) -> Result<Vec<u8>, EncodeError> {
    avro::encode(Subject::Decision, &rounded(value.clone()))
}

fn rounded(mut d: Decision) -> Decision {
    d.requested_qty = bounded(d.requested_qty);
    for step in &mut d.steps {
        step.before = bounded(step.before);
        step.after = bounded(step.after);
    }
    if let Some(quality) = &mut d.quality {
        quality.multiplier = informative(quality.multiplier);
    }
    d.score = d.score.map(informative);
    d.price = d.price.map(informative);
    d.unit_value = d.unit_value.map(informative);
    for c in &mut d.top_candidates {
        for number in
            [&mut c.qty_raw, &mut c.score, &mut c.confidence_term, &mut c.risk_term, &mut c.weight]
        {
            *number = informative(*number);
        }
    }
    d
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<Decision, DecodeError> {
    avro::decode(Subject::Decision, body, writer)
}
