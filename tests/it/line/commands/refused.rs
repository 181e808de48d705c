//! What is no command, or none that may be: refused before anything is decided, or decided and never carried out.

use noctus::kafka::producer::Outgoing;
use noctus::wire::signature;
use serde_json::{Value, json};

use super::super::{Line, order};
use super::{cancel, command, far_quotes, line, outcome_of, produce, rest};

const SECRET: &str = "a signing key that is limited to another account";

/// The record signed anew with this key.
fn signed_by(record: Outgoing, kid: &str, secret: &str) -> Outgoing {
    let value = record.value.as_deref().expect("a value");
    let v1 = signature::sign(secret.as_bytes(), "order-commands", record.key.as_deref(), value);
    let header = signature::header(kid, &v1).into_bytes();
    Outgoing { headers: vec![(signature::HEADER.into(), Some(header))], ..record }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f07_f08_f10_a_bad_command_is_a_dead_letter_and_its_key_stays_free() {
    let mut line = line().await;
    let ring = json!([
        {"kid": "dev", "secret": "dev-secret"},
        {"kid": "other", "secret": SECRET, "scopes": {"accounts": ["other"]}},
        {"kid": "orders", "secret": "a signing key that is limited to order requests",
         "scopes": {"topics": ["order-requests"]}},
        {"kid": "alone", "secret": "a signing key that is limited to one strategy",
         "scopes": {"strategies": ["alone"]}},
    ])
    .to_string();
    let _gate = line.start_with("gate", &[("NOCTUS_SIGNING_KEYS", ring.as_str())]);
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("safe-00001", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "ACCEPTED").await;
    let good = command(&line, &cancel("cancel-0001", "safe-00001", "USDJPY"), Some(0)).await;
    let changed = async |field: &str, value: Value| {
        let mut asked = cancel("cancel-0001", "safe-00001", "USDJPY");
        asked[field] = value;
        command(&line, &asked, Some(0)).await
    };
    let mut forged = good.clone();
    forged.value.as_mut().expect("a value").push(0);
    // Signed for the topic of orders: the same bytes are no command.
    let value = good.value.clone().expect("a value");
    let elsewhere =
        line.sealed(noctus::wire::Subject::OrderRequest, good.key.clone().expect("a key"), value);
    let elsewhere = Outgoing { topic: good.topic.clone(), partition: Some(0), ..elsewhere };
    let poison = [
        (forged, "bad_signature"),
        (Outgoing { headers: vec![], ..good.clone() }, "bad_signature"),
        (elsewhere, "bad_signature"),
        (signed_by(good.clone(), "other", SECRET), "not_authorised"),
        (
            signed_by(good.clone(), "orders", "a signing key that is limited to order requests"),
            "not_authorised",
        ),
        (
            signed_by(good.clone(), "alone", "a signing key that is limited to one strategy"),
            "not_authorised",
        ),
        (changed("target_key", json!("short")).await, "invalid_target_key"),
        (changed("idempotency_key", json!("safe-00001")).await, "invalid_idempotency_key"),
        (changed("qty", json!("1")).await, "invalid_qty"),
        (changed("action", json!("REPLACE")).await, "invalid_qty"),
        (changed("reason", json!("x".repeat(201))).await, "invalid_reason"),
        (
            signed_by(
                Outgoing { key: Some(b"main|EURJPY".to_vec()), ..good.clone() },
                "dev",
                "dev-secret",
            ),
            "key_mismatch",
        ),
    ];
    let records: Vec<Outgoing> = poison.iter().map(|(record, _)| record.clone()).collect();
    line.send(&records).await;
    let alerts = "SELECT string_agg(policy_name, ',' ORDER BY policy_name) FROM obs_alerts";
    let mut wanted: Vec<String> =
        poison.iter().map(|(_, reason)| format!("ingest.{reason}")).collect();
    wanted.sort();
    line.until(alerts, &wanted.join(",")).await;
    assert_eq!(line.dump("dead-letters").len(), poison.len());
    assert_eq!(line.ask("SELECT count(*) FROM order_commands").await, "0");
    assert_eq!(line.ask("SELECT state FROM outbox_orders").await, "ACCEPTED");
    // Its key was not used up.
    line.send(&[good]).await;
    line.until(&outcome_of("cancel-0001"), "ACCEPTED -").await;
    rest(&line, 1).await;
}

async fn states(line: &Line) -> String {
    let sql =
        "SELECT string_agg(idempotency_key || ' ' || state, ', ' ORDER BY id) FROM outbox_orders";
    line.ask(sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_another_account_or_symbol_never_touches_the_order() {
    let mut line = line().await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    // Before the order: its tombstone is of another lane.
    produce(&line, &[cancel("cancel-0001", "mine-00001", "EURJPY")]).await;
    line.until(&outcome_of("cancel-0001"), "ACCEPTED before_its_order").await;
    line.produce(&[order("mine-00001", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "ACCEPTED").await;
    let mut elsewhere = cancel("cancel-0002", "mine-00001", "USDJPY");
    elsewhere["account"] = json!("other");
    let mut old = cancel("cancel-0004", "mine-00001", "USDJPY");
    old["requested_at"] = json!("2026-01-01T00:00:00Z");
    let wrong = [elsewhere, cancel("cancel-0003", "mine-00001", "EURJPY"), old];
    produce(&line, &wrong).await;
    line.until(&outcome_of("cancel-0002"), "REFUSED other_lane").await;
    line.until(&outcome_of("cancel-0003"), "REFUSED other_lane").await;
    line.until(&outcome_of("cancel-0004"), "REFUSED expired").await;
    assert_eq!(states(&line).await, "mine-00001 ACCEPTED");
    assert_eq!(line.ask("SELECT count(*) FROM order_cancels").await, "0");
    produce(&line, &[cancel("cancel-0005", "mine-00001", "USDJPY")]).await;
    rest(&line, 1).await;
    assert_eq!(states(&line).await, "mine-00001 CANCELLED");
}
