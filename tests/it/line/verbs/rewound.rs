//! I8, F14: reading anything again from its beginning sends nothing, decides nothing and writes nothing.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use noctus::runtime::clock;
use serde_json::{Value, json};

use super::super::{Line, open_policy, order};
use super::run;

const OLD: &str = "the old secret of thirty-two bytes or more";
const NEW: &str = "the new secret of thirty-two bytes or more";
const OLD_SIGNS: &str = "the old signing key of thirty-two bytes or more";
const NEW_SIGNS: &str = "the new signing key of thirty-two bytes or more";

/// Counts of everything that a second reading must not add to.
async fn everything(line: &Line) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let tables = [
        "outbox_orders",
        "send_attempts",
        "order_fills",
        "risk_positions",
        "obs_decisions",
        "obs_exec_events",
        "obs_alerts",
        "obs_do_metrics",
    ];
    for table in tables {
        all.insert(table.to_string(), line.ask(&format!("SELECT count(*) FROM {table}")).await);
    }
    let sums = "SELECT sum(position)::text || ' ' || sum(working_buy)::text FROM risk_positions";
    all.insert("positions".into(), line.ask(sums).await);
    for topic in ["decisions", "exec-events", "alerts"] {
        all.insert(topic.to_string(), line.event_ids(topic).len().to_string());
    }
    all.insert("records of decisions".into(), line.dump("decisions").len().to_string());
    all.insert("records of exec-events".into(), line.dump("exec-events").len().to_string());
    all.insert("the broker's lines".into(), line.broker.records().len().to_string());
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_f14_rewound_to_the_start_under_running_roles_after_every_secret_was_rotated() {
    let mut line = Line::new(2, |c| c.policies.risk = Some(open_policy())).await;
    let ring = json!([{"kid": "old", "secret": OLD_SIGNS}]).to_string();
    let old = [("NOCTRIA_IDEMPOTENCY_SECRET", OLD), ("NOCTUS_SIGNING_KEYS", ring.as_str())];
    let mut gate = line.start_with("gate", &old);
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    let mut records = Vec::new();
    for (n, symbol) in ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY"].iter().enumerate() {
        records.push(line.request(&order(&format!("rewound-{n:04}"), symbol), "old", OLD_SIGNS));
        let mut keyless = order(&format!("keyless-{n:04}"), symbol);
        keyless.as_object_mut().expect("an object").remove("idempotency_key");
        records.push(line.request(&keyless, "old", OLD_SIGNS));
    }
    let mut late = order("rewound-late", "USDJPY");
    let long_ago = clock::now().checked_sub(SignedDuration::from_hours(48)).expect("a time");
    late["requested_at"] = json!(long_ago);
    records.push(line.request(&late, "old", OLD_SIGNS));
    let mut flat = order("rewound-flat", "USDJPY");
    flat["side"] = json!("FLAT");
    flat["qty"] = json!("0");
    records.push(line.request(&flat, "old", OLD_SIGNS));
    line.send(&records).await;
    line.rest(10).await;
    assert_eq!(line.broker.orders().len(), 8, "{}", line.state().await);

    // Every secret is another one by now; the old signing key is out of force.
    assert!(gate.stop().success());
    let not_after = clock::now();
    let ring = json!([
        {"kid": "new", "secret": NEW_SIGNS, "not_before": not_after},
        {"kid": "old", "secret": OLD_SIGNS, "not_after": not_after},
    ]);
    let ring = ring.to_string();
    let new = [
        ("NOCTRIA_IDEMPOTENCY_SECRET", NEW),
        ("NOCTRIA_IDEMPOTENCY_SECRETS_RETIRED", OLD),
        ("NOCTUS_SIGNING_KEYS", ring.as_str()),
    ];
    let owner = line.ask("SELECT max(owner) FROM input_positions WHERE reader = 'gate'").await;
    let _gate = line.start_with("gate", &new);
    let taken =
        format!("SELECT bool_and(owner <> '{owner}') FROM input_positions WHERE reader = 'gate'");
    line.until(&taken, "t").await;
    let before = everything(&line).await;

    let preview = run(&line, "rewind order-requests --to start").with(2);
    assert!(preview.out.contains("10 record(s) are read again, 0 are skipped"), "{preview:?}");
    let untouched = "SELECT sum(next_offset) FROM input_positions WHERE reader = 'gate'
                        AND topic LIKE '%order-requests'";
    assert_eq!(line.ask(untouched).await, "10");
    // No new record comes: the gate must notice by itself.
    run(&line, "rewind order-requests --to start --yes").with(0);
    line.read_to_the_end("gate", &["order-requests"]).await;
    let known = "SELECT bool_and(owner <> 'noctus rewind') FROM input_positions";
    line.until(known, "t").await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    line.rest(10).await;
    assert_eq!(everything(&line).await, before);

    for topic in ["decisions", "exec-events", "alerts"] {
        run(&line, &format!("rewind {topic} --to start --yes")).with(0);
    }
    line.until(known, "t").await;
    line.rest(10).await;
    assert_eq!(everything(&line).await, before);
    // The line goes on: what is signed with the new key is decided.
    let refused = line.send(&records[..1]).await;
    assert_eq!(refused.len(), 1);
    line.until("SELECT count(*) FROM obs_alerts WHERE policy_name = 'ingest.bad_signature'", "1")
        .await;
    assert_eq!(line.broker.records().len().to_string(), before["the broker's lines"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_f25_rewound_in_the_middle_of_the_work_two_gates_decide_everything_once() {
    let mut line = Line::new(4, |config| {
        config.policies.risk = Some(open_policy());
        config.gate.batch_max = 20;
    })
    .await;
    let symbols = ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY", "NZDJPY", "CHFJPY", "CADJPY", "SGDJPY"];
    let one = |n: usize| order(&format!("middle-{n:05}"), symbols[n % 8]);
    let requests: Vec<Value> = (0..800).map(one).collect();
    line.produce(&requests, None).await;
    let (_one, _two) = (line.start("gate"), line.start("gate"));
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    for reached in ["100", "300", "500"] {
        line.until(&format!("SELECT count(*) >= {reached} FROM outbox_orders"), "t").await;
        run(&line, "rewind order-requests --to start --yes").with(0);
        run(&line, "rewind decisions --to start --yes").with(0);
    }
    line.rest(800).await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    assert_eq!(line.broker.records().len(), 800, "one order each, and no repeat");
    assert_eq!(line.event_ids("decisions").len(), 800);
    assert_eq!(line.ask("SELECT count(*) FROM obs_decisions").await, "800");
    let positions = "SELECT sum(position)::float8 FROM risk_positions";
    assert_eq!(line.ask(positions).await, "2400");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewind_goes_only_where_kafka_has_records() {
    let line = Line::new(2, |_| {}).await;
    let early = clock::now();
    for n in 0..3 {
        line.produce(&[order(&format!("place-{n:05}"), "USDJPY")], Some(0)).await;
    }
    let refused = run(&line, "rewind order-requests:0 --to 4 --yes").with(2);
    assert!(refused.err.contains("Kafka has 0 to 3, and 4 is not in it"), "{refused:?}");
    run(&line, "rewind order-requests:7 --to start --yes").with(2);
    let wrong = run(&line, "rewind dead-letters --to start --yes").with(2);
    assert!(wrong.err.contains("gate reads order-requests, proposal-sets"), "{wrong:?}");
    run(&line, "rewind decisions --reader gate --to start --yes").with(2);
    assert_eq!(line.ask("SELECT count(*) FROM input_positions").await, "0", "nothing was moved");

    let at = "SELECT next_offset || ' ' || epoch FROM input_positions WHERE partition = 0";
    let skips = run(&line, "rewind order-requests:0 --to 2 --yes").with(0);
    assert!(skips.out.contains("0 record(s) are read again, 2 are skipped"), "{skips:?}");
    assert_eq!(line.ask(at).await, "2 1");
    run(&line, &format!("rewind order-requests:0 --to {early} --yes")).with(0);
    assert_eq!(line.ask(at).await, "0 2");
    run(&line, "rewind order-requests:0 --to 2100-01-01T00:00:00Z --yes").with(0);
    assert_eq!(line.ask(at).await, "3 3");
    run(&line, "rewind order-requests:0 --to end --yes").with(0);
    assert_eq!(line.ask(at).await, "3 4");
}
