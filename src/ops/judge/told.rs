//! Owns how an answer is written, one JSON object a line, and how it is compared with what a case expects.
//! Never compares numbers as texts: `1.50` is `1.5`. A result may say more than is expected.

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};

use super::case::{Answer, Outcome};
use crate::domain::event::{Action, Candidate, PolicyDigests, Quality, Quote, Step};
use crate::domain::judge::{Fired, Judgement, QualityMemory};
use crate::domain::request::Side;

/// A judgement as it is written: what does not apply is absent.
#[derive(Serialize)]
pub struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Value>,
    action: Action,
    side: Side,
    requested_qty: Decimal,
    decided_qty: Decimal,
    opening_qty: Decimal,
    opening_notional: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: &'a Option<Quality>,
    next_quality_state: QualityMemory,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<&'a Option<Decimal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy_name: Option<&'a Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_candidates: Option<&'a [Candidate]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: &'a Option<String>,
    price: Option<Decimal>,
    quote: Option<Quote>,
    steps: &'a [Step],
    alerts: &'a [Fired],
    reason: &'a str,
    policies: &'a PolicyDigests,
}

impl<'a> Told<'a> {
    /// The judgement of a direct request or of a proposal set.
    pub fn new(name: Option<&'a Value>, judgement: &'a Judgement, is_set: bool) -> Self {
        let j = judgement;
        let engine = is_set && j.action != Action::Reject;
        Self {
            name,
            action: j.action,
            side: j.side,
            requested_qty: j.requested_qty,
            decided_qty: j.decided_qty,
            opening_qty: j.opening_qty,
            opening_notional: j.opening_notional,
            quality: &j.quality,
            next_quality_state: j.next_quality_state,
            score: engine.then_some(&j.score),
            strategy_name: engine.then_some(&j.strategy_name),
            top_candidates: engine.then_some(&j.top_candidates),
            arm: &j.arm,
            price: j.price,
            quote: j.quote,
            steps: &j.steps,
            alerts: &j.alerts,
            reason: &j.reason,
            policies: &j.policies,
        }
    }
}

impl Answer {
    /// One line of JSON, without the line break.
    pub fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match &self.outcome {
            Outcome::Judged { judgement, is_set } => {
                serde_json::to_writer(out, &Told::new(Some(&self.name), judgement, *is_set))
            }
            Outcome::Refused(why) | Outcome::Bad(why) => {
                #[derive(Serialize)]
                struct Error<'a> {
                    name: &'a Value,
                    error: &'a str,
                }
                serde_json::to_writer(out, &Error { name: &self.name, error: why })
            }
        }
    }

    /// How the answer differs from what the case expects: `path: expected …, got …`.
    pub fn differences(&self) -> Vec<String> {
        let Some(expect) = &self.expect else { return Vec::new() };
        let got = match &self.outcome {
            Outcome::Judged { judgement, is_set } => {
                serde_json::to_value(Told::new(None, judgement, *is_set)).unwrap_or(Value::Null)
            }
            Outcome::Refused(why) | Outcome::Bad(why) => json!({"error": why}),
        };
        let mut found = Vec::new();
        compare("", expect, &got, &mut found);
        // What a REJECT does not have must not be there.
        for name in ["quality", "score", "strategy_name", "top_candidates"] {
            if expect["action"] == "REJECT" && expect.get(name).is_none() && got.get(name).is_some()
            {
                found.push(format!("{name}: expected none, got {}", got[name]));
            }
        }
        found
    }
}

/// Every member that is expected must be there and be equal; lists are as long as expected.
fn compare(path: &str, expect: &Value, got: &Value, found: &mut Vec<String>) {
    match (expect, got) {
        (Value::Object(expect), Value::Object(got)) => {
            for (key, expect) in expect {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match got.get(key) {
                    Some(got) => compare(&path, expect, got, found),
                    None => found.push(format!("{path}: expected {expect}, got nothing")),
                }
            }
        }
        (Value::Array(expect), Value::Array(got)) if expect.len() == got.len() => {
            for (i, (expect, got)) in expect.iter().zip(got).enumerate() {
                compare(&format!("{path}[{i}]"), expect, got, found);
            }
        }
        _ if expect == got => {}
        _ if number(expect).is_some() && number(expect) == number(got) => {}
        _ => found.push(format!("{path}: expected {expect}, got {got}")),
    }
}

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
