//! Owns the exec events and alerts that moving an order causes, as bytes owed to Kafka.
//! Never emits: they are committed with what caused them (I5).
//! Invariant: one exec event per exec_seq, its id a function of the key and that number.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::DispatchError;
use crate::domain::command::{CommandAction, CommandOutcome, CommandStatus};
use crate::domain::event::Fill;
use crate::domain::event::{
    Alert, BrokerRef, EventId, ExecEvent, LatencyMs, OrderStatus, Replaced, Severity,
    Subject as About,
};
use crate::domain::news::{News, minute_of};
use crate::kafka::registry::Registry;
use crate::owed::Owed;
use crate::pg::outbox::OrderRow;
use crate::pg::replaces::Replacement;
use crate::runtime::config::Config;
use crate::wire::{self, Subject};

/// What an order's step looks like from outside.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct StepSeen {
    pub exec_seq: i32,
    pub status: OrderStatus,
    pub last_fill: Option<Fill>,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub broker_ref: Option<String>,
    pub code: Option<String>,
    pub sent_at: Option<Timestamp>,
    pub rtt_ms: Option<i64>,
    pub at: Timestamp,
    /// Of a step that moves the position or what is reserved: the n-th of its lane.
    pub lane_seq: Option<i64>,
    /// Units in all, by the terms in force.
    pub qty: Decimal,
    /// Of a step that puts other terms in force.
    pub replaced: Option<Replaced>,
    /// Under which id the broker knows it from this step on, if that is another one.
    pub order_id: Option<String>,
}

/// How a replacement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplaceEnded {
    /// Why it is not in force, a stable code; none: it is.
    pub code: Option<String>,
    /// For a person.
    pub reason: String,
    /// Where the order is.
    pub status: OrderStatus,
    /// When.
    pub at: Timestamp,
}

/// A rule that fired on an order.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct AlertSeen {
    pub exec_seq: i32,
    pub policy_name: &'static str,
    /// What tells two alerts of one rule at one step apart; mostly empty.
    pub which: String,
    pub severity: Severity,
    pub reason: String,
    pub at: Timestamp,
}

/// A rule that fired on something else than an order.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Notice {
    pub policy_name: &'static str,
    pub severity: Severity,
    /// What it is about: the same text is the same alert.
    pub subject: String,
    pub reason: String,
    pub details: Value,
}

/// Turns steps and alerts into owed events.
#[derive(Clone)]
pub struct Scribe {
    pub(super) broker: String,
    pub(super) exec_schema: u32,
    pub(super) alert_schema: u32,
    pub(super) outcome_schema: u32,
}

fn millis(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

/// What is told of a step.
pub(crate) fn exec_event(
    broker: &str,
    row: &OrderRow,
    order_id: &str,
    seen: StepSeen,
) -> ExecEvent {
    let ordinal = u32::try_from(seen.exec_seq).unwrap_or(0);
    ExecEvent {
        event_id: EventId::new(About::Key(&row.key), "exec", ordinal),
        idempotency_key: row.key.clone(),
        exec_seq: seen.exec_seq,
        trace_id: row.trace_id.clone(),
        order_id: seen.order_id.unwrap_or_else(|| order_id.to_string()),
        account: row.account.clone(),
        symbol: row.symbol.clone(),
        side: row.side,
        qty: seen.qty,
        status: seen.status,
        last_fill: seen.last_fill,
        executed_qty: seen.executed_qty,
        avg_price: seen.avg_price,
        broker: BrokerRef { name: broker.to_string(), order_ref: seen.broker_ref },
        reason_code: seen.code,
        latency_ms: LatencyMs {
            queue: seen.sent_at.map(|sent| millis(row.decided_at, sent)),
            broker_rtt: seen.rtt_ms,
            total: Some(millis(row.requested_at, seen.at)),
        },
        at: seen.at,
        lane_seq: seen.lane_seq,
        replaced: seen.replaced,
    }
}

/// The trace of what is told of an order.
fn trace_headers(row: &OrderRow) -> Vec<(String, Option<Vec<u8>>)> {
    row.hop().map_or_else(Vec::new, |trace| trace.headers())
}

impl Scribe {
    /// Looks up the ids of the schemas it writes.
    pub async fn new(config: &Config, registry: &Registry) -> Result<Self, DispatchError> {
        let id = async |subject| registry.newest_id(config, subject).await;
        Ok(Self {
            broker: config.broker.name.clone(),
            exec_schema: id(Subject::ExecEvent).await?,
            alert_schema: id(Subject::Alert).await?,
            outcome_schema: id(Subject::CommandOutcome).await?,
        })
    }

    /// The exec event of a step.
    pub fn step(
        &self,
        row: &OrderRow,
        order_id: &str,
        seen: StepSeen,
    ) -> Result<Owed, DispatchError> {
        let event = exec_event(&self.broker, row, order_id, seen);
        let body = wire::exec_event::encode(&event)?;
        let event = Owed::new(
            Subject::ExecEvent.topic(),
            row.trace_id.as_bytes().to_vec(),
            wire::frame(self.exec_schema, &body),
        );
        Ok(event.with(trace_headers(row)))
    }

    /// How a replacement of an order ended.
    pub fn outcome(
        &self,
        row: &OrderRow,
        replacement: &Replacement,
        ended: &ReplaceEnded,
    ) -> Result<Owed, DispatchError> {
        let outcome = CommandOutcome {
            event_id: EventId::new(About::Key(&replacement.key), "command", 1),
            idempotency_key: replacement.key.clone(),
            target_key: row.key.clone(),
            trace_id: replacement.trace_id.clone(),
            account: row.account.clone(),
            symbol: row.symbol.clone(),
            action: CommandAction::Replace,
            status: if ended.code.is_none() { CommandStatus::Done } else { CommandStatus::Failed },
            reason_code: ended.code.clone(),
            reason: ended.reason.clone(),
            order_status: Some(ended.status.as_str().into()),
            qty: replacement.qty,
            limit_price: replacement.limit_price,
            requested_at: replacement.requested_at,
            at: ended.at,
        };
        let value = wire::frame(self.outcome_schema, &wire::command_outcome::encode(&outcome)?);
        let key = outcome.trace_id.as_bytes().to_vec();
        let event = Owed::new(Subject::CommandOutcome.topic(), key, value);
        Ok(event.with(replacement.hop().map_or_else(Vec::new, |trace| trace.headers())))
    }

    /// The alert of a rule that fired.
    pub fn alert(&self, row: &OrderRow, seen: &AlertSeen) -> Result<Owed, DispatchError> {
        let ordinal = u32::try_from(seen.exec_seq).unwrap_or(0);
        let kind = match seen.which.as_str() {
            "" => format!("alert:{}", seen.policy_name),
            which => format!("alert:{}:{which}", seen.policy_name),
        };
        let alert = Alert {
            event_id: EventId::new(About::Key(&row.key), &kind, ordinal),
            trace_id: Some(row.trace_id.clone()),
            idempotency_key: Some(row.key.clone()),
            policy_name: seen.policy_name.into(),
            severity: seen.severity,
            reason: seen.reason.clone(),
            details: json!({
                "account": row.account,
                "symbol": row.symbol,
                "exec_seq": seen.exec_seq,
            }),
            at: seen.at,
        };
        let body = wire::alert::encode(&alert)?;
        let event = Owed::new(
            Subject::Alert.topic(),
            row.trace_id.as_bytes().to_vec(),
            wire::frame(self.alert_schema, &body),
        );
        Ok(event.with(trace_headers(row)))
    }

    /// An alert that is about no order: of this subject, once within a minute.
    pub fn notice(&self, notice: &Notice, now: Timestamp) -> Result<Owed, DispatchError> {
        let alert = News {
            policy_name: notice.policy_name.into(),
            severity: notice.severity,
            subject: &notice.subject,
            window_start: minute_of(now),
            reason: notice.reason.clone(),
            details: notice.details.clone(),
        };
        let alert = alert.alert();
        let value = wire::frame(self.alert_schema, &wire::alert::encode(&alert)?);
        let topic = Subject::Alert.topic();
        Ok(Owed { topic, key: None, value: Some(value), headers: Vec::new() })
    }
}
