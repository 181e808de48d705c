//! The sink as a role: real Kafka, registry and Postgres, the sink in this process.

use std::sync::Arc;

use noctus::domain::event::{Action, OrderStatus};
use noctus::domain::policy::Policies;
use noctus::kafka::producer::{Outgoing, Producer};
use noctus::kafka::registry::{Registry, subject_of};
use noctus::pg;
use noctus::runtime::config::Config;
use noctus::runtime::context::Context;
use noctus::runtime::health::Health;
use noctus::runtime::keyring::Keyring;
use noctus::runtime::metrics::Metrics;
use noctus::runtime::secrets::Secrets;
use noctus::sink::{self, SinkError};
use noctus::wire::{self, Subject};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::base::{Base, Order, at};
use crate::stack::{FreshPrefix, Stack, fresh_prefix, make_topics, until};

/// Topics, schemas and tables of its own.
pub(super) struct Place {
    pub(super) base: Base,
    config: Config,
    producer: Producer,
    registry: Registry,
    pub(super) prefix: FreshPrefix,
}

/// A sink in this process.
pub(super) struct Running {
    health: Health,
    pub(super) metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SinkError>>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it did not panic").expect("it drained");
    }
    /// Ends it in the middle of whatever it does.
    pub(super) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()), "it was running");
    }
    pub(super) async fn ready(&self) {
        until(async || self.health.problems(), Vec::is_empty).await;
    }
    /// Why it is not ready, once it says something that has this in it.
    async fn waits(&self, why: &str) {
        let says = |problems: &Vec<(String, String)>| problems.iter().any(|(_, p)| p.contains(why));
        until(async || self.health.problems(), says).await;
    }
}

impl Place {
    pub(super) async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_partitions(3, change).await
    }

    pub(super) async fn with_partitions(most: i32, change: impl FnOnce(&mut Config)) -> Self {
        let (base, prefix) = (Base::new().await, fresh_prefix());
        let mut config = Stack::get().config(&base.database.url, &prefix);
        config.kafka.session_timeout_ms = 6_000;
        config.registry.unknown_schema_ms = 1_500;
        change(&mut config);
        make_topics(&config, most).await;
        noctus::ops::schemas::register_all(&config).await.expect("schemas can be registered");
        let producer = Producer::new(&config).expect("a producer");
        let registry = Registry::new(&config.registry).expect("a registry client");
        Self { base, config, producer, registry, prefix }
    }

    pub(super) async fn sink(&self, worker: &str) -> Running {
        let (health, metrics) = (Health::default(), Arc::new(Metrics::default()));
        let ctx = Context {
            config: Arc::new(self.config.clone()),
            secrets: Arc::new(arc_swap::ArcSwap::from_pointee(Secrets {
                idempotency: vec![],
                signing: Keyring::dev(),
            })),
            pool: pg::connect(&self.config.database).await.expect("a pool"),
            registry: Arc::new(Registry::new(&self.config.registry).expect("a registry client")),
            policies: Arc::new(arc_swap::ArcSwap::from_pointee(Policies::default())),
            policy_files: Default::default(),
            secret_files: Default::default(),
            metrics: metrics.clone(),
            health: health.clone(),
            worker: worker.into(),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(sink::run(ctx, stop.clone()));
        Running { health, metrics, stop, task }
    }

    pub(super) async fn record(&self, subject: Subject, trace: &str, body: &[u8]) -> Outgoing {
        let topic = self.config.topic(subject.topic());
        let id = self.registry.id_of(&subject_of(&topic), subject.schema()).await;
        self.raw(subject, trace, wire::frame(id.expect("it is registered"), body))
    }

    fn raw(&self, subject: Subject, trace: &str, value: Vec<u8>) -> Outgoing {
        Outgoing {
            topic: self.config.topic(subject.topic()),
            key: Some(trace.as_bytes().to_vec()),
            value: Some(value),
            headers: Vec::new(),
            timestamp_ms: None,
            partition: None,
        }
    }

    /// What gate and dispatch say of an order: a decision and three steps.
    async fn events(&self, order: &Order) -> Vec<Outgoing> {
        let decision = order.decision_of(Action::Buy, Some("147.252"), at(30));
        let body = wire::decision::encode(&decision).expect("it fits");
        let mut records = vec![self.record(Subject::Decision, &order.trace, &body).await];
        let statuses = [OrderStatus::Sent, OrderStatus::Accepted, OrderStatus::Filled];
        for (seq, status) in (1..).zip(statuses) {
            let step = order.step(seq, status, at(40 + i64::from(seq)));
            let body = wire::exec_event::encode(&step).expect("it fits");
            records.push(self.record(Subject::ExecEvent, &order.trace, &body).await);
        }
        records
    }

    pub(super) async fn produce(&self, records: &[Outgoing]) {
        self.producer.produce(records).await.expect("Kafka takes them");
    }

    pub(super) async fn orders(&self, from: usize, to: usize) -> Vec<Outgoing> {
        let mut all = Vec::new();
        for n in from..to {
            let order = Order::new(&format!("t-{n:05}"), &format!("order-{n:05}"));
            all.extend(self.events(&order).await);
        }
        all
    }

    pub(super) async fn becomes(&self, sql: &str, wanted: &str) {
        until(async || self.base.text(sql).await, |found| found == wanted).await;
    }

    /// Every record of a topic, read by another client.
    pub(super) fn dump(&self, logical: &str) -> Vec<Value> {
        let stack = Stack::get();
        let out = std::process::Command::new(&stack.python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack/dump.py"))
            .arg(format!("{}{logical}", &*self.prefix))
            .env("BROKERS", &stack.brokers)
            .output()
            .expect("python can be started");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
    }
}

const STEPS: &str = "SELECT count(*) FROM obs_exec_events";
const METRICS: &str = "SELECT count(*) FROM obs_do_metrics WHERE final_status = 'FILLED'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f30_what_is_read_again_from_the_start_changes_nothing() {
    let place = Place::new(|_| {}).await;
    place.produce(&place.orders(0, 20).await).await;
    let one = place.sink("one").await;
    place.becomes(METRICS, "20").await;
    place.becomes(STEPS, "60").await;
    one.ready().await;
    one.stop().await;
    let before = place.base.content().await;
    place.base.sql("UPDATE input_positions SET next_offset = 0 WHERE reader = 'sink'").await;
    let two = place.sink("two").await;
    let read = "SELECT sum(next_offset) FROM input_positions WHERE reader = 'sink'";
    place.becomes(read, "80").await;
    assert_eq!(place.base.content().await, before);
    let repeats = two.metrics.sink_repeats.with_label_values(&["obs_exec_events"]).get();
    assert_eq!(repeats, 60);
    assert_eq!(two.metrics.sink_rows.with_label_values(&["obs_exec_events"]).get(), 0);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f02_f05_what_cannot_be_a_row_is_a_dead_letter_and_the_rest_is_written() {
    let place = Place::new(|_| {}).await;
    let order = Order::new("t-1", "order-00001");
    let good = place.events(&order).await;
    let cut = {
        let whole = good[0].value.clone().expect("a value");
        place.raw(Subject::Decision, "t-1", whole[..whole.len() - 3].to_vec())
    };
    let wire = place.raw(Subject::Alert, "t-1", b"hello".to_vec());
    let tombstone = Outgoing { value: None, ..place.raw(Subject::Alert, "t-1", vec![]) };
    let other = Outgoing { topic: place.config.topic("plan-runs"), ..good[1].clone() };
    let unknown = |id| place.raw(Subject::InferCall, "t-1", wire::frame(id, b"x"));
    let bad = [cut, wire, tombstone, other, unknown(i32::MAX as u32), unknown(u32::MAX)];
    place.produce(&bad).await;
    place.produce(&good).await;
    let sink = place.sink("one").await;
    place.becomes(METRICS, "1").await;
    place.becomes("SELECT count(*) FROM owed_events", "0").await;
    let letters =
        until(async || place.dump("dead-letters"), |letters| letters.len() == bad.len()).await;
    let header = |letter: &Value, name: &str| -> String {
        let headers = letter["headers"].as_array().expect("headers").clone();
        let of = headers.iter().find(|h| h[0] == name).expect("the header");
        String::from_utf8(hex::decode(of[1].as_str().expect("hex")).expect("hex")).expect("text")
    };
    let mut reasons: Vec<String> = letters.iter().map(|l| header(l, "noctus-reason")).collect();
    reasons.sort();
    let unknown = "unknown_schema";
    let wanted = ["bad_avro", "bad_wire", "bad_wire", "schema_mismatch", unknown, unknown];
    assert_eq!(reasons, wanted);
    let mut values: Vec<Option<String>> =
        letters.iter().map(|l| l["value"].as_str().map(str::to_string)).collect();
    let mut wanted: Vec<Option<String>> =
        bad.iter().map(|r| r.value.as_ref().map(hex::encode)).collect();
    values.sort();
    wanted.sort();
    assert_eq!(values, wanted, "its bytes are unchanged");
    assert_eq!(sink.metrics.sink_refused.with_label_values(&["bad_wire"]).get(), 2);
    sink.ready().await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f64_a_missing_table_pauses_the_sink_and_leaves_no_partial_row() {
    let place = Place::new(|_| {}).await;
    place.base.sql("ALTER TABLE obs_do_metrics RENAME TO away").await;
    let sink = place.sink("one").await;
    place.produce(&place.orders(0, 5).await).await;
    sink.waits("\"obs_do_metrics\" does not exist (42P01)").await;
    assert_eq!(place.base.text(STEPS).await, "0");
    place.base.sql("ALTER TABLE away RENAME TO obs_do_metrics").await;
    place.becomes(METRICS, "5").await;
    sink.ready().await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_while_the_registry_is_away_records_wait_and_none_is_a_dead_letter() {
    let place = Place::new(|_| {}).await;
    place.produce(&place.orders(0, 3).await).await;
    let mut away = Place { config: place.config.clone(), ..place };
    let there = std::mem::replace(&mut away.config.registry.url, "http://127.0.0.1:1".into());
    let waiting = away.sink("one").await;
    waiting.waits("does not answer").await;
    waiting.stop().await;
    assert_eq!(away.base.text(STEPS).await, "0");
    assert_eq!(away.base.text("SELECT count(*) FROM owed_events").await, "0");
    away.config.registry.url = there;
    let sink = away.sink("two").await;
    away.becomes(METRICS, "3").await;
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_f35_f63_two_sinks_one_of_them_killed_and_connections_cut_write_every_row_once() {
    let place = Place::new(|config| config.sink.batch_max = 40).await;
    let (one, two) = (place.sink("one").await, place.sink("two").await);
    let owners = "SELECT count(DISTINCT owner) FROM input_positions WHERE reader = 'sink'";
    place.becomes(owners, "2").await;
    place.produce(&place.orders(0, 150).await).await;
    for reached in [100, 200, 300] {
        let sql = format!("SELECT count(*) >= {reached} FROM obs_exec_events");
        place.becomes(&sql, "true").await;
        // All but the one that asks; some are in the middle of a transaction.
        place
            .base
            .text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
    }
    one.crash().await;
    place.produce(&place.orders(150, 250).await).await;
    place.becomes(STEPS, "750").await;
    place.becomes("SELECT count(*) FROM obs_decisions", "250").await;
    place.becomes(METRICS, "250").await;
    place.becomes("SELECT count(*) FROM obs_do_metrics", "250").await;
    two.stop().await;
}
