//! Owns what every code means that a person may meet, and what to do: alerts, dead letters, decisions, exec events,
//! outcomes of commands.
//! Never decides anything. Invariant: a code that the source uses is here (`tests/it/rules.rs`), once per kind.

mod commands;
mod fields;
mod ingest;
mod judging;
mod notify;
mod orders;
pub mod page;
mod roles;
#[cfg(test)]
mod tests;

use super::event::Severity;

/// Where a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `policy_name` of an alert.
    Alert,
    /// `noctus-reason` of a dead letter.
    DeadLetter,
    /// The first word of a REJECT's reason.
    Decision,
    /// `rule` of a step that changed a quantity; a rule that fires is under its alert.
    Step,
    /// `reason_code` of an exec event.
    Exec,
    /// `reason_code` of a command's outcome.
    Command,
}

impl Kind {
    /// Every kind, in the order of the page.
    pub const ALL: [Kind; 6] =
        [Kind::Alert, Kind::DeadLetter, Kind::Decision, Kind::Step, Kind::Exec, Kind::Command];

    /// What stands before a code in its heading; nothing before an alert's.
    fn prefix(self) -> &'static str {
        match self {
            Kind::Alert => "",
            Kind::DeadLetter => "dead letter ",
            Kind::Decision => "decision ",
            Kind::Step => "step ",
            Kind::Exec => "exec event ",
            Kind::Command => "command ",
        }
    }
}

/// What a code means and what to do, in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// What has happened.
    pub means: &'static str,
    /// What a person does about it.
    pub to_do: &'static str,
}

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Language {
    English,
    Japanese,
}

/// One code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The code; a part in angle brackets stands for something.
    pub code: &'static str,
    /// Where it stands.
    pub kind: Kind,
    /// Of an alert.
    pub severity: Option<Severity>,
    /// In English.
    pub en: Text,
    /// In Japanese.
    pub ja: Text,
}

impl Entry {
    /// The text in a language.
    pub fn text(&self, language: Language) -> Text {
        match language {
            Language::English => self.en,
            Language::Japanese => self.ja,
        }
    }

    /// The heading of its section, in every language.
    pub fn heading(&self) -> String {
        format!("{}`{}`", self.kind.prefix(), self.code)
    }

    /// The id of its section on the page: `docs/rules.md#<anchor>`.
    pub fn anchor(&self) -> String {
        let heading = self.heading().to_lowercase().replace(' ', "-");
        heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    }

    /// Whether it is the entry of a code as it was met: `asked_in_vain:timeout` is `asked_in_vain:<code>`.
    fn names(&self, code: &str) -> bool {
        match self.code.split_once('<') {
            Some((start, rest)) => {
                let end = rest.split_once('>').map_or("", |(_, end)| end);
                code.len() > start.len() + end.len()
                    && code.starts_with(start)
                    && code.ends_with(end)
            }
            None => self.code == code,
        }
    }
}

/// Every code.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let alone = [
        judging::QUALITY,
        judging::RISK,
        judging::DECISIONS,
        orders::ALERTS,
        ingest::GATE,
        ingest::RELOADS,
        roles::ROLES,
        notify::NOTIFY,
        orders::CODES,
        commands::CODES,
    ];
    let refused = [ingest::REFUSED, fields::FIELDS];
    alone.into_iter().flatten().chain(refused.into_iter().flatten().flatten())
}

/// The entry of a code of a kind.
pub fn find(kind: Kind, code: &str) -> Option<&'static Entry> {
    let of_kind = || entries().filter(|entry| entry.kind == kind);
    of_kind().find(|entry| entry.code == code).or_else(|| of_kind().find(|entry| entry.names(code)))
}

/// Means and to do.
type Words = (&'static str, &'static str);

const fn entry(
    kind: Kind,
    code: &'static str,
    severity: Option<Severity>,
    en: Words,
    ja: Words,
) -> Entry {
    let (en, ja) = (Text { means: en.0, to_do: en.1 }, Text { means: ja.0, to_do: ja.1 });
    Entry { code, kind, severity, en, ja }
}

const fn alert(code: &'static str, severity: Severity, en: Words, ja: Words) -> Entry {
    entry(Kind::Alert, code, Some(severity), en, ja)
}

/// A refused input: the dead letter's reason, and the alert `ingest.<reason>` that comes with it.
macro_rules! refused {
    ($code:expr, $alert:expr, $severity:ident, $en:expr, $ja:expr) => {
        [
            $crate::domain::catalogue::entry(Kind::DeadLetter, $code, None, $en, $ja),
            $crate::domain::catalogue::alert($alert, Severity::$severity, $en, $ja),
        ]
    };
}
use refused;
