//! Owns the JUnit XML of `noctus policy test`, as CI servers read it.

use super::cases::{Told, Tried};

/// The report of every file.
pub fn report(files: &[Tried]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let count = |of: fn(&Tried) -> usize| files.iter().map(of).sum::<usize>();
    xml.push_str(&format!(
        "<testsuites name=\"noctus policy test\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
        count(|f| f.cases.len()),
        count(Tried::failed),
        count(|f| f.errors.len()),
    ));
    for file in files {
        let name = escaped(&file.name);
        xml.push_str(&format!(
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n",
            file.cases.len(),
            file.failed(),
            file.errors.len()
        ));
        for error in &file.errors {
            let error = escaped(error);
            xml.push_str(&format!(
                "    <testcase classname=\"{name}\" name=\"it can be read\"><error>{error}</error></testcase>\n"
            ));
        }
        file.cases.iter().for_each(|case| xml.push_str(&testcase(&name, case)));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn testcase(class: &str, case: &Told) -> String {
    let name = escaped(&case.name);
    let head = format!("    <testcase classname=\"{class}\" name=\"{name}\" time=\"0\"");
    let Some(first) = case.differences.first() else { return format!("{head}/>\n") };
    let message = escaped(first);
    let text = escaped(&[case.differences.as_slice(), &case.notes].concat().join("\n"));
    format!("{head}>\n      <failure message=\"{message}\">{text}</failure>\n    </testcase>\n")
}

/// Text as XML takes it; characters that XML 1.0 cannot hold are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if (c < ' ' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}
