//! `noctus policy test`: cases that stand beside a policy, judged under it and compared with what they expect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::junit;
use super::kind::Kind;
use crate::domain::money::plain;
use crate::domain::policy::{Policies, Source, Sources};
use crate::ops::Exit;
use crate::ops::judge::case::{Answer, Cases, Outcome};
use crate::runtime::policies;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Test files (YAML)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write a JUnit XML report for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

const HELP: &str = "\
A test file names policies (beside it, or written out in place), what is given, and cases:

  policies: { risk: risk_policy.yml }
  given:
    now: 2026-11-23T10:00:00Z
    request: { symbol: USDJPY, side: BUY }
    facts: { quote: { bid: 151.20, ask: 151.22 } }
  cases:
    - name: a large buy is cut to the cap
      given: { request: { qty: 10000 } }
      expect: { action: BUY, decided_qty: 991, alerts: [risk.max_position_notional] }

A case's own given goes over the file's, key by key. Unless given, trace_id is policy-test, requested_at and
the quote's at are now, and the data is good. Any member of a result may be expected (see noctus judge).";

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// By kind: a path from the file's folder, or the policy itself.
    policies: BTreeMap<String, Value>,
    #[serde(default)]
    given: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    given: Map<String, Value>,
    expect: Map<String, Value>,
}

/// What came of a test file.
#[derive(Debug, Default)]
pub struct Tried {
    /// The file.
    pub name: String,
    /// Why it could not be tried at all.
    pub errors: Vec<String>,
    /// Each of its cases.
    pub cases: Vec<Told>,
}

/// What came of a case.
#[derive(Debug)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// What differs from what it expects; nothing if it is good.
    pub differences: Vec<String>,
    /// How the result came about, for a person.
    pub notes: Vec<String>,
}

impl Tried {
    /// How many cases differ.
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.differences.is_empty()).count()
    }
}

/// Tries the files.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let tried: Vec<Tried> = args.files.iter().map(|path| try_file(path)).collect();
    tried.iter().for_each(|file| print!("{}", page(file)));
    let (cases, failed, errors) = tried.iter().fold((0, 0, 0), |(cases, failed, errors), file| {
        (cases + file.cases.len(), failed + file.failed(), errors + file.errors.len())
    });
    let not_read = if errors > 0 { format!(", {errors} error(s)") } else { String::new() };
    println!("{cases} case(s), {failed} failed{not_read}");
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&tried))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if failed + errors == 0 { Exit::Ok } else { Exit::Findings })
}

fn page(file: &Tried) -> String {
    let mut page = format!("{}\n", file.name);
    file.errors.iter().for_each(|error| page.push_str(&format!("  ERROR {error}\n")));
    for case in &file.cases {
        let word = if case.differences.is_empty() { "ok   " } else { "FAIL " };
        page.push_str(&format!("  {word} {}\n", case.name));
        if !case.differences.is_empty() {
            let lines = case.differences.iter().chain(&case.notes);
            lines.for_each(|line| page.push_str(&format!("        {line}\n")));
        }
    }
    page
}

pub(super) fn try_file(path: &Path) -> Tried {
    let mut tried = Tried { name: path.display().to_string(), ..Tried::default() };
    match read(path) {
        Ok((policies, file)) => {
            let mut judge = Cases::under(Arc::new(policies));
            tried.cases = file.cases.iter().map(|case| try_case(&mut judge, &file, case)).collect();
            if tried.cases.is_empty() {
                tried.errors.push("it has no cases".into());
            }
        }
        Err(error) => tried.errors.push(format!("{error:#}")),
    }
    tried
}

fn read(path: &Path) -> anyhow::Result<(Policies, File)> {
    let (_, text) = policies::text(path)?;
    let file: File = serde_saphyr::from_str(&text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut texts = Vec::new();
    for (name, policy) in &file.policies {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.with_context(|| format!("policies: {name:?} is not a policy"))?;
        let (file, text) = match policy {
            Value::String(beside) => policies::text(&folder.join(beside))?,
            given => (format!("policies.{name}"), given.to_string()),
        };
        texts.push((kind, file, text));
    }
    let mut sources = Sources::default();
    for (kind, file, text) in &texts {
        *kind.slot(&mut sources) = Some(Source { file, text });
    }
    Ok((Policies::parse(sources, &policies::zones)?, file))
}

fn try_case(judge: &mut Cases, file: &File, case: &Case) -> Told {
    let mut line = file.given.clone();
    // A case that gives the one means it in the place of the other.
    for (own, other) in [("request", "proposal_set"), ("proposal_set", "request")] {
        if case.given.contains_key(own) {
            line.remove(other);
        }
    }
    merge(&mut line, &case.given);
    fill_in(&mut line);
    line.insert("name".into(), json!(case.name));
    line.insert("expect".into(), Value::Object(expected(&case.expect)));
    let answer = judge.answer(&Value::Object(line).to_string());
    let mut differences = answer.differences();
    if case.expect.is_empty() {
        differences.push("it expects nothing".into());
    }
    Told { name: case.name.clone(), differences, notes: notes(&answer) }
}

/// Puts `over` over `base`, section by section.
fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            _ => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

/// What a case need not say.
fn fill_in(line: &mut Map<String, Value>) {
    let now = line.get("now").cloned().unwrap_or_default();
    for name in ["request", "proposal_set"] {
        if let Some(Value::Object(request)) = line.get_mut(name) {
            request.entry("trace_id").or_insert_with(|| json!("policy-test"));
            request.entry("requested_at").or_insert_with(|| now.clone());
            let quality = request.entry("quality").or_insert_with(|| json!({}));
            if let Value::Object(metrics) = quality {
                metrics.entry("missing_ratio").or_insert(json!(0));
                metrics.entry("data_lag_min").or_insert(json!(0));
            }
        }
    }
    if let Some(Value::Object(quote)) = line.get_mut("facts").and_then(|f| f.get_mut("quote")) {
        quote.entry("at").or_insert(now);
    }
}

/// An alert may be expected by its name alone.
fn expected(expect: &Map<String, Value>) -> Map<String, Value> {
    let mut expect = expect.clone();
    if let Some(Value::Array(alerts)) = expect.get_mut("alerts") {
        for alert in alerts.iter_mut().filter(|alert| alert.is_string()) {
            *alert = json!({"policy_name": alert.take()});
        }
    }
    expect
}

/// How the result came about.
fn notes(answer: &Answer) -> Vec<String> {
    let Outcome::Judged { judgement, .. } = &answer.outcome else { return Vec::new() };
    let mut notes = vec![format!("reason: {}", judgement.reason)];
    notes.extend(judgement.steps.iter().map(|step| {
        format!(
            "step: {} {} → {}: {}",
            step.rule,
            plain(step.before),
            plain(step.after),
            step.reason
        )
    }));
    notes.extend(
        judgement
            .alerts
            .iter()
            .map(|a| format!("alert: {} {}: {}", a.severity.as_str(), a.policy_name, a.reason)),
    );
    notes
}
