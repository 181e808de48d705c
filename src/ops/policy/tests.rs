//! Schemas for editors agree with the strict reader and with what is committed; test files are tried.

use std::path::Path;

use serde_json::Value;

use super::cases::{Tried, try_file};
use super::kind::Kind;
use super::{junit, schema};
use crate::domain::policy::corpus::{REFUSED, TAKEN};
use crate::domain::policy::violation::SHOWN_MAX;

const SHIPPED: [(&str, &str); 4] = [
    ("quality", include_str!("../../../configs/quality_policy.yml")),
    ("profiles", include_str!("../../../configs/profiles.yaml")),
    ("risk", include_str!("../../../configs/risk_policy.yml")),
    ("instruments", include_str!("../../../configs/instruments.yml")),
];

fn kind(name: &str) -> Kind {
    Kind::ALL.into_iter().find(|kind| kind.name() == name).unwrap()
}

/// Whether an editor with the kind's schema has nothing against a text.
fn is_taken(name: &str, text: &str) -> bool {
    let schema = kind(name).schema();
    let validator = jsonschema::draft7::options().should_validate_formats(true).build(&schema);
    let validator = validator.expect("it is a good schema");
    serde_saphyr::from_str::<Value>(text).is_ok_and(|instance| validator.is_valid(&instance))
}

#[test]
fn the_committed_schemas_are_what_the_command_prints() {
    for kind in Kind::ALL {
        let path = format!("configs/schema/{}.json", kind.name());
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let printed = format!("{}\n", schema::text(kind).unwrap());
        let make = format!("make it with: noctus policy schema {} > {path}", kind.name());
        assert!(committed == printed, "{path} is out of date; {make}");
    }
}

#[test]
fn the_shipped_files_name_their_schema_and_are_good_by_it() {
    for (name, text) in SHIPPED {
        let line = format!("# yaml-language-server: $schema=schema/{name}.json\n");
        assert!(text.starts_with(&line), "{name}");
        assert!(is_taken(name, text), "{name}");
    }
}

#[test]
fn what_the_reader_takes_a_schema_takes() {
    for (name, text) in TAKEN {
        assert!(is_taken(name, text), "{name}: {text}");
    }
}

#[test]
fn what_the_reader_refuses_a_schema_refuses_if_it_can() {
    for (name, text, tells) in REFUSED {
        assert_eq!(!is_taken(name, text), *tells, "{name}: {text}");
    }
}

/// The keys of a schema's section, and those that the reader says it knows there.
#[test]
fn a_schema_has_the_keys_that_the_reader_knows() {
    let sections = [
        ("quality", "", "x: 1"),
        ("quality", "/properties/timeframes/additionalProperties", "timeframes: {t: {x: 1}}"),
        ("profiles", "", "x: 1"),
        ("profiles", "/properties/default", "default: {x: 1}"),
        ("profiles", "/properties/cohort", "cohort: {x: 1, percent: 1, salt: s, challenger: {}}"),
        ("risk", "", "x: 1"),
        ("risk", "/definitions/limits", "default: {x: 1}"),
        ("risk", "/definitions/limits", "overrides: {S: {x: 1}}"),
        (
            "risk",
            "/definitions/limits/properties/trading_hours",
            "default: {trading_hours: {zone: UTC, x: 1}}",
        ),
        (
            "risk",
            "/definitions/limits/properties/trading_hours/properties/sessions/items",
            "default: {trading_hours: {zone: UTC, sessions: [{days: [mon], from: '09:00', to: '10:00', x: 1}]}}",
        ),
        ("instruments", "/additionalProperties", "S: {x: 1}"),
    ];
    for (name, pointer, text) in sections {
        let bad = kind(name).read("f", text).unwrap_err();
        assert_eq!(bad.0.len(), 1, "{name}: {text}: {bad}");
        let (_, known) = bad.0[0].what.split_once("known are ").unwrap();
        let mut known: Vec<&str> = known.split(", ").collect();
        known.sort_unstable();
        let schema = kind(name).schema();
        let properties = &schema.pointer(pointer).unwrap()["properties"];
        let keys: Vec<&String> = properties.as_object().unwrap().keys().collect();
        assert_eq!(keys, known, "{name}{pointer}");
    }
}

#[test]
fn f43_forty_mistakes_are_told_at_once_each_with_its_line_and_a_caret() {
    let text = include_str!("../../../tests/policies/forty-mistakes.yml");
    let bad = Kind::Risk.read("forty-mistakes.yml", text).unwrap_err();
    let number = |line: &str| line.rsplit_once("# ").and_then(|(_, n)| n.parse::<u32>().ok());
    let mut found: Vec<u32> = bad.0.iter().filter_map(|v| number(&v.source)).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=40).collect::<Vec<u32>>(), "{bad}");
    assert_eq!(bad.0.len(), 40, "{bad}");
    for violation in &bad.0 {
        let told = violation.to_string();
        let lines: Vec<&str> = told.lines().collect();
        let [head, _, source, caret] = lines[..] else { panic!("{told}") };
        let place = violation.place;
        assert!(head.starts_with(&format!("forty-mistakes.yml:{}:{}: ", place.line, place.column)));
        assert_eq!(text.lines().nth(place.line - 1), Some(violation.source.as_str()));
        assert!(violation.source.chars().count() < SHOWN_MAX, "the whole line is shown");
        assert!(source.ends_with(&violation.source), "{told}");
        let (margin, under) = caret.split_once("| ").unwrap();
        assert_eq!(under.find('^').map(|at| at + 1), Some(place.column), "{told}");
        assert_eq!(margin.len() + 1, source.find('|').unwrap() + 1, "{told}");
    }
}

fn try_text(name: &str, text: &str) -> Tried {
    let folder = std::env::temp_dir().join(format!("noctus-policy-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a.test.yml");
    std::fs::write(&path, text).unwrap();
    let tried = try_file(&path);
    std::fs::remove_dir_all(&folder).unwrap();
    tried
}

#[test]
fn the_cases_beside_the_shipped_policies_hold() {
    let tried = try_file(Path::new("configs/risk_policy.test.yml"));
    assert_eq!(tried.errors, [""; 0]);
    assert!(tried.cases.len() >= 12);
    let differing: Vec<_> = tried.cases.iter().filter(|c| !c.differences.is_empty()).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn a_case_that_differs_tells_how_and_the_others_are_judged() {
    let tried = try_text(
        "differs",
        "policies: {risk: {default: {max_order_qty: 10}}}\n\
         given: {now: 2026-11-23T10:00:00Z, request: {symbol: GBPJPY, side: BUY, qty: 5}}\n\
         cases:\n\
         - {name: good, expect: {action: BUY, decided_qty: 5.0, alerts: []}}\n\
         - {name: 'cut & <told>', given: {request: {qty: 20}}, expect: {decided_qty: 20, alerts: []}}\n\
         - {name: by name, given: {request: {qty: 20}}, expect: {alerts: [risk.max_order_qty]}}\n\
         - {name: nothing, expect: {}}\n",
    );
    assert_eq!((tried.errors.len(), tried.cases.len(), tried.failed()), (0, 4, 2), "{tried:#?}");
    let cut = &tried.cases[1];
    assert_eq!(
        cut.differences[0],
        "alerts: expected [], got [{\"details\":{\"after\":\"10\",\"before\":\"20\",\"limit\":\"10\"},\"policy_name\":\"risk.max_order_qty\",\"reason\":\"20 > 10\",\"severity\":\"MEDIUM\"}]"
    );
    assert_eq!(cut.differences[1], "decided_qty: expected 20, got \"10\"");
    assert!(cut.notes.contains(&"step: risk.max_order_qty 20 → 10: 20 > 10".to_string()));
    assert_eq!(tried.cases[3].differences, ["it expects nothing"]);
    let xml = junit::report(&[tried]);
    assert!(
        xml.contains(
            "<testsuites name=\"noctus policy test\" tests=\"4\" failures=\"2\" errors=\"0\">"
        ),
        "{xml}"
    );
    assert!(xml.contains("name=\"cut &amp; &lt;told&gt;\""), "{xml}");
    assert_eq!(xml.matches("<failure ").count(), 2);
}

#[test]
fn a_test_file_that_cannot_be_tried_is_an_error_and_never_good() {
    for (name, text, error) in [
        ("key", "policies: {}\ncase: []\n", "unknown field `case`"),
        ("kind", "policies: {rsk: {}}\ncases: []\n", "\"rsk\" is not a policy"),
        ("file", "policies: {risk: nowhere.yml}\ncases: []\n", "nowhere.yml"),
        (
            "bad",
            "policies: {risk: {default: {max_order_qty: -1}}}\ncases: []\n",
            "must be a number",
        ),
        ("none", "policies: {risk: {}}\ncases: []\n", "it has no cases"),
        ("twice", "policies: {}\npolicies: {}\ncases: []\n", "duplicate"),
    ] {
        let tried = try_text(name, text);
        assert_eq!(tried.errors.len(), 1, "{name}");
        assert!(tried.errors[0].contains(error), "{name}: {}", tried.errors[0]);
        assert!(junit::report(&[tried]).contains("errors=\"1\""));
    }
    let no_time = "policies: {risk: {}}\ncases:\n- {name: n, expect: {action: BUY}}\n";
    let tried = try_text("now", no_time);
    assert!(
        tried.cases[0].differences[0].contains("action: expected \"BUY\", got nothing"),
        "{tried:?}"
    );
}
