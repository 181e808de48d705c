//! A W3C trace context goes from the record that asks for an order to everything that is told of it.

use std::sync::{Arc, Mutex};

use noctus::domain::trace_context::{TraceContext, command, decide, refuse, send};
use noctus::kafka::producer::Outgoing;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::commands::{cancel, command as record_of, far_quotes, rest};
use super::verbs::run;
use super::{Line, open_policy, order};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";

fn given() -> TraceContext {
    TraceContext::parse(PARENT, Some(STATE)).expect("a good context")
}

/// The record with these headers besides its signature.
fn with(mut record: Outgoing, headers: &[(&str, &str)]) -> Outgoing {
    let header = |(name, value): &(&str, &str)| (name.to_string(), Some(value.as_bytes().to_vec()));
    record.headers.extend(headers.iter().map(header));
    record
}

/// `traceparent` and `tracestate` of the records of a topic whose value has this text in it.
fn traces(line: &Line, topic: &str, text: &str) -> Vec<(Option<String>, Option<String>)> {
    let has = |record: &&Value| {
        let value = hex::decode(record["value"].as_str().unwrap_or_default()).expect("hex");
        String::from_utf8_lossy(&value).contains(text)
    };
    let header = |record: &Value, name: &str| {
        let pairs = record["headers"].as_array()?;
        let value = pairs.iter().find(|pair| pair[0] == name)?[1].as_str()?;
        Some(String::from_utf8(hex::decode(value).expect("hex")).expect("text"))
    };
    let both = |record: &Value| (header(record, "traceparent"), header(record, "tracestate"));
    line.dump(topic).iter().filter(has).map(both).collect()
}

/// What the hop of the given trace says.
fn told(hop: &str) -> (Option<String>, Option<String>) {
    (Some(given().child(hop).traceparent()), Some(STATE.into()))
}

/// Passes everything on to the broker, and keeps what it was sent.
fn overheard(url: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let broker = url.strip_prefix("http://").expect("a plain address").to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keeps = heard.clone();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while let Ok((client, _)) = listener.accept().await {
            let (broker, keeps) = (broker.clone(), keeps.clone());
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(broker).await else { return };
                let (mut from, mut back) = client.into_split();
                let (mut answers, mut on) = server.into_split();
                let there = async {
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut bytes).await {
                        keeps.lock().expect("nobody panicked").extend(&bytes[..read]);
                        if on.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                let _ = tokio::join!(there, tokio::io::copy(&mut answers, &mut back));
            });
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_an_order_is_in_the_trace_of_its_record_and_so_is_what_the_broker_is_asked()
{
    let mut heard = None;
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        let (address, bytes) = overheard(&config.broker.url);
        (config.broker.url, heard) = (address, Some(bytes));
    })
    .await;
    // The gate dies when Kafka has its first events and Postgres does not know it: they are told again.
    let mut gate = line.start_with("gate", &[("NOCTUS_CRASH", "emission/acked:1")]);
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    let mut large = order("traced-0001", "USDJPY");
    large["qty"] = json!("30000");
    let headers = [("traceparent", PARENT), ("tracestate", STATE)];
    line.send(&[with(line.record(&large, None), &headers)]).await;
    assert!(!gate.ended().await.success());
    let gate = line.start("gate");
    line.rest(1).await;
    let decided = told(&decide("traced-0001"));
    let again = traces(&line, "decisions", "traced-0001");
    assert!(again.len() > 1, "it was told again: {again:?}");
    assert!(again.iter().all(|trace| *trace == decided), "{again:?}");
    let alerts = traces(&line, "alerts", "risk.max_order_qty");
    assert!(!alerts.is_empty() && alerts.iter().all(|trace| *trace == decided), "{alerts:?}");
    let sent = told(&send("traced-0001", 1));
    let steps = traces(&line, "exec-events", "traced-0001");
    assert!(steps.len() >= 3 && steps.iter().all(|trace| *trace == sent), "{steps:?}");
    let heard = heard.expect("the configuration was changed").lock().expect("whole").clone();
    let heard = String::from_utf8_lossy(&heard).to_lowercase();
    let headers = format!("traceparent: {}\r\n", sent.0.clone().expect("a header"));
    let order = heard.find("post /v1/orders ").expect("an order was sent");
    let head = heard[order..].split("\r\n\r\n").next().expect("a head");
    assert!(head.contains(headers.trim_end()) && head.contains("tracestate: congo="), "{head}");
    assert!(!heard[..order].contains("traceparent"), "a handshake is in no trace");
    let kept = "SELECT traceparent || ' ' || tracestate || ' ' || (source_at IS NOT NULL) FROM outbox_orders";
    assert_eq!(line.ask(kept).await, format!("{PARENT} {STATE} true"));
    // A bad context is none, and counted; a refused record keeps its own, and its alert is in the trace.
    let bad = with(line.record(&order_of("traced-0002"), None), &[("traceparent", "00-zz")]);
    let mut refused = order_of("traced-0003");
    refused["qty"] = json!("0");
    let refused = with(line.record(&refused, None), &headers_of_record());
    let place = line.send(&[bad, refused]).await[1];
    line.rest(2).await;
    assert_eq!(traces(&line, "decisions", "traced-0002"), [(None, None)]);
    assert!(traces(&line, "exec-events", "traced-0002").iter().all(|trace| trace.0.is_none()));
    gate.counts("noctus_trace_contexts_refused_total", 1.0).await;
    let topic_id = line
        .ask("SELECT topic_id FROM input_positions WHERE reader = 'gate' AND topic LIKE '%order-requests' LIMIT 1")
        .await;
    let hop = refuse(&topic_id, place.partition, place.offset);
    assert_eq!(traces(&line, "alerts", "ingest.invalid_qty"), [told(&hop)]);
    let own = (Some(PARENT.to_string()), Some(STATE.to_string()));
    assert_eq!(traces(&line, "dead-letters", "traced-0003"), [own]);
    let story = run(&line, "explain t-traced-0003").with(0).out;
    let letter = format!("order-requests/{}/{}", place.partition, place.offset);
    for part in ["invalid_qty: the record ", &letter, "DEAD_LETTER invalid_qty"] {
        assert!(story.contains(part), "{part}\n{story}");
    }
}

fn order_of(key: &str) -> Value {
    order(key, "USDJPY")
}

fn headers_of_record() -> [(&'static str, &'static str); 2] {
    [("traceparent", PARENT), ("tracestate", STATE)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_command_is_in_the_trace_of_the_command() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("traced-0004", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "ACCEPTED").await;
    let mut replace = cancel("retraced-0001", "traced-0004", "USDJPY");
    (replace["action"], replace["limit_price"]) = (json!("REPLACE"), json!("1.4"));
    let replace = record_of(&line, &replace, None).await;
    line.send(&[with(replace, &headers_of_record())]).await;
    line.until("SELECT status FROM order_commands", "DONE").await;
    let stop = record_of(&line, &cancel("retraced-0002", "traced-0004", "USDJPY"), None).await;
    line.send(&[stop]).await;
    line.until("SELECT state FROM outbox_orders", "CANCELLED").await;
    rest(&line, 1).await;
    let outcome = told(&command("retraced-0001"));
    assert_eq!(traces(&line, "command-outcomes", "retraced-0001"), [outcome.clone(), outcome]);
    assert_eq!(traces(&line, "command-outcomes", "retraced-0002"), [(None, None)]);
    assert!(traces(&line, "exec-events", "traced-0004").iter().all(|trace| trace.0.is_none()));
    let by_command = run(&line, "explain retraced-0002").with(0).out;
    assert!(by_command.contains("order traced-0004"), "a command's key leads to its order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_noctus_submits_begins_a_trace_and_the_same_one_when_it_is_sent_again() {
    let mut line = Line::new(2, |config| config.policies.risk = Some(open_policy())).await;
    let file = line.file("order.json", &order("traced-0005", "USDJPY").to_string());
    let submit = |variables: &[(&str, &str)]| {
        let mut command = line.noctus();
        command.arg("submit").arg(&file).envs(variables.iter().copied());
        command.env_remove("TRACEPARENT").envs(variables.iter().copied());
        assert!(command.output().expect("noctus runs").status.success());
    };
    submit(&[]);
    submit(&[]);
    submit(&[("TRACEPARENT", PARENT), ("TRACESTATE", STATE)]);
    let sent = traces(&line, "order-requests", "traced-0005");
    let begun = TraceContext::begun("t-traced-0005", "submit traced-0005").traceparent();
    let begun = (Some(begun), None);
    assert_eq!(sent, [begun.clone(), begun.clone(), told("submit traced-0005")]);
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.rest(1).await;
    let kept = line.ask("SELECT traceparent FROM outbox_orders").await;
    assert_eq!(Some(kept), begun.0, "the first one stands, as its order does");
}
