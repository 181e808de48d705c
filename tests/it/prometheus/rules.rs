//! The rules: well formed, each tried with and without its reason, each with a runbook.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{RULE_TESTS, RULES, promtool, unknown_metrics};
use crate::source::{read, root};

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rules(all: &Value) -> Vec<Value> {
    let groups = all["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Alerts by name.
fn alerts() -> BTreeMap<String, Value> {
    let named = |rule: Value| Some((rule["alert"].as_str()?.to_string(), rule));
    rules(&yaml(RULES)).into_iter().filter_map(named).collect()
}

#[test]
fn the_rules_are_well_formed_and_their_unit_tests_hold() {
    let path = |name: &str| root().join(name).display().to_string();
    for (verb, file) in [(["check", "rules"], RULES), (["test", "rules"], RULE_TESTS)] {
        let (holds, told) = promtool(&[verb[0], verb[1], &path(file)]);
        assert!(holds, "{told}");
    }
}

#[test]
fn the_unit_tests_notice_of_every_alert_when_it_never_fires_and_when_it_always_does() {
    for (expr, what) in [("vector(1) > 2", "fires"), ("vector(1)", "does not fire")] {
        let mut changed = yaml(RULES);
        for group in changed["groups"].as_array_mut().expect("groups") {
            for rule in group["rules"].as_array_mut().expect("rules") {
                if rule["alert"].is_string() {
                    rule["expr"] = json!(expr);
                    rule.as_object_mut().expect("an object").remove("for");
                }
            }
        }
        let folder =
            std::env::temp_dir().join(format!("noctus-it-rules-{:08x}", rand::random::<u32>()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        std::fs::write(folder.join("rules.yml"), changed.to_string()).expect("it can be written");
        std::fs::write(folder.join("rules.test.yml"), read(RULE_TESTS)).expect("it can be written");
        let (holds, told) =
            promtool(&["test", "rules", &folder.join("rules.test.yml").display().to_string()]);
        std::fs::remove_dir_all(&folder).expect("it is there");
        assert!(!holds, "{told}");
        for name in alerts().keys() {
            assert!(told.contains(&format!("name: {name} {what},")), "{name} {what}: {told}");
        }
    }
}

#[test]
fn every_alert_is_tried_where_it_fires_and_where_it_does_not() {
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for case in yaml(RULE_TESTS)["tests"].as_array().expect("tests") {
        for alert in case["alert_rule_test"].as_array().expect("alerts") {
            let name = alert["alertname"].as_str().expect("a name").to_string();
            let is_quiet = alert["exp_alerts"].as_array().expect("a list").is_empty();
            if is_quiet {
                rests.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    let all: BTreeSet<String> = alerts().into_keys().collect();
    assert!(all.len() > 20, "{all:?}");
    assert_eq!(fires, all);
    assert_eq!(rests, all);
}

#[test]
fn rules_ask_for_metrics_that_there_are() {
    let all = rules(&yaml(RULES));
    let recorded: BTreeSet<&str> = all.iter().filter_map(|rule| rule["record"].as_str()).collect();
    for rule in &all {
        let expr = rule["expr"].as_str().expect("an expression");
        assert_eq!(unknown_metrics(expr), [] as [&str; 0], "{expr}");
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in expr.split(|c| !is_of_name(c)).filter(|word| word.starts_with("noctus:")) {
            assert!(recorded.contains(word), "{word} is recorded by no rule");
        }
    }
    assert_eq!(
        unknown_metrics("rate(noctus_nothing_total[5m]) / noctus_halts_sum"),
        ["noctus_nothing_total", "noctus_halts_sum"]
    );
}

#[test]
fn every_alert_has_a_severity_and_a_runbook_that_is_there() {
    let operations = read("docs/operations.md");
    for (name, rule) in alerts() {
        let severity = rule["labels"]["severity"].as_str().expect("a severity");
        assert!(["info", "warning", "critical"].contains(&severity), "{name}: {severity}");
        assert!(!rule["annotations"]["summary"].as_str().expect("a summary").is_empty());
        let runbook = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], json!(runbook), "{name}");
        assert!(operations.contains(&format!("\n#### {name}\n")), "{name} has no runbook");
    }
    for heading in operations.lines().filter_map(|line| line.strip_prefix("#### Noctus")) {
        assert!(alerts().contains_key(&format!("Noctus{heading}")), "no alert Noctus{heading}");
    }
}
