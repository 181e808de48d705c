//! Owns the gate's events as bytes owed to Kafka: decisions, outcomes of commands, alerts, dead letters.

use super::admit::Admitted;
use super::command::Outcome;
use super::refusal::Refusal;
use crate::domain::event::{Alert, Decision};
use crate::domain::trace_context::{self, headers_of};
use crate::kafka::registry::RegistryError;
use crate::owed::Owed;
use crate::runtime::context::Context;
use crate::wire::{self, EncodeError, Subject};

/// Turns what became of a batch into owed events.
#[derive(Debug, Clone)]
pub struct Scribe {
    decision_schema: u32,
    outcome_schema: u32,
    alert_schema: u32,
}

impl Scribe {
    /// Looks up the ids of the schemas it writes.
    pub async fn new(ctx: &Context) -> Result<Self, RegistryError> {
        let id = async |subject| ctx.registry.newest_id(&ctx.config, subject).await;
        Ok(Self {
            decision_schema: id(Subject::Decision).await?,
            outcome_schema: id(Subject::CommandOutcome).await?,
            alert_schema: id(Subject::Alert).await?,
        })
    }

    /// Everything that a batch owes, in its order. The dead letters of what was refused before the ledger are made
    /// beforehand, one for each.
    pub fn events(
        &self,
        admitted: &Admitted,
        refused: &[Refusal],
        letters: Vec<Owed>,
    ) -> Result<Vec<Owed>, EncodeError> {
        let mut events = Vec::with_capacity(admitted.decided.len());
        for decided in &admitted.decided {
            let hop = trace_context::decide(&decided.decision.idempotency_key);
            let headers = headers_of(decided.trace.as_ref(), &hop);
            events.push(self.decision(&decided.decision)?.with(headers.clone()));
            for alert in &decided.alerts {
                events.push(self.alert(alert)?.with(headers.clone()));
            }
        }
        for outcome in &admitted.commanded {
            events.push(self.outcome(outcome)?);
        }
        let conflicts = admitted.conflicts.iter().map(|refusal| (refusal, refusal.dead_letter()));
        for (refusal, letter) in refused.iter().zip(letters).chain(conflicts) {
            events.push(letter);
            events.push(self.alert(&refusal.alert())?.with(refusal.trace_headers()));
        }
        Ok(events)
    }

    fn decision(&self, decision: &Decision) -> Result<Owed, EncodeError> {
        let body = wire::decision::encode(decision)?;
        let value = wire::frame(self.decision_schema, &body);
        let key = decision.trace_id.as_bytes().to_vec();
        Ok(Owed::new(Subject::Decision.topic(), key, value))
    }

    fn outcome(&self, Outcome { event: outcome, trace }: &Outcome) -> Result<Owed, EncodeError> {
        let body = wire::command_outcome::encode(outcome)?;
        let value = wire::frame(self.outcome_schema, &body);
        let hop = trace_context::command(&outcome.idempotency_key);
        let event =
            Owed::new(Subject::CommandOutcome.topic(), outcome.trace_id.as_bytes().to_vec(), value);
        Ok(event.with(headers_of(trace.as_ref(), &hop)))
    }

    /// One alert.
    pub fn alert(&self, alert: &Alert) -> Result<Owed, EncodeError> {
        let value = wire::frame(self.alert_schema, &wire::alert::encode(alert)?);
        let key = alert.trace_id.as_ref().map(|t| t.as_bytes().to_vec());
        Ok(Owed { topic: Subject::Alert.topic(), key, value: Some(value), headers: Vec::new() })
    }
}
