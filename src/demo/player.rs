//! Owns the playing of a scenario: its steps in order, the wait until everything rests, its expectations.
//! Never starts or stops a service: it is given a stack, embedded or real, with the roles running on it.
//! Invariant: expectations are looked at after everything rests, so "exactly one" is not "not yet two".

mod check;
mod evidence;
mod record;
mod rest;

pub use check::Checked;
pub(crate) use check::decimal;
pub use evidence::{BrokerOrder, DeadLetter, Evidence};
pub use record::Sent;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use serde_json::json;

use super::policies;
use super::scenario::{Price, Scenario, Step, Submit};
use crate::domain::event::{EventId, InferCall, PlanRun, Quote, Subject as About};
use crate::domain::policy::Policies;
use crate::domain::text::{Symbol, TraceId};
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::registry::Registry;
use crate::pg::Pool;
use crate::runtime::clock;
use crate::runtime::config::Config;
use crate::runtime::metrics::Metrics;
use crate::runtime::secrets::Secrets;
use crate::wire::{self, Subject};

/// How long everything may take to come to rest.
pub const REST_DEADLINE: Duration = Duration::from_secs(60);

/// The stack that scenarios are played on.
pub struct Player {
    config: Arc<Config>,
    secrets: Arc<Secrets>,
    pool: Pool,
    registry: Arc<Registry>,
    /// The policies that the running gate judges by.
    policies: Arc<ArcSwap<Policies>>,
    /// What the running gate counts.
    metrics: Arc<Metrics>,
    producer: Producer,
    http: reqwest::Client,
    /// Goes into every trace id, so that playing again is not a replay.
    run: String,
}

/// Longest wait for the gate to read quotes.
const QUOTES_DEADLINE: Duration = Duration::from_secs(30);

/// What a player is made of.
pub struct Stack {
    /// Where everything is.
    pub config: Arc<Config>,
    /// With which keys requests are signed.
    pub secrets: Arc<Secrets>,
    /// The ledger and the tables.
    pub pool: Pool,
    /// Ids of schemas.
    pub registry: Arc<Registry>,
    /// The policies that the running gate judges by.
    pub policies: Arc<ArcSwap<Policies>>,
    /// What the running gate counts.
    pub metrics: Arc<Metrics>,
}

/// A scenario after it was played.
pub struct Played {
    /// What was played.
    pub scenario: Scenario,
    /// What went in.
    pub sent: Vec<Sent>,
    /// What came of it.
    pub evidence: Evidence,
    /// Its expectations, each with its answer.
    pub checks: Vec<Checked>,
    /// Why not everything came to rest, if it did not.
    pub restless: Option<String>,
    /// From the first step to rest.
    pub took: Duration,
}

impl Played {
    /// Whether every expectation holds.
    pub fn holds(&self) -> bool {
        self.restless.is_none() && self.checks.iter().all(|check| check.ok)
    }
}

impl Player {
    /// Prepares to play on a stack.
    pub fn new(stack: Stack) -> anyhow::Result<Self> {
        let Stack { config, secrets, pool, registry, policies, metrics } = stack;
        let producer = Producer::new(&config)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        let run = format!("{:08x}", rand::random::<u32>());
        Ok(Self { config, secrets, pool, registry, policies, metrics, producer, http, run })
    }

    /// Plays a scenario and looks at what came of it. `say` is told what is being waited for.
    pub async fn play(&self, scenario: &Scenario, say: &dyn Fn(&str)) -> anyhow::Result<Played> {
        let began = Instant::now();
        self.policies.store(Arc::new(policies::of(&scenario.policies)?));
        let before = self.end_offsets(&[wire_dead_letters()]).await?;
        let mut sent: Vec<Sent> = Vec::new();
        let mut restless = None;
        for step in &scenario.steps {
            match step {
                Step::Prices(prices) => self.prices(prices).await?,
                Step::Plan(plan) => {
                    let trace = self.trace(scenario, &plan.trace)?;
                    let nth = self.nth(&trace, &plan.status);
                    let at = ago(plan.ago_ms)?;
                    let value = PlanRun {
                        event_id: nth,
                        trace_id: trace,
                        status: plan.status.clone(),
                        symbol: plan.symbol.as_deref().map(Symbol::new).transpose()?,
                        timeframe: plan.timeframe.clone(),
                        started_at: at,
                        finished_at: None,
                        meta: json!({"scenario": scenario.name}),
                    };
                    let body = wire::plan_run::encode(&value)?;
                    self.tell(Subject::PlanRun, &value.trace_id, body).await?;
                }
                Step::Infer(infer) => {
                    let trace = self.trace(scenario, &infer.trace)?;
                    let value = InferCall {
                        event_id: self.nth(&trace, &infer.model),
                        trace_id: trace,
                        model: infer.model.clone(),
                        version: None,
                        called_at: ago(infer.ago_ms)?,
                        duration_ms: Some(infer.took_ms),
                        status: "ok".into(),
                        inputs: json!({}),
                        outputs: json!({}),
                    };
                    let body = wire::infer_call::encode(&value)?;
                    self.tell(Subject::InferCall, &value.trace_id, body).await?;
                }
                Step::Submit(submit) => {
                    let one = self.submit(scenario, submit, &sent).await?;
                    sent.push(one);
                }
                Step::Settle(_) => restless = restless.or(self.rest(&sent, say).await?),
            }
        }
        let restless = restless.or(self.rest(&sent, say).await?);
        let evidence = self.evidence(&sent, &before).await?;
        let mut checks = Vec::new();
        for expectation in &scenario.expect {
            checks.extend(self.check(expectation, &sent, &evidence).await?);
        }
        let took = began.elapsed();
        Ok(Played { scenario: scenario.clone(), sent, evidence, checks, restless, took })
    }

    /// The trace that a label of a scenario stands for in this run.
    fn trace(&self, scenario: &Scenario, label: &str) -> anyhow::Result<TraceId> {
        let text = format!("demo-{}-{label}-{}", scenario.name, self.run);
        TraceId::new(&text).with_context(|| format!("trace {text}"))
    }

    fn nth(&self, trace: &TraceId, what: &str) -> EventId {
        let subject = format!("{trace}|{what}");
        let about = About::Process { subject: &subject, window_start: jiff::Timestamp::UNIX_EPOCH };
        EventId::new(about, "demo", 0)
    }

    /// The market shows these quotes: on the topic, signed, and at the broker of paper. Returns when the gate has read
    /// them: requests come by another topic, and would be judged without them.
    async fn prices(&self, prices: &BTreeMap<String, Price>) -> anyhow::Result<()> {
        let mut records = Vec::new();
        for (name, price) in prices {
            let symbol = Symbol::new(name)?;
            let quote = Quote { bid: price.bid, ask: price.ask, at: clock::now() };
            let body = wire::quote::encode(&symbol, &quote)?;
            records.push(self.signed(Subject::Quote, symbol.as_bytes(), &body).await?);
        }
        let read = &self.metrics.quotes_read;
        let wanted = read.get() + records.len() as u64;
        self.producer.produce(&records).await?;
        let began = Instant::now();
        while read.get() < wanted {
            anyhow::ensure!(began.elapsed() < QUOTES_DEADLINE, "the gate does not read the quotes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let url = format!("{}/quotes", self.config.broker.url);
        let answer = self.http.post(&url).json(prices).send().await.context(url)?;
        answer.error_for_status().context("the paper broker refuses the quotes")?;
        Ok(())
    }

    async fn tell(&self, subject: Subject, trace: &TraceId, body: Vec<u8>) -> anyhow::Result<()> {
        let id = self.registry.newest_id(&self.config, subject).await?;
        let record = Outgoing {
            topic: self.config.topic(subject.topic()),
            key: Some(trace.as_bytes().to_vec()),
            value: Some(wire::frame(id, &body)),
            headers: Vec::new(),
            timestamp_ms: None,
            partition: None,
        };
        self.producer.produce(&[record]).await?;
        Ok(())
    }

    async fn submit(
        &self,
        scenario: &Scenario,
        submit: &Submit,
        before: &[Sent],
    ) -> anyhow::Result<Sent> {
        let mut sent = self.request(scenario, submit, before)?;
        let record = self.order_record(&sent, submit).await?;
        let mut records = Vec::new();
        for n in 0..submit.times as usize {
            let turn = submit.partitions.get(n % submit.partitions.len().max(1));
            records.push(Outgoing { partition: turn.copied(), ..record.clone() });
        }
        let delivered = self.producer.produce(&records).await?;
        sent.places = delivered.iter().map(|d| (d.partition, d.offset)).collect();
        Ok(sent)
    }
}

fn wire_dead_letters() -> &'static str {
    "dead-letters"
}

fn ago(ms: i64) -> anyhow::Result<jiff::Timestamp> {
    Ok(clock::now().checked_sub(jiff::SignedDuration::from_millis(ms))?)
}
