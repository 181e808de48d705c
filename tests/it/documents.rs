//! Documents say what is there: their links lead somewhere, the commands they name exist.

use std::collections::BTreeSet;
use std::path::Path;

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
