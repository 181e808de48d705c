//! Owns a batch that fails for what is in it: its records are written one by one, in order, and the one that fails
//! alone is a dead letter and an alert, so that it does not hold those behind it for ever.
//! Never takes trouble of a service for a bad record: that ends it, and Postgres knows from where to go on (I9).
//! Invariant: a record and the step of its partition over it are one transaction, like a batch.

use jiff::Timestamp;
use serde_json::json;

use super::intake::Refusal;
use super::write::{Batch, Item, WriteError, Written, write};
use crate::domain::event::{Alert, EventId, Severity, Subject as About};
use crate::domain::text::TraceId;
use crate::gate::refusal::trace_headers;
use crate::kafka::record::Record;
use crate::owed::{self, Emitter, Owed};
use crate::pg::obs::Months;
use crate::pg::positions::{Move, Steps};
use crate::runtime::context::Context;
use crate::wire::Subject;

/// The rule that the alert names.
const UNSTORABLE: &str = "sink.unstorable";

/// Writes and emits each record of the batch by itself.
pub(super) async fn one_by_one(
    ctx: &Context,
    emitter: &Emitter,
    months: &mut Months,
    batch: &Batch,
) -> Result<Written, WriteError> {
    let mut steps = Steps::of(&batch.moves);
    let mut total = Written::default();
    for item in &batch.items {
        let record = &item.record;
        let over = steps.over(&record.topic_id, record.partition, record.offset);
        let Some(step) = over else { continue };
        let mut result = written(ctx, emitter, months, item, &step).await;
        if let Err(error) = &result
            && error.is_of_a_record()
        {
            let parked =
                Item { record: record.clone(), is: Err(unstorable(ctx, record, error).await?) };
            result = written(ctx, emitter, months, &parked, &step).await;
            if result.is_ok() {
                total.parked.push(parked);
            }
        }
        let done = result?;
        steps.done(&step);
        total.tables.extend(done.tables);
        total.varied.extend(done.varied);
        total.measured += done.measured;
    }
    Ok(total)
}

async fn written(
    ctx: &Context,
    emitter: &Emitter,
    months: &mut Months,
    item: &Item,
    step: &Move,
) -> Result<Written, WriteError> {
    let room = match item.is {
        Ok(_) => None,
        Err(_) => Some(emitter.room().await),
    };
    let (items, moves) = (std::slice::from_ref(item), std::slice::from_ref(step));
    let mut written = write(ctx, months, items, moves).await?;
    let (row, events) = std::mem::take(&mut written.owed);
    emitter.emit(room, row, events);
    Ok(written)
}

/// Why a record's row cannot be kept, and the alert of it. An alert that cannot be kept has none: where no alert can
/// be kept each would make another one.
async fn unstorable(
    ctx: &Context,
    record: &Record,
    error: &WriteError,
) -> Result<Refusal, WriteError> {
    let why = error.to_string();
    let alert = match record.logical == Subject::Alert.topic() {
        true => None,
        false => Some(alert(ctx, record, &why).await?),
    };
    Ok(Refusal { reason: "unstorable", why, alert })
}

async fn alert(ctx: &Context, record: &Record, why: &str) -> Result<Owed, WriteError> {
    let about = About::Input {
        topic_id: &record.topic_id,
        partition: record.partition,
        offset: record.offset,
    };
    let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
    // What we write lies under its trace.
    let trace = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    let alert = Alert {
        event_id: EventId::new(about, &format!("alert:{UNSTORABLE}"), 0),
        trace_id: trace.and_then(|trace| TraceId::new(trace).ok()),
        idempotency_key: None,
        policy_name: UNSTORABLE.into(),
        severity: Severity::Critical,
        reason: why.into(),
        details: json!({"topic": topic, "partition": partition, "offset": offset}),
        at: record.timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
    };
    ctx.metrics.alerts.with_label_values(&[UNSTORABLE, alert.severity.as_str()]).inc();
    Ok(Owed { headers: trace_headers(record), ..owed::alert::<WriteError>(ctx, &alert).await? })
}
