//! Owns the schema registry's client (Confluent API): schemas by id, ids by subject and schema.
//! Never registers anything unless asked to, and never mistakes an absent registry for an unknown id.
//! Invariant: a schema once known by its id is kept until somebody asks to forget it, so known ids outlive the registry (F04).

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};

use apache_avro::Schema;
use jiff::Timestamp;
use prometheus::HistogramVec;
use schema_registry_converter::async_impl::avro::get_avro_schema;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_versions, get_schema_by_id, get_schema_by_subject_and_version,
    perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, SchemaType, SrCall, SuppliedSchema,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::runtime::clock;
use crate::runtime::config::{Config, RegistryConfig};
use crate::runtime::metrics::Metrics;
use crate::wire::Subject;

/// How long an id the registry did not know is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_millis(500);
/// Most unknown ids remembered; hostile records could name any number of them.
const UNKNOWN_MAX: usize = 10_000;

/// Why the registry gave no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The registry answers, and has no schema of this id. It may be registered a moment later.
    #[error("the registry has no schema with id {0}")]
    UnknownId(u32),
    /// The id is known and is not an Avro schema that can be parsed: this will not change.
    #[error("schema {id} is not an Avro schema that can be read: {why}")]
    NotAvro {
        /// The schema's id.
        id: u32,
        /// What the parser says.
        why: String,
    },
    /// The subject does not have this schema.
    #[error("{subject} does not have this schema: run `noctus schemas register`")]
    NotRegistered {
        /// The registry's subject.
        subject: String,
    },
    /// The registry refuses the schema, or the compatibility level.
    #[error("{subject} is refused by the registry: {why}")]
    Refused {
        /// The registry's subject.
        subject: String,
        /// The HTTP status, e.g. 409 for an incompatible schema.
        status: u16,
        /// The registry's words.
        why: String,
    },
    /// No answer in time, a 5xx, or something that is no schema registry.
    #[error("the schema registry at {url} does not answer: {why}")]
    Unavailable {
        /// Its base address.
        url: String,
        /// What happened.
        why: String,
    },
}

/// Since when the registry has not answered who looked a schema up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    /// When it failed to answer first.
    pub since: Timestamp,
    /// The same, for how long it is.
    pub at: Instant,
    /// An id that was asked for in vain.
    pub id: u32,
}

/// One registered version of a subject.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number, 1, 2, 3 …
    pub version: u32,
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
}

/// A schema that was looked up.
struct Looked {
    schema: Arc<Schema>,
    digest: [u8; 32],
}

/// The registry's client. Share it behind an `Arc`.
pub struct Registry {
    url: String,
    settings: SrSettings,
    http: reqwest::Client,
    /// The library's decoder keeps a 404 for ever as an error; these caches are our own.
    schemas: RwLock<HashMap<u32, Looked>>,
    unknown: RwLock<HashMap<u32, Instant>>,
    ids: RwLock<HashMap<(String, String), u32>>,
    away: RwLock<Option<Away>>,
    took: OnceLock<HistogramVec>,
}

impl Registry {
    /// Makes the client; asks for nothing yet.
    pub fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let url = config.url.trim_end_matches('/').to_string();
        let timeout = Duration::from_millis(config.timeout_ms);
        let bad = |why: String| RegistryError::Unavailable { url: url.clone(), why };
        let settings = SrSettings::new_builder(url.clone())
            .set_timeout(timeout)
            .build()
            .map_err(|e| bad(e.to_string()))?;
        let http =
            reqwest::Client::builder().timeout(timeout).build().map_err(|e| bad(e.to_string()))?;
        Ok(Self {
            url,
            settings,
            http,
            schemas: RwLock::default(),
            unknown: RwLock::default(),
            ids: RwLock::default(),
            away: RwLock::default(),
            took: OnceLock::new(),
        })
    }

    /// Tells these metrics of its look-ups from now on.
    pub fn tell(&self, metrics: &Metrics) {
        // A client is told of by one process, once.
        let _ = self.took.set(metrics.registry_call_seconds.clone());
    }

    /// A look-up has ended: answered, unknown (404), or away.
    fn looked_up_in<T>(&self, began: Instant, asked: &Result<T, SRCError>) {
        let Some(seconds) = self.took.get() else { return };
        let outcome = match asked {
            Ok(_) => "answered",
            Err(error) if status(error) == Some(404) => "unknown",
            Err(_) => "away",
        };
        seconds.with_label_values(&[outcome]).observe(began.elapsed().as_secs_f64());
    }

    /// The schema if it is known already; asks nobody.
    pub fn known(&self, id: u32) -> Option<Arc<Schema>> {
        read(&self.schemas).get(&id).map(|looked| looked.schema.clone())
    }

    /// The schema of this id.
    pub async fn schema(&self, id: u32) -> Result<Arc<Schema>, RegistryError> {
        if let Some(schema) = self.known(id) {
            return Ok(schema);
        }
        // Ids are positive 32-bit integers. Asked for a larger one, a registry may say anything.
        let is_none = i32::try_from(id).is_err();
        if is_none || read(&self.unknown).get(&id).is_some_and(|t| t.elapsed() < UNKNOWN_FOR) {
            return Err(RegistryError::UnknownId(id));
        }
        let began = Instant::now();
        let asked = get_schema_by_id(id, &self.settings).await;
        self.looked_up_in(began, &asked);
        let answers = !asked.as_ref().is_err_and(|error| status(error) != Some(404));
        self.note(id, answers);
        let registered = asked.map_err(|error| {
            if !answers {
                return self.unavailable(&error);
            }
            let mut unknown = write(&self.unknown);
            if unknown.len() >= UNKNOWN_MAX {
                unknown.clear();
            }
            unknown.insert(id, Instant::now());
            RegistryError::UnknownId(id)
        })?;
        let (alone, digest) = (registered.references.is_empty(), digest_of(&registered.schema));
        let parsed = get_avro_schema(&self.settings, registered).await.map_err(|error| {
            match alone {
                true => RegistryError::NotAvro { id, why: told(&error) },
                // A reference that could not be fetched looks like this too.
                false => self.unavailable(&error),
            }
        })?;
        let schema = Arc::new(parsed.parsed.clone());
        write(&self.unknown).remove(&id);
        let mut schemas = write(&self.schemas);
        Ok(schemas.entry(id).or_insert(Looked { schema, digest }).schema.clone())
    }

    /// SHA-256 of the canonical JSON of a schema that was looked up.
    pub fn digest(&self, id: u32) -> Option<[u8; 32]> {
        read(&self.schemas).get(&id).map(|looked| looked.digest)
    }

    /// The ids that were looked up.
    pub fn looked_up(&self) -> BTreeSet<u32> {
        read(&self.schemas).keys().copied().collect()
    }

    /// The digest of what the registry says of this id now; changes nothing of what is known.
    pub async fn digest_now(&self, id: u32) -> Result<[u8; 32], RegistryError> {
        let began = Instant::now();
        let asked = get_schema_by_id(id, &self.settings).await;
        self.looked_up_in(began, &asked);
        match asked {
            Ok(registered) => Ok(digest_of(&registered.schema)),
            Err(error) if status(&error) == Some(404) => Err(RegistryError::UnknownId(id)),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    /// Looks this id up again when it is needed again.
    pub fn forget(&self, id: u32) {
        write(&self.schemas).remove(&id);
    }

    fn note(&self, id: u32, answers: bool) {
        let mut away = write(&self.away);
        match answers {
            true => *away = None,
            false => {
                away.get_or_insert_with(|| Away { since: clock::now(), at: Instant::now(), id });
            }
        }
    }

    /// Whether the last look-up of a schema went unanswered, and since when they do.
    pub fn away(&self) -> Option<Away> {
        *read(&self.away)
    }

    /// The id under which the subject has this schema; looks it up and never registers it.
    pub async fn id_of(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        let text = text_of(schema);
        let key = (subject.to_string(), text);
        if let Some(id) = read(&self.ids).get(&key) {
            return Ok(*id);
        }
        let body = json!({"schema": key.1, "schemaType": "AVRO"}).to_string();
        let began = Instant::now();
        let found = perform_sr_call(&self.settings, SrCall::PostForVersion(subject, &body)).await;
        self.looked_up_in(began, &found);
        let id = match found {
            Ok(raw) => raw.id.ok_or_else(|| RegistryError::Unavailable {
                url: self.url.clone(),
                why: "it answered a look-up without an id".into(),
            })?,
            Err(error) if status(&error) == Some(404) => {
                return Err(RegistryError::NotRegistered { subject: subject.into() });
            }
            Err(error) => return Err(self.unavailable(&error)),
        };
        write(&self.ids).insert(key, id);
        Ok(id)
    }

    /// The id under which the subject of this topic has the newest schema of this build.
    pub async fn newest_id(&self, config: &Config, kind: Subject) -> Result<u32, RegistryError> {
        self.id_of(&subject_of(&config.topic(kind.topic())), kind.schema()).await
    }

    /// Registers a schema's text under a subject (again: the same id) and gives its id.
    pub async fn register(&self, subject: &str, text: &str) -> Result<u32, RegistryError> {
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, text.into());
        match post_schema(&self.settings, subject.into(), supplied).await {
            Ok(registered) => Ok(registered.id),
            Err(error) => Err(match status(&error) {
                Some(status @ (409 | 422)) => {
                    RegistryError::Refused { subject: subject.into(), status, why: told(&error) }
                }
                _ => self.unavailable(&error),
            }),
        }
    }

    /// Sets how new versions of the subject must fit old ones, e.g. `FULL_TRANSITIVE`.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let unavailable = |why: String| RegistryError::Unavailable { url: self.url.clone(), why };
        let answer = self
            .http
            .put(format!("{}/config/{subject}", self.url))
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(json!({"compatibility": level}).to_string())
            .send()
            .await
            .map_err(|e| unavailable(chain(&e)))?;
        match answer.status().as_u16() {
            200..300 => Ok(()),
            status @ 422 => {
                let why = answer.text().await.unwrap_or_default();
                Err(RegistryError::Refused { subject: subject.into(), status, why })
            }
            404 => Err(RegistryError::NotRegistered { subject: subject.into() }),
            status => Err(unavailable(format!("HTTP status {status}"))),
        }
    }

    /// The subject's own compatibility level; none if it has none and the registry's default rules.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let unavailable = |why: String| RegistryError::Unavailable { url: self.url.clone(), why };
        let answer = self
            .http
            .get(format!("{}/config/{subject}", self.url))
            .send()
            .await
            .map_err(|e| unavailable(chain(&e)))?;
        match answer.status().as_u16() {
            200..300 => {
                let body: serde_json::Value =
                    answer.json().await.map_err(|e| unavailable(chain(&e)))?;
                Ok(body["compatibilityLevel"].as_str().map(str::to_string))
            }
            404 => Ok(None),
            status => Err(unavailable(format!("HTTP status {status}"))),
        }
    }

    /// Every registered version of the subject, oldest first; none if the subject is unknown.
    pub async fn versions(&self, subject: &str) -> Result<Vec<Version>, RegistryError> {
        let mut numbers = match get_all_versions(&self.settings, subject.into()).await {
            Ok(numbers) => numbers,
            Err(error) if status(&error) == Some(404) => return Ok(Vec::new()),
            Err(error) => return Err(self.unavailable(&error)),
        };
        numbers.sort_unstable();
        let mut versions = Vec::with_capacity(numbers.len());
        for version in numbers {
            let found =
                get_schema_by_subject_and_version(&self.settings, subject, Some(version)).await;
            let found = found.map_err(|error| self.unavailable(&error))?;
            versions.push(Version { version, id: found.id, text: found.schema });
        }
        Ok(versions)
    }

    fn unavailable(&self, error: &SRCError) -> RegistryError {
        RegistryError::Unavailable { url: self.url.clone(), why: told(error) }
    }
}

/// The registry's subject of a topic's values (TopicNameStrategy); `topic` is the actual name.
pub fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

/// Of the JSON, so that no formatting can differ.
fn digest_of(text: &str) -> [u8; 32] {
    let tree: Result<serde_json::Value, _> = serde_json::from_str(text);
    let canonical = tree.and_then(|tree| serde_json_canonicalizer::to_vec(&tree));
    Sha256::digest(canonical.unwrap_or_else(|_| text.as_bytes().to_vec())).into()
}

/// The text to register or to look up: the embedded one as it is, so that no formatting can differ.
fn text_of(schema: &Schema) -> String {
    Subject::ALL
        .into_iter()
        .find(|s| std::ptr::eq(s.schema(), schema))
        .and_then(|s| s.versions().last().map(|text| text.to_string()))
        .unwrap_or_else(|| serde_json::json!(schema).to_string())
}

/// The HTTP status of an answer that came from a schema registry; none for anything else. The library
/// says it only in its error code, whose first three digits are the status.
fn status(error: &SRCError) -> Option<u16> {
    let raw = error.source()?.downcast_ref::<RawError>()?;
    let code = if raw.error_code >= 10_000 { raw.error_code / 100 } else { raw.error_code };
    u16::try_from(code).ok().filter(|code| *code != 0)
}

fn told(error: &SRCError) -> String {
    match error.source() {
        Some(source) => format!("{}: {}", error.error, chain(source)),
        None => error.error.clone(),
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text = format!("{text}: {inner}");
        next = inner.source();
    }
    text
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
