//! Owns the way from a record to a request or a command: signature → decode → shape → key, in this order.
//! Never decodes what is not signed well, and never takes an absent registry for a bad record.
//! Invariant: the same record is read as the same request, or refused for the same reason.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use apache_avro::Schema;
use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::command::Command;
use super::refusal::{Reason, Refusal};
use crate::domain::command::OrderCommand;
use crate::domain::key::{digest, recipe_v1};
use crate::domain::request::{Intake, OrderRequest};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId, record_key};
use crate::kafka::record::Record;
use crate::kafka::registry::{Registry, RegistryError};
use crate::runtime::config::{Config, Signatures};
use crate::runtime::faults::crash_point;
use crate::runtime::keyring::{Scopes, SigningKey};
use crate::runtime::secrets::Secrets;
use crate::wire::{self, DecodeError, Subject, signature};

/// Pause before a record is read again whose schema is not known.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(500);
/// Pause while the registry does not answer.
const ABSENT_PAUSE: Duration = Duration::from_secs(1);

/// A request and where it came from.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub intake: Intake,
    /// The keys it may be known by; a new row takes the first. More than one only for v1.0, one for each
    /// secret of the ring (C-KEY-3).
    pub keys: Vec<IdempotencyKey>,
    /// What makes it this order and no other.
    pub digest: [u8; 32],
    /// As it was written, a JSON object.
    pub written: serde_json::Value,
    /// The record, for a dead letter.
    pub record: Record,
}

/// What a record is.
#[derive(Debug)]
pub enum Read {
    /// To be judged.
    Request(Box<Request>),
    /// To be decided.
    Command(Box<Command>),
    /// Refused before the ledger.
    Refused(Box<Refusal>),
    /// What it needs is away: it is read again after the pause.
    Wait {
        /// The record.
        record: Box<Record>,
        /// For how long its partition waits.
        pause: Duration,
        /// For an operator.
        why: String,
    },
}

/// Reads records.
pub struct Reader {
    /// Since when a schema id is unknown.
    unknown: HashMap<u32, Instant>,
}

/// What reading depends on besides the record.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Rules<'a> {
    pub config: &'a Config,
    pub secrets: &'a Secrets,
    pub registry: &'a Registry,
}

impl Reader {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self { unknown: HashMap::new() }
    }

    /// Reads one record; asks the registry only for a schema that is not known.
    pub async fn read(&mut self, record: Record, rules: Rules<'_>) -> Read {
        let outer = match outer(&record, rules.config, rules.secrets) {
            Ok(outer) => outer,
            Err((reason, why)) => return refused(record, reason, why, None),
        };
        crash_point("gate/verified");
        let schema = match rules.registry.known(outer.schema_id) {
            Some(schema) => schema,
            None => match rules.registry.schema(outer.schema_id).await {
                Ok(schema) => schema,
                Err(error) => return self.without_schema(record, outer.schema_id, error, rules),
            },
        };
        self.unknown.remove(&outer.schema_id);
        let scopes = outer.key.map(|key| &key.scopes);
        let body = record.value.as_deref().unwrap_or_default().get(5..).unwrap_or_default();
        if record.logical == Subject::OrderCommand.topic() {
            return match command(&record, body, &schema, scopes) {
                Ok(command) => {
                    let digest = command.digest();
                    Read::Command(Box::new(Command { command, digest, record }))
                }
                Err(Unfit { reason, why, trace_id }) => refused(record, reason, why, trace_id),
            };
        }
        match inner(&record, body, &schema, scopes, rules.secrets) {
            Ok((intake, keys, written)) => {
                let digest = digest(&intake);
                Read::Request(Box::new(Request { intake, keys, digest, written, record }))
            }
            Err(Unfit { reason, why, trace_id }) => refused(record, reason, why, trace_id),
        }
    }

    fn without_schema(
        &mut self,
        record: Record,
        id: u32,
        error: RegistryError,
        rules: Rules<'_>,
    ) -> Read {
        let patience = Duration::from_millis(rules.config.registry.unknown_schema_ms);
        match error {
            RegistryError::UnknownId(_) => {
                let since = *self.unknown.entry(id).or_insert_with(Instant::now);
                if since.elapsed() < patience {
                    let why = format!("no schema with id {id} yet");
                    return Read::Wait { record: Box::new(record), pause: UNKNOWN_PAUSE, why };
                }
                refused(record, Reason::UnknownSchema, error.to_string(), None)
            }
            RegistryError::NotAvro { .. } => {
                refused(record, Reason::SchemaMismatch, error.to_string(), None)
            }
            other => {
                Read::Wait { record: Box::new(record), pause: ABSENT_PAUSE, why: other.to_string() }
            }
        }
    }
}

fn refused(record: Record, reason: Reason, why: String, trace_id: Option<TraceId>) -> Read {
    Read::Refused(Box::new(Refusal { record, reason, why, trace_id, idempotency_key: None }))
}

/// What can be known of a record before its value is decoded.
struct Outer<'a> {
    /// The key it is signed with; none if it is not signed and need not be.
    key: Option<&'a SigningKey>,
    schema_id: u32,
}

fn outer<'a>(
    record: &Record,
    config: &Config,
    secrets: &'a Secrets,
) -> Result<Outer<'a>, (Reason, String)> {
    let Some(value) = &record.value else {
        return Err((Reason::BadWire, "the record has no value".into()));
    };
    let most = config.gate.value_max_bytes;
    if value.len() > most {
        let why = format!("{} bytes, more than {most}", value.len());
        return Err((Reason::TooLarge, why));
    }
    let key = signer(record, value, config, secrets).map_err(|why| (Reason::BadSignature, why))?;
    let (schema_id, _) = wire::open(&record.headers, value).map_err(|error| {
        let unfit = Unfit::from(error);
        (unfit.reason, unfit.why)
    })?;
    Ok(Outer { key, schema_id })
}

/// The key that signed a record (C-SIG-1, C-SIG-2), or why nobody did. What is said goes to operators only.
pub fn signer<'a>(
    record: &Record,
    value: &[u8],
    config: &Config,
    secrets: &'a Secrets,
) -> Result<Option<&'a SigningKey>, String> {
    let mut headers = record.headers.iter().filter(|(name, _)| name == signature::HEADER);
    let header = match (headers.next(), headers.next()) {
        (None, _) if config.input.signatures == Signatures::Optional => return Ok(None),
        (None, _) => return Err(format!("no {} header", signature::HEADER)),
        (Some(_), Some(_)) => return Err(format!("more than one {} header", signature::HEADER)),
        (Some((_, header)), None) => header.as_deref().unwrap_or_default(),
    };
    let text = std::str::from_utf8(header).map_err(|_| signature::BadHeader.to_string())?;
    let (kid, v1) = signature::parse_header(text).map_err(|e| e.to_string())?;
    let key = secrets.signing.find(kid).ok_or_else(|| format!("no key {kid}"))?;
    let at = record.timestamp.unwrap_or(Timestamp::UNIX_EPOCH);
    if !key.in_force(at) {
        return Err(format!("key {kid} is not in force at {at}"));
    }
    let topic = config.signed_as(&record.topic);
    let secret = key.secret.expose_secret().as_bytes();
    if signature::verify(secret, topic, record.key.as_deref(), value, &v1) {
        Ok(Some(key))
    } else {
        Err(format!("the signature of key {kid} does not fit topic, key and value"))
    }
}

/// A well signed record that is no request.
struct Unfit {
    reason: Reason,
    why: String,
    trace_id: Option<TraceId>,
}

impl From<DecodeError> for Unfit {
    fn from(error: DecodeError) -> Self {
        let reason = match &error {
            DecodeError::Wire(_) => Reason::BadWire,
            DecodeError::SchemaInHeader => Reason::SchemaInHeader,
            DecodeError::Avro(_) => Reason::BadAvro,
            DecodeError::Schema { .. } => Reason::SchemaMismatch,
            DecodeError::Field { reason, .. } => Reason::Invalid((*reason).into()),
        };
        Self { reason, why: error.to_string(), trace_id: None }
    }
}

type Inner = (Intake, Vec<IdempotencyKey>, serde_json::Value);

fn inner(
    record: &Record,
    body: &[u8],
    schema: &Schema,
    scopes: Option<&Scopes>,
    secrets: &Secrets,
) -> Result<Inner, Unfit> {
    let (intake, written) = if record.logical == Subject::ProposalSet.topic() {
        let draft = wire::proposal_set::decode(body, schema)?;
        let set = draft.check().map_err(|e| unfit(e, &draft.trace_id))?;
        (Intake::Proposals(set), serde_json::to_value(&draft))
    } else {
        let draft = wire::order_request::decode(body, schema)?;
        let order = draft.check().map_err(|e| unfit(e, &draft.trace_id))?;
        (Intake::Order(order), serde_json::to_value(&draft))
    };
    let trace_id = || Some(intake.trace_id().clone());
    let written = written.map_err(|e| {
        let reason = Reason::Invalid("invalid_request".into());
        Unfit { reason, why: e.to_string(), trace_id: trace_id() }
    })?;
    let lane = (intake.account(), intake.symbol());
    may(record, lane, scopes, strategies(&intake))
        .map_err(|unfit| Unfit { trace_id: trace_id(), ..unfit })?;
    let keys = match (intake.idempotency_key(), &intake) {
        (Some(key), _) => vec![key.clone()],
        (None, Intake::Order(order)) => made_keys(order, secrets),
        (None, Intake::Proposals(_)) => {
            let reason = Reason::Invalid("invalid_idempotency_key".into());
            let why = "a proposal set needs one".to_string();
            return Err(Unfit { reason, why, trace_id: trace_id() });
        }
    };
    Ok((intake, keys, written))
}

/// A command of a record; the same rules as for a request.
fn command(
    record: &Record,
    body: &[u8],
    schema: &Schema,
    scopes: Option<&Scopes>,
) -> Result<OrderCommand, Unfit> {
    let draft = wire::order_command::decode(body, schema)?;
    let command = draft.check().map_err(|e| unfit(e, &draft.trace_id))?;
    // It names no strategy: a key that is limited to some may not sign it.
    may(record, (&command.account, &command.symbol), scopes, std::iter::empty())
        .map_err(|unfit| Unfit { trace_id: Some(command.trace_id.clone()), ..unfit })?;
    Ok(command)
}

/// Whether the record lies where its account and symbol belong, and its signing key may sign for them.
fn may<'a>(
    record: &Record,
    (account, symbol): (&Account, &Symbol),
    scopes: Option<&Scopes>,
    strategies: impl Iterator<Item = &'a str>,
) -> Result<(), Unfit> {
    let expected = record_key(account, symbol);
    if record.key.as_deref() != Some(expected.as_bytes()) {
        let why = format!("the record's key is not {expected}");
        return Err(Unfit { reason: Reason::KeyMismatch, why, trace_id: None });
    }
    if let Some(scopes) = scopes
        && !scopes.allow(record.logical, account, strategies)
    {
        let why = "its key may not sign for this account or strategy".to_string();
        return Err(Unfit { reason: Reason::NotAuthorised, why, trace_id: None });
    }
    Ok(())
}

fn unfit(e: crate::domain::request::InvalidShape, trace_id: &str) -> Unfit {
    let trace_id = TraceId::new(trace_id).ok();
    Unfit { reason: Reason::Invalid(e.code()), why: e.to_string(), trace_id }
}

fn strategies(intake: &Intake) -> Box<dyn Iterator<Item = &str> + '_> {
    match intake {
        Intake::Order(order) => Box::new(order.strategy.iter().map(|s| s.as_str())),
        Intake::Proposals(set) => Box::new(set.proposals.iter().map(|p| p.strategy.as_str())),
    }
}

/// The key of a v1.0 request under every secret of the ring, the current one first.
fn made_keys(order: &OrderRequest, secrets: &Secrets) -> Vec<IdempotencyKey> {
    let key = |secret: &secrecy::SecretString| {
        recipe_v1(
            secret.expose_secret(),
            &order.symbol,
            order.side,
            order.qty,
            order.requested_at,
            &order.trace_id,
        )
    };
    secrets.idempotency.iter().map(key).collect()
}
