//! Commands of producers about their orders: CANCEL, before and after its order, and what is refused.

mod refused;
mod replaced;

use noctus::domain::command::CommandDraft;
use noctus::kafka::producer::Outgoing;
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use super::verbs::run;
use super::{Line, open_policy, order};

/// A CANCEL of this order under a key of its own.
pub fn cancel(key: &str, target: &str, symbol: &str) -> Value {
    json!({
        "trace_id": format!("t-{key}"), "symbol": symbol, "action": "CANCEL", "target_key": target,
        "requested_at": clock::now(), "idempotency_key": key,
    })
}

/// A command as a record, well signed; without a partition where its key belongs.
pub async fn command(line: &Line, command: &Value, partition: Option<i32>) -> Outgoing {
    let draft: CommandDraft = serde_json::from_value(command.clone()).expect("a command");
    let body = wire::order_command::encode(&draft).expect("it fits the schema");
    let key = format!("{}|{}", draft.account, draft.symbol);
    Outgoing { partition, ..line.signed(Subject::OrderCommand, &key, &body).await }
}

pub async fn produce(line: &Line, commands: &[Value]) {
    let mut records = Vec::new();
    for asked in commands {
        records.push(command(line, asked, None).await);
    }
    line.send(&records).await;
}

pub async fn line() -> Line {
    Line::new(4, |config| config.policies.risk = Some(open_policy())).await
}

/// A quote far above a BUY at 1.5: the order works.
pub async fn far_quotes(line: &Line) {
    let quote = json!({"bid": "147.2", "ask": "147.3"});
    line.broker.post("/quotes", &json!({"USDJPY": quote, "EURJPY": quote})).await;
}

/// What became of a command.
pub fn outcome_of(key: &str) -> String {
    format!(
        "SELECT status || ' ' || coalesce(code, '-') FROM order_commands WHERE idempotency_key = '{key}'"
    )
}

/// All commands are read and decided, and what they caused is told and written.
pub async fn rest(line: &Line, orders: usize) {
    line.read_to_the_end("gate", &["order-requests", "order-commands"]).await;
    line.rest(orders).await;
    line.read_to_the_end("sink", &["command-outcomes"]).await;
    run(line, "verify --risk").with(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_f15_a_working_order_is_cancelled_once_and_a_replay_or_a_conflict_of_the_command_does_nothing()
 {
    let mut line = line().await;
    let (mut gate, _dispatch, mut sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("worked-0001", "USDJPY"), order("worked-0002", "USDJPY")], None).await;
    let working = "SELECT count(*) FROM outbox_orders WHERE state = 'ACCEPTED'";
    line.until(working, "2").await;
    let asked = cancel("cancel-0001", "worked-0001", "USDJPY");
    produce(&line, &[asked.clone(), asked.clone()]).await;
    let ended = "SELECT string_agg(status || ' ' || reason_code, ',') FROM obs_exec_events
                  WHERE status = 'CANCELLED'";
    line.until(ended, "CANCELLED cancelled_by_producer").await;
    assert_eq!(line.ask(&outcome_of("cancel-0001")).await, "ACCEPTED -");
    assert_eq!(line.ask(working).await, "1", "the other one works on");
    let reserved = "SELECT working_buy::float8 FROM risk_positions";
    assert_eq!(line.ask(reserved).await, "3", "what was reserved for it is free, once");
    // Read again from the start, and again by another record: nothing happens.
    assert!(gate.stop().success() && sink.stop().success());
    line.sql("UPDATE input_positions SET next_offset = 0").await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    produce(&line, &[asked]).await;
    line.read_to_the_end("gate", &["order-requests", "order-commands"]).await;
    line.read_to_the_end("sink", &["command-outcomes", "exec-events"]).await;
    assert_eq!(line.dump("command-outcomes").len(), 1, "a replay tells nothing");
    let told = "SELECT action || ' ' || status || ' ' || order_status FROM obs_command_outcomes";
    assert_eq!(line.ask(told).await, "CANCEL ACCEPTED ACCEPTED");
    assert_eq!(line.ask("SELECT count(*) FROM order_cancels").await, "1");
    let hop =
        "SELECT kind || ' ' || action FROM obs_trace_timeline WHERE trace_id = 't-cancel-0001'";
    assert_eq!(line.ask(hop).await, "COMMAND CANCEL ACCEPTED");
    let story = run(&line, "explain worked-0001").with(0).out;
    assert!(story.contains("by command cancel-0001: ACCEPTED"), "{story}");
    // Another command under the same key: the first stands.
    let other = cancel("cancel-0001", "worked-0002", "USDJPY");
    produce(&line, &[other]).await;
    let alert = "SELECT policy_name || ' ' || severity FROM obs_alerts";
    line.until(alert, "do.idempotency_conflict HIGH").await;
    assert_eq!(line.dump("dead-letters").len(), 1);
    assert_eq!(line.ask(working).await, "1");
    // A cancel of what has ended is too late, and says so.
    produce(&line, &[cancel("cancel-0002", "worked-0001", "USDJPY")]).await;
    line.until(&outcome_of("cancel-0002"), "REFUSED too_late").await;
    produce(&line, &[cancel("cancel-0003", "worked-0002", "USDJPY")]).await;
    rest(&line, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_not_sent_yet_ends_without_being_sent() {
    let mut line = line().await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    line.produce(&[order("unsent-0001", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "NEW").await;
    produce(&line, &[cancel("cancel-0001", "unsent-0001", "USDJPY")]).await;
    line.until(&outcome_of("cancel-0001"), "ACCEPTED -").await;
    let _dispatch = line.start("dispatch");
    rest(&line, 1).await;
    let chain =
        "SELECT string_agg(exec_seq || status || ' ' || reason_code, ' ') FROM obs_exec_events";
    assert_eq!(line.ask(chain).await, "1CANCELLED cancelled_by_producer");
    assert!(line.broker.records().is_empty(), "nothing came to the broker");
    assert_eq!(line.ask("SELECT working_buy::float8 FROM risk_positions").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_cancel_that_comes_before_its_order_keeps_it_from_ever_being_sent() {
    let mut line = line().await;
    let (mut gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    produce(&line, &[cancel("cancel-0001", "before-0001", "USDJPY")]).await;
    line.until(&outcome_of("cancel-0001"), "ACCEPTED before_its_order").await;
    assert!(gate.stop().success());
    let _gate = line.start("gate");
    // Twice, and another order under its key: one decision, and the first stands.
    let mut other = order("before-0001", "USDJPY");
    other["qty"] = json!("4");
    line.produce(&[order("before-0001", "USDJPY"), order("before-0001", "USDJPY"), other], None)
        .await;
    line.produce(&[order("after-00001", "USDJPY")], None).await;
    rest(&line, 2).await;
    let decided = "SELECT decision ->> 'action' || ' ' || reason FROM obs_decisions
                    WHERE trace_id = 't-before-0001'";
    let reason = "REJECT cancelled: its producer cancelled it before it came";
    assert_eq!(line.ask(decided).await, reason);
    let alerts = "SELECT string_agg(policy_name, ',' ORDER BY policy_name) FROM obs_alerts";
    assert_eq!(line.ask(alerts).await, "do.cancelled_before,do.idempotency_conflict");
    let sent: Vec<_> = line.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(sent, ["after-00001"], "only the other order came to the broker");
    // Afterwards it is an order that was never sent.
    produce(&line, &[cancel("cancel-0002", "before-0001", "USDJPY")]).await;
    line.until(&outcome_of("cancel-0002"), "REFUSED never_sent").await;
    let story = run(&line, "explain before-0001").with(0).out;
    assert!(story.contains("ACCEPTED before_its_order"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_before_two_gates_at_once_an_order_and_its_cancel_never_leave_it_working() {
    let mut line = line().await;
    let (_one, _two) = (line.start("gate"), line.start("gate"));
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    let owners = "SELECT count(DISTINCT owner) FROM input_positions WHERE reader = 'gate'";
    line.until(owners, "2").await;
    const ORDERS: usize = 60;
    for n in 0..ORDERS {
        let key = format!("raced-{n:04}");
        let asked = cancel(&format!("cancel-{n:04}"), &key, "USDJPY");
        // In turns one first; the partitions make that two gates see them.
        let order = line.record(&order(&key, "USDJPY"), Some((n % 4) as i32));
        let cancel = command(&line, &asked, Some(((n + 1) % 4) as i32)).await;
        let both = if n % 2 == 0 { [order, cancel] } else { [cancel, order] };
        line.send(&both).await;
    }
    rest(&line, ORDERS).await;
    let open = "SELECT count(*) FROM outbox_orders WHERE state NOT IN ('NOT_SENT','CANCELLED')";
    assert_eq!(line.ask(open).await, "0", "{}", line.state().await);
    let accepted = "SELECT count(*) FROM order_commands WHERE status = 'ACCEPTED'";
    assert_eq!(line.ask(accepted).await, ORDERS.to_string());
    // What was decided after its cancel was never sent; all else was cancelled.
    let wrong = "SELECT count(*) FROM order_commands c JOIN outbox_orders o ON o.idempotency_key = c.target_key
                  WHERE c.tombstone AND (o.state <> 'NOT_SENT' OR o.attempt_no > 0)";
    assert_eq!(line.ask(wrong).await, "0");
    assert_eq!(line.ask("SELECT working_buy::float8 FROM risk_positions").await, "0");
    assert_eq!(line.ask("SELECT count(*) FROM obs_command_outcomes").await, ORDERS.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verb_sends_a_command_and_tells_what_became_of_it() {
    let mut line = line().await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    far_quotes(&line).await;
    line.produce(&[order("verb-00001", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "ACCEPTED").await;
    let words = "command cancel verb-00001 --symbol USDJPY --key verb-cancel-1 --wait 90 --json";
    let told = run(&line, words).with(0).json().remove(0);
    assert_eq!((&told["status"], &told["reason_code"]), (&json!("ACCEPTED"), &Value::Null));
    rest(&line, 1).await;
    // Again with its key: the same outcome. Another order under it: a conflict, and that is told.
    run(&line, words).with(0);
    let other = "command cancel verb-00002 --symbol USDJPY --key verb-cancel-1 --wait 90";
    assert!(run(&line, other).with(1).out.contains("a conflict"));
    let late = run(&line, "command cancel verb-00001 --symbol USDJPY --wait 90").with(1);
    assert!(late.out.contains("REFUSED (too_late)"), "{late:?}");
    run(&line, "command cancel bad --symbol USDJPY").with(2);
    run(&line, "command replace verb-00001 --symbol USDJPY").with(2);
    let dry = run(&line, "command cancel verb-00001 --symbol USDJPY --dry-run --json").with(0);
    assert_eq!(dry.json()[0]["target_key"], "verb-00001");
}
