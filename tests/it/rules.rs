//! The catalogue has every code that the source uses, and its pages are up to date.

use std::collections::BTreeSet;

use noctus::domain::catalogue::page::page;
use noctus::domain::catalogue::{Kind, Language, find};
use noctus::domain::event::OrderStatus;

use crate::source::{code, read};

#[test]
fn the_pages_of_the_catalogue_are_up_to_date() {
    for (path, lang, language) in
        [("docs/rules.md", "en", Language::English), ("docs/rules.ja.md", "ja", Language::Japanese)]
    {
        let make = format!("make it with: noctus docs rules --lang {lang} > {path}");
        assert!(read(path) == page(language), "{path} is out of date; {make}");
    }
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    let path = "docs/metrics.md";
    let made = noctus::runtime::metrics::page::page();
    assert!(
        read(path) == made,
        "{path} is out of date; make it with: noctus docs metrics > {path}"
    );
}

#[test]
fn the_page_of_order_states_is_up_to_date_and_has_every_state() {
    let (path, made) = ("docs/order-states.md", noctus::domain::order::page::page());
    assert!(
        read(path) == made,
        "{path} is out of date; make it with: noctus docs order-states > {path}"
    );
    for status in OrderStatus::ALL {
        assert!(made.contains(&format!("| **{}** |", status.as_str())), "{status:?}");
    }
    assert!(made.contains("SENT --> UNKNOWN: lost track"), "the diagram has the moves");
}

/// What an alert's policy_name begins with.
const FAMILIES: &[&str] = &[
    "PLAN.",
    "broker.",
    "clock.",
    "dispatch.",
    "do.",
    "gate.",
    "ingest.",
    "notify.",
    "owed.",
    "policy.",
    "quotes.",
    "risk.",
    "sink.",
    "slo.",
];

/// Texts that look like an alert's name and are none: file, and the text.
const NO_ALERTS: &[(&str, &str)] = &[
    ("src/domain/risk/rules.rs", "risk.qty_step"), // a step
    ("src/ops/mod.rs", "broker.url"),              // a key of the configuration
    ("src/gate/reload.rs", "{what}.reload_refused"), // of the two kinds below
    ("src/gate/refusal.rs", "ingest.{other}"),     // see the reasons below
    ("src/domain/quality.rs", "PLAN.QUALITY.{name}"), // see the quality gate below
];

#[test]
fn every_alert_that_the_source_names_is_in_the_catalogue() {
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    for file in code() {
        // The catalogue itself, and scenarios and cases, which only repeat names.
        if file.path.starts_with("src/domain/catalogue") || file.path.starts_with("src/demo/") {
            continue;
        }
        for (line, text) in &file.lines {
            let named = text.contains("policy_name");
            for literal in literals(text) {
                let in_family = FAMILIES.iter().any(|family| literal.starts_with(family));
                let looks = is_dotted(&literal) && (in_family || named);
                if !looks || NO_ALERTS.contains(&(file.path.as_str(), literal.as_str())) {
                    continue;
                }
                if find(Kind::Alert, &literal).is_none() {
                    missing.push(format!("{}:{line}: {literal}", file.path));
                }
                seen.insert(literal);
            }
        }
    }
    assert!(missing.is_empty(), "not in src/domain/catalogue:\n{}", missing.join("\n"));
    for known in
        ["risk.halted", "risk.gate_error", "do.expired", "do.parked", "do.idempotency_conflict"]
    {
        assert!(seen.contains(known), "the search no longer finds {known}");
    }
}

#[test]
fn every_kind_of_file_that_is_read_again_has_its_alert_in_the_catalogue() {
    let file = code().into_iter().find(|f| f.path == "src/gate/reload.rs").expect("it is there");
    let made = file.lines.iter().filter(|(_, line)| line.contains("\", &of_"));
    let kinds: Vec<String> =
        made.filter_map(|(_, line)| literals(line).into_iter().next()).collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    for kind in kinds {
        assert!(find(Kind::Alert, &format!("{kind}.reload_refused")).is_some(), "{kind}");
    }
}

#[test]
fn every_alert_of_the_quality_gate_is_in_the_catalogue() {
    let quality =
        code().into_iter().find(|f| f.path == "src/domain/quality.rs").expect("it is there");
    let names: BTreeSet<String> = quality
        .lines
        .iter()
        .flat_map(|(_, line)| literals(line))
        .filter(|text| text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        assert!(find(Kind::Alert, &format!("PLAN.QUALITY.{name}")).is_some(), "{name}");
    }
}

/// The code of one function or block of a file: from the line with `from` to the line that is `to`.
fn block(path: &str, from: &str, to: &str) -> Vec<String> {
    let file = code().into_iter().find(|f| f.path == path).unwrap_or_else(|| panic!("{path}"));
    let lines = file.lines.into_iter().map(|(_, line)| line);
    let block: Vec<String> =
        lines.skip_while(|l| !l.contains(from)).take_while(|l| l != to).collect();
    assert!(!block.is_empty(), "{path} has no {from}");
    block
}

#[test]
fn every_reason_of_a_dead_letter_is_in_the_catalogue_with_its_alert() {
    let mut reasons: BTreeSet<String> = BTreeSet::new();
    for (path, from, to) in [
        ("src/gate/refusal.rs", "impl fmt::Display for Reason", "}"),
        ("src/wire/mod.rs", "pub fn reason(&self)", "    }"),
    ] {
        reasons.extend(block(path, from, to).iter().flat_map(|line| literals(line)));
    }
    // Fields: of the schemas (what is decoded), of the shape, of the gate.
    for schema in ["order_request_v1.1", "proposal_set", "order_command"] {
        let schema: serde_json::Value =
            serde_json::from_str(&read(&format!("schemas/{schema}.avsc"))).expect("it is JSON");
        let fields = schema["fields"].as_array().expect("a record has fields");
        reasons
            .extend(fields.iter().map(|f| format!("invalid_{}", f["name"].as_str().unwrap_or(""))));
    }
    for line in block("src/domain/request.rs", "fn price(", "}").iter().chain(&block(
        "src/domain/request.rs",
        "impl OrderDraft {",
        "/// What the gate is asked to judge.",
    )) {
        let calls = ["InvalidShape::new(\"", "typed_price(\"", "price(\""];
        for call in calls {
            for (at, _) in line.match_indices(call) {
                let rest = &line[at + call.len()..];
                let field = rest.split('"').next().unwrap_or_default();
                reasons.insert(format!("invalid_{field}"));
            }
        }
    }
    for file in code().iter().filter(|f| f.path.starts_with("src/gate/")) {
        let literals = file.lines.iter().flat_map(|(_, line)| literals(line));
        reasons.extend(literals.filter(|text| text.starts_with("invalid_") && !text.contains('{')));
    }
    for known in [
        "bad_wire",
        "idempotency_conflict",
        "invalid_price_hint",
        "invalid_request",
        "invalid_meta",
    ] {
        assert!(reasons.contains(known), "the search no longer finds {known}: {reasons:?}");
    }
    for reason in reasons {
        assert!(
            find(Kind::DeadLetter, &reason).is_some(),
            "{reason} is not in src/domain/catalogue"
        );
        let alert = match reason.as_str() {
            "idempotency_conflict" => "do.idempotency_conflict".to_string(),
            other => format!("ingest.{other}"),
        };
        assert!(find(Kind::Alert, &alert).is_some(), "{alert} is not in src/domain/catalogue");
    }
}

/// Texts of dispatch that look like a reason code and are none.
const NO_CODES: &[&str] = &[
    "found_by",
    "order_ref",
    "not_sent",      // members and words of an attempt's record
    "unknown_order", // the broker's word, which is not passed on
    "snake_case",
    "number_option", // serde
    "exec_seq",
    "received_at", // fields
    "client_order_id_taken",
    "not_working",
    "filled_meanwhile", // the broker's words of a replace
    "cannot_cancel",    // the paper broker's of a cancel
    "cancel_wanted",
    "broker_no_replace",
    "too_much_filled", // codes of commands
    "at_broker",
];

#[test]
fn every_reason_code_of_an_exec_event_is_in_the_catalogue() {
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    for file in code().iter().filter(|f| f.path.starts_with("src/dispatch/")) {
        for (line, text) in &file.lines {
            for literal in literals(text) {
                // A single word is a code only where it is said to be.
                let said = text.contains(&format!("code: \"{literal}\""));
                let looks = is_snake(&literal) || said;
                if !looks || NO_CODES.contains(&literal.as_str()) {
                    continue;
                }
                let entry = find(Kind::Exec, &literal).filter(|entry| entry.code != "<code>");
                if entry.is_none() {
                    missing.push(format!("{}:{line}: {literal}", file.path));
                }
                seen.insert(literal);
            }
        }
    }
    assert!(missing.is_empty(), "not in src/domain/catalogue:\n{}", missing.join("\n"));
    for known in ["too_old", "broker_min_qty", "connection_lost", "lease_over", "taken_over"] {
        assert!(seen.contains(known), "the search no longer finds {known}: {seen:?}");
    }
    for known in ["halted", "timeout", "not_found", "asked_in_vain:timeout", "attempt_2"] {
        assert!(find(Kind::Exec, known).is_some_and(|entry| entry.code != "<code>"), "{known}");
    }
}

#[test]
fn every_step_and_every_reason_of_a_reject_is_in_the_catalogue() {
    let late = block("src/domain/judge/late.rs", "fn refuse_late", "}");
    let codes = late.iter().filter(|line| line.contains("code:")).flat_map(|line| literals(line));
    let codes: BTreeSet<String> = codes.filter(|text| !text.contains(' ')).collect();
    assert_eq!(codes.len(), 2, "{codes:?}");
    assert!(codes.iter().all(|code| find(Kind::Decision, code).is_some()), "{codes:?}");
    let mut steps = BTreeSet::new();
    for file in code().iter().filter(|f| f.path.starts_with("src/domain/")) {
        for (_, line) in file.lines.iter().filter(|(_, line)| line.contains(".change(\"")) {
            steps.extend(literals(line).into_iter().take(1));
        }
    }
    assert!(steps.len() >= 4, "{steps:?}");
    for step in steps {
        let entry = find(Kind::Step, &step).or(find(Kind::Alert, &step));
        assert!(entry.is_some(), "{step} is not in src/domain/catalogue");
    }
}

/// The texts in a line of code.
fn literals(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    let mut chars = line.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        match (&mut inside, c) {
            (Some(text), '\\') => {
                text.push(c);
                text.extend(chars.next());
            }
            (Some(_), '"') => found.extend(inside.take()),
            (Some(text), c) => text.push(c),
            (None, '"') if before != '\'' => inside = Some(String::new()),
            _ => {}
        }
        before = c;
    }
    found
}

/// `family.name`, as alerts are named.
fn is_dotted(text: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || "_{}".contains(c))
    };
    text.contains('.') && text.split('.').all(part)
}

/// `two_words`, as codes are.
fn is_snake(text: &str) -> bool {
    let part =
        |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.contains('_') && text.split('_').all(part)
}
