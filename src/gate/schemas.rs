//! Owns that a schema id means what it meant: what the registry says is compared with what it said first, when an id
//! is met and again and again (F06). Never decides anything while an id differs: a registry whose ids have moved would
//! let bytes be read as something else. Invariant: no request that was read with a schema that nobody compared is judged.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::herald::Herald;
use super::intake::Read;
use crate::domain::event::Severity;
use crate::domain::news::{News, minute_of};
use crate::pg::schemas::is_as_seen;
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::wire;

/// Pause before what cannot be compared, or differs, is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// The schemas of a gate; cheap to clone.
#[derive(Clone)]
pub struct Schemas(Arc<Inner>);

struct Inner {
    ctx: Context,
    herald: Herald,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Ids whose schema is the one that was seen first.
    same: HashSet<u32>,
    /// Ids for which the registry gives another one.
    changed: BTreeSet<u32>,
}

impl Schemas {
    /// Has compared nothing.
    pub fn new(ctx: &Context, herald: &Herald) -> Self {
        let (ctx, herald) = (ctx.clone(), herald.clone());
        Self(Arc::new(Inner { ctx, herald, known: Mutex::default() }))
    }

    /// Why nothing may be decided now, if so.
    pub fn problem(&self) -> Option<String> {
        let changed = self.known().changed.first().copied()?;
        Some(format!("the registry gives another schema for id {changed} than it gave before"))
    }

    /// What was read of a record, if it was read with the right schema; else it waits, whatever came of it.
    pub async fn checked(&self, read: Read) -> Read {
        let record = match &read {
            Read::Request(request) => &request.record,
            Read::Command(command) => &command.record,
            Read::Refused(refusal) => &refusal.record,
            Read::Wait { .. } => return read,
        };
        let value = record.value.as_deref().unwrap_or_default();
        let Ok((id, _)) = wire::open(&record.headers, value) else { return read };
        // Of an id that was not looked up nothing was read.
        let Some(digest) = self.0.ctx.registry.digest(id) else { return read };
        if self.known().same.contains(&id) {
            return read;
        }
        let why = match self.is_as_seen(id, &digest).await {
            Ok(true) => {
                self.known().same.insert(id);
                return read;
            }
            Ok(false) => {
                self.note_changed(id);
                // Asked for again when it is met again.
                self.0.ctx.registry.forget(id);
                format!("schema {id} is another one than before")
            }
            Err(why) => why,
        };
        let record = Box::new(match read {
            Read::Request(request) => request.record,
            Read::Command(command) => command.record,
            Read::Refused(refusal) => refusal.record,
            Read::Wait { .. } => return read,
        });
        Read::Wait { record, pause: AGAIN, why }
    }

    /// Compares what is known, again and again until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let every = Duration::from_secs(self.0.ctx.config.registry.compare_s);
        loop {
            let pause = if self.problem().is_some() { AGAIN } else { every };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let mut ids: BTreeSet<u32> = self.0.ctx.registry.looked_up();
            ids.extend(&self.known().changed);
            for id in ids {
                if let Err(why) = self.compare(id).await {
                    tracing::debug!(id, why, "a schema could not be compared");
                }
            }
        }
    }

    /// Asks the registry anew and compares.
    async fn compare(&self, id: u32) -> Result<(), String> {
        let registry = &self.0.ctx.registry;
        let now = registry.digest_now(id).await.map_err(|error| error.to_string())?;
        if !self.is_as_seen(id, &now).await? {
            self.note_changed(id);
            return Ok(());
        }
        if registry.digest(id).is_some_and(|used| used != now) {
            // Somebody has said that the new one is right.
            registry.forget(id);
            self.known().same.remove(&id);
        }
        if self.known().changed.remove(&id) {
            tracing::info!(id, "a schema is the one that it was");
        }
        Ok(())
    }

    async fn is_as_seen(&self, id: u32, digest: &[u8; 32]) -> Result<bool, String> {
        let client = self.0.ctx.pool.get().await.map_err(|error| error.to_string())?;
        is_as_seen(&client, id, digest).await.map_err(|error| crate::pg::told(&error))
    }

    fn note_changed(&self, id: u32) {
        if !self.known().changed.insert(id) {
            return;
        }
        tracing::error!(id, "the registry gives another schema for an id than it gave before");
        self.0.herald.tell(News {
            policy_name: "ingest.schema_changed".into(),
            severity: Severity::Critical,
            subject: &format!("schema {id}"),
            window_start: minute_of(clock::now()),
            reason: format!(
                "the registry gives another schema for id {id} than it gave before: nothing is decided"
            ),
            details: json!({"id": id}),
        });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
