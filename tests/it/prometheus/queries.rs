//! Every query of every panel, as Grafana would send it, against what real roles left behind.

use noctus::domain::event::{EventId, InferCall, PlanRun, Quote, Subject as About};
use noctus::domain::text::{Symbol, TraceId};
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};
use tokio_postgres::SimpleQueryMessage;

use super::Prometheus;
use super::dashboards::{dashboards, panels};
use crate::line::{Line, order, policy_file};

/// `$__name(arguments)` becomes what is made of its arguments; they hold no parentheses.
fn macros(sql: &str, name: &str, make: impl Fn(&[&str]) -> String) -> String {
    let start = format!("$__{name}(");
    let mut parts = sql.split(&start);
    let mut out = parts.next().expect("the first part").to_string();
    for part in parts {
        let (arguments, rest) = part.split_once(')').expect("a macro ends");
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        out += &make(&arguments);
        out += rest;
    }
    out
}

/// A query to Postgres as Grafana expands it, for the last two days.
fn expanded(sql: &str, trace: &str) -> String {
    let seconds = |interval: &str| match interval.trim_matches('\'') {
        "$__interval" => 30,
        "1h" => 3_600,
        "1d" => 86_400,
        other => panic!("{other} is no interval that is known here"),
    };
    let from = "now() - interval '2 days'";
    let sql = macros(sql, "timeFilter", |a| {
        format!("{} BETWEEN {from} AND now() + interval '1 minute'", a[0])
    });
    let sql = macros(&sql, "timeGroupAlias", |a| {
        let step = seconds(a[1]);
        format!("floor(extract(epoch FROM {})/{step})*{step} AS \"time\"", a[0])
    });
    let sql = sql.replace("${trace:sqlstring}", &format!("'{trace}'"));
    assert!(!sql.contains('$'), "something is not expanded: {sql}");
    sql
}

/// How many rows a query gives to the role that dashboards log in as.
async fn rows(line: &Line, sql: &str) -> Result<usize, String> {
    let client = line.pool.get().await.expect("a connection");
    client
        .batch_execute("BEGIN READ ONLY; SET LOCAL ROLE noctus_reader")
        .await
        .expect("the role is there");
    let answer = client.simple_query(sql).await;
    client.batch_execute("ROLLBACK").await.expect("the end");
    let answer = answer.map_err(|error| noctus::pg::told(&error))?;
    let is_something =
        |row: &tokio_postgres::SimpleQueryRow| (0..row.len()).any(|n| row.get(n).is_some());
    Ok(answer
        .iter()
        .filter(|m| matches!(m, SimpleQueryMessage::Row(row) if is_something(row)))
        .count())
}

/// A trace's plan and model call, before its order.
async fn begin_trace(line: &Line, trace: &str) {
    let ago = |ms: i64| clock::now() - jiff::SignedDuration::from_millis(ms);
    let id = |what: &str| {
        let subject = format!("{trace}|{what}");
        EventId::new(
            About::Process { subject: &subject, window_start: jiff::Timestamp::UNIX_EPOCH },
            "panels",
            0,
        )
    };
    let trace_id = TraceId::new(trace).expect("a trace id");
    let plan = PlanRun {
        event_id: id("plan"),
        trace_id: trace_id.clone(),
        status: "START".into(),
        symbol: None,
        timeframe: None,
        started_at: ago(900),
        finished_at: None,
        meta: json!({}),
    };
    let infer = InferCall {
        event_id: id("infer"),
        trace_id,
        model: "panels".into(),
        version: None,
        called_at: ago(400),
        duration_ms: Some(20),
        status: "ok".into(),
        inputs: json!({}),
        outputs: json!({}),
    };
    let plan = wire::plan_run::encode(&plan).expect("it fits the schema");
    let infer = wire::infer_call::encode(&infer).expect("it fits the schema");
    let records = [
        line.signed(Subject::PlanRun, trace, &plan).await,
        line.signed(Subject::InferCall, trace, &infer).await,
    ];
    line.send(&records).await;
}

/// Orders that are let through, clamped, scaled and blocked.
async fn wave(line: &Line, nth: usize) {
    let quote = Quote {
        bid: "147.25".parse().expect("a number"),
        ask: "147.252".parse().expect("a number"),
        at: clock::now(),
    };
    let quote =
        wire::quote::encode(&Symbol::new("USDJPY").expect("a symbol"), &quote).expect("it fits");
    line.send(&[line.signed(Subject::Quote, "USDJPY", &quote).await]).await;
    let mut orders = Vec::new();
    for n in 0..8 {
        let key = format!("panel-{nth}-{n:06}");
        begin_trace(line, &format!("t-{key}")).await;
        let mut one = order(&key, ["USDJPY", "EURUSD", "XAUUSD", "GBPUSD"][n % 4]);
        match n % 4 {
            1 => one["qty"] = json!("9"),
            3 => one["quality"] = json!({"missing_ratio": 0.2, "data_lag_min": 1.0}),
            _ => {}
        }
        orders.push(one);
    }
    line.produce(&orders, None).await;
    let stranger = line.request(
        &order(&format!("panel-{nth}-stranger"), "USDJPY"),
        "dev",
        "a secret that is not of the ring",
    );
    line.send(&[stranger]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_something_once_orders_have_gone_all_the_way() {
    let policy = policy_file(
        "panels",
        "default: { max_order_qty: 5, max_position_notional: 1000000000, forbidden_symbols: [XAUUSD] }\n",
    );
    let mut line = Line::new(2, |c| {
        c.policies.risk = Some(policy);
        c.broker.positions_s = 1;
    })
    .await;
    let roles = [line.start("gate"), line.start("dispatch"), line.start("sink")];
    for role in &roles {
        role.answers(200, "ready").await;
    }
    let prometheus = Prometheus::watching(&roles.iter().collect::<Vec<_>>());
    // Twice, so that what was counted first in the one has grown in the other.
    for nth in 0..2 {
        wave(&line, nth).await;
        line.rest(8 * (nth + 1)).await;
        line.read_to_the_end("sink", &["plan-runs", "infer-calls"]).await;
        prometheus.comes(&format!("sum(noctus_gate_decisions_total) >= {}", 8 * (nth + 1))).await;
        prometheus
            .comes("sum(noctus_sink_rows_total) > 0 and sum(noctus_position_checks_total) > 0")
            .await;
    }
    let traces = line.ask("SELECT count(*) FROM obs_trace_latency WHERE ms_total > 0").await;
    assert_ne!(traces, "0", "some traces went all the way");
    line.sql("REFRESH MATERIALIZED VIEW obs_latency_daily").await;
    // A clamp, so that rules have something to show.
    let trace = line
        .ask("SELECT trace_id FROM obs_alerts WHERE policy_name = 'risk.max_order_qty' LIMIT 1")
        .await;
    let (mut asked, mut empty) = (0, Vec::new());
    for (path, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                let place = format!("{path}: {}: {target}", panel["title"]);
                let found = match target["rawSql"].as_str() {
                    Some(sql) => rows(&line, &expanded(sql, &trace)).await,
                    None => shown(&prometheus, target).await,
                };
                match found {
                    Ok(0) => empty.push(place),
                    Ok(_) => asked += 1,
                    Err(why) => empty.push(format!("{place}: {why}")),
                }
            }
        }
    }
    assert!(
        empty.is_empty(),
        "{} show something, these do not:\n{}\n{}",
        asked,
        empty.join("\n"),
        line.state().await
    );
    assert!(asked > 60, "{asked} queries");
}

/// How many series of a query have a number.
async fn shown(prometheus: &Prometheus, target: &Value) -> Result<usize, String> {
    let expr = target["expr"].as_str().expect("an expression").replace("$__rate_interval", "2m");
    let rows = prometheus.ask(&expr).await?;
    let is_number = |row: &&Value| row["value"][1].as_str().is_some_and(|value| value != "NaN");
    Ok(rows.iter().filter(is_number).count())
}
