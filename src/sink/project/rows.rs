//! PURE. Owns the rows of the obs_* tables as values, and the months they belong to.
//! Never knows where they come from or go to. Invariant: a row is unique by its event_id and its time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use serde::Serializer;
use serde_json::Value;

use crate::domain::money;

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
    #[serde(serialize_with = "plain_if_any")]
    pub score: Option<Decimal>,
    pub reason: String,
    #[serde(serialize_with = "plain_if_any")]
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
    #[serde(serialize_with = "plain")]
    pub size: Decimal,
    pub provider: String,
    pub status: &'static str,
    pub order_id: String,
    #[serde(serialize_with = "plain")]
    pub executed_qty: Decimal,
    #[serde(serialize_with = "plain_if_any")]
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
    #[serde(serialize_with = "plain_if_any")]
    pub qty: Option<Decimal>,
    #[serde(serialize_with = "plain_if_any")]
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
    #[serde(serialize_with = "plain")]
    pub requested_qty: Decimal,
    #[serde(serialize_with = "plain")]
    pub filled_qty: Decimal,
    #[serde(serialize_with = "plain_if_any")]
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

impl Row {
    /// Its table, its event's id, and the event's own time.
    fn is(&self) -> (&'static str, &str, Timestamp) {
        match self {
            Row::PlanRun(row) => ("obs_plan_runs", &row.event_id, row.started_at),
            Row::InferCall(row) => ("obs_infer_calls", &row.event_id, row.called_at),
            Row::Decision(row) => ("obs_decisions", &row.event_id, row.made_at),
            Row::ExecEvent(row) => ("obs_exec_events", &row.event_id, row.sent_at),
            Row::Alert(row) => ("obs_alerts", &row.event_id, row.created_at),
            Row::CommandOutcome(row) => ("obs_command_outcomes", &row.event_id, row.decided_at),
        }
    }

    /// The table it belongs to.
    pub fn table(&self) -> &'static str {
        self.is().0
    }

    /// The id of its event.
    pub fn event_id(&self) -> &str {
        self.is().1
    }

    /// The event's own time, by which its table is partitioned.
    pub fn at(&self) -> Timestamp {
        self.is().2
    }
}

/// As a row reads: without the zeros that a column adds.
fn plain<S: Serializer>(number: &Decimal, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&money::plain(*number))
}

fn plain_if_any<S: Serializer>(number: &Option<Decimal>, out: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => plain(number, out),
        None => out.serialize_none(),
    }
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
