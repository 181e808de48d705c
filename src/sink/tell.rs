//! Owns the sink's alerts as bytes owed to Kafka.

use super::write::WriteError;
use crate::domain::event::Alert;
use crate::owed::Owed;
use crate::runtime::context::Context;
use crate::wire::{self, Subject};

/// The event of an alert; under its trace if it has one.
pub(super) async fn owed_alert(ctx: &Context, alert: &Alert) -> Result<Owed, WriteError> {
    let schema = ctx.registry.newest_id(&ctx.config, Subject::Alert).await?;
    let value = wire::frame(schema, &wire::alert::encode(alert)?);
    let key = alert.trace_id.as_ref().map(|t| t.as_bytes().to_vec());
    Ok(Owed { topic: Subject::Alert.topic(), key, value: Some(value), headers: Vec::new() })
}
