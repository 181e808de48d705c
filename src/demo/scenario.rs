//! Owns the format of a scenario file (`tests/scenarios/README.md`): what is sent, and what must come of it.
//! Never plays anything. A field that is not known, a label that is used twice or not given: the file is refused.
//! Invariant: a [`Scenario`] that exists refers to nothing it does not define.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::event::{Action, OrderStatus, QualityVerdict, Severity};
use crate::domain::request::{OrderDraft, Side};

/// One scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without `.yml`.
    pub name: String,
    /// One line for a reader.
    pub title: String,
    /// Why it is worth playing.
    #[serde(default)]
    pub about: String,
    /// Policies in force while it is played; a part that is not given is the plan's.
    #[serde(default)]
    pub policies: PolicyParts,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What must be true once everything has come to rest.
    pub expect: Vec<Expectation>,
}

/// Policy files as they would be written, by part.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyParts {
    /// `risk_policy.yml`.
    pub risk: Option<Value>,
    /// `quality_policy.yml`.
    pub quality: Option<Value>,
}

impl PolicyParts {
    /// Whether the plan's policies are meant throughout.
    pub fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One thing done.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The market shows these quotes from now on.
    Prices(BTreeMap<String, Price>),
    /// A step of a PLAN run is told.
    Plan(Plan),
    /// A call of a model is told.
    Infer(Infer),
    /// An order request is produced.
    Submit(Box<Submit>),
    /// Everything produced so far comes to rest before the next step.
    Settle(Settle),
}

/// Nothing to say about settling.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {}

/// What the market shows.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// What a seller gets.
    pub bid: Decimal,
    /// What a buyer pays.
    pub ask: Decimal,
}

/// A step of a PLAN run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Label of the trace.
    pub trace: String,
    /// `START`, `FEATURES`, `END` …
    pub status: String,
    /// The instrument.
    #[serde(default)]
    pub symbol: Option<String>,
    /// Bar size.
    #[serde(default)]
    pub timeframe: Option<String>,
    /// How long before now it began, milliseconds.
    #[serde(default)]
    pub ago_ms: i64,
}

/// A call of a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infer {
    /// Label of the trace.
    pub trace: String,
    /// The model's name.
    pub model: String,
    /// How long before now it was called, milliseconds.
    #[serde(default)]
    pub ago_ms: i64,
    /// How long it took, milliseconds.
    #[serde(default)]
    pub took_ms: i64,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signed {
    /// By a key of the ring.
    #[default]
    Well,
    /// By somebody who does not know the secret.
    Badly,
    /// Not at all.
    Not,
}

/// Which version of OrderRequest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Version {
    /// Without an idempotency key: the gate makes one.
    #[serde(rename = "v1.0")]
    V1_0,
    /// The newest.
    #[default]
    #[serde(rename = "v1.1")]
    V1_1,
}

/// One order request, produced once or more often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// What expectations and the report call it.
    pub label: String,
    /// Label of its trace; without it, its own label.
    #[serde(default)]
    pub trace: Option<String>,
    /// The order, as in a JSON order file. Trace, account, times and key are filled in.
    pub order: Map<String, Value>,
    /// Which version is written.
    #[serde(default)]
    pub version: Version,
    /// How it is signed.
    #[serde(default)]
    pub signed: Signed,
    /// How often it is produced.
    #[serde(default = "once")]
    pub times: u32,
    /// Partitions to produce to, in turn; without it, where the record's key belongs.
    #[serde(default)]
    pub partitions: Vec<i32>,
    /// How long before now it was asked for, seconds; less than 0 is ahead of now.
    #[serde(default)]
    pub requested_ago_s: i64,
    /// How long after now it is valid, seconds.
    #[serde(default)]
    pub valid_for_s: Option<i64>,
    /// Takes the key of this request (and its trace and time, where it names none of its own).
    #[serde(default)]
    pub same_key_as: Option<String>,
}

fn once() -> u32 {
    1
}

/// One thing that must be true at rest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// What was decided about a request.
    Decision(Decided),
    /// Nothing was decided about a request: the ledger does not know its key.
    NoDecision(Of),
    /// The rules that fired for a trace, exactly these.
    Alerts(Alerts),
    /// What the broker received for a request, by its own ledger.
    Broker(AtBroker),
    /// The steps of an order, exactly these.
    Exec(Exec),
    /// Dead letters of a request, exactly so many.
    DeadLetters(DeadLetters),
    /// Rows of an `obs_*` table for a trace.
    Rows(Rows),
    /// What the timeline shows for a trace, in its order.
    Timeline(Timeline),
    /// The plan's own queries.
    Acceptance(Acceptance),
}

/// A request by its label.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// The request's label.
    pub of: String,
}

/// What must have been decided; what is not given may be anything.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The request's label.
    pub of: String,
    /// BUY, SELL, FLAT or REJECT.
    pub action: Action,
    /// Units.
    #[serde(default)]
    pub qty: Option<Decimal>,
    /// The quality gate's verdict.
    #[serde(default)]
    pub quality: Option<QualityVerdict>,
    /// What the opening part was multiplied with.
    #[serde(default)]
    pub multiplier: Option<Decimal>,
    /// Rules that changed the quantity, in their order, exactly these.
    #[serde(default)]
    pub steps: Option<Vec<String>>,
    /// A part of the reason.
    #[serde(default)]
    pub reason_has: Option<String>,
}

/// Which rules must have fired.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// The request whose trace or, if it was refused, whose place in the input is meant.
    pub of: String,
    /// policy_name and severity, in any order.
    #[serde(default)]
    pub are: Option<Vec<(String, Severity)>>,
    /// Instead: at most so many.
    #[serde(default)]
    pub at_most: Option<usize>,
}

/// What the broker must have received.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtBroker {
    /// The request's label.
    pub of: String,
    /// How many orders.
    pub orders: usize,
    /// Units of each.
    #[serde(default)]
    pub qty: Option<Decimal>,
    /// Side of each.
    #[serde(default)]
    pub side: Option<Side>,
    /// Price of each fill.
    #[serde(default)]
    pub price: Option<Decimal>,
}

/// Which steps an order must have gone through.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The request's label.
    pub of: String,
    /// In order of exec_seq.
    pub statuses: Vec<OrderStatus>,
}

/// Dead letters of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// The request's label.
    pub of: String,
    /// How many.
    pub count: usize,
    /// The reason of each.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Rows of a table for a trace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// The request whose trace is meant.
    pub of: String,
    /// The table.
    pub table: ObsTable,
    /// How many.
    pub count: i64,
}

/// The tables that dashboards read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ObsTable {
    ObsPlanRuns,
    ObsInferCalls,
    ObsDecisions,
    ObsExecEvents,
    ObsAlerts,
    ObsDoMetrics,
}

impl ObsTable {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            ObsTable::ObsPlanRuns => "obs_plan_runs",
            ObsTable::ObsInferCalls => "obs_infer_calls",
            ObsTable::ObsDecisions => "obs_decisions",
            ObsTable::ObsExecEvents => "obs_exec_events",
            ObsTable::ObsAlerts => "obs_alerts",
            ObsTable::ObsDoMetrics => "obs_do_metrics",
        }
    }
}

/// What the timeline must show.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// The request whose trace is meant.
    pub of: String,
    /// `KIND` or `KIND action`, in order, e.g. `PLAN:START`, `DECISION BUY`, `EXEC FILLED`.
    pub shows: Vec<String>,
}

/// The plan's own acceptance, for the traces of this scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceptance {
    /// No key has two rows in outbox_orders.
    OneRowPerKey,
    /// Every trace of obs_exec_events is in obs_decisions, and every BUY/SELL decision has exec events.
    TracesAgree,
    /// The timeline answers for every decided trace, and no action of a decision is null.
    TimelineAnswers,
    /// The latency view answers for every decided trace, its total not negative where it is known.
    LatencyAnswers,
}

/// A scenario file that cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("scenario {name}: {why}")]
pub struct BadScenario {
    /// The file's name.
    pub name: String,
    /// Everything that is wrong with it.
    pub why: String,
}

/// Fields of an order that the player fills in.
const FILLED_IN: [&str; 4] = ["trace_id", "requested_at", "valid_until", "idempotency_key"];

impl Scenario {
    /// Reads a file's text; `name` is the file's name without `.yml`.
    pub fn read(name: &str, text: &str) -> Result<Self, BadScenario> {
        let bad = |why: String| BadScenario { name: name.to_string(), why };
        let scenario: Scenario = serde_saphyr::from_str(text).map_err(|e| bad(e.to_string()))?;
        let violations = scenario.violations(name);
        match violations.is_empty() {
            true => Ok(scenario),
            false => Err(bad(violations.join("; "))),
        }
    }

    /// The scenarios of this build, in the order in which they are played.
    pub fn embedded() -> Result<Vec<Self>, BadScenario> {
        EMBEDDED.iter().map(|(name, text)| Self::read(name, text)).collect()
    }

    /// The requests, in order.
    pub fn submits(&self) -> impl Iterator<Item = &Submit> {
        self.steps.iter().filter_map(|step| match step {
            Step::Submit(submit) => Some(&**submit),
            _ => None,
        })
    }

    fn violations(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        if self.name != name {
            found.push(format!("name is {}, the file is {name}", self.name));
        }
        let mut labels = BTreeSet::new();
        for submit in self.submits() {
            found.extend(submit.violations(&labels));
            if !labels.insert(submit.label.as_str()) {
                found.push(format!("the label {} is used twice", submit.label));
            }
        }
        let labelled = self.expect.iter().filter_map(Expectation::of);
        found.extend(
            labelled.filter(|of| !labels.contains(of)).map(|of| format!("no request is {of}")),
        );
        if self.expect.is_empty() {
            found.push("nothing is expected".into());
        }
        found
    }
}

impl Submit {
    fn violations(&self, before: &BTreeSet<&str>) -> Vec<String> {
        let mut found = Vec::new();
        let mut wrong = |why: String| found.push(format!("{}: {why}", self.label));
        if !(1..=10_000).contains(&self.times) {
            wrong("times must be 1..10000".into());
        }
        if let Some(other) = &self.same_key_as
            && !before.contains(other.as_str())
        {
            wrong(format!("same_key_as: no earlier request is {other}"));
        }
        if self.version == Version::V1_0 && self.same_key_as.is_some() {
            wrong("a v1.0 request carries no key".into());
        }
        for field in FILLED_IN.into_iter().filter(|field| self.order.contains_key(*field)) {
            wrong(format!("order.{field} is filled in by the player"));
        }
        let mut probe = self.order.clone();
        probe.insert("trace_id".into(), "t".into());
        probe.insert("requested_at".into(), "2025-01-01T00:00:00Z".into());
        if let Err(error) = serde_json::from_value::<OrderDraft>(Value::Object(probe)) {
            wrong(format!("order: {error}"));
        }
        found
    }
}

impl Expectation {
    /// The label it refers to.
    pub fn of(&self) -> Option<&str> {
        match self {
            Expectation::Decision(e) => Some(&e.of),
            Expectation::NoDecision(e) => Some(&e.of),
            Expectation::Alerts(e) => Some(&e.of),
            Expectation::Broker(e) => Some(&e.of),
            Expectation::Exec(e) => Some(&e.of),
            Expectation::DeadLetters(e) => Some(&e.of),
            Expectation::Rows(e) => Some(&e.of),
            Expectation::Timeline(e) => Some(&e.of),
            Expectation::Acceptance(_) => None,
        }
    }
}

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of every scenario of this build, the plan's own first.
        const EMBEDDED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../tests/scenarios/", $name, ".yml")))),+
        ];
    };
}

embedded!(
    "plan",
    "scaled",
    "clamped",
    "blocked",
    "twice",
    "bad_signature",
    "v1_0",
    "expired",
    "flat"
);

#[cfg(test)]
mod tests;
