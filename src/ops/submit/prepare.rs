//! Owns what becomes of order files before anything is sent: checked, keyed, and every violation listed.
//! Never sends: an input with one violation sends nothing.
//! Invariant: no two orders of one input share a derived key (C-KEY-2's known limit).

use std::collections::HashMap;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::order_file::{Entry, Violation};
use crate::domain::key::recipe_v1;
use crate::domain::request::{Intake, OrderDraft, OrderRequest};
use crate::domain::text::{IdempotencyKey, record_key};
use crate::runtime::keyring::SigningKey;
use crate::runtime::secrets::Secrets;
use crate::wire::{self, Subject, signature};

/// Versions of OrderRequest that an order file may say it is.
const VERSIONS: [&str; 2] = ["1.0", "1.1"];

/// One order, ready to be framed, signed and sent.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// `file:line`.
    pub place: String,
    /// The checked request, with its key.
    pub request: OrderRequest,
    /// Its key.
    pub key: IdempotencyKey,
    /// What a later reader of the ledger compares (C-KEY-4).
    pub digest: [u8; 32],
    /// Whether recipe v1 made the key.
    pub derived: bool,
    /// Fields that the file lacked and that were filled in.
    pub filled_in: Vec<&'static str>,
    /// The Avro body.
    pub body: Vec<u8>,
}

impl Prepared {
    /// The record's key.
    pub fn record_key(&self) -> String {
        record_key(&self.request.account, &self.request.symbol)
    }
}

/// What the orders of one input are prepared with.
pub struct Preparation<'a> {
    /// Secrets and signing keys of this process.
    pub secrets: &'a Secrets,
    /// The key that will sign.
    pub signer: &'a SigningKey,
    /// For orders that do not say when they were asked for.
    pub now: Timestamp,
    /// For trace ids that are made up: another number each time.
    pub random: fn() -> u32,
    /// Largest record value the gate takes, bytes.
    pub value_max_bytes: usize,
}

impl Preparation<'_> {
    /// Prepares every order; the violations are those of all of them.
    pub fn all(&self, entries: Vec<Entry>) -> (Vec<Prepared>, Vec<Violation>) {
        let (mut prepared, mut violations) = (Vec::new(), Vec::new());
        for entry in entries {
            let place = entry.place.clone();
            match self.one(entry) {
                Ok(order) => prepared.push(order),
                Err(why) => violations.push(Violation { place, why }),
            }
        }
        violations.extend(same_derived_key(&prepared));
        (prepared, violations)
    }

    fn one(&self, entry: Entry) -> Result<Prepared, String> {
        let Entry { place, mut json } = entry;
        self.verify(&json)?;
        let mut filled_in = Vec::new();
        let Value::Object(fields) = &mut json else { return Err("an order is an object".into()) };
        fields.remove(signature::JSON_FIELD);
        if !fields.contains_key("requested_at") {
            fields.insert("requested_at".into(), self.now.to_string().into());
            filled_in.push("requested_at");
        }
        if !fields.contains_key("trace_id") {
            let symbol = fields.get("symbol").and_then(Value::as_str).unwrap_or("-");
            let at = self.now.strftime("%Y%m%d-%H%M%S");
            let made = format!("{at}-{symbol}-submit-{:08x}", (self.random)());
            fields.insert("trace_id".into(), made.into());
            filled_in.push("trace_id");
        }
        let mut draft: OrderDraft = serde_json::from_value(json).map_err(|e| e.to_string())?;
        if draft.schema_version.as_deref().is_some_and(|v| !VERSIONS.contains(&v)) {
            return Err(format!("schema_version must be {}", VERSIONS.join(" or ")));
        }
        let mut request = draft.check().map_err(|e| e.to_string())?;
        let derived = request.idempotency_key.is_none();
        let key = match &request.idempotency_key {
            Some(key) => key.clone(),
            None => self.recipe(&request),
        };
        draft.idempotency_key = Some(key.to_string());
        request.idempotency_key = Some(key.clone());
        let strategies = request.strategy.iter().map(|s| s.as_str());
        let topic = Subject::OrderRequest.topic();
        if !self.signer.scopes.allow(topic, &request.account, strategies) {
            return Err(format!("signing key {} may not sign for this order", self.signer.kid));
        }
        let body = wire::order_request::encode(&draft).map_err(|e| e.to_string())?;
        if body.len() + 5 > self.value_max_bytes {
            return Err(format!("is {} bytes, above {}", body.len() + 5, self.value_max_bytes));
        }
        let digest = crate::domain::key::digest(&Intake::Order(request.clone()));
        Ok(Prepared { place, request, key, digest, derived, filled_in, body })
    }

    fn recipe(&self, r: &OrderRequest) -> IdempotencyKey {
        let secret = self.secrets.idempotency.first().map_or("", |s| s.expose_secret());
        recipe_v1(secret, &r.symbol, r.side, r.qty, r.requested_at, &r.trace_id)
    }

    /// A file that carries a signature is sent only if it is right (C-SIG-4).
    fn verify(&self, json: &Value) -> Result<(), String> {
        let Some(text) = json.get(signature::JSON_FIELD) else { return Ok(()) };
        let (kid, v1) = text
            .as_str()
            .ok_or(signature::BadHeader)
            .and_then(signature::parse_header)
            .map_err(|e| format!("bad_signature: {e}"))?;
        let key = self.secrets.signing.find(kid).filter(|key| key.in_force(self.now));
        let key = key.ok_or_else(|| format!("bad_signature: no key {kid} is in force"))?;
        match signature::verify_json(key.secret.expose_secret().as_bytes(), json, &v1) {
            true => Ok(()),
            false => Err("bad_signature: the order is not what was signed".into()),
        }
    }
}

fn same_derived_key(orders: &[Prepared]) -> Vec<Violation> {
    let mut first: HashMap<&IdempotencyKey, &Prepared> = HashMap::new();
    let mut violations = Vec::new();
    for order in orders {
        let Some(before) = first.get(&order.key) else {
            first.insert(&order.key, order);
            continue;
        };
        if order.derived || before.derived {
            let why = format!(
                "has the same key as {}: recipe v1 knows symbol, side, qty, minute and trace_id \
                 only. Give idempotency_key if two orders are meant; if one is, send it once",
                before.place
            );
            violations.push(Violation { place: order.place.clone(), why });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::keyring::Keyring;
    use serde_json::json;

    fn with(signing: Keyring, entries: Vec<Value>) -> (Vec<Prepared>, Vec<String>) {
        let secrets = Secrets { idempotency: vec!["dev-secret".to_string().into()], signing };
        let signer = secrets.signing.keys()[0].clone();
        let preparation = Preparation {
            secrets: &secrets,
            signer: &signer,
            now: "2025-08-23T11:00:30Z".parse().unwrap(),
            random: || 0xfa3e_f5a1,
            value_max_bytes: 10_000,
        };
        let entry = |(at, json)| Entry { place: format!("f:{}", at + 1), json };
        let (orders, violations) =
            preparation.all(entries.into_iter().enumerate().map(entry).collect());
        (orders, violations.iter().map(|v| v.to_string()).collect())
    }

    fn prepare(entries: Vec<Value>) -> (Vec<Prepared>, Vec<String>) {
        with(Keyring::dev(), entries)
    }

    fn order() -> Value {
        json!({"trace_id": "20250813-060021-USDJPY-demo-fa3ef5a1", "symbol": "USDJPY",
            "side": "BUY", "qty": "10000", "requested_at": "2025-08-23T11:00:30Z"})
    }

    fn changed(field: &str, value: Value) -> Value {
        let mut order = order();
        order[field] = value;
        order
    }

    #[test]
    fn an_order_without_a_key_is_given_the_one_of_recipe_v1() {
        let (orders, violations) = prepare(vec![order()]);
        assert_eq!(violations, [""; 0]);
        let key = "0119582d3d883e9ee3fd49cf9c967557cc58dca5ffab3400eb5ac2e6799cd983";
        assert_eq!((orders[0].key.as_str(), orders[0].derived), (key, true));
        let sent = wire::order_request::decode(&orders[0].body, Subject::OrderRequest.schema());
        assert_eq!(sent.unwrap().idempotency_key.as_deref(), Some(key));
    }

    #[test]
    fn what_is_missing_is_filled_in_and_told() {
        let (orders, _) = prepare(vec![json!({"symbol": "USDJPY", "side": "BUY", "qty": 1})]);
        assert_eq!(orders[0].filled_in, ["requested_at", "trace_id"]);
        assert_eq!(orders[0].request.trace_id.as_str(), "20250823-110030-USDJPY-submit-fa3ef5a1");
    }

    #[test]
    fn every_order_that_is_wrong_is_told() {
        let (orders, violations) = prepare(vec![
            changed("qty", json!("0")),
            order(),
            changed("side", json!("HOLD")),
            changed("limit_price", json!("1")),
            changed("price", json!("1")),
            changed("schema_version", json!("2.0")),
            changed("qty", json!("0.0000001")),
            changed("account", json!("a|b")),
        ]);
        assert_eq!(orders.len(), 1);
        assert_eq!(violations.len(), 7, "{violations:#?}");
        assert_eq!(violations[0], "f:1: invalid_qty: must be above 0 for BUY and SELL");
        assert_eq!(violations[2], "f:4: invalid_limit_price: MARKET does not use it");
        assert!(violations[3].starts_with("f:5: unknown field `price`"), "{violations:#?}");
    }

    #[test]
    fn two_orders_with_one_derived_key_are_refused_and_with_explicit_keys_are_not() {
        let (_, violations) = prepare(vec![order(), changed("stop_loss", json!("140"))]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("f:2: has the same key as f:1"), "{violations:?}");
        let explicit = changed("idempotency_key", json!("my-own-key-1"));
        let (orders, violations) = prepare(vec![explicit.clone(), explicit, order()]);
        assert_eq!((orders.len(), violations.len()), (3, 0), "the same order twice is a retry");
    }

    #[test]
    fn a_signed_order_is_taken_only_as_it_was_signed() {
        let v1 = signature::sign_json(b"dev-secret", &order());
        let signed = changed("signature", json!(signature::header("dev", &v1)));
        assert_eq!(prepare(vec![signed.clone()]).1, [""; 0]);
        let mut other = signed.clone();
        other["qty"] = json!("20000");
        assert!(prepare(vec![other]).1[0].contains("bad_signature"));
        let unknown = changed("signature", json!(signature::header("who", &v1)));
        assert!(prepare(vec![unknown]).1[0].contains("no key who is in force"));
        assert!(prepare(vec![changed("signature", json!(7))]).1[0].contains("bad_signature"));
    }

    #[test]
    fn an_order_out_of_the_signing_keys_scope_is_refused_before_it_is_sent() {
        let ring = r#"[{"kid": "k", "secret": "a signing secret of thirty-two bytes.",
            "scopes": {"accounts": ["other"]}}]"#;
        let (_, violations) = with(Keyring::parse(ring, false).unwrap(), vec![order()]);
        assert_eq!(violations, ["f:1: signing key k may not sign for this order"]);
    }
}
