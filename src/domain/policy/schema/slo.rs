//! The JSON Schema of `configs/slo.yml`.

use serde_json::{Value, json};

use super::{file, keys, named, needed, number, section, whole};
use crate::domain::policy::slo::{Indicator, NAME, Span};

/// `configs/slo.yml`.
pub fn slo() -> Value {
    let span = |what: &str| {
        json!({"description": format!("{what} Minutes, hours or days, e.g. 24h; at most 31d."),
        "type": "string", "pattern": whole(Span::ALLOWED)})
    };
    let word = |what: &str| json!({"description": what, "type": "string"});
    let levels = |what: &str| {
        let mut levels = named(what, ".*", needed(number("The threshold.", None, "")));
        levels["type"] = json!("object");
        levels["minProperties"] = json!(1);
        levels
    };
    let samples = || {
        json!({"description": "With fewer samples there is no data. Unless given: 1.",
        "type": ["integer", "string"], "minimum": 1, "pattern": "^0*[1-9][0-9]*$"})
    };
    let rate = keys([
        ("long", span("The window that is told.")),
        ("short", span("It must burn in this one, too.")),
        ("factor", needed(number("So many times faster than allowed.", None, ""))),
        ("severity", word("How bad that is. Unless given: warn.")),
        ("min_samples", samples()),
    ]);
    let mut rate = section("A burn rate.", rate);
    rate["type"] = json!("object");
    rate["required"] = json!(["long", "short", "factor"]);
    let indicators = Indicator::WRITTEN.map(|(name, _)| name);
    let objective = keys([
        ("about", json!({"description": "For a person.", "type": "string", "maxLength": 200})),
        ("indicator", json!({"description": "What is measured.", "enum": indicators})),
        ("percentile", needed(number("Of an indicator in milliseconds, e.g. 95.", Some(100), ""))),
        ("window", span("Over which time.")),
        ("above", levels("Severity → threshold above which it is violated.")),
        ("below", levels("Severity → threshold below which an availability is violated.")),
        ("min_samples", samples()),
        ("no_data", word("How bad it is to have no data. Unless given: warn.")),
        (
            "burn",
            json!({"description": "Of an availability: it is burnt too fast.", "type": "array", "items": rate}),
        ),
    ]);
    let mut objective = section("What is promised.", objective);
    objective["type"] = json!("object");
    objective["required"] = json!(["indicator", "window"]);
    let mut schema = file("Service levels", keys([("slos", named("By name.", NAME, objective))]));
    schema["description"] = json!("docs/slo.md explains each key.");
    schema["required"] = json!(["slos"]);
    schema
}
