//! `noctus verify`, ledger and tables: what was planted is found, named, and nothing else is; what is on its way, or kept no
//! more, is no difference.

mod planted;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use noctus::domain::event::{Alert, EventId, InferCall, PlanRun, Severity, Subject as About};
use noctus::domain::text::{IdempotencyKey, TraceId};
use noctus::kafka::producer::Outgoing;
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::commands::{cancel, produce as command};
use super::verbs::run;
use super::{Line, open_policy, order};

/// Every topic that the sink reads.
pub const TOPICS: [&str; 6] =
    ["decisions", "alerts", "exec-events", "plan-runs", "infer-calls", "command-outcomes"];

async fn line() -> Line {
    Line::new(2, |config| config.policies.risk = Some(open_policy())).await
}

fn trace(n: usize) -> TraceId {
    TraceId::new(&format!("t-truth-{n:03}")).expect("a trace id")
}

fn id(kind: &str, n: usize) -> EventId {
    let key = IdempotencyKey::new(&format!("truth-{n:06}")).expect("a key");
    EventId::new(About::Key(&key), kind, 0)
}

/// What a PLAN run and a model call tell of a trace.
async fn told_by_others(line: &Line, n: usize) -> Vec<Outgoing> {
    let plan = PlanRun {
        event_id: id("plan:START", n),
        trace_id: trace(n),
        status: "START".into(),
        symbol: None,
        timeframe: Some("1h".into()),
        started_at: clock::now(),
        finished_at: None,
        meta: json!({"rows": 1e17, "share": 0.1, "names": ["a", "b"]}),
    };
    let call = InferCall {
        event_id: id("infer", n),
        trace_id: trace(n),
        model: "Prometheus".into(),
        version: None,
        called_at: clock::now(),
        duration_ms: Some(240),
        status: "ok".into(),
        inputs: json!({}),
        outputs: json!({"p_up": 0.61}),
    };
    let plan = wire::plan_run::encode(&plan).expect("it fits");
    let call = wire::infer_call::encode(&call).expect("it fits");
    vec![
        line.signed(Subject::PlanRun, trace(n).as_str(), &plan).await,
        line.signed(Subject::InferCall, trace(n).as_str(), &call).await,
    ]
}

/// An alert of this time.
async fn alert(line: &Line, n: usize, at: Timestamp) -> Outgoing {
    let alert = Alert {
        event_id: id("alert:foreign", n),
        trace_id: Some(trace(n)),
        idempotency_key: None,
        policy_name: "risk.max_order_qty".into(),
        severity: Severity::Low,
        reason: "for a test".into(),
        details: json!({}),
        at,
    };
    let body = wire::alert::encode(&alert).expect("it fits");
    line.signed(Subject::Alert, trace(n).as_str(), &body).await
}

/// Orders that are filled, one in four clamped and one in four FLAT for its size, and a command that is refused.
async fn work(line: &Line, from: usize, to: usize) {
    let mut requests = Vec::new();
    for n in from..to {
        let mut request = order(&format!("truth-{n:06}"), "USDJPY");
        match n % 4 {
            1 => request["qty"] = json!("30000"),
            2 => request["quality"] = json!({"missing_ratio": 0.9, "data_lag_min": 1.0}),
            _ => {}
        }
        request["trace_id"] = json!(trace(n).as_str());
        requests.push(request);
        line.send(&told_by_others(line, n).await).await;
    }
    line.produce(&requests, None).await;
}

/// So many orders are decided, nothing moves any more, and the sink has read all of it.
async fn rest(line: &Line, orders: usize) {
    line.rest(orders).await;
    line.read_to_the_end("sink", &TOPICS).await;
}

/// What `verify --only ledger,tables --json` says, and with which exit code.
pub fn verified(line: &Line, words: &str, code: i32) -> Value {
    let words = format!("verify --only ledger,tables --json {words}");
    let ran = run(line, words.trim_end()).with(code);
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    let equal = ["ledger", "tables"].map(|part| told[part]["equal"] == json!(true));
    assert_eq!(equal == [true, true], code == 0, "{told:#}");
    told
}

/// The comparison whose right side this is.
fn of<'t>(told: &'t Value, part: &str, right: &str) -> &'t Value {
    let all = told[part]["comparisons"].as_array().expect("a list");
    all.iter()
        .find(|one| one["right"] == json!(right))
        .unwrap_or_else(|| panic!("{right}: {told:#}"))
}

/// Every difference, as `part right kind`, and how many.
fn differences(told: &Value) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for part in ["ledger", "tables"] {
        for one in told[part]["comparisons"].as_array().into_iter().flatten() {
            for (kind, count) in one["differences"].as_object().expect("counts") {
                if let count @ 1.. = count.as_u64().expect("a count") {
                    let right = one["right"].as_str().expect("a name");
                    found.insert(format!("{part} {right} {kind}"), count);
                }
            }
        }
    }
    found
}

fn wanted(found: &[(&str, u64)]) -> BTreeMap<String, u64> {
    found.iter().map(|(name, count)| (name.to_string(), *count)).collect()
}

/// The examples of one kind of a comparison.
fn examples<'t>(told: &'t Value, part: &str, right: &str, kind: &str) -> Vec<&'t Value> {
    let all = of(told, part, right)["examples"].as_array().expect("a list");
    all.iter().filter(|one| one["kind"] == json!(kind)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_and_not_told_or_told_and_not_read_is_in_flight_and_no_difference() {
    let mut line = line().await;
    let (gate, dispatch, mut sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    work(&line, 0, 8).await;
    rest(&line, 8).await;
    command(&line, &[cancel("truth-cancel", "truth-000000", "USDJPY")]).await;
    line.until("SELECT count(*) FROM order_commands", "1").await;
    rest(&line, 8).await;
    let told = verified(&line, "", 0);
    assert_eq!(of(&told, "ledger", "decisions")["hours"][0]["equal"], json!(true));
    let count = |part: &str, right: &str, side: &str| {
        let hours = of(&told, part, right)["hours"].as_array().expect("hours").clone();
        hours.iter().map(|hour| hour[side]["events"].as_u64().expect("a number")).sum::<u64>()
    };
    for (right, events) in [("obs_decisions", 8), ("obs_plan_runs", 8), ("obs_infer_calls", 8)] {
        assert_eq!(count("tables", right, "left"), events, "{right}");
        assert_eq!(count("tables", right, "right"), events, "{right}");
    }
    let steps = line.ask("SELECT sum(exec_seq) FROM outbox_orders").await;
    assert_eq!(count("ledger", "exec-events", "left").to_string(), steps);
    assert_eq!(count("tables", "obs_do_metrics", "right"), 6, "six of eight were sent");
    assert_eq!(count("ledger", "command-outcomes", "left"), 1);
    assert!(count("tables", "obs_alerts", "left") >= 2);

    sink.kill();
    work(&line, 8, 12).await;
    line.until("SELECT count(*) FROM outbox_orders", "12").await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state NOT IN ('NOT_SENT','FILLED')", "0")
        .await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    let told = verified(&line, "", 0);
    assert_eq!(of(&told, "tables", "obs_decisions")["in_flight"]["unread"], json!(4));
    drop((gate, dispatch));
    let _died = line.start_with("gate", &[("NOCTUS_CRASH", "gate/after-commit:1")]);
    line.produce(&[order("truth-owed", "EURJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "13").await;
    let told = verified(&line, "", 0);
    assert_eq!(of(&told, "ledger", "decisions")["in_flight"]["owed"], json!(1));
    // Lost for good, it is a difference.
    line.sql("DELETE FROM owed_events").await;
    let told = verified(&line, "", 1);
    assert_eq!(differences(&told), wanted(&[("ledger decisions missing", 1)]));
    let example = examples(&told, "ledger", "decisions", "missing")[0];
    assert_eq!(example["idempotency_key"], json!("truth-owed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_has_removed_and_months_that_were_dropped_are_told_and_are_no_difference() {
    let mut line = line().await;
    let _sink = line.start("sink");
    let old: Timestamp = "2025-08-23T11:00:00Z".parse().expect("a time");
    let hours_ago = clock::now().checked_sub(SignedDuration::from_hours(3)).expect("a time");
    let past = vec![alert(&line, 0, old).await, alert(&line, 1, hours_ago).await];
    line.send(&past).await;
    line.send(&[alert(&line, 2, clock::now()).await]).await;
    line.read_to_the_end("sink", &["alerts"]).await;
    verified(&line, "", 0);
    line.sql("DROP TABLE obs_alerts_2025_08").await;
    let told = verified(&line, "", 0);
    let gone = &of(&told, "tables", "obs_alerts")["left_out"]["not_in_right"];
    assert_eq!(gone["events"], json!(1), "{told:#}");

    // Every record that is there now goes from Kafka; what follows is kept.
    let topic = line.config.topic("alerts");
    line.forget(&topic).await;
    line.send(&[alert(&line, 3, clock::now()).await]).await;
    line.read_to_the_end("sink", &["alerts"]).await;
    let told = verified(&line, "", 0);
    let alerts = of(&told, "tables", "obs_alerts");
    assert_eq!(alerts["left_out"]["not_in_left"]["events"], json!(2), "{told:#}");
    assert!(!told["tables"]["shortened"].as_array().expect("a list").is_empty());
    // What is there is compared all the same.
    line.sql("UPDATE obs_alerts SET reason = 'another' WHERE trace_id = 't-truth-003'").await;
    let told = verified(&line, "", 1);
    assert_eq!(differences(&told), wanted(&[("tables obs_alerts different", 1)]));
}
