//! Owns reading a decision back as it was recorded: what was asked, what was known, what was decided.
//! Never fills a gap with a default: facts that are not all there are no facts.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::{Action, PolicyDigests, Step};
use crate::domain::judge::Facts;
use crate::domain::money::{self, bounded};
use crate::domain::request::{Intake, OrderDraft, ProposalSetDraft};
use crate::domain::text::{Account, Symbol};

/// A decision as it was recorded, ready to be judged again.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub written: Written,
    pub intake: Intake,
    /// None for a REJECT, which no fact changes.
    pub facts: Option<Facts>,
}

/// What a decision's record says, but for what it was made from.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Written {
    pub idempotency_key: String,
    pub trace_id: String,
    pub account: Account,
    pub symbol: Symbol,
    pub action: Action,
    #[serde(deserialize_with = "money::deserialize")]
    pub requested_qty: Decimal,
    #[serde(deserialize_with = "money::deserialize")]
    pub decided_qty: Decimal,
    pub steps: Vec<Step>,
    #[serde(default, deserialize_with = "money::deserialize_option")]
    pub price: Option<Decimal>,
    #[serde(default, deserialize_with = "money::deserialize_option")]
    pub unit_value: Option<Decimal>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub engine_version: String,
    pub policies: PolicyDigests,
    pub decided_at: Timestamp,
}

/// A decision that cannot be judged again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unjudged {
    /// Its idempotency key, or where it was found if it has none.
    pub name: String,
    /// What is missing or cannot be read.
    pub why: String,
}

impl Recorded {
    /// From the JSON of a decision, as the topic has it; `place` names it if it does not name itself.
    pub fn read(place: &str, mut json: Value) -> Result<Self, Unjudged> {
        let name = json["idempotency_key"].as_str().unwrap_or(place).to_string();
        let unjudged = |why: String| Unjudged { name: name.clone(), why };
        let mut taken = |field: &str| json.get_mut(field).map(Value::take).unwrap_or_default();
        let (request, facts) = (taken("request"), taken("facts"));
        let written: Written =
            serde_json::from_value(json).map_err(|e| unjudged(format!("no decision: {e}")))?;
        let intake = intake(request).map_err(&unjudged)?;
        if *intake.symbol() != written.symbol || *intake.account() != written.account {
            return Err(unjudged("the request is for another account or symbol".into()));
        }
        let facts = match written.action {
            Action::Reject => None,
            _ => Some(self::facts(facts).map_err(&unjudged)?),
        };
        Ok(Self { written, intake, facts })
    }

    /// What one unit was worth in the account's currency when it was judged. None without a price; nor is the 1
    /// that stands for a price where limits go by the quantity alone.
    pub fn worth(&self) -> Option<Decimal> {
        let price = self.written.price?;
        if price == Decimal::ONE && !self.prices().any(|p| bounded(p) == Decimal::ONE) {
            return None;
        }
        price.checked_mul(self.written.unit_value?)
    }

    /// Every price that a notional can have used.
    fn prices(&self) -> impl Iterator<Item = Decimal> {
        let quote = self.facts.as_ref().and_then(|facts| facts.quote);
        let quoted = quote.into_iter().flat_map(|quote| [quote.bid, quote.ask]);
        let own = [self.intake.limit_price(), self.intake.stop_price()];
        let reference = *self.intake.reference_price();
        quoted.chain(own.into_iter().flatten()).chain(reference)
    }
}

fn intake(request: Value) -> Result<Intake, String> {
    let shape = |wrong: crate::domain::request::InvalidShape| format!("request: {wrong}");
    match &request {
        Value::Null => Err("it has no request".into()),
        Value::Object(fields) if fields.contains_key("proposals") => {
            proposals(request)?.check().map(Intake::Proposals).map_err(shape)
        }
        _ => parse::<OrderDraft>("request", request)?.check().map(Intake::Order).map_err(shape),
    }
}

/// JSON has no NaN and no infinity: where one was recorded there is null, and null is what nobody measured.
fn proposals(mut set: Value) -> Result<ProposalSetDraft, String> {
    let mut unmeasured = Vec::new();
    for proposal in set.get_mut("proposals").and_then(Value::as_array_mut).into_iter().flatten() {
        unmeasured.push(["confidence", "risk_score"].map(|name| {
            let null = proposal.get_mut(name).filter(|number| number.is_null());
            null.map(|number| *number = Value::from(0)).is_some()
        }));
    }
    let mut draft: ProposalSetDraft = parse("request", set)?;
    for (proposal, [no_confidence, no_risk_score]) in draft.proposals.iter_mut().zip(unmeasured) {
        if no_confidence {
            proposal.confidence = f64::NAN;
        }
        if no_risk_score {
            proposal.risk_score = f64::NAN;
        }
    }
    Ok(draft)
}

/// The names of all facts: a decision was recorded with every one of them.
static NAMES: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| match serde_json::to_value(Facts::default()) {
        Ok(Value::Object(facts)) => facts.into_iter().map(|(name, _)| name).collect(),
        _ => BTreeSet::new(),
    });

fn facts(facts: Value) -> Result<Facts, String> {
    let Value::Object(given) = &facts else { return Err("it has no facts".into()) };
    if given.is_empty() {
        return Err("it has no facts".into());
    }
    let lacks: Vec<&str> =
        NAMES.iter().map(String::as_str).filter(|name| !given.contains_key(*name)).collect();
    if !lacks.is_empty() {
        return Err(format!("its facts lack {}", lacks.join(", ")));
    }
    parse("facts", facts)
}

fn parse<T: DeserializeOwned>(what: &str, json: Value) -> Result<T, String> {
    serde_json::from_value(json).map_err(|e| format!("{what}: {e}"))
}
