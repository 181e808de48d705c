//! The source as the tests of borders and documents see it: files, and code without comments and tests.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the repository, by its path from the root.
pub fn read(path: &str) -> String {
    let whole = root().join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|e| panic!("{}: {e}", whole.display()))
}

/// Every file below a folder with this ending, by its path from the root, sorted.
pub fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    let root = root();
    let mut paths: Vec<String> = found
        .iter()
        .map(|p| p.strip_prefix(&root).expect("below the root").display().to_string())
        .filter(|p| p.ends_with(ending))
        .collect();
    paths.sort();
    paths
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(path),
        }
    }
}

/// A file of `src/` that the executable is made of: its path and its code.
pub struct Code {
    pub path: String,
    /// Numbered lines, without comments and without what is under `#[cfg(test)]`.
    pub lines: Vec<(usize, String)>,
}

impl Code {
    /// `path:line: text` of every line that has one of these words (whole words where they are words).
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let has = |line: &str| words.iter().any(|word| contains_word(line, word));
        self.lines
            .iter()
            .filter(|(_, line)| has(line))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// Every file of `src/` that is not only for tests.
pub fn code() -> Vec<Code> {
    let paths = files("src", ".rs");
    let tests: Vec<String> = paths.iter().flat_map(|path| test_modules(path)).collect();
    let only_tests = |path: &str| {
        tests
            .iter()
            .any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
    };
    paths
        .into_iter()
        .filter(|path| !only_tests(path))
        .map(|path| Code { lines: without_tests(&read(&path)), path })
        .collect()
}

/// The modules that a file declares for tests only, as paths without an ending.
fn test_modules(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").expect("a Rust file");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    let text = read(path);
    let mut found = Vec::new();
    let mut for_tests = false;
    for line in text.lines().map(str::trim) {
        let name = match line.strip_prefix("pub") {
            Some(rest) => rest.split_once("mod ").map(|(_, name)| name),
            None => line.strip_prefix("mod "),
        };
        let declared = name.and_then(|rest| rest.strip_suffix(';'));
        if let (true, Some(name)) = (for_tests, declared) {
            found.push(format!("{folder}/{name}"));
        }
        for_tests = line == "#[cfg(test)]";
    }
    found
}

/// The code of a file: an inline `#[cfg(test)] mod` and what follows is left out, since tests stand last.
fn without_tests(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let inline = |at: &usize| {
        lines[*at].trim() == "#[cfg(test)]"
            && lines.get(at + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    };
    let end = (0..lines.len()).find(inline).unwrap_or(lines.len());
    let numbered = lines[..end].iter().enumerate();
    numbered.map(|(at, line)| (at + 1, without_comment(line))).collect()
}

/// The line up to a `//` that is not inside a text.
fn without_comment(line: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let bytes = line.as_bytes();
    for at in 0..bytes.len() {
        match bytes[at] {
            b'\\' if inside && !escaped => {
                escaped = true;
                continue;
            }
            // '"' as a character is no text's beginning.
            b'"' if !escaped && (at == 0 || bytes[at - 1] != b'\'') => inside = !inside,
            b'/' if !inside && bytes.get(at + 1) == Some(&b'/') => return line[..at].to_string(),
            _ => {}
        }
        escaped = false;
    }
    line.to_string()
}

/// Whether the line has the word, not as a part of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let starts = word.starts_with(|c: char| c.is_alphanumeric());
    let ends = word.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let alone = |at: usize| {
        let before = starts && part(line[..at].chars().next_back());
        let after = ends && part(line[at + word.len()..].chars().next());
        !before && !after
    };
    line.match_indices(word).any(|(at, _)| alone(at))
}

#[test]
fn code_is_seen_without_comments_and_tests() {
    let text = "use a; // tokio\nlet b = \"http://c\"; // d\n#[cfg(test)]\nmod tests {\n tokio }\n";
    let seen: Vec<String> = without_tests(text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(seen, ["use a; ", "let b = \"http://c\"; "]);
    assert!(contains_word("use tokio::x", "tokio") && !contains_word("my_tokio", "tokio"));
    assert!(contains_word("pub async fn", "async ") && !contains_word("basync fn", "async "));
    assert!(code().iter().any(|code| code.path == "src/domain/judge.rs"));
    for only_for_tests in
        ["src/domain/judge/laws.rs", "src/domain/laws.rs", "src/domain/policy/corpus.rs"]
    {
        assert!(!code().iter().any(|code| code.path == only_for_tests), "{only_for_tests}");
    }
}
