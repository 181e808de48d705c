//! Owns how order files are read: one JSON object, an array, or JSON lines, each with its place for messages.
//! Never stops at the first thing that is wrong.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

/// Something wrong with one order, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `file:line`.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

/// One order as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// `file:line` of its first character.
    pub place: String,
    /// The order, not checked yet.
    pub json: Value,
}

/// Reads a file, or standard input if it is `-`.
pub fn read(path: &Path) -> (Vec<Entry>, Vec<Violation>) {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = match name.as_str() {
        "-" => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    match read {
        Ok(_) => parse(&name, &text),
        Err(error) => (Vec::new(), vec![Violation { place: name, why: error.to_string() }]),
    }
}

/// Takes a text apart. Where every line is a value of its own, a broken line does not hide the others.
pub fn parse(name: &str, text: &str) -> (Vec<Entry>, Vec<Violation>) {
    let mut found = Found { name, text, entries: Vec::new(), violations: Vec::new() };
    let start = text.len() - text.trim_start().len();
    let first_line = text[start..].lines().next().unwrap_or_default();
    if text[start..].is_empty() {
        found.violation(0, "holds no order");
    } else if text[start..].starts_with('[') {
        found.array(start + 1);
    } else if serde_json::from_str::<Value>(first_line).is_ok_and(|v| v.is_object()) {
        found.lines();
    } else {
        found.values(start);
    }
    (found.entries, found.violations)
}

struct Found<'a> {
    name: &'a str,
    text: &'a str,
    entries: Vec<Entry>,
    violations: Vec<Violation>,
}

impl Found<'_> {
    fn place(&self, at: usize) -> String {
        let line = 1 + self.text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        format!("{}:{line}", self.name)
    }

    fn violation(&mut self, at: usize, why: impl Into<String>) {
        self.violations.push(Violation { place: self.place(at), why: why.into() });
    }

    fn take(&mut self, at: usize, json: Value) {
        let twice = twice(&self.text[at..]);
        if !json.is_object() {
            self.violation(at, "an order is a JSON object");
        } else if let Some(field) = twice {
            self.violation(at, format!("{field} stands twice"));
        } else {
            self.entries.push(Entry { place: self.place(at), json });
        }
    }

    fn lines(&mut self) {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if !line.trim().is_empty() {
                match serde_json::from_str(line) {
                    Ok(json) => self.take(at, json),
                    Err(error) => self.violation(at, not_json(&error)),
                }
            }
            at += line.len();
        }
    }

    /// Values one after another; the first that is broken ends it, for what follows cannot be told apart.
    fn values(&mut self, mut at: usize) {
        while let Some((start, next)) = self.value(at) {
            at = next;
            if self.text[start..].trim().is_empty() {
                break;
            }
        }
    }

    fn array(&mut self, mut at: usize) {
        loop {
            let rest = self.text[at..].trim_start();
            at = self.text.len() - rest.len();
            if let Some(behind) = rest.strip_prefix(']') {
                if !behind.trim().is_empty() {
                    self.violation(at, "something follows the array");
                }
                return;
            }
            let Some((_, next)) = self.value(at) else {
                if self.violations.is_empty() {
                    self.violation(at, "the array does not end");
                }
                return;
            };
            let rest = self.text[next..].trim_start();
            at = self.text.len() - rest.len();
            match rest.as_bytes().first() {
                Some(b',') => at += 1,
                Some(b']') => {}
                _ => return self.violation(at, "expected , or ] in the array"),
            }
        }
    }

    /// Takes the value at `at`; where it begins, and where the next may.
    fn value(&mut self, at: usize) -> Option<(usize, usize)> {
        let start = self.text.len() - self.text[at..].trim_start().len();
        let mut values = serde_json::Deserializer::from_str(&self.text[start..]).into_iter();
        match values.next()? {
            Ok(json) => {
                let next = start + values.byte_offset();
                self.take(start, json);
                Some((start, next))
            }
            Err(error) => {
                let lines = self.text[start..].split_inclusive('\n');
                let before: usize =
                    lines.take(error.line().saturating_sub(1)).map(|line| line.len()).sum();
                self.violation(start + before, not_json(&error));
                None
            }
        }
    }
}

/// The parser's words without its line, which counts from the order's first.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    format!("not JSON: {words} (column {})", error.column())
}

/// A field that stands twice in the order at the text's start: one of the two would be lost silently.
fn twice(text: &str) -> Option<String> {
    struct Fields;
    impl<'de> serde::de::Visitor<'de> for Fields {
        type Value = Option<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut seen = std::collections::HashSet::new();
            let mut twice = None;
            while let Some(name) = map.next_key::<String>()? {
                map.next_value::<serde::de::IgnoredAny>()?;
                if !seen.insert(name.clone()) {
                    twice.get_or_insert(name);
                }
            }
            Ok(twice)
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde::Deserializer::deserialize_map(&mut json, Fields).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(text: &str) -> (Vec<String>, Vec<String>) {
        let (entries, violations) = parse("f", text);
        let entry = |e: &Entry| format!("{} {}", e.place, e.json);
        (entries.iter().map(entry).collect(), violations.iter().map(|v| v.to_string()).collect())
    }

    #[test]
    fn one_object_an_array_and_lines_are_all_read_with_their_places() {
        let (a, b) = (json!({"a": 1}), json!({"b": 2}));
        let pretty = format!("\n{}\n", serde_json::to_string_pretty(&a).unwrap());
        assert_eq!(told(&pretty), (vec![r#"f:2 {"a":1}"#.into()], vec![]));
        let both = vec![r#"f:1 {"a":1}"#.to_string(), r#"f:2 {"b":2}"#.to_string()];
        assert_eq!(told(&format!("{a}\n{b}\n")), (both.clone(), vec![]));
        assert_eq!(told(&format!("{a}\n\n{b}")).0[1], r#"f:3 {"b":2}"#);
        assert_eq!(told(&format!("[{a},\n{b}]\n")), (both, vec![]));
        assert_eq!(told("[]"), (vec![], vec![]));
        let two = format!("{}\n{}", serde_json::to_string_pretty(&a).unwrap(), b);
        assert_eq!(told(&two).0, [r#"f:1 {"a":1}"#, r#"f:4 {"b":2}"#]);
    }

    #[test]
    fn a_broken_line_is_told_and_the_others_are_read() {
        let (entries, violations) = told("{\"a\":1}\n{\"b\":\n7\n{\"c\":3}\n");
        assert_eq!(entries, [r#"f:1 {"a":1}"#, r#"f:4 {"c":3}"#]);
        assert_eq!(violations.len(), 2);
        assert!(violations[0].starts_with("f:2: not JSON: EOF"), "{violations:?}");
        assert_eq!(violations[1], "f:3: an order is a JSON object");
    }

    #[test]
    fn what_is_no_order_file_is_told_with_its_place() {
        assert_eq!(told("  ").1, ["f:1: holds no order"]);
        assert!(told("{\n \"a\": ,\n}").1[0].starts_with("f:2: not JSON"));
        assert_eq!(told("[{\"a\":1}\n{\"b\":2}]").1, ["f:2: expected , or ] in the array"]);
        assert_eq!(told("[{\"a\":1},\n").1, ["f:2: the array does not end"]);
        assert_eq!(told("{\"a\":1,\"a\":2}").1, ["f:1: a stands twice"]);
    }
}
