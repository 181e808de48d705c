//! Dead letters that cannot be written (F19), and records that are small on the wire and large in memory (F20).

use std::collections::BTreeMap;
use std::time::Duration;

use noctus::kafka::admin::Admin;
use noctus::kafka::client::client;
use noctus::kafka::producer::Outgoing;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use super::{Line, open_policy, order};
use crate::stack::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_dead_letters_that_kafka_does_not_take_stay_owed_until_it_does() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let admin = Admin::new(&line.config).expect("a client");
    let letters = line.config.topic("dead-letters");
    let limit = async |bytes: &str| {
        let changed = BTreeMap::from([("max.message.bytes".to_string(), bytes.to_string())]);
        admin.change_settings(&letters, &changed).await.expect("Kafka takes the setting");
        let now = async || {
            let settings = admin.settings(&[&letters]).await.expect("settings");
            settings[&letters]["max.message.bytes"].clone()
        };
        until(now, |now| now == bytes).await;
    };
    let before = admin.settings(&[&letters]).await.expect("settings");
    let before = before[&letters]["max.message.bytes"].clone();
    limit("1").await;
    let unsigned = |n: usize| {
        let signed = line.record(&order(&format!("letter-{n:04}"), "USDJPY"), Some(0));
        Outgoing { headers: vec![], ..signed }
    };
    let bad: Vec<Outgoing> = (0..5).map(unsigned).collect();
    line.send(&bad).await;
    line.produce(&[order("letter-good-1", "USDJPY")], None).await;
    let mut gate = line.start("gate");
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    let owed = "SELECT coalesce(sum(n), 0) FROM owed_events,
                       LATERAL (SELECT count(*) n FROM unnest(topics) t WHERE t = 'dead-letters') l";
    line.until(owed, "5").await;
    assert_eq!(line.dump("dead-letters").len(), 0, "none is there, and none is forgotten");
    // Not even by a gate that ends: they are in Postgres.
    gate.kill();
    let _gate = line.start("gate");
    limit(&before).await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    let written = line.dump("dead-letters");
    let mut values: Vec<&str> = written.iter().filter_map(|l| l["value"].as_str()).collect();
    let mut wanted: Vec<String> =
        bad.iter().map(|r| hex::encode(r.value.as_ref().expect("a value"))).collect();
    values.sort_unstable();
    values.dedup();
    wanted.sort_unstable();
    assert_eq!(values, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_record_that_is_small_on_the_wire_and_large_in_memory_is_refused_by_its_size() {
    const BYTES: usize = 8 << 20;
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let topic = line.config.topic("order-requests");
    for codec in ["zstd", "gzip", "lz4"] {
        let mut config = client(&line.config);
        config.set("compression.codec", codec).set("message.max.bytes", "100000000");
        let producer: FutureProducer = config.create().expect("a producer");
        let bomb = vec![0_u8; BYTES];
        let record = FutureRecord::to(&topic).key("main|USDJPY").payload(&bomb).partition(0);
        // Kafka's limit is of the compressed batch: it lets this one in.
        producer.send(record, Duration::from_secs(60)).await.expect("Kafka takes it");
    }
    line.produce(&[order("bomb-0001", "USDJPY")], None).await;
    let gate = line.start("gate");
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    let letters = line.dump("dead-letters");
    let told = |letter: &Value, name: &str| {
        let headers = letter["headers"].as_array().expect("headers").clone();
        let found = headers.iter().find(|h| h[0] == name).expect("the header");
        String::from_utf8(hex::decode(found[1].as_str().expect("hex")).expect("hex")).expect("text")
    };
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert_eq!(told(letter, "noctus-reason"), "too_large");
        assert_eq!(told(letter, "noctus-value-bytes"), BYTES.to_string());
        assert_eq!(letter["value"], json!(null), "its digest stands for it");
    }
    let peak_kb = gate.peak_kb();
    assert!(peak_kb < 256 * 1024, "{peak_kb} KB of memory");
}
