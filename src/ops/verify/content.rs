//! Owns what two sides are to agree about: of an event the row it becomes, and what the ledger knows of it.
//! Pure. Invariant: what the ledger does not keep, or keeps only of the newest state, is in neither side's.

use apache_avro::Schema;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::command::CommandOutcome;
use crate::domain::event::{Decision, EventId, ExecEvent, Subject as About};
use crate::domain::money::plain;
use crate::domain::text::IdempotencyKey;
use crate::pg::truth::{Commanded, Ordered};
use crate::sink::project::{self, rows::Row};
use crate::wire::{self, DecodeError, Subject};

/// One event of a topic.
#[derive(Debug, Clone)]
pub struct Told {
    /// The row that it becomes.
    pub row: Row,
    /// What the ledger is to say of it, if it says anything.
    pub ledger: Option<Value>,
}

impl Told {
    /// The row as JSON.
    pub fn row_json(&self) -> Value {
        serde_json::to_value(&self.row).unwrap_or_default()
    }
}

/// Reads an event.
pub fn told(subject: Subject, body: &[u8], writer: &Schema) -> Result<Told, DecodeError> {
    Ok(match subject {
        Subject::Decision => {
            let decision = wire::decision::decode(body, writer)?;
            let ledger = Some(of_decision(&decision));
            Told { row: project::decision(decision)?, ledger }
        }
        Subject::ExecEvent => {
            let step = wire::exec_event::decode(body, writer)?;
            let ledger = Some(of_step(&step));
            Told { row: project::exec_event(step)?, ledger }
        }
        Subject::CommandOutcome => {
            let outcome = wire::command_outcome::decode(body, writer)?;
            let ledger = Some(of_outcome(&outcome));
            Told { row: project::command_outcome(outcome)?, ledger }
        }
        other => Told { row: project::project(other, body, writer)?, ledger: None },
    })
}

/// Everything but the facts, which the ledger does not keep.
fn of_decision(decision: &Decision) -> Value {
    let mut all = serde_json::to_value(decision).unwrap_or_default();
    if let Some(fields) = all.as_object_mut() {
        fields.remove("facts");
    }
    all
}

/// The decision that a row of the ledger keeps, as its topic has it: with its numbers as they are on the wire. A payload
/// that is no decision is given as it is, with no event's id.
pub fn of_payload(payload: &Value) -> (Option<String>, Value) {
    let read = || {
        let mut whole = payload.clone();
        whole.as_object_mut()?.insert("facts".into(), json!({}));
        let decision: Decision = serde_json::from_value(whole).ok()?;
        let body = wire::decision::encode(&decision).ok()?;
        wire::decision::decode(&body, Subject::Decision.schema()).ok()
    };
    match read() {
        Some(decision) => (Some(decision.event_id.0.clone()), of_decision(&decision)),
        None => (None, payload.clone()),
    }
}

/// The id of an event of this key.
pub fn event_id(key: &str, kind: &str, ordinal: u32) -> Option<String> {
    let key = IdempotencyKey::new(key).ok()?;
    Some(EventId::new(About::Key(&key), kind, ordinal).0)
}

fn of_step(step: &ExecEvent) -> Value {
    json!({
        "idempotency_key": step.idempotency_key,
        "exec_seq": step.exec_seq,
        "trace_id": step.trace_id,
        "account": step.account,
        "symbol": step.symbol,
        "side": step.side.as_str(),
    })
}

/// What the ledger knows of the step of this number.
pub fn of_order(order: &Ordered, exec_seq: i32) -> Value {
    json!({
        "idempotency_key": order.idempotency_key,
        "exec_seq": exec_seq,
        "trace_id": order.trace_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.action,
    })
}

/// Of an acceptance the ledger keeps why only until the command is over.
fn of_outcome(outcome: &CommandOutcome) -> Value {
    let number = |n: &Option<_>| n.map(plain);
    let asked = json!({
        "idempotency_key": outcome.idempotency_key,
        "target_key": outcome.target_key,
        "trace_id": outcome.trace_id,
        "account": outcome.account,
        "symbol": outcome.symbol,
        "action": outcome.action.as_str(),
        "qty": number(&outcome.qty),
        "limit_price": number(&outcome.limit_price),
        "requested_at": outcome.requested_at,
    });
    let why = (&outcome.reason_code, outcome.reason.as_str());
    ended(asked, outcome.status.as_str(), outcome.at, why)
}

fn ended(
    mut asked: Value,
    status: &str,
    at: Timestamp,
    (code, reason): (&Option<String>, &str),
) -> Value {
    asked["status"] = json!(status);
    if matches!(status, "ACCEPTED" | "REFUSED") {
        asked["at"] = json!(at);
    }
    if status != "ACCEPTED" {
        asked["reason_code"] = json!(code);
        asked["reason"] = json!(reason);
    }
    asked
}

/// The outcomes that a command must have been told by.
pub fn of_command(command: &Commanded) -> Vec<(Option<String>, Value)> {
    let told = |ordinal: u32, status: &str| {
        let why = (&command.code, command.reason.as_str());
        let content = ended(command.asked.clone(), status, command.decided_at, why);
        (event_id(&command.idempotency_key, "command", ordinal), content)
    };
    match command.status.as_str() {
        over @ ("DONE" | "FAILED") => vec![told(0, "ACCEPTED"), told(1, over)],
        status => vec![told(0, status)],
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn example<T: DeserializeOwned>(name: &str) -> T {
        let path = format!("{}/schemas/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    #[test]
    fn a_decision_is_the_same_in_the_ledger_and_in_its_topic_however_its_numbers_are_written() {
        for name in ["clamped", "scaled-proposal", "expired"] {
            let decision: Decision = example(&format!("decisions/{name}"));
            let body = wire::decision::encode(&decision).expect("it fits");
            let told = told(Subject::Decision, &body, Subject::Decision.schema()).expect("told");
            let mut payload = serde_json::to_value(&decision).expect("JSON");
            payload.as_object_mut().expect("an object").remove("facts");
            payload["requested_qty"] = json!(format!("{}.000", decision.requested_qty));
            let (id, kept) = of_payload(&payload);
            assert_eq!(id, Some(decision.event_id.0.clone()));
            assert_eq!(Some(&kept), told.ledger.as_ref());
            payload["reason"] = json!("another one");
            assert_ne!(Some(&of_payload(&payload).1), told.ledger.as_ref());
        }
        let (id, _) = of_payload(&json!({"action": "BUY"}));
        assert_eq!(id, None);
    }

    #[test]
    fn a_command_was_told_of_when_it_was_decided_and_when_it_was_over() {
        let outcome: CommandOutcome = example("command-outcomes/too-late");
        let command = |status: &str| Commanded {
            idempotency_key: outcome.idempotency_key.to_string(),
            status: status.into(),
            code: outcome.reason_code.clone(),
            reason: outcome.reason.clone(),
            decided_at: outcome.at,
            asked: {
                let mut asked = of_outcome(&outcome);
                let fields = asked.as_object_mut().expect("an object");
                for name in ["status", "at", "reason_code", "reason"] {
                    fields.remove(name);
                }
                asked
            },
        };
        let refused = of_command(&command("REFUSED"));
        let id = event_id(outcome.idempotency_key.as_str(), "command", 0);
        assert!(id.is_some());
        assert_eq!(refused, [(id, of_outcome(&outcome))]);
        let done = of_command(&command("DONE"));
        let words: Vec<&Value> = done.iter().map(|(_, content)| &content["status"]).collect();
        assert_eq!(words, ["ACCEPTED", "DONE"]);
        assert_eq!(done[0].1.get("reason"), None, "why it was accepted is no longer known");
    }
}
