//! Owns what is told besides the counts, in the shape of the JSON (docs/policies.md): where decisions came from, under
//! which policies they were judged, and what that does not say.

use jiff::Timestamp;
use serde::Serialize;

use super::super::kind::Kind;
use super::Stretch;
use super::amount::count;
use super::policies::{Origin, Part, Tried};
use super::source::Source;
use crate::domain::what_if::{Report, Under};

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Told<'r> {
    pub source: Source,
    /// Half-open, by decided_at; null: unbounded.
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub policies: Vec<PolicyTold>,
    #[serde(flatten)]
    pub report: &'r Report,
    /// What the numbers do not say.
    pub held_fixed: Vec<String>,
}

/// One of the policies that decisions were judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PolicyTold {
    pub kind: &'static str,
    pub origin: Origin,
    pub file: Option<String>,
    pub digest: String,
    /// Decisions that were made under the same one.
    pub recorded_under: u64,
}

impl PolicyTold {
    fn new(part: &Part, tried: &Tried, under: &Under) -> Self {
        Self {
            kind: part.kind.name(),
            origin: part.origin,
            file: part.file.clone(),
            digest: part.kind.digest(&tried.new).to_string(),
            recorded_under: match part.kind {
                Kind::Quality => under.quality,
                Kind::Profiles => under.profiles,
                Kind::Risk => under.risk,
                Kind::Instruments => under.instruments,
            },
        }
    }

    /// Where it comes from, for a person.
    pub fn place(&self) -> String {
        match (self.origin, &self.file) {
            (Origin::New, Some(file)) => format!("{file}, new"),
            (Origin::Configuration, Some(file)) => format!("{file}, as configured"),
            _ => "the plan's".into(),
        }
    }
}

impl<'r> Told<'r> {
    /// What is told of a report.
    pub fn new(source: Source, stretch: &Stretch, tried: &Tried, report: &'r Report) -> Self {
        let under = &report.recorded_under;
        let policies: Vec<PolicyTold> =
            tried.parts.iter().map(|part| PolicyTold::new(part, tried, under)).collect();
        let held_fixed = held_fixed(report, &policies);
        Self { source, from: stretch.from, to: stretch.to, policies, report, held_fixed }
    }

    /// Decisions that were judged, REJECT included.
    pub fn judged(&self) -> u64 {
        self.report.decisions - self.report.unjudged
    }

    /// Where they came from, for a person.
    pub fn place(&self) -> String {
        let source = match &self.source {
            Source::ObsDecisions => "obs_decisions".to_string(),
            Source::Dump { file, repeats: 0 } => format!("the dump {file}"),
            Source::Dump { file, repeats } => {
                format!("the dump {file} ({} repeats left out)", count(*repeats))
            }
        };
        match (self.from, self.to) {
            (None, None) => source,
            (Some(from), None) => format!("{source}, from {from} on"),
            (None, Some(to)) => format!("{source}, before {to}"),
            (Some(from), Some(to)) => format!("{source}, from {from} to {to}"),
        }
    }

    /// What is said if there is no decision at all.
    pub fn nothing(&self) -> String {
        format!("there is no decision in {}: nothing was judged", self.place())
    }
}

/// What the numbers do not say.
fn held_fixed(report: &Report, policies: &[PolicyTold]) -> Vec<String> {
    let mut told: Vec<String> = [
        "The facts are those recorded with each decision: position, working orders, losses, rate of orders, the \
         trace's notional, the quote, the rate to the account's currency, the quality gate's memory, halts. Under the \
         new policies they would have developed otherwise: an order that is blocked here leaves room for the next.",
        "A request that was refused before it was decided (signature, shape, key) is not a decision. REJECT (too late, \
         too early) stays REJECT.",
        "Money is a quantity times price and unit value as they were judged, in the account's currency, before and \
         after alike. An order that was judged without a price is valued by its facts and the new policies; one \
         without any price is counted in units only.",
    ]
    .map(String::from)
    .into();
    let is_new =
        |kind: Kind| policies.iter().any(|p| p.kind == kind.name() && p.origin == Origin::New);
    if is_new(Kind::Instruments) {
        told.push(
            "The new instruments' contract sizes are in the limits that orders are judged by, and not in the money \
             shown here."
                .into(),
        );
    }
    let currencies = &report.currencies;
    if currencies.changed > 0 {
        let symbols: Vec<&str> = currencies.symbols.iter().map(|s| s.as_str()).collect();
        told.push(format!(
            "The new instruments price {} order(s) in another currency, or keep their account in another one: {}. The \
             recorded rate is the former one's, so limits in money were held against the wrong amounts there.",
            count(currencies.changed),
            symbols.join(", ")
        ));
    }
    if currencies.unknown > 0 {
        told.push(format!(
            "{} order(s) were decided under instruments that are neither the new ones nor those of the configuration. \
             If their currencies were others, their recorded rate is another one's.",
            count(currencies.unknown)
        ));
    }
    let judged = report.decisions - report.unjudged;
    for policy in policies.iter().filter(|p| p.origin != Origin::New && p.recorded_under < judged) {
        told.push(format!(
            "{} of {} decisions were made under another {} policy than {}: what changes may come of that, too.",
            count(judged - policy.recorded_under),
            count(judged),
            policy.kind,
            policy.place()
        ));
    }
    told
}
