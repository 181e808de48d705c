//! `noctus explain` as a user runs it.

use std::process::{Command, Output};

use noctus::domain::event::Action;
use serde_json::Value;

use super::base::{Base, Order, at};
use crate::line::{Line, open_policy, order};

fn explain(base: &Base, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_noctus"))
        .arg("explain")
        .args(arguments)
        .args(["--database", &base.database.url])
        .env("NO_COLOR", "1")
        .output()
        .expect("noctus runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// As the gate and dispatch leave it: the ledger's row, a send, and events that are still owed.
async fn in_the_ledger(base: &Base, order: &Order, state: &str) {
    let decision = order.decision_of(Action::Buy, Some("147.252"), at(30));
    let payload = serde_json::to_value(&decision).unwrap();
    let client = base.pool.get().await.unwrap();
    client
        .execute(
            "INSERT INTO outbox_orders (idempotency_key, trace_id, payload, digest, account, symbol, action,
                 requested_qty, decided_qty, order_type, time_in_force, requested_at, decided_at, dispatch_by,
                 state, exec_seq, executed_qty, avg_price, attempt_no, working_qty, opening_qty, opening_notional,
                 source_topic_id, source_partition, source_offset, created_at, source_at, traceparent)
             VALUES ($1, $2, $3, sha256(convert_to($1, 'UTF8')), 'main', 'USDJPY', 'BUY', 700, 500, 'MARKET', 'GTC',
                 '2025-08-23T11:00Z', '2025-08-23T11:00:00.030Z', '2025-08-23T11:01Z', $4, 3, 500, 147.26, 1,
                 CASE WHEN $4 = 'FILLED' THEN 0 ELSE 500 END, 500, 73626, 'x', 2, 17, '2025-08-23T11:00:00.034Z',
                 '2025-08-23T11:00:00.004Z', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')",
            &[&order.key.as_str(), &order.trace.as_str(), &payload, &state],
        )
        .await
        .unwrap();
    let rest = format!(
        "INSERT INTO send_attempts VALUES ('{0}', 1, 'worker-1', 1, '2025-08-23T11:00:00.042Z',
             '2025-08-23T11:00:00.046Z', 'accepted', '{{}}');
         INSERT INTO order_fills VALUES ('{0}', 'f-{0}-3', 147.26, 500, '2025-08-23T11:00:00.046Z')",
        order.key
    );
    client.batch_execute(&rest).await.unwrap();
}

/// Every row was written 12 ms after it happened.
async fn written_in_time(base: &Base) {
    for (table, time) in [
        ("obs_plan_runs", "started_at"),
        ("obs_infer_calls", "called_at"),
        ("obs_decisions", "made_at"),
        ("obs_exec_events", "sent_at"),
        ("obs_alerts", "created_at"),
    ] {
        let unwritten = format!("SELECT count(*) FROM {table} WHERE ingested_at IS NULL");
        assert_eq!(base.text(&unwritten).await, "0", "{table} says when it was written");
        base.sql(&format!("UPDATE {table} SET ingested_at = {time} + interval '12 ms'")).await;
    }
}

/// What `--json` prints is what docs/explain.schema.json promises.
pub fn promised(json: &[u8]) -> Value {
    let schema = include_str!("../../../docs/explain.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let told: Value = serde_json::from_slice(json).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let wrong: Vec<String> =
        validator.iter_errors(&told).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{told:#}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_is_explained_from_what_was_asked_to_the_last_fill() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "FILLED").await;
    base.write(order.everything()).await;
    written_in_time(&base).await;
    let told = explain(&base, &["run-1"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    insta::assert_snapshot!("filled", text(&told.stdout));
    let japanese = explain(&base, &["run-1", "--lang", "ja"]);
    insta::assert_snapshot!("filled_ja", text(&japanese.stdout));
    let by_key = explain(&base, &["order-00001"]);
    assert_eq!(text(&by_key.stdout), text(&told.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_owed_or_not_written_yet_is_said() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "PARKED").await;
    base.sql(
        "INSERT INTO owed_events (owner, topics, keys, payloads, headers)
         VALUES ('w', '{decisions,alerts,decisions}', '{run-1,run-1,other}', '{a,b,c}', '{NULL,NULL,NULL}')",
    )
    .await;
    let told = text(&explain(&base, &["run-1"]).stdout);
    for part in [
        "reserves 500 of 500 units, 73626 of opening notional",
        "again     cannot be judged under the policies in force now: what was known then is not in obs_decisions",
        "PARKED: a person must find out",
        "the sink has written step 0 of 3",
        "the sink has not written the decision yet",
        "1 event(s) owed to alerts",
        "1 event(s) owed to decisions",
        "700 → 500  risk.max_order_qty",
        "timeline: nothing is written yet",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_only_the_tables_know_is_explained_too() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(order.everything()).await;
    let told = explain(&base, &["order-00001"]);
    let shown = text(&told.stdout);
    assert!(shown.contains("FILLED; the ledger does not have this order"), "{shown}");
    assert!(shown.contains("decided   BUY 500"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_is_one_json_object_on_request() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "FILLED").await;
    base.write(order.everything()).await;
    let told = explain(&base, &["run-1", "--json"]);
    let story = promised(&told.stdout);
    assert_eq!((&story["format"], &story["language"]), (&1.into(), &"en".into()));
    let clamp = &story["orders"][0]["clamps"][0];
    assert_eq!((&clamp["before"], &clamp["after"]), (&"700".into(), &"500".into()));
    assert!(clamp["means"].as_str().is_some_and(|text| text.contains("max_order_qty")), "{clamp}");
    let japanese = promised(&explain(&base, &["run-1", "--json", "--lang", "ja"]).stdout);
    let text = japanese["orders"][0]["clamps"][0]["means"].as_str().expect("a text");
    assert!(!text.is_ascii(), "{text}");
    assert_eq!(story["orders"][0]["held"]["qty"], "0");
    assert_eq!(story["orders"][0]["again"]["judged"], false, "its facts are not all there");
    let hops = story["timeline"].as_array().expect("hops");
    assert!(hops.iter().all(|hop| hop["ingested_at"].is_string()), "{hops:?}");
    assert_eq!(story["trace_id"], "run-1");
    assert_eq!(story["orders"][0]["steps"].as_array().map(Vec::len), Some(3));
    assert_eq!(story["orders"][0]["decision"]["steps"][0]["rule"], "risk.max_order_qty");
    assert_eq!(story["timeline"].as_array().map(Vec::len), Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halts_over_an_order_and_the_cancel_that_is_wanted_of_it_are_told() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "ACCEPTED").await;
    base.sql(
        "INSERT INTO halts (mode, account, symbol, strategy, reason, by_whom, at) VALUES
             ('halted', NULL, NULL, NULL, 'over before it', 'ann', '2025-08-23T09:00Z'),
             ('resumed', NULL, NULL, NULL, 'well again', 'ann', '2025-08-23T10:00Z'),
             ('halted', NULL, 'EURJPY', NULL, 'another symbol', 'ann', '2025-08-23T11:00:01Z'),
             ('reduce_only', 'main', 'USDJPY', NULL, 'a difference', 'bob', '2025-08-23T10:30Z'),
             ('halted', NULL, NULL, NULL, 'the feed is mad', 'eve', '2025-08-23T11:00:05Z'),
             ('resumed', 'main', 'USDJPY', NULL, 'it was mended', 'bob', '2025-08-23T11:00:09Z');
         INSERT INTO order_cancels (idempotency_key, code, reason, by_whom, halt_number, at, asked)
         VALUES ('order-00001', 'halted', 'the feed is mad', 'eve', 5, '2025-08-23T11:00:05.2Z', 2)",
    )
    .await;
    let told = text(&explain(&base, &["run-1"]).stdout);
    for part in [
        "halts     reduce_only main USDJPY, number 4 by bob at 2025-08-23 10:30:00.000 until 2025-08-23 11:00:09.000: a difference",
        "          halted all, number 5 by eve at 2025-08-23 11:00:05.000, in force still: the feed is mad",
        "cancel    halted wanted at 2025-08-23 11:00:05.200 by eve (halt 5): the feed is mad; the broker was asked 2 time(s): under way",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains("over before it") && !told.contains("another symbol"), "{told}");
    promised(&explain(&base, &["run-1", "--json"]).stdout);
}

/// The tables of `noctus notify`, as far as they are read here, where no migration has made them.
const NOTIFY: &str = "
    CREATE TABLE IF NOT EXISTS notify_conditions (fingerprint TEXT PRIMARY KEY, policy_name TEXT, subject TEXT, account TEXT,
        symbol TEXT, source TEXT, state TEXT, severity TEXT, alerts BIGINT, opened_at TIMESTAMPTZ, last_at TIMESTAMPTZ,
        seen_at TIMESTAMPTZ, changed_at TIMESTAMPTZ, reason TEXT);
    CREATE TABLE IF NOT EXISTS notify_messages (id TEXT PRIMARY KEY, receiver TEXT, is_critical BOOLEAN, repeats BOOLEAN,
        body JSONB, state TEXT, next_at TIMESTAMPTZ, made_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, status INT);
    CREATE TABLE IF NOT EXISTS notify_changes (receiver TEXT, fingerprint TEXT, change_no BIGINT, kind TEXT, severity TEXT,
        change JSONB, noted_at TIMESTAMPTZ, message_id TEXT);
    INSERT INTO notify_conditions (fingerprint, policy_name, subject, account, symbol, source, state, severity, alerts,
        opened_at, last_at, seen_at, changed_at, reason)
    SELECT f, p, 'account=main', 'main', NULL, 'alert', 'OPEN', 'MEDIUM', 1, t, t, t, t, 'why'
      FROM (VALUES ('ours', 'risk.max_order_qty', '2025-08-23T11:00Z'::timestamptz),
                   ('other', 'risk.rate', '2025-08-23T11:00Z')) AS v (f, p, t);
    INSERT INTO notify_messages (id, receiver, is_critical, repeats, body, state, next_at, made_at, ended_at, status)
    VALUES ('m', 'desk', false, true, '{}', 'DELIVERED', now(), now(), now(), 204);
    INSERT INTO notify_changes (receiver, fingerprint, change_no, kind, severity, change, noted_at, message_id)
    VALUES ('desk', 'ours', 1, 'open', 'MEDIUM', '{}', '2025-08-23T11:00:01Z', 'm'),
           ('page', 'ours', 1, 'open', 'MEDIUM', '{}', '2025-08-23T11:00:02Z', NULL),
           ('desk', 'other', 1, 'open', 'MEDIUM', '{}', '2025-08-23T11:00:02Z', NULL),
           ('desk', 'ours', 2, 'open', 'MEDIUM', '{}', '2025-08-23T13:00:00Z', NULL)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_were_told_about_its_rules_is_told_if_there_is_a_role_that_tells_them() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    in_the_ledger(&base, &order, "FILLED").await;
    base.write(order.everything()).await;
    base.sql(NOTIFY).await;
    let told = text(&explain(&base, &["run-1"]).stdout);
    for part in [
        "told      desk of MEDIUM risk.max_order_qty open at 2025-08-23 11:00:01.000: DELIVERED (HTTP 204)",
        "told      page of MEDIUM risk.max_order_qty open at 2025-08-23 11:00:02.000: not sent yet",
        "NOTIFIED risk.max_order_qty open  desk DELIVERED",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    assert!(!told.contains("risk.rate") && !told.contains("13:00"), "{told}");
    let story = promised(&explain(&base, &["run-1", "--json"]).stdout);
    assert_eq!(story["notifications"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_a_trace_is_told_and_one_of_them_by_its_key() {
    let base = Base::new().await;
    for n in 1..=3 {
        let order = Order::new("run-1", &format!("order-0000{n}"));
        in_the_ledger(&base, &order, "FILLED").await;
        base.write(order.everything()).await;
    }
    let all = text(&explain(&base, &["run-1"]).stdout);
    assert_eq!(all.matches("\norder order-").count(), 3, "{all}");
    assert_eq!(all.matches("EXEC FILLED").count(), 3, "{all}");
    let one = text(&explain(&base, &["order-00002"]).stdout);
    assert_eq!(one.matches("\norder order-").count(), 1, "{one}");
    assert!(one.contains("order order-00002"), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_knows_is_a_finding_with_advice() {
    let base = Base::new().await;
    let told = explain(&base, &["nobody'; --"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(told.stdout.is_empty());
    assert!(text(&told.stderr).contains("dead-letters says why"), "{}", text(&told.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_went_the_whole_way_is_explained() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let _roles = (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.produce(&[order("whole-0001", "USDJPY")], None).await;
    line.rest(1).await;
    let told = line.noctus().args(["explain", "whole-0001"]).output().expect("noctus runs");
    let shown = text(&told.stdout);
    for part in [
        "trace t-whole-0001",
        "BUY 3 USDJPY LIMIT limit 1.5 GTC for account main",
        "data_lag_min 1.0, missing_ratio 0.0",
        "decided   BUY 3",
        "quality OK, multiplier 1",
        "policies quality ",
        ": accepted after ",
        "3 FILLED ",
        "now       FILLED: 3 of 3 at 1.5",
        "DECISION BUY",
        "EXEC FILLED  step 3",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}{}", text(&told.stderr));
    }
    assert!(!shown.contains("owed") && !shown.contains("has written"), "{shown}");
    let again = "again     the same under the policies in force now: BUY 3";
    assert!(shown.contains(again) && shown.contains("no policy has changed since"), "{shown}");
    // Under another policy it would be another order.
    let tight = line.file("tight_risk.yml", "default: { max_order_qty: 2 }\n");
    let mut other = line.noctus();
    other.env("NOCTUS_POLICIES__RISK", &tight);
    let told = other.args(["explain", "whole-0001"]).output().expect("noctus runs");
    let shown = text(&told.stdout);
    for part in [
        "again     different under the policies in force now: BUY 2 instead of BUY 3 (smaller)",
        "different  3 → 2  risk.max_order_qty, is new",
        "changed since: risk ",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let mut other = line.noctus();
    other.env("NOCTUS_POLICIES__RISK", line.path("not-there.yml"));
    let told = other.args(["explain", "whole-0001", "--json"]).output().expect("noctus runs");
    let story = promised(&told.stdout);
    let why = &story["orders"][0]["again"]["why"];
    assert!(why.as_str().is_some_and(|why| why.contains("not-there.yml")), "{why}");
}
