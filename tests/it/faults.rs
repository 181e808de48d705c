//! Faults and what tries them: every crash point has its place in the source, and every number of `docs/campaign.md`
//! has a test or a reason why it has none.

use std::collections::{BTreeMap, BTreeSet};

use noctus::runtime::faults::POINTS;

use crate::source::{code, files, read, root};

const PAGE: &str = "docs/campaign.md";
const FAULTS: usize = 70;

/// Texts of the source that look like a crash point's name.
fn points_in_source() -> BTreeSet<String> {
    let stages = ["gate/", "dispatch/", "emission/", "sink/", "notify/"];
    let mut found = BTreeSet::new();
    for code in code().iter().filter(|code| code.path != "src/runtime/faults.rs") {
        for (_, line) in &code.lines {
            for literal in line.split('"').skip(1).step_by(2) {
                let is_name = literal.bytes().all(|b| b.is_ascii_lowercase() || b"/-".contains(&b));
                if is_name
                    && stages.iter().any(|s| literal.starts_with(s) && literal.len() > s.len())
                {
                    found.insert(literal.to_string());
                }
            }
        }
    }
    found
}

#[test]
fn every_crash_point_is_listed_and_every_listed_one_is_in_the_source() {
    let listed: BTreeSet<String> = POINTS.iter().map(ToString::to_string).collect();
    assert_eq!(listed.len(), POINTS.len(), "each is listed once");
    assert_eq!(points_in_source(), listed);
    let page = read(PAGE);
    let campaign = read("tests/campaign/faults.py");
    for point in POINTS {
        assert!(page.contains(&format!("`{point}`")), "{PAGE} does not say where {point} is");
        assert!(campaign.contains(&format!("\"{point}\"")), "the campaign never arms {point}");
    }
}

/// Fault number → the tests that carry it.
fn tests_by_number() -> BTreeMap<usize, BTreeSet<String>> {
    let mut found: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for path in files("src", ".rs").into_iter().chain(files("tests", ".rs")) {
        for line in read(&path).lines() {
            let Some((_, after)) = line.split_once("fn f") else { continue };
            let name: String =
                after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let name = format!("f{name}");
            for part in name.split('_') {
                let digits = part.strip_prefix('f').filter(|d| d.len() == 2);
                let Some(number) = digits.and_then(|d| d.parse().ok()) else { break };
                found.entry(number).or_default().insert(name.clone());
            }
        }
    }
    found
}

fn cell(tests: Option<&BTreeSet<String>>) -> String {
    let names = tests.into_iter().flatten().map(|name| format!("`{name}`"));
    names.collect::<Vec<_>>().join(" ")
}

/// `UPDATE=1 cargo test … f_numbers` writes the names of the tests into the page.
#[test]
fn f_numbers_have_a_test_or_a_reason_and_the_page_names_every_test() {
    let tests = tests_by_number();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut lines = Vec::new();
    for line in read(PAGE).lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let number = cells[0].strip_prefix('F').and_then(|n| n.parse::<usize>().ok());
        let Some(number) = number.filter(|_| line.starts_with("| F")) else {
            lines.push(line.to_string());
            continue;
        };
        assert_eq!(cells.len(), 4, "F{number}: number, fault, tests, campaign or reason");
        assert!(seen.insert(number), "F{number} stands twice");
        let names = cell(tests.get(&number));
        if cells[2] != names {
            wrong.push(format!(
                "F{number:02}: the page says {:?}, the tests are {names:?}",
                cells[2]
            ));
        }
        assert!(!names.is_empty() || !cells[3].is_empty(), "F{number} has no test and no reason");
        lines.push(format!("| F{number:02} | {} | {names} | {} |", cells[1], cells[3]));
    }
    assert_eq!(seen, (1..=FAULTS).collect(), "every fault has its row");
    if std::env::var_os("UPDATE").is_some() {
        let text = lines.join("\n") + "\n";
        std::fs::write(root().join(PAGE), text).expect("the page can be written");
    } else {
        let how = "UPDATE=1 cargo test --features faults --test it f_numbers";
        assert!(wrong.is_empty(), "{}\nmake it with: {how}", wrong.join("\n"));
    }
}

#[test]
fn every_planted_mistake_of_the_campaign_is_in_the_source() {
    let controls = read("tests/campaign/controls.py");
    let source: String =
        code().iter().flat_map(|c| &c.lines).map(|(_, line)| format!("{line}\n")).collect();
    let mut planted = 0;
    for (at, _) in controls.match_indices("    Control(\n        \"") {
        let name = controls[at..].split('"').nth(1).expect("a mistake has a name");
        assert!(source.contains(&format!("is_planted(\"{name}\")")), "{name} is planted nowhere");
        planted += 1;
    }
    assert!(planted >= 4, "the controls are found");
}
