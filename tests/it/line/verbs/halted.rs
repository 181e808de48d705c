//! C-OUT-7, F60: after a halt was acknowledged nothing is sent; lifting one takes two people.

use jiff::Timestamp;
use noctus::runtime::config::Config;
use serde_json::{Value, json};

use super::super::{Line, open_policy, order};
use super::{proposal, run};

pub const SYMBOLS: [&str; 8] =
    ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY", "NZDJPY", "CHFJPY", "CADJPY", "SGDJPY"];

pub fn requests(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|n| order(&format!("halted-{n:05}"), SYMBOLS[n % 8])).collect()
}

async fn line() -> Line {
    line_with(|_| {}).await
}

pub async fn line_with(change: impl FnOnce(&mut Config)) -> Line {
    let line = Line::new(4, |config| {
        config.policies.risk = Some(open_policy());
        config.gate.batch_max = 50;
        change(config);
    })
    .await;
    // Slow enough for a backlog, so that the halt meets orders in every state.
    line.broker.lie(json!({"delay_ms": 15})).await;
    line
}

/// So many orders are decided, and nobody sends yet: whoever starts to has its hands full.
pub async fn backlog(line: &Line, orders: usize) {
    line.produce(&requests(0, orders), None).await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state = 'NEW'", &orders.to_string()).await;
}

pub fn acknowledged(halt: &Value) -> Timestamp {
    let at = halt["acknowledged_at"].as_str();
    at.unwrap_or_else(|| panic!("{halt}")).parse().expect("a time")
}

/// Orders that came to the broker after this.
pub fn came_after(line: &Line, at: Timestamp) -> Vec<String> {
    let views = line.broker.orders().into_iter().filter(|view| view.received_at > at);
    views.map(|view| format!("{} {}", view.order.client_order_id, view.received_at)).collect()
}

pub fn nothing_came_after(line: &Line, at: Timestamp) {
    let after = came_after(line, at);
    assert!(after.is_empty(), "acknowledged at {at}, and then: {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_under_load_nothing_is_sent_after_a_halt_was_acknowledged() {
    let mut line = line().await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    backlog(&line, 1_000).await;
    let (_one, _two) = (line.start("dispatch"), line.start("dispatch"));
    line.until("SELECT count(*) >= 150 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    line.produce(&requests(1_000, 1_200), None).await;
    let halt = run(&line, "halt --reason test --as alice --json").with(0).json().remove(0);
    let at = acknowledged(&halt);
    let new = "SELECT count(*) FROM outbox_orders WHERE state IN ('NEW','SENT','UNKNOWN')";
    line.until(new, "0").await;
    line.until("SELECT count(*) FROM outbox_orders", "1200").await;
    line.rest(1_200).await;
    nothing_came_after(&line, at);
    let came = line.broker.orders().len();
    assert!((150..1_200).contains(&came), "the halt met a backlog: {came}");
    let cancelled = "SELECT count(*) > 0 FROM obs_exec_events WHERE status::text = 'CANCELLED'";
    assert_eq!(line.ask(cancelled).await, "t", "{}", line.state().await);
    let confirmed = "SELECT count(*) FROM sender_confirmations WHERE halt_number = 1";
    line.until(confirmed, "2").await;

    // Two people: alice cannot approve what she proposed, also not by another case of letters.
    run(&line, "resume --symbol USDJPY --reason no --as alice").with(1);
    let proposed = run(&line, "resume --reason over --as alice").with(0);
    let number = proposal(&proposed);
    run(&line, &format!("resume --approve {number} --as alice")).with(77);
    run(&line, &format!("resume --approve {number} --as ALICE")).with(77);
    run(&line, "reduce-only --reason looser --as alice").with(77);
    assert_eq!(line.ask("SELECT count(*) FROM halts").await, "1");
    run(&line, "resume --approve 999 --as bob").with(1);
    run(&line, &format!("resume --approve {number} --as bob")).with(0);
    run(&line, &format!("resume --approve {number} --as carol")).with(1);
    let rows = "SELECT string_agg(mode || ' ' || by_whom || ' ' || coalesce(approved_by, '-'), ', '
                       ORDER BY number) FROM halts";
    assert_eq!(line.ask(rows).await, "halted alice -, resumed alice bob");
    let told = run(&line, "halts --json").with(0).json().remove(0);
    assert_eq!(told["halts"][0]["mode"], "resumed");
    assert_eq!(told["senders"].as_array().map(Vec::len), Some(2), "{told}");
    // What was cancelled stays so; what is new goes.
    line.produce(&requests(1_200, 1_208), None).await;
    line.rest(1_208).await;
    assert_eq!(line.broker.orders().len(), came + 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_acknowledging_before_the_senders_have_confirmed_is_noticed() {
    let mut line = line().await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    backlog(&line, 800).await;
    let _dispatch = line.start("dispatch");
    line.until("SELECT count(*) >= 100 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    let mut command = line.noctus();
    command.env("NOCTUS_PLANTED", "acknowledge-at-once");
    let halt =
        command.args(["halt", "--reason", "test", "--json"]).output().expect("it can be run");
    let halt: Value = serde_json::from_slice(&halt.stdout).expect("JSON");
    line.rest(800).await;
    let after = came_after(&line, acknowledged(&halt));
    assert!(!after.is_empty(), "the mistake was made and nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f25_f60_a_frozen_sender_is_waited_for_until_its_lease_is_over_and_sends_nothing_later() {
    let mut line = line().await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    backlog(&line, 400).await;
    let frozen = line.start("dispatch");
    line.until("SELECT count(*) >= 40 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    frozen.freeze();
    let impatient = run(&line, "halt --symbol USDJPY --reason test --timeout 0 --json").with(1);
    let missing = impatient.json().remove(0);
    assert_eq!(missing["unconfirmed"].as_array().map(Vec::len), Some(1), "{missing}");
    let halt = run(&line, "halt --reason test --json").with(0).json().remove(0);
    let at = acknowledged(&halt);
    let over = "SELECT max(lease_until) + interval '250 milliseconds' FROM dispatch_lanes";
    let over: Timestamp =
        line.ask(over).await.replace(' ', "T").replace("+00", "Z").parse().expect("a time");
    assert!(at >= over, "acknowledged at {at}, the lease and its end at {over}");
    frozen.wake();
    line.rest(400).await;
    nothing_came_after(&line, at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_halt_makes_a_proposal_to_resume_void() {
    let line = Line::new(1, |_| {}).await;
    run(&line, "halt --account main --symbol USDJPY --reason one --as alice").with(0);
    let scope = "--account main --symbol USDJPY";
    let number = proposal(&run(&line, &format!("resume {scope} --reason r --as alice")).with(0));
    run(&line, &format!("halt {scope} --reason two --as carol")).with(0);
    let void = run(&line, &format!("resume --approve {number} --as bob")).with(1);
    assert!(void.err.contains("propose anew"), "{void:?}");
    let rows = "SELECT count(*) || ' ' || count(approved_by) FROM halts";
    assert_eq!(line.ask(rows).await, "2 0");
    assert_eq!(line.ask("SELECT count(approved_by) FROM proposals").await, "0", "still open");
    run(&line, "halt --symbol usdjpy --reason three").with(2);
    run(&line, "halt").with(2);
}
