//! Differences that are planted: in each table, in the ledger, in a topic.

use noctus::domain::event::Decision;
use noctus::kafka::producer::Outgoing;
use noctus::kafka::registry::Registry;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::super::verbs::run;
use super::*;

const ORDERS: usize = 12;

/// Everything came to rest and agrees; no role runs any more.
async fn settled() -> Line {
    let mut line = line().await;
    let roles = (line.start("gate"), line.start("dispatch"), line.start("sink"));
    work(&line, 0, ORDERS).await;
    rest(&line, ORDERS).await;
    let (one, two) = ("truth-cancel-1", "truth-cancel-2");
    let refused = [cancel(one, "truth-000000", "USDJPY"), cancel(two, "truth-000003", "USDJPY")];
    command(&line, &refused).await;
    line.until("SELECT count(*) FROM order_commands", "2").await;
    rest(&line, ORDERS).await;
    drop(roles);
    verified(&line, "", 0);
    line
}

/// A field of each table that a row is changed in.
const CHANGES: [(&str, &str, &str); 7] = [
    ("obs_plan_runs", "meta", "meta = meta || '{\"rows\": 2}'"),
    ("obs_infer_calls", "outputs", "outputs = '{\"p_up\": 0.6100001}'"),
    ("obs_decisions", "decision", "decision = jsonb_set(decision, '{decided_qty}', '\"4\"')"),
    ("obs_exec_events", "size", "size = size + 0.000000001"),
    ("obs_alerts", "severity", "severity = 'CRITICAL'"),
    ("obs_command_outcomes", "reason", "reason = reason || '.'"),
    ("obs_do_metrics", "filled_qty", "filled_qty = filled_qty - 1"),
];

/// The row that a table has under this number, in the order of its ids.
fn nth(table: &str, nth: usize) -> String {
    format!("(SELECT event_id FROM {table} ORDER BY event_id LIMIT 1 OFFSET {nth})")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_each_table_a_row_deleted_one_changed_and_one_added_are_found_and_named() {
    let line = settled().await;
    for (table, field, change) in CHANGES {
        let lost = line.ask(&format!("SELECT {}", nth(table, 0))).await;
        let changed = line.ask(&format!("SELECT {}", nth(table, 1))).await;
        let columns = line
            .ask(&format!(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                  WHERE attrelid = '{table}'::regclass AND attnum > 0 AND attgenerated = '' AND attname <> 'event_id'"
            ))
            .await;
        // A step has a number of its own.
        let added = columns.replace("exec_seq", "exec_seq + 100");
        line.sql(&format!(
            "CREATE TABLE kept AS SELECT event_id, {columns} FROM {table};
             INSERT INTO {table} (event_id, {columns}) SELECT 'added', {added} FROM kept WHERE event_id = '{changed}';
             UPDATE {table} SET {change} WHERE event_id = '{changed}';
             DELETE FROM {table} WHERE event_id = '{lost}'"
        ))
        .await;
        let told = verified(&line, "", 1);
        let name = |kind: &str| format!("tables {table} {kind}");
        let mut found = differences(&told);
        for kind in ["missing", "different", "extra"] {
            assert_eq!(found.remove(&name(kind)), Some(1), "{kind}: {told:#}");
        }
        // What orders cost follows from steps and prices: nothing else may differ.
        found.retain(|name, _| !name.starts_with("tables obs_do_metrics"));
        assert!(found.is_empty(), "{found:?}");
        let one = |kind: &str| examples(&told, "tables", table, kind)[0];
        assert_eq!(one("missing")["event_id"], json!(lost));
        assert_eq!(one("extra")["event_id"], json!("added"));
        assert_eq!(one("different")["event_id"], json!(changed));
        let named = one("different")["fields"].as_array().expect("fields").clone();
        assert_eq!(named.len(), 1, "{named:?}");
        let path = named[0]["field"].as_str().expect("a name");
        assert!(path == field || path.starts_with(&format!("{field}.")), "{path} is not {field}");
        let hours = of(&told, "tables", table)["hours"].as_array().expect("hours").clone();
        assert!(hours.iter().any(|hour| hour["equal"] == json!(false)), "{hours:?}");
        line.sql(&format!(
            "DELETE FROM {table}; INSERT INTO {table} (event_id, {columns}) SELECT event_id, {columns} FROM kept;
             DROP TABLE kept"
        ))
        .await;
    }
    verified(&line, "", 0);
}

/// An event of a topic as it was sent, by another client's dump.
fn records(line: &Line, subject: Subject) -> Vec<Outgoing> {
    let bytes = |value: &Value| value.as_str().map(|text| hex::decode(text).expect("hex"));
    let record = |record: &Value| Outgoing {
        topic: line.config.topic(subject.topic()),
        key: bytes(&record["key"]),
        value: bytes(&record["value"]),
        headers: Vec::new(),
        timestamp_ms: None,
        partition: None,
    };
    line.dump(subject.topic()).iter().map(record).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_came_again_is_no_finding_and_with_other_bytes_it_is_one() {
    let mut line = settled().await;
    let _sink = line.start("sink");
    let decisions = records(&line, Subject::Decision);
    line.send(&[decisions[0].clone(), records(&line, Subject::ExecEvent)[0].clone()]).await;
    line.read_to_the_end("sink", &TOPICS).await;
    let told = verified(&line, "", 0);
    assert_eq!(of(&told, "tables", "obs_decisions")["repeats"], json!(1));
    assert_eq!(of(&told, "tables", "obs_exec_events")["repeats"], json!(1));

    let value = decisions[1].value.clone().expect("a value");
    let (schema, body) = wire::split(&value).expect("a frame");
    let registry = Registry::new(&line.config.registry).expect("a client");
    let writer = registry.schema(schema).await.expect("it is registered");
    let decision: Decision = wire::decision::decode(body, &writer).expect("a decision");
    let other = Decision { reason: "something else".into(), ..decision.clone() };
    let body = wire::decision::encode(&other).expect("it fits");
    let value = Some(wire::frame(schema, &body));
    line.send(&[Outgoing { value, ..decisions[1].clone() }]).await;
    line.read_to_the_end("sink", &TOPICS).await;
    let told = verified(&line, "", 1);
    let found = [("tables obs_decisions emitted_otherwise", 1), ("ledger decisions different", 1)];
    assert_eq!(differences(&told), wanted(&found));
    let example = examples(&told, "tables", "obs_decisions", "emitted_otherwise")[0];
    assert_eq!(example["event_id"], json!(decision.event_id.0));
    assert_eq!(example["records"].as_array().expect("both").len(), 2);
    assert_eq!(example["fields"][0]["field"], json!("reason"));
    let example = examples(&told, "ledger", "decisions", "different")[0];
    assert_eq!(example["idempotency_key"], json!(decision.idempotency_key.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_and_the_topics_do_not_share_is_found_and_named() {
    let line = settled().await;
    // A row without its event; an event without its row; a step that never was told, and one that was not counted; a
    // decision, an order and a command that say something else.
    line.sql(
        "INSERT INTO outbox_orders (idempotency_key, trace_id, payload, digest, account, symbol, action, requested_qty,
                decided_qty, order_type, time_in_force, requested_at, decided_at, state, source_topic_id,
                source_partition, source_offset)
         SELECT 'truth-never', trace_id, payload || '{\"idempotency_key\": \"truth-never\", \"event_id\": \"00000000000000000000000000000001\"}',
                digest, account, symbol, action, requested_qty, decided_qty, order_type, time_in_force, requested_at,
                decided_at, state, source_topic_id, source_partition, source_offset
           FROM outbox_orders WHERE idempotency_key = 'truth-000002';
         DELETE FROM outbox_orders WHERE idempotency_key = 'truth-000006';
         UPDATE outbox_orders SET exec_seq = exec_seq + 2 WHERE idempotency_key = 'truth-000000';
         UPDATE outbox_orders SET exec_seq = exec_seq - 1 WHERE idempotency_key = 'truth-000001';
         UPDATE outbox_orders SET payload = jsonb_set(payload, '{reason}', '\"so\"') WHERE idempotency_key = 'truth-000003';
         UPDATE outbox_orders SET symbol = 'EURJPY' WHERE idempotency_key = 'truth-000004';
         UPDATE order_commands SET target_key = 'truth-000009' WHERE idempotency_key = 'truth-cancel-1';
         UPDATE order_commands SET idempotency_key = 'truth-cancel-9' WHERE idempotency_key = 'truth-cancel-2'",
    )
    .await;
    let told = verified(&line, "", 1);
    let steps: u64 = line
        .ask("SELECT exec_seq FROM outbox_orders WHERE idempotency_key = 'truth-000004'")
        .await
        .parse()
        .expect("a number");
    let found = [
        ("ledger decisions missing", 1),
        ("ledger decisions extra", 1),
        ("ledger decisions different", 1),
        ("ledger exec-events missing", 1),
        ("ledger exec-events gap", 1),
        ("ledger exec-events extra", 1),
        ("ledger exec-events different", steps),
        ("ledger command-outcomes missing", 1),
        ("ledger command-outcomes extra", 1),
        ("ledger command-outcomes different", 1),
    ];
    assert_eq!(differences(&told), wanted(&found));
    let one = |right: &str, kind: &str| examples(&told, "ledger", right, kind)[0].clone();
    let key = |right: &str, kind: &str| one(right, kind)["idempotency_key"].clone();
    assert_eq!(key("decisions", "missing"), json!("truth-never"));
    assert_eq!(key("decisions", "extra"), json!("truth-000006"));
    assert_eq!(key("decisions", "different"), json!("truth-000003"));
    assert_eq!(one("decisions", "different")["fields"][0]["field"], json!("reason"));
    assert_eq!(key("exec-events", "gap"), json!("truth-000000"));
    let gap = one("exec-events", "gap")["exec_seq"].as_i64().expect("a number");
    assert_eq!(one("exec-events", "missing")["exec_seq"], json!(gap + 1));
    assert_eq!(key("exec-events", "extra"), json!("truth-000001"));
    assert_eq!(key("exec-events", "different"), json!("truth-000004"));
    assert_eq!(one("exec-events", "different")["fields"][0]["field"], json!("symbol"));
    assert_eq!(one("command-outcomes", "different")["fields"][0]["field"], json!("target_key"));
    assert_eq!(key("command-outcomes", "missing"), json!("truth-cancel-9"));
    assert_eq!(key("command-outcomes", "extra"), json!("truth-cancel-2"));

    // Outside of the hours that are looked at nothing is found; and a person is told the same.
    verified(&line, "--to 2025-01-01", 0);
    let ran = run(&line, "verify --only ledger").with(1);
    for part in ["ledger: ", "truth-never", "not in decisions", "symbol: \"EURJPY\" / \"USDJPY\""] {
        assert!(ran.out.contains(part), "{part}: {ran:?}");
    }
    let ran = run(&line, "verify").with(1);
    assert!(ran.out.contains("tables: equal") && ran.out.contains("risk: "), "{ran:?}");
}
