//! Owns the format of a case (`tests/vectors`): a request, the facts, the policies and the time, in one line.
//! Never reads a clock: a case says its time. A refused shape is a result; a line that is no case is not.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::slices;
use crate::domain::judge::{Facts, Judgement, judge};
use crate::domain::money;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{Intake, InvalidShape, OrderDraft, OrderTerms, ProposalSetDraft};
use crate::runtime::policies;

/// What a line came to.
#[derive(Debug)]
pub struct Answer {
    /// The case's own name, as it was.
    pub name: Value,
    /// What came of it.
    pub outcome: Outcome,
    /// What the case expects, if it says.
    pub expect: Option<Value>,
}

/// What came of a case.
#[derive(Debug)]
pub enum Outcome {
    /// It was judged; `is_set` tells proposal sets from direct requests.
    Judged {
        /// The judgement.
        judgement: Box<Judgement>,
        /// Whether a proposal set was judged.
        is_set: bool,
    },
    /// Its shape is refused: a result, `invalid_<field>`.
    Refused(String),
    /// The line is no case.
    Bad(String),
}

/// Most distinct policies that are kept parsed.
const POLICIES_MAX: usize = 4_096;

/// Judges cases, line by line; policies are parsed once per distinct text.
#[derive(Default)]
pub struct Cases {
    policies: HashMap<String, Result<Arc<Policies>, String>>,
    /// What every case is judged under, if cases do not say.
    fixed: Option<Arc<Policies>>,
}

impl Cases {
    /// Cases that say no policies and are judged under these.
    pub fn under(policies: Arc<Policies>) -> Self {
        Self { fixed: Some(policies), ..Self::default() }
    }

    /// What a line comes to.
    pub fn answer(&mut self, line: &str) -> Answer {
        let members = match slices::members(line) {
            Ok(members) => members,
            Err(why) => {
                return Answer { name: Value::Null, outcome: Outcome::Bad(why), expect: None };
            }
        };
        let mut parts = Parts::default();
        let outcome = match parts.take(&members) {
            Ok(()) => self.judge(&parts).unwrap_or_else(|outcome| outcome),
            Err(why) => Outcome::Bad(why),
        };
        Answer { name: parts.name, outcome, expect: parts.expect }
    }

    fn judge(&mut self, parts: &Parts) -> Result<Outcome, Outcome> {
        let now = parts.now.ok_or_else(|| Outcome::Bad("now is needed".into()))?;
        let facts: Facts = match parts.facts {
            Some(text) => parse("facts", text)?,
            None => Facts::default(),
        };
        let policies = match (&self.fixed, parts.policies) {
            (Some(fixed), None) => fixed.clone(),
            (_, given) => self.policies(given.unwrap_or("{}")).map_err(Outcome::Bad)?,
        };
        let intake = match (parts.request, parts.proposal_set) {
            (Some(text), None) => order(text)?,
            (None, Some(text)) => proposal_set(text)?,
            _ => return Err(Outcome::Bad("one of request and proposal_set is needed".into())),
        };
        let judgement = Box::new(judge(&intake, &facts, &policies, now));
        Ok(Outcome::Judged { judgement, is_set: matches!(intake, Intake::Proposals(_)) })
    }

    fn policies(&mut self, text: &str) -> Result<Arc<Policies>, String> {
        if let Some(known) = self.policies.get(text) {
            return known.clone();
        }
        if self.policies.len() >= POLICIES_MAX {
            self.policies.clear();
        }
        let parsed = parse_policies(text).map(Arc::new);
        self.policies.insert(text.to_string(), parsed.clone());
        parsed
    }
}

/// The texts of a line's members.
#[derive(Default)]
struct Parts<'t> {
    name: Value,
    now: Option<Timestamp>,
    request: Option<&'t str>,
    proposal_set: Option<&'t str>,
    facts: Option<&'t str>,
    policies: Option<&'t str>,
    expect: Option<Value>,
}

impl<'t> Parts<'t> {
    fn take(&mut self, members: &[(String, &'t str)]) -> Result<(), String> {
        let json = |key: &str, text: &str| {
            serde_json::from_str::<Value>(text).map_err(|e| format!("{key}: {e}"))
        };
        // The name first: an error in another member is then told under it.
        for (key, text) in members.iter().filter(|(key, _)| key == "name") {
            self.name = json(key, text)?;
        }
        for (key, text) in members {
            let given = (*text != "null").then_some(*text);
            match key.as_str() {
                "name" => {}
                "now" => {
                    let now = serde_json::from_str(text);
                    self.now = Some(now.map_err(|e| format!("now: {e}"))?);
                }
                "request" => self.request = given,
                "proposal_set" => self.proposal_set = given,
                "facts" => self.facts = given,
                "policies" => self.policies = given,
                "expect" => self.expect = Some(json(key, text)?),
                other => return Err(format!("{other:?} is not a member of a case")),
            }
        }
        Ok(())
    }
}

fn parse<'t, T: Deserialize<'t>>(what: &str, text: &'t str) -> Result<T, Outcome> {
    serde_json::from_str(text).map_err(|e| Outcome::Bad(format!("{what}: {e}")))
}

fn parse_policies(text: &str) -> Result<Policies, String> {
    let mut sources = Sources::default();
    for (key, text) in slices::members(text).map_err(|why| format!("policies: {why}"))? {
        let (slot, file) = match key.as_str() {
            "quality" => (&mut sources.quality, "quality"),
            "profiles" => (&mut sources.profiles, "profiles"),
            "risk" => (&mut sources.risk, "risk"),
            "instruments" => (&mut sources.instruments, "instruments"),
            other => return Err(format!("policies: {other:?} is not a policy")),
        };
        if text != "null" {
            *slot = Some(Source { file, text });
        }
    }
    Policies::parse(sources, &policies::zones).map_err(|bad| {
        let all: Vec<String> =
            bad.0.iter().map(|v| format!("{}: {}: {}", v.file, v.path, v.what)).collect();
        format!("policies: {}", all.join("; "))
    })
}

fn refused(shape: InvalidShape) -> Outcome {
    Outcome::Refused(shape.code())
}

/// An order request from its JSON text.
pub fn order(text: &str) -> Result<Intake, Outcome> {
    match serde_json::from_str::<OrderDraft>(text) {
        Ok(draft) => draft.check().map(Intake::Order).map_err(refused),
        Err(error) => Err(unreadable("request", text, &["qty"], error)),
    }
}

fn proposal_set(text: &str) -> Result<Intake, Outcome> {
    let mut set: Map<String, Value> = parse("proposal_set", text)?;
    let bad = |why: String| Outcome::Bad(format!("proposal_set: {why}"));
    let mut terms = OrderTerms::default();
    for (key, price) in
        [("limit_price", &mut terms.limit_price), ("stop_price", &mut terms.stop_price)]
    {
        if let Some(value) = set.remove(key).filter(|v| !v.is_null()) {
            let given = decimal(&value).ok_or(Outcome::Refused(format!("invalid_{key}")))?;
            *price = Some(given);
        }
    }
    if let Some(value) = set.remove("time_in_force") {
        terms.time_in_force = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    }
    match ProposalSetDraft::deserialize(Value::Object(set)) {
        Ok(draft) => draft.check_with(terms).map(Intake::Proposals).map_err(refused),
        Err(error) => Err(unreadable("proposal_set", text, &[], error)),
    }
}

/// A number that no decimal can hold is a refused shape, like one that may not be; all else is no case.
fn unreadable(what: &str, text: &str, needed: &[&str], error: serde_json::Error) -> Outcome {
    let numbers =
        ["qty", "limit_price", "stop_price", "reference_price", "stop_loss", "take_profit"];
    if let Ok(Value::Object(given)) = serde_json::from_str(text) {
        let wrong = numbers.into_iter().find(|name| match given.get(*name) {
            None => needed.contains(name),
            Some(Value::Null) => needed.contains(name),
            Some(value) => decimal(value).is_none(),
        });
        if let Some(name) = wrong {
            return Outcome::Refused(format!("invalid_{name}"));
        }
    }
    Outcome::Bad(format!("{what}: {error}"))
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => money::read(text),
        Value::Number(number) => money::read(&number.to_string()),
        _ => None,
    }
}
