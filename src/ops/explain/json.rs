//! Owns the JSON of a story, a promise to whoever reads it: docs/explain.schema.json.
//! Never leaves a field out because it is empty. Invariant: within one `format` fields are only added.

use serde_json::{Map, Value, json};

use super::told::pen::Pen;
use super::{Explained, held};
use crate::demo::report::Ink;
use crate::domain::catalogue::{Kind, Language, Text};

/// Grows when a field changes its meaning or goes away.
pub const FORMAT: u32 = 1;

/// The whole story.
pub fn json(explained: &Explained) -> Result<Value, serde_json::Error> {
    let Explained { story, language, again } = explained;
    let pen = Pen { ink: Ink::none(), language: *language };
    let mut all = serde_json::to_value(story)?;
    all["format"] = json!(FORMAT);
    all["language"] = json!(match language {
        Language::English => "en",
        Language::Japanese => "ja",
    });
    for ((told, order), again) in each(&mut all, "orders").zip(&story.orders).zip(again) {
        let steps = order.decision["steps"].as_array().cloned().unwrap_or_default();
        let clamp = |step: Value| {
            let text = step["rule"].as_str().and_then(|rule| pen.rule(rule));
            with(step, text)
        };
        told["clamps"] = steps.into_iter().map(clamp).collect();
        told["held"] = serde_json::to_value(order.ledger.as_ref().map(held))?;
        told["again"] = match again {
            Ok(again) => {
                let mut judged = serde_json::to_value(again)?;
                judged["judged"] = json!(true);
                judged
            }
            Err(why) => json!({"judged": false, "why": why}),
        };
    }
    for alert in each(&mut all, "alerts") {
        let text = alert["policy_name"].as_str().and_then(|name| pen.text(Kind::Alert, name));
        *alert = with(alert.take(), text);
    }
    for letter in each(&mut all, "dead_letters") {
        let text = letter["reason"].as_str().and_then(|code| pen.text(Kind::DeadLetter, code));
        *letter = with(letter.take(), text);
    }
    Ok(all)
}

fn each<'v>(all: &'v mut Value, list: &str) -> impl Iterator<Item = &'v mut Value> {
    all.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The same with what the catalogue says.
fn with(value: Value, text: Option<Text>) -> Value {
    let mut fields: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
    fields.insert("means".into(), json!(text.map(|text| text.means)));
    fields.insert("to_do".into(), json!(text.map(|text| text.to_do)));
    Value::Object(fields)
}
