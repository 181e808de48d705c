//! PURE. Owns what an order cost to carry out: its steps and its decision's price → its row of `obs_do_metrics`.
//! Never counts up: the row is made anew from all the steps that are known.
//! Invariant: the row does not depend on the order in which the steps arrived.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::rows::{DecisionRow, DoMetricsRow, ExecEventRow};
use crate::domain::money::fits_wire;

/// Clocks are believed to differ by less than this.
const SKEW: SignedDuration = SignedDuration::from_hours(24);

/// An order whose row has to be made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Touched {
    pub idempotency_key: String,
    pub trace_id: String,
    /// None of its rows is older: which months have to be looked through. None: all of them.
    pub since: Option<Timestamp>,
}

impl Touched {
    /// By a step that is new. No step of an order is older than its request.
    pub fn by_step(row: &ExecEventRow) -> Self {
        let since = row.total_ms.and_then(|ms| {
            let requested = row.sent_at.checked_sub(SignedDuration::from_millis(ms)).ok()?;
            requested.min(row.sent_at).checked_sub(SKEW).ok()
        });
        let (idempotency_key, trace_id) = (row.idempotency_key.clone(), row.trace_id.clone());
        Self { idempotency_key, trace_id, since }
    }

    /// By a decision that is new, if an order follows from it.
    pub fn by_decision(row: &DecisionRow) -> Option<Self> {
        let sends = matches!(row.decision["action"].as_str(), Some("BUY" | "SELL"));
        let idempotency_key = row.decision["idempotency_key"].as_str()?.to_string();
        let since = row.made_at.checked_sub(SKEW).ok();
        sends.then(|| Self { idempotency_key, trace_id: row.trace_id.clone(), since })
    }

    /// Each order once, with the earliest of its times.
    pub fn each_once(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_by(|a, b| {
            (&a.idempotency_key, a.since).cmp(&(&b.idempotency_key, b.since)) // None, all months, first
        });
        all.dedup_by(|next, kept| next.idempotency_key == kept.idempotency_key);
        all
    }
}

/// One step of an order, as `obs_exec_events` has it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Step {
    pub event_id: String,
    pub trace_id: String,
    pub idempotency_key: String,
    pub exec_seq: i32,
    pub sent_at: Timestamp,
    pub symbol: String,
    pub side: String,
    pub size: Decimal,
    pub status: String,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub queue_ms: Option<i64>,
    pub broker_rtt_ms: Option<i64>,
    pub total_ms: Option<i64>,
    /// Of the order's decision: the price that its limits in money used, if both are known.
    pub price: Option<Decimal>,
}

/// The row of one order from all of its known steps; none without a step.
pub fn measure(mut steps: Vec<Step>) -> Option<DoMetricsRow> {
    steps.sort_by(|a, b| (a.exec_seq, &a.event_id).cmp(&(b.exec_seq, &b.event_id)));
    let (first, last) = (steps.first()?, steps.last()?);
    let count = |status: &str| {
        i32::try_from(steps.iter().filter(|s| s.status == status).count()).unwrap_or(i32::MAX)
    };
    Some(DoMetricsRow {
        event_id: first.event_id.clone(),
        trace_id: first.trace_id.clone(),
        idempotency_key: first.idempotency_key.clone(),
        symbol: first.symbol.clone(),
        child_orders: 1,
        retry_counts: (count("SENT") - 1).max(0),
        partial_fills: count("PARTIALLY_FILLED"),
        requested_qty: first.size,
        filled_qty: last.executed_qty,
        slippage: slippage(last),
        queue_ms: steps.iter().find_map(|s| s.queue_ms),
        broker_rtt_ms: steps.iter().find_map(|s| s.broker_rtt_ms),
        total_ms: steps.iter().rev().find_map(|s| s.total_ms),
        final_status: last.status.clone(),
        first_at: first.sent_at,
    })
}

/// What a unit cost more than the decision's price; > 0 is against us.
fn slippage(step: &Step) -> Option<Decimal> {
    let (paid, price) = (step.avg_price?, step.price?);
    let more = match step.side.as_str() {
        "BUY" => paid.checked_sub(price)?,
        "SELL" => price.checked_sub(paid)?,
        _ => return None,
    };
    fits_wire(more).then_some(more)
}

#[cfg(test)]
mod tests;
