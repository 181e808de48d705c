//! Owns the span of a send: from the last look before the write to the answer.
//! Never changes what the broker is told: its header names this span, whether it is recorded or not.

use jiff::Timestamp;

use super::broker::Placed;
use crate::domain::trace_context;
use crate::pg::outbox::OrderRow;
use crate::runtime::clock;
use crate::runtime::spans::{self, Kind, Span};

/// Tells the span of a send that ended just now; none if nothing left this process.
pub(super) fn sent(row: &OrderRow, began: Timestamp, placed: &Placed) {
    let Some(trace) = row.trace.as_ref().filter(|_| spans::on()) else { return };
    let failed = match placed {
        Placed::NotSent { .. } => return,
        Placed::Known(_) => None,
        Placed::Refused { code } => Some(code.clone()),
        Placed::Mismatch(_) => Some("mismatch".into()),
        Placed::Unknown { code, .. } => Some((*code).to_string()),
    };
    spans::tell(Span {
        name: "noctus.send",
        kind: Kind::Client,
        parent: trace.child(&trace_context::decide(&row.key)),
        hop: trace_context::send(&row.key, row.attempt_no),
        began,
        ended: clock::now(),
        attributes: vec![
            ("noctus.idempotency_key", row.key.to_string()),
            ("noctus.trace_id", row.trace_id.to_string()),
            ("noctus.attempt_no", row.attempt_no.to_string()),
        ],
        failed,
        within: None,
        is_root: false,
    });
}
