//! What a story is made of.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;

/// Everything that is known of one trace.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Story {
    pub trace_id: String,
    /// If it was asked for by a key: only this order is told.
    pub idempotency_key: Option<String>,
    pub orders: Vec<Order>,
    pub alerts: Vec<Alert>,
    /// Inputs that were refused.
    pub dead_letters: Vec<DeadLetter>,
    /// What people were told about the rules that fired.
    pub notifications: Vec<Notification>,
    pub timeline: Vec<Hop>,
    /// Of this trace, not yet acknowledged by Kafka.
    pub owed: Vec<Owed>,
    /// The database's clock.
    pub told_at: Timestamp,
}

/// One order of it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Order {
    pub idempotency_key: String,
    /// The decision; from the ledger, else from `obs_decisions`.
    pub decision: Value,
    /// None: the ledger does not have it (any more).
    pub ledger: Option<Ledger>,
    /// Whether `obs_decisions` has it.
    pub decision_written: bool,
    /// As `obs_decisions` has it, with what it was made from: it can be judged again.
    #[serde(skip)]
    pub recorded: Option<Value>,
    pub attempts: Vec<Attempt>,
    pub fills: Vec<Fill>,
    /// What its producer wanted done with it afterwards, in the order of deciding.
    pub commands: Vec<Command>,
    pub steps: Vec<Step>,
    pub metrics: Option<Metrics>,
    /// That stopped it, or that were in force while it went its way.
    pub halts: Vec<Held>,
    /// That is wanted of it.
    pub cancel: Option<Cancel>,
}

/// What only the ledger knows.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Ledger {
    pub account: String,
    pub symbol: String,
    pub action: String,
    pub requested_qty: Decimal,
    pub decided_qty: Decimal,
    pub order_type: String,
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub reference_price: Option<Decimal>,
    pub stop_loss: Option<Decimal>,
    pub take_profit: Option<Decimal>,
    pub time_in_force: String,
    pub strategy: Option<String>,
    pub requested_at: Timestamp,
    pub valid_until: Option<Timestamp>,
    pub decided_at: Timestamp,
    pub dispatch_by: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    pub state: String,
    pub exec_seq: i32,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub working_qty: Decimal,
    pub realised_pnl: Decimal,
    pub next_query_at: Option<Timestamp>,
    pub query_no: i32,
    pub quarantined: Vec<String>,
    /// The part that was decided to open risk, and what that was worth.
    pub opening_qty: Decimal,
    pub opening_notional: Decimal,
    /// When the gate wrote it.
    pub created_at: Timestamp,
    /// The time of the record that asked for it, by Kafka.
    pub source_at: Option<Timestamp>,
    /// The W3C trace context of that record.
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    pub broker_ref: Option<String>,
    pub source_partition: i32,
    pub source_offset: i64,
}

/// One send that was begun.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Attempt {
    pub attempt_no: i32,
    pub worker: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub outcome: Option<String>,
    pub detail: Option<Value>,
    /// Under which id the broker knows the order.
    pub client_order_id: Option<String>,
    /// Digest of what the broker said it could then (`noctus broker capabilities`).
    pub capabilities: Option<String>,
}

/// One command about it.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Command {
    pub idempotency_key: String,
    pub trace_id: String,
    pub action: String,
    pub qty: Option<Decimal>,
    pub limit_price: Option<Decimal>,
    /// The producer's reason.
    pub why: Option<String>,
    pub decided_at: Timestamp,
    pub status: String,
    pub code: Option<String>,
    pub reason: String,
}

/// One fill that was applied.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Fill {
    pub fill_id: String,
    pub px: Decimal,
    pub qty: Decimal,
    pub filled_at: Timestamp,
}

/// One step at the broker.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Step {
    pub exec_seq: i32,
    pub sent_at: Timestamp,
    /// When the sink wrote it.
    pub ingested_at: Option<Timestamp>,
    pub status: String,
    pub provider: String,
    pub order_id: String,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub reason_code: Option<String>,
    pub queue_ms: Option<i64>,
    pub broker_rtt_ms: Option<i64>,
    pub total_ms: Option<i64>,
    pub response: Value,
}

/// What it cost to carry the order out.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Metrics {
    pub retry_counts: i32,
    pub partial_fills: i32,
    pub slippage: Option<Decimal>,
    pub queue_ms: Option<i64>,
    pub broker_rtt_ms: Option<i64>,
    pub total_ms: Option<i64>,
}

/// One fired rule.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Alert {
    pub idempotency_key: Option<String>,
    pub policy_name: String,
    pub severity: String,
    pub reason: String,
    pub details: Value,
    pub created_at: Timestamp,
    /// When the sink wrote it.
    pub ingested_at: Option<Timestamp>,
}

/// One row of the timeline.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Hop {
    pub ts: Timestamp,
    /// When the sink wrote it; none of what is not in a table, or was written before this was kept.
    pub ingested_at: Option<Timestamp>,
    pub kind: String,
    pub action: Option<String>,
    pub payload: Value,
}

/// One halt over an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Held {
    pub number: i64,
    /// `halted` or `reduce_only`.
    pub mode: String,
    pub account: Option<String>,
    pub symbol: Option<String>,
    pub strategy: Option<String>,
    pub reason: String,
    pub by_whom: String,
    pub at: Timestamp,
    /// When a newer word about the same scope took its place.
    pub ended_at: Option<Timestamp>,
}

/// A cancel that is wanted of an order, by a halt, a person or its producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Cancel {
    pub code: String,
    pub reason: String,
    pub by_whom: String,
    pub halt_number: Option<i64>,
    pub at: Timestamp,
    pub asked: i32,
    /// What ended it; none: it is under way.
    pub answer: Option<String>,
}

/// An input of the trace that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DeadLetter {
    /// Where it lay.
    pub topic: String,
    pub partition: i64,
    pub offset: i64,
    pub reason: String,
    /// Of its alert.
    pub policy_name: String,
    /// The record's own time.
    pub at: Timestamp,
}

/// A message to people about a condition that a rule of the trace is part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Notification {
    pub policy_name: String,
    /// What the condition is about, e.g. `account=main symbol=USDJPY`.
    pub subject: String,
    /// `open`, `update` or `resolved`.
    pub kind: String,
    pub severity: String,
    pub receiver: String,
    pub noted_at: Timestamp,
    /// Of the message: PENDING, DELIVERED and so on; none: it is not made yet.
    pub state: Option<String>,
    pub ended_at: Option<Timestamp>,
    /// The receiver's last answer, HTTP.
    pub status: Option<i32>,
}

/// Events of one topic that are committed and not yet acknowledged by Kafka.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Owed {
    pub topic: String,
    pub events: i64,
    pub oldest: Timestamp,
}
