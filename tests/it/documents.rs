//! Documents say what is there: their links lead somewhere, the commands they name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use noctus::gate::refusal::header;
use noctus::runtime::config::Config;
use noctus::runtime::metrics::LIST;
use noctus::wire::signature;
use serde_json::Value;

use crate::source::{files, read, root};

/// Every document of the repository.
fn documents() -> Vec<String> {
    let mut all: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(String::from).to_vec();
    for folder in ["docs", "docker", "tests"] {
        all.extend(files(folder, ".md"));
    }
    all
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let folder = Path::new(&document).parent().expect("a file is in a folder").to_path_buf();
        for target in links(&read(&document)) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let whole = root().join(if path.is_empty() {
                document.clone()
            } else {
                folder.join(path).display().to_string()
            });
            if !whole.exists() {
                broken.push(format!("{document}: {target} is not there"));
            } else if !anchor.is_empty() && whole.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&whole).expect("a document can be read");
                if !anchors(&text).contains(anchor) {
                    broken.push(format!("{document}: {target} has no such heading"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_make_target_that_a_document_names_is_there() {
    let makefile = read("Makefile");
    let known = |target: &str| makefile.lines().any(|l| l.starts_with(&format!("{target}:")));
    for document in documents() {
        let text = read(&document);
        for (at, _) in text.match_indices("`make ") {
            let rest = &text[at + 6..];
            let target: String =
                rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            assert!(known(&target), "{document} names make {target}, which is no target");
        }
    }
    let described = |l: &&str| l.contains(": ") && l.contains(" ## ");
    let phony = makefile.lines().find_map(|l| l.strip_prefix(".PHONY: ")).expect("a list");
    let targets: BTreeSet<&str> = phony.split(' ').collect();
    let helped: BTreeSet<&str> =
        makefile.lines().filter(described).filter_map(|l| l.split(':').next()).collect();
    assert_eq!(helped, targets, "make help lists every target");
}

/// Rows of a document's tables whose first cell is code: what the code is, and the other cells.
fn rows(document: &str) -> BTreeMap<String, Vec<String>> {
    let text = read(document).replace("\\|", "\u{1}");
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
        for code in cells[0].split('`').skip(1).step_by(2) {
            found.insert(code.to_string(), cells[1..].to_vec());
        }
    }
    found
}

#[test]
fn operations_know_every_key_of_the_configuration_and_its_default() {
    let defaults = serde_json::to_value(Config::default()).expect("plain data");
    let mut keys = BTreeMap::new();
    for (section, value) in defaults.as_object().expect("sections") {
        match value {
            Value::Object(section_keys) => keys.extend(
                section_keys.iter().map(|(key, value)| (format!("{section}.{key}"), value.clone())),
            ),
            value => drop(keys.insert(section.clone(), value.clone())),
        }
    }
    let rows = rows("docs/operations.md");
    for (key, default) in &keys {
        let row = rows.get(key).unwrap_or_else(|| panic!("{key} has no row"));
        let shown = match default {
            Value::Null => String::new(),
            Value::Object(map) if map.is_empty() => String::new(),
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        assert_eq!(row[0], shown, "the default of {key}");
        let number = default.is_number();
        assert_eq!(!row[1].is_empty(), number, "{key}: a number has a unit, and nothing else has");
        assert!(!row[2].is_empty(), "{key} has no meaning");
    }
    let sections: BTreeSet<&str> =
        keys.keys().filter_map(|k| k.split_once('.')).map(|k| k.0).collect();
    for key in rows.keys() {
        let ours = key.split_once('.').is_some_and(|(section, _)| sections.contains(section));
        assert!(!ours || keys.contains_key(key), "{key} is no key of the configuration");
    }
}

#[test]
fn a_variable_is_stronger_than_the_file_and_a_flag_than_both() {
    let file = std::env::temp_dir().join(format!("noctus-it-config-{}.yml", std::process::id()));
    let text = "gate: { batch_max: 9 }\npolicies: { risk: }\nkafka: { brokers: \"file:1\" }\n";
    std::fs::write(&file, text).expect("the temporary folder can be written");
    let shown = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut noctus = assert_cmd::Command::cargo_bin("noctus").expect("it is built");
        noctus.envs(variables.iter().copied()).arg("--config").arg(&file).args(flags);
        let out = noctus.args(["config", "show"]).output().expect("it can be run");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let shown: Value = serde_saphyr::from_slice(&out.stdout).expect("YAML");
        [&shown["gate"]["batch_max"], &shown["policies"]["risk"], &shown["kafka"]["brokers"]]
            .map(Value::to_string)
            .join(" ")
    };
    let variables = [
        ("NOCTUS_GATE__BATCH_MAX", "7"),
        ("NOCTUS_POLICIES__RISK", "risk.yml"),
        ("NOCTUS_KAFKA__BROKERS", "variable:1"),
    ];
    assert_eq!(shown(&[], &[]), "9 null \"file:1\"");
    assert_eq!(shown(&variables, &[]), "7 \"risk.yml\" \"variable:1\"");
    let flags = ["--brokers", "flag:1"];
    assert_eq!(shown(&variables, &flags), "7 \"risk.yml\" \"flag:1\"");
    std::fs::remove_file(file).expect("it is there");
}

#[test]
fn documents_name_no_metric_that_is_not_there() {
    let ends = ["", "_bucket", "_sum", "_count"];
    let is_known =
        |word: &str| LIST.iter().any(|m| ends.iter().any(|end| word == format!("{}{end}", m.name)));
    let mut seen = BTreeSet::new();
    for document in documents().into_iter().filter(|document| document != "CHANGELOG.md") {
        let text = read(&document);
        for code in text.split('`').skip(1).step_by(2) {
            let name = code.split(['{', ' ', '(', '=', '>']).next().unwrap_or_default();
            if !name.starts_with("noctus_") || name.ends_with('_') || name.contains('…') {
                continue;
            }
            let other = ["noctus_reader", "noctus_rebuild", "noctus_views_10m"].contains(&name);
            assert!(other || is_known(name), "{document}: {name} is no metric");
            seen.insert(name.to_string());
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
}

#[test]
fn producers_know_every_field_of_what_they_write() {
    let text = read("docs/producers.md");
    for schema in ["schemas/order_request_v1.1.avsc", "schemas/proposal_set.avsc"] {
        let schema: Value = serde_json::from_str(&read(schema)).expect("a schema is JSON");
        let mut names = Vec::new();
        fields(&schema, &mut names);
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            assert!(
                text.contains(&format!("`{name}`"))
                    || text.contains(&format!("{{{name} "))
                    || text.contains(&format!(", {name} ")),
                "{name}"
            );
        }
    }
}

/// Names of the fields of a schema, those of nested records too.
fn fields(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| fields(branch, names)),
        Value::Object(object) => {
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                names.push(field["name"].as_str().expect("a field has a name").to_string());
                fields(&field["type"], names);
            }
            for inside in ["type", "items", "values"] {
                object.get(inside).into_iter().for_each(|inside| fields(inside, names));
            }
        }
        _ => {}
    }
}

#[test]
fn producers_know_every_reason_and_header_of_a_dead_letter() {
    let rows = rows("docs/producers.md");
    let headers = [
        header::TOPIC,
        header::PARTITION,
        header::OFFSET,
        header::TIMESTAMP,
        header::REASON,
        header::DETAIL,
        header::SHA256,
        header::BYTES,
    ];
    for header in headers {
        assert!(rows.contains_key(header), "{header}");
    }
    let source = read("src/gate/refusal.rs");
    let mut reasons = 0;
    for line in source.lines().map(str::trim).filter(|line| line.starts_with("Reason::")) {
        let Some((_, after)) = line.split_once("=> \"") else { continue };
        let reason = after.split('"').next().expect("it ends");
        if reason.contains('.') {
            continue; // the name of its alert
        }
        assert!(rows.contains_key(reason), "{reason}");
        reasons += 1;
    }
    assert_eq!(reasons, 11, "and invalid_<field>");
    assert!(rows.contains_key("invalid_<field>"));
}

#[test]
fn the_worked_examples_of_producers_are_right() {
    let text = read("docs/producers.md");
    let case: Value = serde_json::from_str::<Value>(&read("tests/vectors/signatures.json"))
        .expect("vectors are JSON")[0]
        .clone();
    let field = |name: &str| case[name].as_str().expect("a text").to_string();
    let (topic, secret) = (field("topic"), field("secret"));
    let (key, value) = (bytes(&field("key")), bytes(&field("value")));
    let v1 = signature::sign(secret.as_bytes(), &topic, Some(&key), &value);
    assert_eq!(v1, field("v1"));
    let mut lines = vec![hex("noctus-v1".as_bytes())];
    for part in [topic.as_bytes(), &key, &value] {
        lines.push(format!("{:08x} {}", part.len(), hex(part)));
    }
    lines.extend([secret, format!("v1       {v1}"), signature::header("k1", &v1)]);
    for line in lines {
        assert!(text.contains(&line), "{line} is not in the worked example");
    }
    let case: Value = serde_json::from_str::<Value>(&read("tests/vectors/keys.json"))
        .expect("vectors are JSON")[0]
        .clone();
    for name in ["secret", "key"] {
        assert!(text.contains(case[name].as_str().expect("a text")), "{name} of recipe v1");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits");
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// Targets of `[text](target)` that are not addresses.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let Some((target, _)) = text[at + 2..].split_once(')') else { continue };
        let address = target.contains("://") || target.starts_with("mailto:");
        if !address && !target.contains(char::is_whitespace) {
            found.push(target.to_string());
        }
    }
    found
}

/// The anchors that headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

/// What stands in backticks in a table's rows.
fn named_in_rows(document: &str) -> Vec<String> {
    let text = read(document);
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.flat_map(|row| row.split('`').skip(1).step_by(2).map(String::from)).collect()
}

#[test]
fn every_test_and_command_that_acceptance_names_is_there() {
    let source: String = ["src", "tests/it"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .map(|f| read(&f))
        .collect();
    let named = named_in_rows("docs/acceptance.md");
    let is_test = |name: &&String| {
        name.matches('_').count() >= 4
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let tests: BTreeSet<&String> = named.iter().filter(is_test).collect();
    assert!(tests.len() > 30, "the tests are found: {tests:?}");
    for test in tests {
        // Whole: a name that goes on is another test.
        let is_there = ["(", "<"].iter().any(|end| source.contains(&format!("fn {test}{end}")));
        assert!(is_there, "docs/acceptance.md names {test}, which is no test");
    }
    let commands = <noctus::ops::Cli as clap::CommandFactory>::command();
    for command in named.iter().filter_map(|name| name.strip_prefix("noctus ")) {
        let verb = command.split(' ').next().expect("a word");
        assert!(commands.find_subcommand(verb).is_some(), "noctus {verb} is no command");
    }
    let printed = noctus::pg::acceptance::PLANS;
    for query in printed {
        assert!(named.iter().any(|name| name == query), "{query} has no row");
    }
}
