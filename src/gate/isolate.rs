//! Owns a batch that fails for what is in it: its records are admitted one by one, in order, and the one that fails
//! alone is a dead letter, so that it does not hold those behind it for ever.
//! Never takes trouble of a service for a bad record: that ends it, and Postgres knows from where to go on (I9).
//! Invariant: a record and the step of its partition over it are one transaction, like a batch.

use super::admit::{AdmitError, Admitted, Batch, Means, admit};
use super::command::Command;
use super::intake::Request;
use super::refusal::{Reason, Refusal};
use crate::kafka::record::Record;
use crate::owed::Emitter;
use crate::pg::positions::{Move, Steps};

/// A record of the batch and what it was read as.
enum One<'b> {
    Request(&'b Request),
    Command(&'b Command),
    Refused(&'b Refusal),
}

impl One<'_> {
    fn record(&self) -> &Record {
        match self {
            One::Request(request) => &request.record,
            One::Command(command) => &command.record,
            One::Refused(refusal) => &refusal.record,
        }
    }

    fn batch(&self, step: Move) -> Batch {
        let mut batch = Batch { moves: vec![step], ..Batch::default() };
        match self {
            One::Request(request) => batch.requests.push((*request).clone()),
            One::Command(command) => batch.commands.push((*command).clone()),
            One::Refused(refusal) => batch.refused.push((*refusal).clone()),
        }
        batch
    }

    /// What is told of a record that cannot be kept.
    fn unstorable(&self, error: &AdmitError) -> Refusal {
        let (trace_id, idempotency_key) = match self {
            One::Request(request) => {
                (Some(request.intake.trace_id().clone()), request.keys.first().cloned())
            }
            One::Command(Command { command, .. }) => {
                (Some(command.trace_id.clone()), Some(command.idempotency_key.clone()))
            }
            One::Refused(refusal) => (refusal.trace_id.clone(), refusal.idempotency_key.clone()),
        };
        let (reason, why) = (Reason::Unstorable, error.to_string());
        Refusal { record: self.record().clone(), reason, why, trace_id, idempotency_key }
    }
}

/// Admits and emits each record of the batch by itself.
pub async fn one_by_one(
    means: &Means,
    emitter: &Emitter,
    batch: &Batch,
) -> Result<Admitted, AdmitError> {
    let requests = batch.requests.iter().map(One::Request);
    let others = batch.commands.iter().map(One::Command);
    let others = others.chain(batch.refused.iter().map(One::Refused));
    let mut all: Vec<One> = requests.chain(others).collect();
    all.sort_by_key(|one| {
        let record = one.record();
        (record.topic_id.clone(), record.partition, record.offset)
    });
    let mut steps = Steps::of(&batch.moves);
    let mut total = Admitted::default();
    for one in &all {
        let record = one.record();
        let over = steps.over(&record.topic_id, record.partition, record.offset);
        let Some(step) = over else { continue };
        let mut result = admitted(means, emitter, &one.batch(step.clone())).await;
        if let Err(error) = &result
            && error.is_of_a_record()
        {
            let refusal = one.unstorable(error);
            tracing::error!(
                %error,
                topic = &*record.topic,
                partition = record.partition,
                offset = record.offset,
                trace_id = refusal.trace_id.as_ref().map(|t| t.as_str()),
                idempotency_key = refusal.idempotency_key.as_ref().map(|k| k.as_str()),
                "a record cannot be kept: it is a dead letter"
            );
            let alone = One::Refused(&refusal).batch(step.clone());
            result = admitted(means, emitter, &alone).await;
            if result.is_ok() {
                total.parked.push(refusal);
            }
        }
        let done = result?;
        steps.done(&step);
        total.decided.extend(done.decided);
        total.commanded.extend(done.commanded);
        total.replays += done.replays;
        total.conflicts.extend(done.conflicts);
    }
    Ok(total)
}

async fn admitted(means: &Means, emitter: &Emitter, batch: &Batch) -> Result<Admitted, AdmitError> {
    let room = emitter.room().await;
    let mut admitted = admit(means, batch).await?;
    let (row, events) = std::mem::take(&mut admitted.owed);
    emitter.emit(Some(room), row, events);
    Ok(admitted)
}
