//! `noctus topics` on a real cluster, and Kafka's topic ids.

use std::collections::BTreeMap;
use std::time::Duration;

use assert_cmd::Command;
use noctus::kafka::admin::{Admin, AdminError, NewTopic, topic_ids};
use noctus::kafka::client::client;
use noctus::kafka::producer::{Outgoing, Producer};
use noctus::ops::topics::{self, spec::Spec};
use noctus::runtime::config::{Config, TopicIds};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::stack::{FreshPrefix, Stack, fresh_prefix, until};

const NO_DATABASE: &str = "postgres://nobody@127.0.0.1:1/none";

fn corner() -> (FreshPrefix, Config) {
    let prefix = fresh_prefix();
    let config = Stack::get().config(NO_DATABASE, &prefix);
    (prefix, config)
}

fn noctus(prefix: &str, args: &[&str]) -> (i32, String) {
    let mut command = Command::cargo_bin("noctus").expect("the binary is built with the tests");
    let command = command
        .env("NOCTUS_KAFKA__BROKERS", &Stack::get().brokers)
        .env("NOCTUS_KAFKA__TOPIC_PREFIX", prefix)
        .arg("topics");
    let output = command.args(args).output().expect("it runs");
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it exits"),
        String::from_utf8(told).expect("it writes UTF-8").replace(prefix, ""),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_makes_every_topic_from_nothing_and_diff_is_then_clean() {
    let (prefix, config) = corner();
    let (code, told) = noctus(&prefix, &["diff", "--replication", "1"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("order-requests: is missing\n"), "{told}");
    assert!(told.ends_with("11 topics, 11 difference(s) left\n"), "{told}");

    let (code, told) = noctus(&prefix, &["apply", "--replication", "1", "--dry-run"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("would mend: quotes: is missing\n"), "{told}");
    let admin = Admin::new(&config).unwrap();
    let there = admin.topics().await.unwrap();
    assert!(!there.keys().any(|topic| topic.starts_with(&*prefix)), "a dry run makes nothing");

    let (code, told) = noctus(&prefix, &["apply", "--replication", "1"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("order-requests: created, 12 partitions, replication 1\n"), "{told}");
    let (code, told) = noctus(&prefix, &["diff", "--replication", "1"]);
    assert_eq!((code, &*told), (0, "11 topics, 0 difference(s) left\n"));
    let (code, told) = noctus(&prefix, &["apply", "--replication", "1"]);
    assert_eq!((code, &*told), (0, "11 topics, 0 difference(s) left\n"), "again is harmless");

    let settings = admin.settings(&[&config.topic("quotes")]).await.unwrap();
    let quotes = &settings[&config.topic("quotes")];
    assert_eq!(quotes["cleanup.policy"], "compact");
    assert_eq!(quotes["message.timestamp.type"], "LogAppendTime");
    assert_eq!(admin.auto_creation().await.unwrap(), Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_told_and_mended_and_nothing_else_is_touched() {
    let (prefix, config) = corner();
    let admin = Admin::new(&config).unwrap();
    let spec = Spec { replication: 1, ..Spec::embedded().with_partitions_max(2) };
    let made = topics::apply(&admin, &config, &spec).await.unwrap();
    assert_eq!((made.done.len(), made.left), (11, vec![]));

    let drift = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    };
    let requests = config.topic("order-requests");
    let wrong = drift(&[
        ("retention.ms", "1000"),
        ("message.timestamp.type", "CreateTime"),
        ("segment.ms", "7200000"),
    ]);
    admin.change_settings(&requests, &wrong).await.unwrap();
    let wanted = Spec { replication: 1, ..Spec::embedded().with_partitions_max(3) };
    let drifted = async |spec: &Spec| {
        let differences = topics::differences(&admin, &config, spec).await.unwrap();
        let told = differences.iter().map(|d| d.to_string().replace(&*prefix, ""));
        told.collect::<Vec<_>>()
    };
    let told = until(async || drifted(&wanted).await, |told| told.len() == 13).await;
    assert_eq!(
        told[..3],
        [
            "order-requests: 2 partitions, 3 wanted",
            "order-requests: message.timestamp.type=CreateTime, LogAppendTime wanted",
            "order-requests: retention.ms=1000, 604800000 wanted",
        ]
    );
    let mended = topics::apply(&admin, &config, &wanted).await.unwrap();
    assert_eq!((mended.done.len(), mended.left), (13, vec![]));
    assert_eq!(drifted(&wanted).await, Vec::<String>::new());
    let settings = admin.settings(&[&requests]).await.unwrap();
    assert_eq!(settings[&requests]["segment.ms"], "7200000", "another's setting stays");

    // Fewer partitions are never made, only told.
    let told = drifted(&spec).await;
    assert_eq!(told.len(), 11);
    assert!(told[0].starts_with("order-requests: 3 partitions, 2 wanted; they are never taken"));
    let left = topics::apply(&admin, &config, &spec).await.unwrap();
    assert_eq!((left.done.len(), left.left.len()), (0, 11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f29_a_topic_that_is_deleted_and_made_again_has_another_id() {
    let (_prefix, mut config) = corner();
    let admin = Admin::new(&config).unwrap();
    let name = config.topic("order-requests");
    let topic =
        NewTopic { name: name.clone(), partitions: 1, replication: 1, settings: BTreeMap::new() };
    let names = [name.clone()];
    let ids = async |config: &Config| topic_ids(config, &names).await;

    assert!(matches!(ids(&config).await, Err(AdminError::NoTopic(missing)) if missing == name));
    admin.create(std::slice::from_ref(&topic)).await.unwrap();
    let known = async |config: &Config| ids(config).await.ok().map(|ids| ids[&name].clone());
    let first = until(async || known(&config).await, Option::is_some).await.unwrap();
    assert_eq!(first.len(), 22, "{first}");
    assert!(first.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{first}");
    assert_eq!(known(&config).await.unwrap(), first, "it stays while the topic stays");

    admin.delete(&names).await.unwrap();
    until(async || admin.topics().await.unwrap(), |there| !there.contains_key(&name)).await;
    admin.create(&[topic]).await.unwrap();
    let second =
        until(async || known(&config).await, |id| id.as_ref().is_some_and(|id| *id != first));
    assert_ne!(second.await.unwrap(), first);

    config.kafka.topic_ids = TopicIds::ByName;
    config.kafka.brokers = "127.0.0.1:1".into();
    assert_eq!(ids(&config).await.unwrap()[&name], name, "by name nobody is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ids_are_had_with_one_question_and_a_missing_topic_is_named() {
    let (_prefix, config) = corner();
    crate::stack::make_topics(&config, 1).await;
    let mut names: Vec<String> =
        Spec::embedded().topics.iter().map(|t| config.topic(&t.name)).collect();
    let ids = topic_ids(&config, &names).await.unwrap();
    let different: std::collections::BTreeSet<&String> = ids.values().collect();
    assert_eq!((ids.len(), different.len()), (11, 11));
    names.push(config.topic("no-such-topic"));
    let missing = topic_ids(&config, &names).await.unwrap_err().to_string();
    assert!(missing.contains("no-such-topic: run `noctus topics apply`"), "{missing}");
    assert_eq!(topic_ids(&config, &[]).await.unwrap().len(), 0);
}

#[test]
fn f09_a_clients_burst_fits_into_an_input_and_a_giant_record_is_refused_by_the_broker() {
    let (_prefix, config) = corner();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(crate::stack::make_topics(&config, 1));
    let topic = config.topic("order-requests");
    // librdkafka's own settings: batches of up to 1 000 000 bytes, whatever the topic takes.
    let mut settings = client(&config);
    settings.set("linger.ms", "500").set("message.max.bytes", "4000000");
    let counter = Counter::default();
    let producer: ThreadedProducer<Counter> =
        settings.create_with_context(counter.clone()).unwrap();
    let value = vec![b'x'; 600];
    for _ in 0..3_000 {
        producer.send(BaseRecord::to(&topic).key("main|USDJPY").payload(&value)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(counter.told(), (3_000, vec![]));
    let giant = vec![b'x'; 1_500_000];
    producer.send(BaseRecord::to(&topic).key("main|USDJPY").payload(&giant)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(counter.told(), (3_000, vec![RDKafkaErrorCode::MessageSizeTooLarge]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f09_the_largest_input_fits_into_a_dead_letter_with_its_headers() {
    let (_prefix, config) = corner();
    crate::stack::make_topics(&config, 1).await;
    // What lies in headers is not under gate.value_max_bytes: only the topic's own limit holds there.
    let huge = |name: &str, bytes| (name.to_string(), Some(vec![b'x'; bytes]));
    let letter = Outgoing {
        topic: config.topic("dead-letters"),
        key: Some(b"main|USDJPY".to_vec()),
        value: Some(vec![b'x'; 10]),
        headers: vec![huge("anything", 1_048_000), huge("noctus-detail", 10_000)],
        timestamp_ms: None,
        partition: None,
    };
    let delivered = Producer::new(&config).unwrap().produce(&[letter]).await.unwrap();
    assert_eq!(delivered.len(), 1);
}

/// Counts what was delivered and what was not.
#[derive(Clone, Default)]
struct Counter(std::sync::Arc<std::sync::Mutex<(u32, Vec<RDKafkaErrorCode>)>>);

impl Counter {
    fn told(&self) -> (u32, Vec<RDKafkaErrorCode>) {
        self.0.lock().unwrap().clone()
    }
}

impl rdkafka::ClientContext for Counter {}

impl rdkafka::producer::ProducerContext for Counter {
    type DeliveryOpaque = ();
    fn delivery(&self, delivered: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        let mut told = self.0.lock().unwrap();
        match delivered {
            Ok(_) => told.0 += 1,
            Err((error, _)) => told.1.push(error.rdkafka_error_code().expect("Kafka's error")),
        }
    }
}
