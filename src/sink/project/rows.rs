//! PURE. Owns the rows of the obs_* tables as values, and the months they belong to.
//! Never knows where they come from or go to. Invariant: a row is unique by its event_id and its time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde_json::Value;

/// A row of `obs_plan_runs`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct PlanRunRow {
    pub event_id: String,
    pub trace_id: String,
    pub status: String,
    pub symbol: Option<String>,
    pub timeframe: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub meta: Value,
}

/// A row of `obs_infer_calls`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct InferCallRow {
    pub event_id: String,
    pub trace_id: String,
    pub model: String,
    pub version: Option<String>,
    pub called_at: Timestamp,
    pub duration_ms: Option<i64>,
    pub status: String,
    pub inputs: Value,
    pub outputs: Value,
}

/// A row of `obs_decisions`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct DecisionRow {
    pub event_id: String,
    pub trace_id: String,
    pub made_at: Timestamp,
    pub engine_version: String,
    pub strategy_name: Option<String>,
    pub score: Option<Decimal>,
    pub reason: String,
    pub price: Option<Decimal>,
    pub features: Value,
    pub decision: Value,
}

/// A row of `obs_exec_events`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct ExecEventRow {
    pub event_id: String,
    pub trace_id: String,
    pub idempotency_key: String,
    pub exec_seq: i32,
    pub sent_at: Timestamp,
    pub account: String,
    pub symbol: String,
    pub side: &'static str,
    pub size: Decimal,
    pub provider: String,
    pub status: &'static str,
    pub order_id: String,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub reason_code: Option<String>,
    pub queue_ms: Option<i64>,
    pub broker_rtt_ms: Option<i64>,
    pub total_ms: Option<i64>,
    pub response: Value,
}

/// A row of `obs_alerts`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct AlertRow {
    pub event_id: String,
    pub trace_id: Option<String>,
    pub idempotency_key: Option<String>,
    pub policy_name: String,
    pub severity: &'static str,
    pub reason: String,
    pub details: Value,
    pub created_at: Timestamp,
}

/// A row of `obs_command_outcomes`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct CommandOutcomeRow {
    pub event_id: String,
    pub trace_id: String,
    pub decided_at: Timestamp,
    pub idempotency_key: String,
    pub target_key: String,
    pub account: String,
    pub symbol: String,
    pub action: &'static str,
    pub status: &'static str,
    pub reason_code: Option<String>,
    pub reason: String,
    pub order_status: Option<String>,
    pub qty: Option<Decimal>,
    pub limit_price: Option<Decimal>,
    pub requested_at: Timestamp,
}

/// A row of `obs_do_metrics`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs)]
pub struct DoMetricsRow {
    pub event_id: String,
    pub trace_id: String,
    pub idempotency_key: String,
    pub symbol: String,
    pub child_orders: i32,
    pub retry_counts: i32,
    pub partial_fills: i32,
    pub requested_qty: Decimal,
    pub filled_qty: Decimal,
    pub slippage: Option<Decimal>,
    pub queue_ms: Option<i64>,
    pub broker_rtt_ms: Option<i64>,
    pub total_ms: Option<i64>,
    pub final_status: String,
    pub first_at: Timestamp,
}

/// What one event becomes.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Row {
    PlanRun(PlanRunRow),
    InferCall(InferCallRow),
    Decision(DecisionRow),
    ExecEvent(ExecEventRow),
    Alert(AlertRow),
    CommandOutcome(CommandOutcomeRow),
}

/// The rows of a batch, by table.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Rows<'a> {
    pub plan_runs: Vec<&'a PlanRunRow>,
    pub infer_calls: Vec<&'a InferCallRow>,
    pub decisions: Vec<&'a DecisionRow>,
    pub exec_events: Vec<&'a ExecEventRow>,
    pub alerts: Vec<&'a AlertRow>,
    pub command_outcomes: Vec<&'a CommandOutcomeRow>,
}

/// A month in UTC: one partition of each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The month that a time is in.
    pub fn of(at: Timestamp) -> Self {
        let date = at.to_zoned_datetime(TimeZone::UTC).date();
        Self { year: date.year(), month: date.month() }
    }
}

impl<'a> Rows<'a> {
    /// Each row in its table, sorted by event_id, so that two writers of the same events wait for each other and
    /// never in a circle.
    pub fn of(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        let mut all = Self::default();
        for row in rows {
            match row {
                Row::PlanRun(row) => all.plan_runs.push(row),
                Row::InferCall(row) => all.infer_calls.push(row),
                Row::Decision(row) => all.decisions.push(row),
                Row::ExecEvent(row) => all.exec_events.push(row),
                Row::Alert(row) => all.alerts.push(row),
                Row::CommandOutcome(row) => all.command_outcomes.push(row),
            }
        }
        all.plan_runs.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all.infer_calls.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all.decisions.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all.exec_events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all.alerts.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all.command_outcomes.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        all
    }

    /// The time of every row, of all tables.
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        let plan = self.plan_runs.iter().map(|r| r.started_at);
        let infer = self.infer_calls.iter().map(|r| r.called_at);
        let decisions = self.decisions.iter().map(|r| r.made_at);
        let exec = self.exec_events.iter().map(|r| r.sent_at);
        let alerts = self.alerts.iter().map(|r| r.created_at);
        let commands = self.command_outcomes.iter().map(|r| r.decided_at);
        plan.chain(infer).chain(decisions).chain(exec).chain(alerts).chain(commands)
    }
}
