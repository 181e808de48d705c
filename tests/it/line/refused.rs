//! What is no request becomes a dead letter with its exact origin, and its partition moves on; what only cannot be
//! read yet waits.

use noctus::demo::embedded::registry::Registry as Embedded;
use noctus::domain::text::IdempotencyKey;
use noctus::gate::refusal::header;
use noctus::kafka::producer::Outgoing;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::{Line, open_policy, order};

/// A record signed well, whatever is in it.
fn sealed(line: &Line, key: &[u8], value: &[u8]) -> Outgoing {
    let sealed = line.sealed(Subject::OrderRequest, key.to_vec(), value.to_vec());
    Outgoing { partition: Some(0), ..sealed }
}

fn headers(letter: &Value) -> Vec<(String, Option<String>)> {
    let pairs = letter["headers"].as_array().expect("headers").iter();
    let text = |v: &Value| {
        let bytes = hex::decode(v.as_str()?).expect("hex");
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    pairs.map(|p| (p[0].as_str().expect("a name").to_string(), text(&p[1]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_f02_f07_f08_f09_f10_poison_is_a_dead_letter_with_its_bytes_and_its_origin() {
    let mut line = Line::new(2, |c| c.policies.risk = Some(open_policy())).await;
    let key = b"main|USDJPY";
    let good = line.record(&order("refused-good-1", "USDJPY"), Some(0));
    let value = good.value.clone().expect("a value");
    let mut forged = good.clone();
    forged.value.as_mut().expect("a value").push(0);
    let unsigned = Outgoing { headers: vec![], ..good.clone() };
    let twice =
        Outgoing { headers: [good.headers.clone(), good.headers.clone()].concat(), ..good.clone() };
    let tombstone = Outgoing { value: None, ..good.clone() };
    let mut longer = value.clone();
    longer.push(7);
    let bad_qty = |qty: &str| {
        let mut bad = order("refused-bad-01", "USDJPY");
        bad["qty"] = json!(qty);
        line.record(&bad, Some(0)).value.expect("a value")
    };
    // As a serialiser that names the schema in a header writes it: 1, a GUID, and no prefix.
    let in_header = |value: &[u8]| {
        let mut record = sealed(&line, key, value);
        record.headers.push((wire::HEADER_ID.into(), Some([&[1_u8][..], &[7; 16]].concat())));
        record
    };
    let mut no_price = order("refused-bad-02", "USDJPY");
    no_price.as_object_mut().expect("an object").remove("limit_price");
    let no_price = line.record(&no_price, Some(0)).value.expect("a value");
    let poison = [
        (forged, "bad_signature"),
        (unsigned, "bad_signature"),
        (twice, "bad_signature"),
        (tombstone, "bad_wire"),
        (sealed(&line, key, b""), "bad_wire"),
        (sealed(&line, key, &[0, 0, 0]), "bad_wire"),
        (sealed(&line, key, b"hello, this is no Avro"), "bad_wire"),
        (in_header(&value[5..]), "schema_in_header"),
        (in_header(&value), "schema_in_header"),
        (sealed(&line, key, &value[..20]), "bad_avro"),
        (sealed(&line, key, &longer), "bad_avro"),
        (sealed(&line, key, &bad_qty("0")), "invalid_qty"),
        (sealed(&line, key, &bad_qty("-5")), "invalid_qty"),
        (sealed(&line, key, &bad_qty("0.0000001")), "invalid_qty"),
        (sealed(&line, key, &no_price), "invalid_limit_price"),
        (sealed(&line, b"main|EURUSD", &value), "key_mismatch"),
        (sealed(&line, key, &vec![0; 300_000]), "too_large"),
    ];
    let records: Vec<Outgoing> = poison.iter().map(|(record, _)| record.clone()).collect();
    let places = line.send(&records).await;
    // The same key, well signed, after all of it: nothing was used up, and the partition has moved on.
    line.send(&[good]).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.rest(1).await;
    assert_eq!(line.ask("SELECT state FROM outbox_orders").await, "FILLED");
    let letters = line.dump("dead-letters");
    assert_eq!(letters.len(), poison.len());
    for ((record, reason), place) in poison.iter().zip(&places) {
        let letter = letters.iter().find(|l| {
            headers(l).contains(&(header::OFFSET.into(), Some(place.offset.to_string())))
        });
        let letter = letter.unwrap_or_else(|| panic!("no dead letter of {place:?}"));
        let told = headers(letter);
        for (name, value) in [
            (header::TOPIC, record.topic.clone()),
            (header::PARTITION, "0".into()),
            (header::REASON, (*reason).to_string()),
        ] {
            assert!(told.contains(&(name.into(), Some(value))), "{reason}: {told:?}");
        }
        for (name, value) in &record.headers {
            let value = value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned());
            assert!(told.contains(&(name.clone(), value)), "{reason}: the original headers follow");
        }
        assert_eq!(letter["key"], json!(record.key.as_ref().map(hex::encode)), "{reason}");
        let kept = record.value.as_ref().filter(|_| *reason != "too_large").map(hex::encode);
        assert_eq!(letter["value"], json!(kept), "{reason}");
    }
    let alerts =
        line.ask("SELECT count(*) FROM obs_alerts WHERE policy_name LIKE 'ingest.%'").await;
    assert_eq!(alerts, poison.len().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_f04_an_absent_registry_pauses_and_an_unknown_schema_is_refused_in_the_end() {
    let embedded = Embedded::start().await.expect("a registry");
    let url = embedded.url().to_string();
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.registry.url = url;
        config.registry.unknown_schema_ms = 3_000;
        config.registry.timeout_ms = 500;
    })
    .await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.produce(&[order("registry-0001", "USDJPY")], Some(0)).await;
    line.rest(1).await;
    // Nobody registered this id: refused after the time for late registrations, and only its partition waits.
    let mut unknown =
        line.record(&order("registry-0002", "USDJPY"), Some(0)).value.expect("a value");
    unknown[1..5].copy_from_slice(&77_777_u32.to_be_bytes());
    line.send(&[sealed(&line, b"main|USDJPY", &unknown)]).await;
    line.produce(&[order("registry-0003", "USDJPY")], Some(1)).await;
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    line.until("SELECT policy_name FROM obs_alerts", "ingest.unknown_schema").await;
    // The registry goes: known schemas still decode; an id not known waits and is no dead letter.
    drop(embedded);
    let mut later = unknown.clone();
    later[1..5].copy_from_slice(&88_888_u32.to_be_bytes());
    line.send(&[sealed(&line, b"main|USDJPY", &later)]).await;
    line.produce(&[order("registry-0004", "USDJPY")], Some(1)).await;
    line.until("SELECT count(*) FROM outbox_orders", "3").await;
    let next = "SELECT next_offset FROM input_positions WHERE reader = 'gate' AND partition = 0
                   AND topic LIKE '%order-requests'";
    assert_eq!(line.ask(next).await, "2", "the partition stands before the record");
    assert_eq!(line.dump("dead-letters").len(), 1);
    assert!(IdempotencyKey::new("registry-0004").is_ok());
}
