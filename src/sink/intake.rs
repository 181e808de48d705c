//! Owns the way from a record to a row: frame → schema → decode → project.
//! Never takes an absent registry for a bad record. Invariant: the same record is the same row, or refused for the
//! same reason.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::project::project;
use super::project::rows::Row;
use crate::kafka::record::Record;
use crate::kafka::registry::{Registry, RegistryError};
use crate::owed::Owed;
use crate::wire::{self, DecodeError, Subject};

/// Pause before a record is read again whose schema is not known.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(500);
/// Pause while the registry does not answer.
const ABSENT_PAUSE: Duration = Duration::from_secs(1);

/// What a record is.
#[derive(Debug)]
pub(crate) enum Read {
    Row(Box<Row>),
    /// No row: it becomes a dead letter.
    Refused(Refusal),
    /// What it needs is away: it is read again after the pause.
    Wait {
        pause: Duration,
        why: String,
    },
}

/// Why a record is no row; the reason is stable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    /// For a person.
    pub(crate) why: String,
    /// What is told besides the dead letter.
    pub(crate) alert: Option<Owed>,
}

impl Refusal {
    fn new(reason: &'static str, why: String) -> Self {
        Self { reason, why, alert: None }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

/// Reads records.
pub(crate) struct Reader {
    /// An id is unknown for this long before its record is refused.
    patience: Duration,
    /// Since when a schema id is unknown.
    unknown: HashMap<u32, Instant>,
}

impl Reader {
    pub(crate) fn new(patience_ms: u64) -> Self {
        Self { patience: Duration::from_millis(patience_ms), unknown: HashMap::new() }
    }

    /// Reads one record; asks the registry only for a schema that is not known.
    pub(crate) async fn read(&mut self, record: &Record, registry: &Registry) -> Read {
        let value = record.value.as_deref().unwrap_or_default();
        let (id, body) = match wire::open(&record.headers, value) {
            Ok(parts) => parts,
            Err(error) => return Read::Refused(error.into()),
        };
        let schema = match registry.known(id) {
            Some(schema) => schema,
            None => match registry.schema(id).await {
                Ok(schema) => schema,
                Err(error) => return self.without_schema(id, &error),
            },
        };
        self.unknown.remove(&id);
        let Some(subject) = Subject::of_topic(record.logical) else {
            let why = format!("{} is no topic of ours", record.logical);
            return Read::Refused(Refusal::new("schema_mismatch", why));
        };
        match project(subject, body, &schema) {
            Ok(row) => Read::Row(Box::new(row)),
            Err(error) => Read::Refused(error.into()),
        }
    }

    fn without_schema(&mut self, id: u32, error: &RegistryError) -> Read {
        let why = error.to_string();
        match error {
            RegistryError::UnknownId(_) => {
                let since = *self.unknown.entry(id).or_insert_with(Instant::now);
                if since.elapsed() < self.patience {
                    return Read::Wait { pause: UNKNOWN_PAUSE, why };
                }
                Read::Refused(Refusal::new("unknown_schema", why))
            }
            RegistryError::NotAvro { .. } => Read::Refused(Refusal::new("schema_mismatch", why)),
            _ => Read::Wait { pause: ABSENT_PAUSE, why },
        }
    }
}
