//! The plan's acceptance, word by word: its queries as they are printed, answered by a line of real services on which
//! nothing else happens.

use noctus::domain::event::{EventId, InferCall, PlanRun, Subject as About};
use noctus::domain::text::{IdempotencyKey, Symbol, TraceId};
use noctus::pg::acceptance::{self, Answer};
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::json;

use super::verbs::run;
use super::{Line, open_policy, order};

const TRACE: &str = "20250813-060021-USDJPY-demo-fa3ef5a1";

async fn ask(line: &Line, query: &str) -> Answer {
    let client = line.pool.get().await.expect("a connection");
    acceptance::ask(&client, query).await.expect("the plan's query")
}

async fn of_trace(line: &Line, query: &str) -> Answer {
    ask(line, &acceptance::of_trace(query, &TraceId::new(TRACE).expect("a trace id"))).await
}

/// What the steps before the decision tell.
async fn plan_and_infer(line: &Line) {
    let key = IdempotencyKey::new("the-plans-demo").expect("a key");
    let trace_id = TraceId::new(TRACE).expect("a trace id");
    let mut records = Vec::new();
    for status in ["START", "FEATURES", "END"] {
        let step = PlanRun {
            event_id: EventId::new(About::Key(&key), &format!("plan:{status}"), 0),
            trace_id: trace_id.clone(),
            status: status.into(),
            symbol: Symbol::new("USDJPY").ok(),
            timeframe: Some("1h".into()),
            started_at: clock::now(),
            finished_at: None,
            meta: json!({}),
        };
        let body = wire::plan_run::encode(&step).expect("it fits the schema");
        records.push(line.signed(Subject::PlanRun, TRACE, &body).await);
    }
    let call = InferCall {
        event_id: EventId::new(About::Key(&key), "infer", 0),
        trace_id,
        model: "Prometheus".into(),
        version: None,
        called_at: clock::now(),
        duration_ms: Some(240),
        status: "ok".into(),
        inputs: json!({}),
        outputs: json!({}),
    };
    let body = wire::infer_call::encode(&call).expect("it fits the schema");
    records.push(line.signed(Subject::InferCall, TRACE, &body).await);
    line.send(&records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plans_demo_alone_is_what_the_plan_accepts_and_the_same_request_twice_is_one_order() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    plan_and_infer(&line).await;
    let mut request = order("the-plans-demo", "USDJPY");
    request["trace_id"] = json!(TRACE);
    line.produce(&[request.clone()], None).await;
    line.rest(1).await;
    line.read_to_the_end("sink", &["plan-runs", "infer-calls"]).await;
    // デモ1本で obs_alerts が0～1件生成、obs_exec_events と obs_decisions の trace_id が一致
    let alerts = line.ask("SELECT count(*) FROM obs_alerts").await;
    assert!(["0", "1"].contains(&alerts.as_str()), "{alerts} alerts");
    let silent = [acceptance::EXEC_WITHOUT_DECISION, acceptance::DECISION_WITHOUT_EXEC];
    for query in silent.into_iter().chain([acceptance::TWICE]) {
        assert!(ask(&line, query).await.rows.is_empty(), "{query}");
    }
    let timeline = of_trace(&line, acceptance::TIMELINE).await;
    assert_eq!(timeline.columns, ["ts", "kind", "action"]);
    let mut kinds: Vec<&str> = timeline.column("kind").into_iter().flatten().collect();
    assert_eq!(kinds.split_off(4), ["DECISION", "EXEC", "EXEC", "EXEC"], "in its order");
    kinds.sort_unstable();
    assert_eq!(kinds, ["INFER", "PLAN:END", "PLAN:FEATURES", "PLAN:START"]);
    let latency = of_trace(&line, acceptance::LATENCY).await;
    assert_eq!(latency.rows.len(), 1);
    assert!(latency.rows[0].iter().all(Option::is_some), "every stage is there: {latency:?}");
    // 同一リクエストを2回投げても BROKER送信は1回、obs_exec_events は重複しない
    line.produce(&[request.clone(), request], None).await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    line.rest(1).await;
    assert_eq!(line.broker.records().len(), 1);
    let steps = "SELECT string_agg(exec_seq || status, ' ' ORDER BY exec_seq) FROM obs_exec_events
                  WHERE idempotency_key = 'the-plans-demo'";
    assert_eq!(line.ask(steps).await, "1SENT 2ACCEPTED 3FILLED");
    assert!(ask(&line, acceptance::TWICE).await.rows.is_empty());
    // 日次マテビュー更新: REFRESH CONCURRENTLY, and the P95 of the day.
    line.sql("REFRESH MATERIALIZED VIEW CONCURRENTLY obs_latency_daily").await;
    let daily = ask(&line, acceptance::P95_OF_DAYS).await;
    assert_eq!(daily.columns, ["day", "p95_ms", "traces", "executed"]);
    assert_eq!(daily.rows.len(), 1, "{daily:?}");
    assert_eq!(daily.column("executed"), [Some("1")]);
    let p95 = daily.column("p95_ms")[0].and_then(|p95| p95.parse::<f64>().ok());
    assert!(p95.is_some_and(|p95| p95 >= 0.0), "{daily:?}");
    let told = run(&line, &format!("explain {TRACE}")).with(0).out;
    assert!(told.contains("now       FILLED: 3 of 3"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_clamped_is_an_alert_with_its_rule_and_stands_in_the_timeline() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    let mut large = order("clamped-0001", "USDJPY");
    (large["qty"], large["trace_id"]) = (json!("30000"), json!(TRACE));
    large["quality"] = json!({"missing_ratio": 0.12, "data_lag_min": 1.0});
    line.produce(&[large], None).await;
    line.rest(1).await;
    let alert =
        "SELECT string_agg(severity || ' ' || policy_name || ' ' || policy || ' ' || trace_id, ', '
                   ORDER BY policy_name) FROM obs_alerts";
    let of = |severity: &str, rule: &str| format!("{severity} {rule} {rule} {TRACE}");
    let wanted =
        [of("MEDIUM", "PLAN.QUALITY.MISSING_RATIO"), of("MEDIUM", "risk.max_order_qty")].join(", ");
    assert_eq!(line.ask(alert).await, wanted);
    let timeline = of_trace(&line, acceptance::TIMELINE).await;
    let kinds = timeline.column("kind");
    assert_eq!(kinds.iter().filter(|kind| **kind == Some("ALERT")).count(), 2, "{kinds:?}");
    // SCALE の倍率と理由を obs_decisions.reason に出力
    let reason = line.ask("SELECT reason FROM obs_decisions").await;
    assert!(reason.contains("quality=SCALE(0.86) missing_ratio=0.12 > 0.05"), "{reason}");
}
