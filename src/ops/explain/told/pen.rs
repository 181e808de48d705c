//! How a line is written: in which language, with or without colour, under which label.

use jiff::Timestamp;

use crate::demo::report::Ink;
use crate::domain::catalogue::{Entry, Kind, Language, Text, find};

/// Columns of a label.
const LABEL: usize = 10;

/// Language and colours; nothing of the content depends on either.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Pen {
    pub ink: Ink,
    pub language: Language,
}

/// A sentence in the pen's language; both forms take the same values.
macro_rules! say {
    ($pen:expr, $en:literal, $ja:literal) => {
        match $pen.language {
            $crate::domain::catalogue::Language::English => format!($en),
            $crate::domain::catalogue::Language::Japanese => format!($ja),
        }
    };
}
pub(super) use say;

impl Pen {
    /// The label of a part, as wide as every other one.
    pub fn label(self, en: &str, ja: &str) -> String {
        let text = match self.language {
            Language::English => en,
            Language::Japanese => ja,
        };
        // What is not ASCII here takes two columns.
        let width: usize = text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
        format!("  {text}{}", " ".repeat(LABEL.saturating_sub(width)))
    }

    /// The same width, and nothing.
    pub fn no_label(self) -> String {
        " ".repeat(LABEL + 2)
    }

    /// A line that matters less, under the last label.
    pub fn note(self, text: &str) -> String {
        format!("{}{}", self.no_label(), self.ink.dim(text))
    }

    /// What a code means and what to do.
    pub fn text(self, kind: Kind, code: &str) -> Option<Text> {
        find(kind, code).map(|entry: &Entry| entry.text(self.language))
    }

    /// The text of a rule that changed a quantity.
    pub fn rule(self, rule: &str) -> Option<Text> {
        self.text(Kind::Step, rule).or_else(|| self.text(Kind::Alert, rule))
    }
}

/// A time, UTC.
pub fn at(time: Timestamp) -> String {
    time.strftime("%F %T%.3f").to_string()
}

/// From one time to another, milliseconds.
pub fn ms(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

/// A duration as short as it can be told.
pub fn took(ms: i64) -> String {
    match ms.abs() {
        ..10_000 => format!("{ms} ms"),
        10_000..120_000 => format!("{}.{} s", ms / 1_000, ms.abs() / 100 % 10),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// The beginning of a digest.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_as_wide_in_either_language() {
        let pen = |language| Pen { ink: Ink::none(), language };
        assert_eq!(pen(Language::English).label("asked", "依頼"), "  asked     ");
        assert_eq!(pen(Language::Japanese).label("asked", "依頼"), "  依頼      ");
        assert_eq!(pen(Language::Japanese).no_label().len(), 12);
    }

    #[test]
    fn a_duration_is_told_in_the_unit_that_fits_it() {
        let told = [0, -3, 9_999, 10_000, 61_250, 120_000, 7_200_000, 172_800_000].map(took);
        assert_eq!(told, ["0 ms", "-3 ms", "9999 ms", "10.0 s", "61.2 s", "2 min", "2 h", "2 d"]);
    }
}
