//! Judges one order request by hand: a request file and policies in, the order that is allowed and why out.

use std::path::{Path, PathBuf};

use anyhow::bail;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::case::{self, Outcome};
use super::told::Told;
use crate::domain::judge::{Facts, Judgement, judge};
use crate::domain::money::plain;
use crate::domain::policy::Policies;
use crate::ops::{BadInput, Exit};
use crate::runtime::config::PolicyFiles;
use crate::runtime::{clock, policies};

/// One request by hand.
#[derive(Debug, clap::Args)]
pub struct ByHand {
    /// Judge this one order request (JSON) instead of cases
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Risk policy (YAML or JSON); the plan's unless given
    #[arg(long, value_name = "FILE", requires = "request")]
    policy: Option<PathBuf>,
    /// Quality policy; the plan's unless given
    #[arg(long, value_name = "FILE", requires = "request")]
    quality: Option<PathBuf>,
    /// Instruments; the plan's unless given
    #[arg(long, value_name = "FILE", requires = "request")]
    instruments: Option<PathBuf>,
    /// Facts (JSON: position, quote, …); no position, no quote and rate 1 unless given
    #[arg(long, value_name = "FILE", requires = "request")]
    facts: Option<PathBuf>,
    /// The trace, in place of the request's own
    #[arg(long, value_name = "ID", requires = "request")]
    trace_id: Option<String>,
    /// Judge as if it were this time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "TIME", requires = "request")]
    now: Option<Timestamp>,
    /// Print JSON: the order allowed (or null) and the whole judgement
    #[arg(long, requires = "request")]
    json: bool,
}

impl ByHand {
    /// Whether one request is judged by hand.
    pub fn is_asked(&self) -> bool {
        self.request.is_some()
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, BadInput> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BadInput::Unreadable { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| BadInput::Json { path: path.to_owned(), source })
}

/// Judges the request and prints what is allowed and why.
pub fn run(args: &ByHand) -> anyhow::Result<Exit> {
    let Some(path) = &args.request else { bail!("--request is needed") };
    let mut request: Map<String, Value> = read(path)?;
    // A signature is checked by the gate; it says nothing about the order.
    request.remove("signature");
    if let Some(trace) = &args.trace_id {
        request.insert("trace_id".into(), json!(trace));
    }
    // What `noctus submit` fills in is filled in here too.
    let now = args.now.unwrap_or_else(clock::now);
    request.entry("trace_id").or_insert_with(|| json!("by-hand"));
    request.entry("requested_at").or_insert_with(|| json!(now));
    let facts = args.facts.as_deref().map(read::<Facts>).transpose()?.unwrap_or_default();
    let policies = policies::load(&PolicyFiles {
        quality: args.quality.clone(),
        risk: args.policy.clone(),
        instruments: args.instruments.clone(),
        profiles: None,
    })?;
    let intake = match case::order(&serde_json::to_string(&request)?) {
        Ok(intake) => intake,
        Err(Outcome::Refused(why) | Outcome::Bad(why)) => {
            println!("refused: {why}");
            return Ok(Exit::Findings);
        }
        Err(Outcome::Judged { .. }) => unreachable!("an order that is not read is not judged"),
    };
    let judgement = judge(&intake, &facts, &policies, now);
    let order = allowed(request, &judgement);
    if args.json {
        let told = json!({"order": order, "judgement": Told::new(None, &judgement, false)});
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        print!("{}", page(&order, &judgement, &policies));
    }
    Ok(Exit::Ok)
}

/// The request with the quantity that is allowed; none if nothing is.
pub(super) fn allowed(mut request: Map<String, Value>, judgement: &Judgement) -> Option<Value> {
    judgement.action.sends().then(|| {
        request.insert("qty".into(), json!(plain(judgement.decided_qty)));
        Value::Object(request)
    })
}

fn page(order: &Option<Value>, judgement: &Judgement, policies: &Policies) -> String {
    let j = judgement;
    let mut page = format!(
        "decision  {} {} of {}\nreason    {}\n",
        j.action.as_str(),
        plain(j.decided_qty),
        plain(j.requested_qty),
        j.reason
    );
    for step in &j.steps {
        let (before, after) = (plain(step.before), plain(step.after));
        page.push_str(&format!("step      {} {before} → {after}: {}\n", step.rule, step.reason));
    }
    for alert in &j.alerts {
        let severity = alert.severity.as_str();
        page.push_str(&format!("alert     {severity} {}: {}\n", alert.policy_name, alert.reason));
    }
    page.push_str(&format!("policy    risk {}\n", policies.digests.risk));
    match order {
        Some(order) => page.push_str(&format!("order     {order}\n")),
        None => page.push_str("order     none\n"),
    }
    page
}
