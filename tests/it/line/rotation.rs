//! F13, C-SIG-2, C-KEY-3: keys and secrets change while orders flow, and nothing is refused, lost or decided twice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use noctus::runtime::clock;
use serde_json::{Value, json};

use super::verbs::run;
use super::{Line, Role, open_policy, order};

const FIRST_SIGNS: &str = "the first signing key of thirty-two bytes or more";
const SECOND_SIGNS: &str = "the second signing key of thirty-two bytes or more";
const FIRST: &str = "the first idempotency secret of thirty-two bytes or more";
const SECOND: &str = "the second idempotency secret of thirty-two bytes or more";
const SYMBOLS: [&str; 4] = ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY"];

/// Replaces a file in one step, as an operator's tools do.
fn put(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("the folder can be written");
    std::fs::rename(&new, folder.join(name)).expect("a rename within a folder");
}

/// Every gate has said this so often.
async fn until_said(gates: &[&Role], words: &str, times: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while gates.iter().any(|gate| gate.log().matches(words).count() < times) {
        let logs: Vec<String> = gates.iter().map(|gate| gate.log()).collect();
        assert!(Instant::now() < deadline, "{words:?}, {times} times: {}", logs.join("\n"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_taken(gates: &[&Role], changes: usize) {
    until_said(gates, "keys are in force", changes).await;
}

/// Forty requests, every other one of version 1.0 and so without a key.
fn requests(wave: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut request = order(&format!("rotated-{wave}-{n:04}"), SYMBOLS[n % 4]);
        if n.is_multiple_of(2) {
            request.as_object_mut().expect("an object").remove("idempotency_key");
        }
        request
    };
    (0..40).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_keys_and_secrets_are_rotated_under_load_and_nothing_is_refused_or_decided_twice() {
    let mut line = Line::new(4, |c| c.policies.risk = Some(open_policy())).await;
    let folder = line.file("first", FIRST).parent().expect("a folder").to_path_buf();
    let ring = |keys: Value| put(&folder, "ring", &keys.to_string());
    let first = json!({"kid": "first", "secret": FIRST_SIGNS});
    let second = json!({"kid": "second", "secret": SECOND_SIGNS});
    ring(json!([first]));
    put(&folder, "current", FIRST);
    put(&folder, "retired", "");
    let path = |name: &str| folder.join(name).display().to_string();
    let (keys, current, retired) = (path("ring"), path("current"), path("retired"));
    let variables = [
        ("NOCTUS_SIGNING_KEYS_FILE", keys.as_str()),
        ("NOCTRIA_IDEMPOTENCY_SECRET_FILE", current.as_str()),
        ("NOCTRIA_IDEMPOTENCY_SECRETS_RETIRED_FILE", retired.as_str()),
    ];
    let gates = [line.start_with("gate", &variables), line.start_with("gate", &variables)];
    let gates: Vec<&Role> = gates.iter().collect();
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    // What they read at their start is not to be taken for a change, nor the other way round.
    until_said(&gates, "livez, readyz", 1).await;
    let mut waves = 0;
    let mut send = async |kid: &str, secret: &str| {
        let records: Vec<_> =
            requests(waves).iter().map(|request| line.request(request, kid, secret)).collect();
        waves += 1;
        line.send(&records).await;
    };

    send("first", FIRST_SIGNS).await;
    // The second key comes; both are good while producers change over.
    ring(json!([first, second]));
    send("first", FIRST_SIGNS).await;
    until_taken(&gates, 1).await;
    send("second", SECOND_SIGNS).await;
    send("first", FIRST_SIGNS).await;
    // The idempotency secret changes, and for a while nobody says that the first one is retired.
    put(&folder, "current", SECOND);
    send("second", SECOND_SIGNS).await;
    until_taken(&gates, 2).await;
    send("second", SECOND_SIGNS).await;
    put(&folder, "retired", &format!("{FIRST}\n"));
    until_taken(&gates, 3).await;
    send("second", SECOND_SIGNS).await;
    // The first key's time is over; what was signed with it before stays good.
    ring(json!([{"kid": "first", "secret": FIRST_SIGNS, "not_after": clock::now()}, second]));
    send("second", SECOND_SIGNS).await;
    until_taken(&gates, 4).await;
    line.rest(waves * 40).await;
    assert_eq!(line.dump("dead-letters"), Vec::<Value>::new());

    // Everything again from the start, most of it signed and keyed under what is retired by now.
    run(&line, "rewind order-requests --to start --yes").with(0);
    line.read_to_the_end("gate", &["order-requests"]).await;
    line.rest(waves * 40).await;
    assert_eq!(line.broker.records().len(), waves * 40, "one order each, and no repeat");
    assert_eq!(line.dump("dead-letters"), Vec::<Value>::new());

    let late = line.request(&order("rotated-late", "USDJPY"), "first", FIRST_SIGNS);
    line.send(&[late]).await;
    let refused = "SELECT count(*) FROM obs_alerts WHERE policy_name = 'ingest.bad_signature'";
    line.until(refused, "1").await;
    assert_eq!(line.ask("SELECT count(*) FROM outbox_orders").await, (waves * 40).to_string());
}

#[test]
fn f13_without_good_secrets_nothing_starts_and_no_secret_is_told() {
    let long = "a secret of thirty-two bytes or more";
    let ring = |secret: &str| json!([{"kid": "k", "secret": secret}]).to_string();
    let good = ring("another secret of thirty-two bytes or more");
    for (idempotency, signing, told) in [
        (None, Some(&good), "NOCTRIA_IDEMPOTENCY_SECRET is not set"),
        (Some(long), None, "NOCTUS_SIGNING_KEYS is not set"),
        (Some("dev-secret"), Some(&good), "is the development secret"),
        (Some("short-and-private"), Some(&good), "is too short"),
        (Some(long), Some(&ring("short-and-private")), "signing key k is too short"),
        (Some(long), Some(&ring(long)), "is also an idempotency secret"),
        (Some(long), Some(&"[{\"kid\": \"k\", \"secret\": 7}]".to_string()), "not a JSON list"),
    ] {
        for role in ["run", "gate"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_noctus"));
            command.arg(role).stdin(Stdio::null());
            for name in ["NOCTRIA_IDEMPOTENCY_SECRET", "NOCTUS_SIGNING_KEYS"] {
                command.env_remove(name).env_remove(format!("{name}_FILE"));
            }
            command.envs(idempotency.map(|s| ("NOCTRIA_IDEMPOTENCY_SECRET", s)));
            command.envs(signing.map(|s| ("NOCTUS_SIGNING_KEYS", s.as_str())));
            let ended = command.output().expect("noctus can be started");
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(78), "{role}: {text}");
            assert!(text.contains(told), "{role}, wanted {told:?}: {text}");
            assert!(!text.contains("private") && !text.contains(long), "{text}");
        }
    }
}
