//! PURE. Owns the projection: bytes → event → row. One function per subject.
//! Never looks anything up: a row is a function of its event, so a rebuild from the topics makes the same rows.
//! Invariant: what it returns, the tables take; what they would not take is refused here (a poisoned row would stop the sink).

pub mod measure;
pub mod rows;

use apache_avro::Schema;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::rows::{
    AlertRow, CommandOutcomeRow, DecisionRow, ExecEventRow, InferCallRow, PlanRunRow, Row,
};
use crate::domain::command::CommandOutcome;
use crate::domain::event::{Alert, Decision, ExecEvent, InferCall, PlanRun};
use crate::wire::{self, DecodeError, Subject};

/// Longest event id, bytes: it is part of a primary key.
pub const EVENT_ID_MAX_BYTES: usize = 128;
/// 1970-01-01T00:00:00Z: no event is older.
const EARLIEST_US: i64 = 0;
/// 2100-01-01T00:00:00Z: no event is younger. Bounds how many months a broken clock can make.
const LATEST_US: i64 = 4_102_444_800_000_000;

/// The topics that the sink reads.
pub const SUBJECTS: [Subject; 6] = [
    Subject::Decision,
    Subject::Alert,
    Subject::ExecEvent,
    Subject::PlanRun,
    Subject::InferCall,
    Subject::CommandOutcome,
];

/// The row of an Avro body of this subject that was written by `writer`.
pub fn project(subject: Subject, body: &[u8], writer: &Schema) -> Result<Row, DecodeError> {
    match subject {
        Subject::Decision => decision(wire::decision::decode(body, writer)?),
        Subject::Alert => alert(wire::alert::decode(body, writer)?),
        Subject::ExecEvent => exec_event(wire::exec_event::decode(body, writer)?),
        Subject::PlanRun => plan_run(wire::plan_run::decode(body, writer)?),
        Subject::InferCall => infer_call(wire::infer_call::decode(body, writer)?),
        Subject::CommandOutcome => command_outcome(wire::command_outcome::decode(body, writer)?),
        Subject::OrderRequest | Subject::ProposalSet | Subject::OrderCommand | Subject::Quote => {
            Err(DecodeError::Schema {
                subject: subject.name(),
                why: "the sink has no table for it".into(),
            })
        }
    }
}

/// The row of a PLAN step.
pub fn plan_run(event: PlanRun) -> Result<Row, DecodeError> {
    Ok(Row::PlanRun(PlanRunRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.to_string(),
        status: event.status,
        symbol: event.symbol.map(|s| s.to_string()),
        timeframe: event.timeframe,
        started_at: time("started_at", "invalid_started_at", event.started_at)?,
        finished_at: event
            .finished_at
            .map(|at| time("finished_at", "invalid_finished_at", at))
            .transpose()?,
        meta: event.meta,
    }))
}

/// The row of a model call.
pub fn infer_call(event: InferCall) -> Result<Row, DecodeError> {
    Ok(Row::InferCall(InferCallRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.to_string(),
        model: event.model,
        version: event.version,
        called_at: time("called_at", "invalid_called_at", event.called_at)?,
        duration_ms: event.duration_ms,
        status: event.status,
        inputs: event.inputs,
        outputs: event.outputs,
    }))
}

/// Fields of a decision that it was made from: `features`.
const FEATURES: [&str; 6] = ["request", "facts", "top_candidates", "quote", "unit_value", "arm"];
/// Fields of a decision that have a column of their own, and nothing but that.
const COLUMNS: [&str; 7] =
    ["event_id", "trace_id", "engine_version", "strategy_name", "score", "reason", "price"];

/// The row of a decision: `features` is what it was made from, `decision` all the rest; nothing is in both.
pub fn decision(event: Decision) -> Result<Row, DecodeError> {
    let unfit = |why: String| DecodeError::Schema { subject: "Decision", why };
    let mut decision = serde_json::to_value(&event).map_err(|e| unfit(e.to_string()))?;
    let fields = decision.as_object_mut().ok_or_else(|| unfit("it is no object".into()))?;
    let made_from =
        FEATURES.map(|name| (name.to_string(), fields.remove(name).unwrap_or_default()));
    for name in COLUMNS {
        fields.remove(name);
    }
    Ok(Row::Decision(DecisionRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.to_string(),
        made_at: time("decided_at", "invalid_decided_at", event.decided_at)?,
        engine_version: event.engine_version,
        strategy_name: event.strategy_name,
        score: event.score,
        reason: event.reason,
        price: event.price,
        features: Value::Object(made_from.into_iter().collect()),
        decision,
    }))
}

/// The row of a step at the broker.
pub fn exec_event(event: ExecEvent) -> Result<Row, DecodeError> {
    let mut response: Value = json!({
        "order_ref": event.broker.order_ref,
        "last_fill": event.last_fill,
        "lane_seq": event.lane_seq,
    });
    if let Some(replaced) = &event.replaced {
        response["replaced"] = json!(replaced);
    }
    Ok(Row::ExecEvent(ExecEventRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.to_string(),
        idempotency_key: event.idempotency_key.to_string(),
        exec_seq: event.exec_seq,
        sent_at: time("at", "invalid_at", event.at)?,
        account: event.account.to_string(),
        symbol: event.symbol.to_string(),
        side: event.side.as_str(),
        size: event.qty,
        provider: event.broker.name,
        status: event.status.as_str(),
        order_id: event.order_id,
        executed_qty: event.executed_qty,
        avg_price: event.avg_price,
        reason_code: event.reason_code,
        queue_ms: event.latency_ms.queue,
        broker_rtt_ms: event.latency_ms.broker_rtt,
        total_ms: event.latency_ms.total,
        response,
    }))
}

/// The row of what became of a command.
pub fn command_outcome(event: CommandOutcome) -> Result<Row, DecodeError> {
    Ok(Row::CommandOutcome(CommandOutcomeRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.to_string(),
        decided_at: time("at", "invalid_at", event.at)?,
        idempotency_key: event.idempotency_key.to_string(),
        target_key: event.target_key.to_string(),
        account: event.account.to_string(),
        symbol: event.symbol.to_string(),
        action: event.action.as_str(),
        status: event.status.as_str(),
        reason_code: event.reason_code,
        reason: event.reason,
        order_status: event.order_status,
        qty: event.qty,
        limit_price: event.limit_price,
        requested_at: event.requested_at,
    }))
}

/// The row of a fired rule.
pub fn alert(event: Alert) -> Result<Row, DecodeError> {
    Ok(Row::Alert(AlertRow {
        event_id: id(event.event_id.0)?,
        trace_id: event.trace_id.map(|t| t.to_string()),
        idempotency_key: event.idempotency_key.map(|k| k.to_string()),
        policy_name: event.policy_name,
        severity: event.severity.as_str(),
        reason: event.reason,
        details: event.details,
        created_at: time("at", "invalid_at", event.at)?,
    }))
}

fn id(text: String) -> Result<String, DecodeError> {
    if (1..=EVENT_ID_MAX_BYTES).contains(&text.len()) {
        return Ok(text);
    }
    let why = format!("{} bytes; it must have 1 to {EVENT_ID_MAX_BYTES}", text.len());
    Err(DecodeError::Field { field: "event_id", reason: "invalid_event_id", why })
}

fn time(
    field: &'static str,
    reason: &'static str,
    at: Timestamp,
) -> Result<Timestamp, DecodeError> {
    if (EARLIEST_US..LATEST_US).contains(&at.as_microsecond()) {
        return Ok(at);
    }
    let why = format!("{at} is not within the years 1970 to 2099");
    Err(DecodeError::Field { field, reason, why })
}

#[cfg(test)]
mod tests;
