//! `noctus verify`: the risk state that is stored is the one that the events make, whatever was killed and while orders
//! flow; and what was planted is found, all of it and nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::verbs::run;
use super::{Line, open_policy, order, policy_file};

const SYMBOLS: [&str; 4] = ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY"];

/// No limit in money, so that an order without any price gets as far as the broker.
fn no_limits() -> PathBuf {
    policy_file("none", "default: { max_order_qty: 20000 }\n")
}

async fn line() -> Line {
    let line = Line::new(4, |config| {
        config.policies.risk = Some(no_limits());
        config.gate.batch_max = 20;
    })
    .await;
    let quotes = json!({"NZDJPY": {"bid": "2.0", "ask": "2.1"}});
    line.broker.post("/quotes", &quotes).await;
    let lies = json!({"fill_parts": 3, "drop_answer_every": 9, "reset_before_apply_every": 13, "delay_ms": 5});
    line.broker.lie(lies).await;
    line
}

/// Of eight orders: three buy and two sell, to and fro across 0, at prices that move; one is cancelled by the broker, one
/// is refused by it, one rests there. Five after another share a trace.
fn request(n: usize) -> Value {
    let key = format!("verify-{n:06}");
    let price = format!("1.{:03}", 500 + (n * 37) % 91);
    let mut request = order(&key, SYMBOLS[(n / 8) % 4]);
    let more = match n % 8 {
        0..3 => json!({"qty": "5.25", "limit_price": price}),
        3 => json!({"side": "SELL", "qty": "4.5", "limit_price": price, "reference_price": price}),
        4 => json!({"side": "SELL", "qty": "9.75", "limit_price": price, "reference_price": price}),
        5 => json!({"symbol": "NZDJPY", "time_in_force": "IOC"}),
        6 => json!({"symbol": "CHFJPY", "order_type": "MARKET", "limit_price": null}),
        _ => json!({"symbol": "NZDJPY"}),
    };
    request["trace_id"] = json!(format!("t-{}", n / 5));
    for (name, value) in more.as_object().expect("fields") {
        request[name] = value.clone();
    }
    request
}

fn requests(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(request).collect()
}

/// So many are decided, none is on its way, and everything is told.
async fn settled(line: &Line, decided: usize) {
    line.until("SELECT count(*) FROM outbox_orders", &decided.to_string()).await;
    let moving = "SELECT count(*) FROM outbox_orders WHERE state IN ('NEW','SENT','UNKNOWN')
                     OR state IN ('ACCEPTED','PARTIALLY_FILLED') AND symbol <> 'NZDJPY'";
    line.until(moving, "0").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
}

/// What `verify --risk --json` says, and with which exit code.
fn verified(line: &Line, words: &str, code: i32) -> Value {
    let ran = run(line, format!("verify --risk --json {words}").trim_end()).with(code);
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    let risk = told["risk"].clone();
    assert_eq!(risk["equal"], json!(code == 0), "{risk:#}");
    risk
}

/// The differences, each as `what name field`.
fn differences(risk: &Value) -> BTreeSet<String> {
    let text = |d: &Value, field: &str| d[field].as_str().unwrap_or("-").to_string();
    let one = |d: &Value| {
        let name = ["idempotency_key", "trace_id", "symbol", "account"];
        let name = name.iter().find_map(|field| d[field].as_str()).unwrap_or("-");
        format!("{} {name} {}", text(d, "what"), text(d, "field"))
    };
    risk["differences"].as_array().expect("a list").iter().map(one).collect()
}

/// What the topics lack, each as `key lack from to`.
fn gaps(risk: &Value) -> Vec<String> {
    let one = |gap: &Value| {
        let key = gap["idempotency_key"].as_str().unwrap_or("-");
        let lack = gap["lack"].as_str().expect("a word");
        match (&gap["from"], &gap["to"]) {
            (Value::Null, _) => format!("{key} {lack}"),
            (from, to) => format!("{key} {lack} {from} {to}"),
        }
    };
    risk["gaps"].as_array().expect("a list").iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f48_the_risk_state_is_what_the_events_make_through_kills_and_while_orders_flow() {
    let mut line = line().await;
    let (mut gate, mut dispatch) = (line.start("gate"), line.start("dispatch"));
    line.produce(&requests(0, 160), None).await;
    line.until("SELECT count(*) >= 30 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    dispatch.kill();
    dispatch = line.start("dispatch");
    line.until("SELECT count(*) >= 60 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    line.produce(&requests(160, 240), None).await;
    line.until("SELECT count(*) >= 180 FROM outbox_orders", "t").await;
    gate.kill();
    gate = line.start("gate");
    // Once at least the ledger moves while it is verified.
    let moves = "SELECT sum(exec_seq) FROM outbox_orders";
    let mut produced = 240;
    loop {
        line.produce(&requests(produced, produced + 40), None).await;
        produced += 40;
        line.until("SELECT count(*) > 0 FROM outbox_orders WHERE state = 'NEW'", "t").await;
        let before = line.ask(moves).await;
        verified(&line, "--wait 60s", 0);
        if line.ask(moves).await != before {
            break;
        }
        assert!(produced < 600, "nothing moves");
    }
    settled(&line, produced).await;
    line.broker.post("/quotes", &json!({"NZDJPY": {"bid": "1.3", "ask": "1.4"}})).await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state = 'ACCEPTED'", "0").await;
    settled(&line, produced).await;
    drop((gate, dispatch));

    let states = "SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM outbox_orders
                   WHERE state IN ('FILLED','REJECTED','CANCELLED')";
    assert_eq!(line.ask(states).await, "CANCELLED FILLED REJECTED", "of each something happened");
    let lost =
        "SELECT bool_or(realised_pnl <> 0) AND bool_or(avg_price IS NOT NULL) FROM risk_positions";
    assert_eq!(line.ask(lost).await, "t");
    let risk = verified(&line, "", 0);
    let steps = line.ask(moves).await;
    assert_eq!(risk["exec_events"].to_string(), steps);
    assert_eq!(risk["decisions"], json!(produced));
    assert_eq!(
        risk["stored"],
        json!({"orders": produced, "lanes": 6, "accounts": 1, "traces": produced / 5})
    );
    let told = run(&line, "verify").with(0);
    assert!(told.out.ends_with("\nrisk: equal\n"), "{told:?}");

    line.sql(
        "UPDATE risk_positions SET position = position + 0.000001 WHERE symbol = 'USDJPY';
         UPDATE risk_positions SET working_sell = working_sell + 3, consecutive_losses = consecutive_losses + 1
          WHERE symbol = 'EURJPY';
         UPDATE risk_positions SET avg_price = avg_price + 0.000000001 WHERE symbol = 'GBPJPY';
         UPDATE risk_positions SET lots = lots - 0 WHERE symbol = 'AUDJPY';
         UPDATE risk_traces SET opening_notional = opening_notional + 1 WHERE trace_id = 't-1';
         UPDATE risk_accounts SET daily_pnl = daily_pnl - 0.01;
         UPDATE outbox_orders SET working_qty = 1 WHERE idempotency_key = 'verify-000000'",
    )
    .await;
    let planted = [
        "position USDJPY position",
        "position EURJPY working_sell",
        "position EURJPY consecutive_losses",
        "position GBPJPY avg_price",
        "position AUDJPY lots",
        "trace t-1 opening_notional",
        "account main daily_pnl",
        "order verify-000000 working_qty",
    ];
    let risk = verified(&line, "", 1);
    assert_eq!(differences(&risk), planted.map(String::from).into(), "{risk:#}");
    assert_eq!(gaps(&risk), Vec::<String>::new());
    let told = run(&line, "verify --risk").with(1);
    assert!(told.out.contains("risk: 8 difference(s), 0 gap(s)"), "{told:?}");
}

/// A gate that dies with a decision committed and not told.
fn dying_gate(line: &mut Line) -> super::Role {
    line.start_with("gate", &[("NOCTUS_CRASH", "gate/after-commit:1")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f32_an_event_that_is_not_told_yet_is_waited_for_and_one_that_never_was_is_named() {
    let mut line = Line::new(1, |config| config.policies.risk = Some(open_policy())).await;
    let died = dying_gate(&mut line);
    line.produce(&[order("verify-told", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let risk = verified(&line, "--wait 0s", 1);
    assert_eq!(
        (gaps(&risk), &risk["still_owed"]),
        (vec!["verify-told decision".into()], &json!(1))
    );
    assert_eq!(risk["left_out"], json!({"orders": 1, "lanes": 1, "accounts": 1, "traces": 1}));
    let mut waiting = line.noctus();
    waiting.args(["verify", "--risk", "--wait", "90s"]).stdout(Stdio::piped());
    let waiting = waiting.spawn().expect("noctus can be started");
    let gate = line.start("gate");
    let waited = waiting.wait_with_output().expect("it ends");
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stdout));
    drop(died);

    let dispatch = line.start("dispatch");
    line.until("SELECT state FROM outbox_orders", "FILLED").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    drop((gate, dispatch));
    verified(&line, "", 0);
    line.sql("UPDATE outbox_orders SET exec_seq = exec_seq + 1").await;
    let began = Instant::now();
    let risk = verified(&line, "--wait 10m", 1);
    assert!(began.elapsed() < Duration::from_secs(120), "nothing is owed: nothing is waited for");
    assert_eq!(gaps(&risk), ["verify-told events 4 4"]);
    assert_eq!(differences(&risk), BTreeSet::new());
    line.sql("UPDATE outbox_orders SET exec_seq = exec_seq - 1").await;

    let _died = dying_gate(&mut line);
    line.produce(&[order("verify-never", "EURJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    line.sql("DELETE FROM owed_events").await;
    let risk = verified(&line, "", 1);
    assert_eq!(
        (gaps(&risk), &risk["still_owed"]),
        (vec!["verify-never decision".into()], &json!(0))
    );
    assert_eq!(risk["left_out"], json!({"orders": 1, "lanes": 1, "accounts": 1, "traces": 1}));
    assert_eq!(differences(&risk), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f29_where_kafka_has_removed_the_beginning_what_is_whole_is_compared_and_the_rest_is_named()
{
    let mut line = Line::new(1, |config| config.policies.risk = Some(open_policy())).await;
    let (_gate, _dispatch) = (line.start("gate"), line.start("dispatch"));
    let finished = async |line: &Line, orders: &str| {
        line.until("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'", orders).await;
        line.until("SELECT count(*) FROM owed_events", "0").await;
    };
    line.produce(&[order("verify-gone", "USDJPY")], None).await;
    finished(&line, "1").await;
    let topic = line.config.topic("exec-events");
    let end = line.ends(&topic).await[0].1;
    let mut next = order("verify-kept", "EURJPY");
    next["account"] = json!("other");
    line.produce(&[next], None).await;
    finished(&line, "2").await;
    verified(&line, "", 0);

    let admin: AdminClient<DefaultClientContext> =
        noctus::kafka::client::client(&line.config).create().expect("a client");
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(end)).expect("an offset");
    admin.delete_records(&before, &AdminOptions::new()).await.expect("Kafka does it");
    let risk = verified(&line, "", 1);
    assert_eq!(risk["shortened"], json!([{"topic": topic, "partition": 0, "begins_at": end}]));
    assert_eq!(gaps(&risk), ["verify-gone events 1 3"]);
    assert_eq!(risk["left_out"], json!({"orders": 1, "lanes": 1, "accounts": 1, "traces": 1}));
    assert_eq!(differences(&risk), BTreeSet::new());
    line.sql("UPDATE risk_positions SET position = position - 1").await;
    let risk = verified(&line, "", 1);
    assert_eq!(differences(&risk), ["position EURJPY position".to_string()].into());
}
