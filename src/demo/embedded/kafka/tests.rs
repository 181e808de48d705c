use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::*;

fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers()).set("group.id", "g");
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("session.timeout.ms", "6000");
    config
}

async fn produce(kafka: &Kafka, partitions: i32) {
    let mut config = client(kafka);
    config.set("enable.idempotence", "true").set("acks", "all");
    let producer: FutureProducer = config.create().unwrap();
    for partition in 0..partitions {
        for n in 0..2 {
            let (key, value) = (format!("k{n}"), format!("{partition}-{n}"));
            let record = FutureRecord::to("in").key(&key).payload(&value).partition(partition);
            let sent = producer.send(record, Duration::from_secs(5)).await.unwrap();
            assert_eq!((sent.partition, sent.offset), (partition, n));
        }
    }
}

fn read(consumer: &BaseConsumer, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while seen.len() < count {
        assert!(std::time::Instant::now() < deadline, "seen only {seen:?}");
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            let record = record.unwrap();
            seen.insert(String::from_utf8_lossy(record.payload().unwrap()).into_owned());
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_producers_partitions_and_groups_work_on_the_mock_cluster() {
    let kafka = Kafka::start().unwrap();
    kafka.create_topic("in", 4).unwrap();
    produce(&kafka, 4).await;
    let consumer: BaseConsumer = client(&kafka).create().unwrap();
    consumer.subscribe(&["in"]).unwrap();
    let (consumer, seen) = tokio::task::spawn_blocking(move || {
        let seen = read(&consumer, 8);
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        (consumer, seen)
    })
    .await
    .unwrap();
    assert_eq!(seen.len(), 8, "{seen:?}");
    let committed = consumer.committed(Duration::from_secs(5)).unwrap();
    assert_eq!(committed.count(), 4, "every partition's offset is committed");
}
