//! Owns what a judgement becomes: the decision, its alerts, its row in the ledger. Pure.
//! Invariant (I4): ids are functions of the key, kind and ordinal.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::intake::Request;
use crate::domain::event::{Alert, Decision, EventId, Subject as About};
use crate::domain::judge::{Facts, Judgement, dispatch_by};
use crate::domain::money::bounded;
use crate::domain::request::Intake;
use crate::domain::text::IdempotencyKey;
use crate::domain::trace_context::TraceContext;
use crate::pg::admission::LedgerRow;

/// What decided, and in which version; in every decision.
pub const ENGINE_VERSION: &str = concat!("noctus/", env!("CARGO_PKG_VERSION"));

/// A judgement in its final form.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Decided {
    pub decision: Decision,
    pub alerts: Vec<Alert>,
    /// Where it was asked for.
    pub trace: Option<TraceContext>,
}

/// Gives a judgement its identity and its row.
pub fn decided(
    request: &Request,
    judged: Judgement,
    facts: &Facts,
    now: Timestamp,
) -> (Decided, LedgerRow) {
    let intake = &request.intake;
    let key = &request.keys[0];
    let event_id = EventId::new(About::Key(key), "decision", 0);
    let asked = match intake {
        Intake::Order(order) => order.decision_id.clone(),
        Intake::Proposals(_) => None,
    };
    let alerts = alerts(key, intake, &judged, now);
    // What is not sent reserves nothing.
    let held = |part| if judged.action.sends() { part } else { Decimal::ZERO };
    let decision = Decision {
        decision_id: asked.unwrap_or_else(|| event_id.0.clone()),
        event_id,
        idempotency_key: key.clone(),
        trace_id: intake.trace_id().clone(),
        account: intake.account().clone(),
        symbol: intake.symbol().clone(),
        action: judged.action,
        requested_qty: judged.requested_qty,
        decided_qty: judged.decided_qty,
        steps: judged.steps,
        quality: judged.quality,
        score: judged.score,
        strategy_name: judged.strategy_name,
        top_candidates: judged.top_candidates,
        arm: judged.arm,
        reason: judged.reason,
        engine_version: ENGINE_VERSION.into(),
        policies: judged.policies,
        quote: judged.quote,
        price: judged.price,
        // As the row has it, so that whoever books by the event books the same.
        unit_value: judged.unit_value.map(bounded),
        order_type: intake.order_type(),
        time_in_force: intake.time_in_force(),
        requested_at: *intake.requested_at(),
        decided_at: now,
        request: request.written.clone(),
        facts: serde_json::to_value(facts).unwrap_or_default(),
        opening_qty: Some(held(judged.opening_qty)),
        opening_notional: Some(held(judged.opening_notional)),
    };
    let row = row(request, &decision);
    (Decided { decision, alerts, trace: row.trace.clone() }, row)
}

fn alerts(key: &IdempotencyKey, intake: &Intake, judged: &Judgement, now: Timestamp) -> Vec<Alert> {
    let alert = |(ordinal, fired): (usize, &crate::domain::judge::Fired)| {
        let kind = format!("alert:{}", fired.policy_name);
        let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
        Alert {
            event_id: EventId::new(About::Key(key), &kind, ordinal),
            trace_id: Some(intake.trace_id().clone()),
            idempotency_key: Some(key.clone()),
            policy_name: fired.policy_name.clone(),
            severity: fired.severity,
            reason: fired.reason.clone(),
            details: fired.details.clone(),
            at: now,
        }
    };
    judged.alerts.iter().enumerate().map(alert).collect()
}

fn row(request: &Request, decision: &Decision) -> LedgerRow {
    let intake = &request.intake;
    let sends = decision.action.sends();
    let (stop_loss, take_profit) = match intake {
        Intake::Order(order) => (order.stop_loss, order.take_profit),
        Intake::Proposals(_) => (None, None),
    };
    LedgerRow {
        nth: 0,
        key: decision.idempotency_key.to_string(),
        trace_id: decision.trace_id.to_string(),
        payload: payload(decision),
        digest: request.digest,
        account: decision.account.to_string(),
        symbol: decision.symbol.to_string(),
        action: decision.action.as_str(),
        requested_qty: bounded(decision.requested_qty),
        decided_qty: decision.decided_qty,
        order_type: decision.order_type.as_str(),
        limit_price: intake.limit_price(),
        stop_price: intake.stop_price(),
        reference_price: *intake.reference_price(),
        stop_loss,
        take_profit,
        time_in_force: decision.time_in_force.as_str(),
        strategy: decision.strategy_name.clone(),
        requested_at: decision.requested_at,
        valid_until: *intake.valid_until(),
        decided_at: decision.decided_at,
        dispatch_by: sends.then(|| dispatch_by(intake, decision.decided_at)),
        state: if sends { "NEW" } else { "NOT_SENT" },
        opening_qty: decision.opening_qty.unwrap_or_default(),
        opening_notional: decision.opening_notional.unwrap_or_default(),
        risk_price: decision.price.map(bounded),
        working_qty: decision.decided_qty,
        unit_value: decision.unit_value.unwrap_or(Decimal::ONE),
        arm: decision.arm.clone(),
        topic_id: request.record.topic_id.to_string(),
        partition: request.record.partition,
        offset: request.record.offset,
        source_at: request.record.timestamp,
        trace: request.record.trace(),
    }
}

/// The decision as JSON, without the facts, which are on its topic and in `obs_decisions`.
fn payload(decision: &Decision) -> String {
    let mut json = serde_json::to_value(decision).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("facts");
    }
    json.to_string()
}
