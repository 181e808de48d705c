//! A request as it is written: filled in, keyed, encoded in its version, signed well, badly or not at all.

use anyhow::Context as _;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::super::scenario::{Scenario, Signed, Submit, Version};
use super::Player;
use crate::domain::key::recipe_v1;
use crate::domain::request::{OrderDraft, OrderRequest};
use crate::domain::text::{IdempotencyKey, record_key};
use crate::kafka::producer::Outgoing;
use crate::kafka::registry::subject_of;
use crate::runtime::clock;
use crate::wire::{self, Subject, signature};

/// A request that was produced.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What the scenario calls it.
    pub label: String,
    /// What was asked for.
    pub request: OrderRequest,
    /// Its key: written in it (v1.1) or made of it by the gate (v1.0).
    pub key: IdempotencyKey,
    /// How it was written and signed, for a reader.
    pub how: String,
    /// Partition and offset of each time it was produced.
    pub places: Vec<(i32, i64)>,
}

impl Player {
    /// The request of a step, filled in.
    pub(super) fn request(
        &self,
        scenario: &Scenario,
        submit: &Submit,
        before: &[Sent],
    ) -> anyhow::Result<Sent> {
        let other = match &submit.same_key_as {
            Some(label) => {
                let found = before.iter().find(|sent| sent.label == *label);
                Some(found.with_context(|| format!("{label} was not produced"))?)
            }
            None => None,
        };
        let trace = match (&submit.trace, other) {
            (Some(label), _) => self.trace(scenario, label)?,
            (None, Some(other)) => other.request.trace_id.clone(),
            (None, None) => self.trace(scenario, &submit.label)?,
        };
        let now = clock::now();
        let asked = now.checked_sub(jiff::SignedDuration::from_secs(submit.requested_ago_s))?;
        let mut order = submit.order.clone();
        order.insert("trace_id".into(), json!(trace));
        order.insert("requested_at".into(), json!(asked));
        if let Some(seconds) = submit.valid_for_s {
            let until = now.checked_add(jiff::SignedDuration::from_secs(seconds))?;
            order.insert("valid_until".into(), json!(until));
        }
        // An account of its own: the positions of one scenario are not those of another.
        order.entry("account").or_insert_with(|| json!(format!("demo-{}", scenario.name)));
        let draft: OrderDraft = serde_json::from_value(Value::Object(order))?;
        let mut request = draft.check().map_err(|e| anyhow::anyhow!("{}: {e}", submit.label))?;
        let key = match other {
            Some(other) => other.key.clone(),
            None => self.recipe(&request)?,
        };
        if submit.version == Version::V1_1 {
            request.idempotency_key = Some(key.clone());
        }
        let label = submit.label.clone();
        Ok(Sent { label, request, key, how: how(submit), places: Vec::new() })
    }

    /// The record of a request; the partition is left open.
    pub(super) async fn order_record(
        &self,
        sent: &Sent,
        submit: &Submit,
    ) -> anyhow::Result<Outgoing> {
        let r = &sent.request;
        let mut draft = draft(r);
        let (id, body) = match submit.version {
            Version::V1_1 => {
                let id = self.registry.newest_id(&self.config, Subject::OrderRequest).await?;
                (id, wire::order_request::encode(&draft)?)
            }
            Version::V1_0 => {
                draft.schema_version = Some("1.0".into());
                // v1.0 is v1.1 without its last field, whose absence is one byte.
                let mut body = wire::order_request::encode(&draft)?;
                anyhow::ensure!(body.pop() == Some(0), "v1.1 ends with an absent key");
                let subject = subject_of(&self.config.topic(Subject::OrderRequest.topic()));
                let old = self.registry.versions(&subject).await?;
                let old = old.first().context("OrderRequest is not registered")?;
                (old.id, body)
            }
        };
        let key = record_key(&r.account, &r.symbol).into_bytes();
        let value = wire::frame(id, &body);
        self.sealed(Subject::OrderRequest, key, value, submit.signed)
    }

    /// A well signed record of any subject.
    pub(super) async fn signed(
        &self,
        subject: Subject,
        key: &[u8],
        body: &[u8],
    ) -> anyhow::Result<Outgoing> {
        let id = self.registry.newest_id(&self.config, subject).await?;
        self.sealed(subject, key.to_vec(), wire::frame(id, body), Signed::Well)
    }

    fn sealed(
        &self,
        subject: Subject,
        key: Vec<u8>,
        value: Vec<u8>,
        signed: Signed,
    ) -> anyhow::Result<Outgoing> {
        let ring = &self.secrets.signing;
        let signer = ring.keys().iter().find(|key| key.in_force(clock::now()));
        let signer = signer.context("no signing key is in force")?;
        let secret: &[u8] = match signed {
            Signed::Well => signer.secret.expose_secret().as_bytes(),
            _ => b"somebody who does not know the secret",
        };
        let mut headers = Vec::new();
        if signed != Signed::Not {
            let v1 = signature::sign(secret, subject.topic(), Some(&key), &value);
            let header = signature::header(&signer.kid, &v1).into_bytes();
            headers.push((signature::HEADER.to_string(), Some(header)));
        }
        Ok(Outgoing {
            topic: self.config.topic(subject.topic()),
            key: Some(key),
            value: Some(value),
            headers,
            timestamp_ms: None,
            partition: None,
        })
    }

    fn recipe(&self, r: &OrderRequest) -> anyhow::Result<IdempotencyKey> {
        let secret = self.secrets.idempotency.first().context("no idempotency secret")?;
        let secret = secret.expose_secret();
        Ok(recipe_v1(secret, &r.symbol, r.side, r.qty, r.requested_at, &r.trace_id))
    }
}

fn draft(r: &OrderRequest) -> OrderDraft {
    OrderDraft {
        schema_version: None,
        trace_id: r.trace_id.to_string(),
        account: r.account.to_string(),
        symbol: r.symbol.to_string(),
        side: r.side,
        qty: r.qty,
        order_type: r.order_type,
        limit_price: r.limit_price,
        stop_price: r.stop_price,
        time_in_force: r.time_in_force,
        requested_at: r.requested_at,
        valid_until: r.valid_until,
        decision_id: r.decision_id.clone(),
        reference_price: r.reference_price,
        stop_loss: r.stop_loss,
        take_profit: r.take_profit,
        strategy: r.strategy.as_ref().map(|s| s.to_string()),
        timeframe: r.timeframe.as_ref().map(|t| t.to_string()),
        quality: r.quality,
        meta: r.meta.clone(),
        idempotency_key: r.idempotency_key.as_ref().map(|k| k.to_string()),
    }
}

fn how(submit: &Submit) -> String {
    let version = match submit.version {
        Version::V1_0 => "v1.0, no key in it",
        Version::V1_1 => "v1.1",
    };
    let signed = match submit.signed {
        Signed::Well => "signed",
        Signed::Badly => "SIGNED WITH ANOTHER SECRET",
        Signed::Not => "NOT SIGNED",
    };
    let times = match submit.times {
        1 => String::new(),
        n => format!(", produced {n} times"),
    };
    format!("{version}, {signed}{times}")
}
