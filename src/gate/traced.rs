//! Owns the spans of a batch: one of the batch, and one of each order, command and refusal whose trace is recorded.
//! Never decides what is told of them elsewhere: ids are those that the events' headers name.

use std::time::Instant;

use jiff::SignedDuration;

use super::admit::{Admitted, Batch};
use super::refusal::Refusal;
use crate::domain::trace_context::{self, TraceContext};
use crate::runtime::clock;
use crate::runtime::spans::{self, Kind, Span};

/// Tells the spans of a batch that was committed just now.
pub(super) fn tell(batch: &Batch, admitted: &Admitted, began: Instant) {
    if !spans::on() {
        return;
    }
    let ended = clock::now();
    let took = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
    let began = ended.checked_sub(took).unwrap_or(ended);
    let batch_trace = TraceContext::begun(&format!("{:032x}", rand::random::<u128>()), "batch");
    let span = |name, parent: &TraceContext, hop: String, attributes| Span {
        name,
        kind: Kind::Consumer,
        parent: parent.clone(),
        hop,
        began,
        ended,
        attributes,
        failed: None,
        within: Some(batch_trace.clone()),
        is_root: false,
    };
    let mut found = Vec::new();
    for decided in &admitted.decided {
        let (Some(trace), d) = (&decided.trace, &decided.decision) else { continue };
        let attributes = vec![
            ("noctus.idempotency_key", d.idempotency_key.to_string()),
            ("noctus.trace_id", d.trace_id.to_string()),
            ("noctus.action", d.action.as_str().to_string()),
        ];
        let hop = trace_context::decide(&d.idempotency_key);
        found.push(span("noctus.decide", trace, hop, attributes));
    }
    for outcome in &admitted.commanded {
        let (Some(trace), event) = (&outcome.trace, &outcome.event) else { continue };
        let attributes = vec![
            ("noctus.idempotency_key", event.idempotency_key.to_string()),
            ("noctus.trace_id", event.trace_id.to_string()),
            ("noctus.action", event.action.as_str().to_string()),
        ];
        let hop = trace_context::command(&event.idempotency_key);
        found.push(span("noctus.command", trace, hop, attributes));
    }
    let refused = batch.refused.iter().chain(&admitted.conflicts).chain(&admitted.parked);
    for Refusal { record, reason, .. } in refused {
        let Some(trace) = record.trace() else { continue };
        let hop = trace_context::refuse(&record.topic_id, record.partition, record.offset);
        let attributes = vec![("messaging.destination.name", record.topic.to_string())];
        let refusal = span("noctus.refuse", &trace, hop, attributes);
        found.push(Span { failed: Some(reason.to_string()), ..refusal });
    }
    if found.is_empty() {
        return;
    }
    let records = batch.requests.len() + batch.commands.len() + batch.refused.len();
    let whole = span(
        "noctus.batch",
        &batch_trace,
        "batch".into(),
        vec![("messaging.batch.message_count", records.to_string())],
    );
    spans::tell(Span { is_root: true, within: None, ..whole });
    found.into_iter().for_each(spans::tell);
}
