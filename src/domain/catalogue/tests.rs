//! The catalogue is complete in itself; that it has every code of the source is told by `tests/it/rules.rs`.

use std::collections::BTreeSet;

use super::page::page;
use super::*;

#[test]
fn every_code_is_there_once_with_both_texts_and_an_anchor_of_its_own() {
    let mut anchors = BTreeSet::new();
    for entry in entries() {
        for text in [entry.en, entry.ja] {
            assert!(!text.means.is_empty() && !text.to_do.is_empty(), "{}", entry.code);
            assert!(!text.means.contains('\n') && !text.to_do.contains('\n'), "{}", entry.code);
        }
        assert!(entry.en.means.is_ascii() || !entry.ja.means.is_ascii(), "{}", entry.code);
        let japanese = |text: &str| text.chars().any(|c| ('\u{3041}'..='\u{30fe}').contains(&c));
        assert!(japanese(entry.ja.to_do) && !japanese(entry.en.to_do), "{}", entry.code);
        assert_eq!(entry.severity.is_some(), entry.kind == Kind::Alert, "{}", entry.code);
        assert!(anchors.insert(entry.anchor()), "{} is there twice", entry.code);
    }
    assert!(anchors.len() > 90);
}

#[test]
fn a_code_is_found_by_its_own_name_before_a_pattern_is_tried() {
    let code = |kind, code| find(kind, code).map(|entry| entry.code);
    assert_eq!(code(Kind::Exec, "timeout"), Some("timeout"));
    assert_eq!(code(Kind::Exec, "asked_in_vain:timeout"), Some("asked_in_vain:<code>"));
    assert_eq!(code(Kind::Exec, "attempt_2"), Some("attempt_<n>"));
    assert_eq!(code(Kind::Exec, "insufficient_margin"), Some("<code>"), "the broker's own");
    assert_eq!(code(Kind::Alert, "risk.rate"), Some("risk.rate"));
    assert_eq!(code(Kind::Alert, "risk.ratte"), None);
    assert_eq!(code(Kind::Alert, "timeout"), None, "a code belongs to its kind");
    assert_eq!(find(Kind::Alert, "risk.halted").unwrap().anchor(), "riskhalted");
}

#[test]
fn the_pages_have_a_section_for_every_code_in_both_languages() {
    for language in [Language::English, Language::Japanese] {
        let page = page(language);
        for entry in entries() {
            let heading = format!("\n### {}\n", entry.heading());
            assert_eq!(page.matches(&heading).count(), 1, "{heading}");
        }
    }
}

/// Severities are the contract's: what the judge fires has the severity that the page says.
#[test]
fn the_severities_are_those_of_the_rules() {
    for (name, severity) in crate::domain::risk::rule_names() {
        let entry = find(Kind::Alert, name).unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!(entry.severity, Some(severity), "{name}");
    }
}
