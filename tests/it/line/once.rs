//! The same request, however it comes again, is one order.

use std::process::Output;

use noctus::pg::acceptance;
use serde_json::json;

use super::{Line, open_policy, order};

async fn line() -> Line {
    Line::new(4, |config| config.policies.risk = Some(open_policy())).await
}

async fn one_order(line: &Line, key: &str) {
    line.rest(1).await;
    let orders = line.broker.orders();
    assert_eq!(orders.len(), 1, "the broker's ledger: {orders:?}");
    assert_eq!(orders[0].order.client_order_id, key);
    assert_eq!(line.broker.records().len(), 1, "not even a repeat came");
    assert_eq!(line.ask("SELECT count(*) FROM outbox_orders").await, "1");
    let reserved = "SELECT (position + working_buy)::float8 FROM risk_positions";
    assert_eq!(line.ask(reserved).await, "3", "one reservation, moved to the position");
    let chain = "SELECT string_agg(exec_seq || status, ' ' ORDER BY exec_seq) FROM obs_exec_events";
    assert_eq!(line.ask(chain).await, "1SENT 2ACCEPTED 3FILLED");
    assert_eq!(line.ask("SELECT count(*) FROM obs_decisions").await, "1");
    let client = line.pool.get().await.expect("a connection");
    let twice = acceptance::ask(&client, acceptance::TWICE).await.expect("the plan's query");
    assert!(twice.rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_f14_produced_twice_and_read_again_from_the_start() {
    let mut line = line().await;
    let (mut gate, _dispatch, mut sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    let request = order("once-0001", "USDJPY");
    line.produce(&[request.clone(), request.clone()], None).await;
    one_order(&line, "once-0001").await;
    // The same offsets again: as after an operator's rewind.
    assert!(gate.stop().success() && sink.stop().success());
    line.sql("UPDATE input_positions SET next_offset = 0").await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    line.read_to_the_end("gate", &["order-requests"]).await;
    one_order(&line, "once-0001").await;
    assert_eq!(line.dump("decisions").len(), 1, "a replay tells nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_in_two_partitions_before_two_gates_at_once() {
    let mut line = line().await;
    let request = order("once-0002", "USDJPY");
    for _ in 0..20 {
        line.produce(std::slice::from_ref(&request), Some(0)).await;
        line.produce(std::slice::from_ref(&request), Some(1)).await;
    }
    let (_one, _two) = (line.start("gate"), line.start("gate"));
    let (_dispatch, _sink) = (line.start("dispatch"), line.start("sink"));
    line.read_to_the_end("gate", &["order-requests"]).await;
    one_order(&line, "once-0002").await;
}

fn submitted(out: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(err.is_empty() || !err.contains("error"), "{err}");
    out.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_f15_submitted_by_two_processes_and_then_another_order_under_the_same_key() {
    let mut line = line().await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    let file = line.file("order.json", &order("once-0003", "USDJPY").to_string());
    let submit = || {
        let mut command = line.noctus();
        command.arg("submit").arg(&file).args(["--json", "--wait", "60"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("noctus can be started")
    };
    let both = [submit(), submit()];
    for one in both {
        let told = submitted(one.wait_with_output().expect("it ends"));
        assert!(told.contains("FILLED"), "{told}");
    }
    one_order(&line, "once-0003").await;
    let mut other = order("once-0003", "USDJPY");
    other["qty"] = json!("4");
    line.produce(&[other], None).await;
    let alert = "SELECT policy_name || ' ' || severity FROM obs_alerts";
    line.until(alert, "do.idempotency_conflict HIGH").await;
    one_order(&line, "once-0003").await;
    let letters = line.dump("dead-letters");
    assert_eq!(letters.len(), 1);
    let headers = letters[0]["headers"].to_string();
    assert!(headers.contains(&hex::encode("idempotency_conflict")), "{headers}");
    assert_eq!(
        line.ask("SELECT decided_qty::float8 FROM outbox_orders").await,
        "3",
        "the first stands"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_orders_of_one_batch_are_sent_as_they_were_asked_for_whatever_their_keys() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    // The ledger is written sorted by key: these sort the other way round.
    let keys: Vec<String> = (0..40).rev().map(|n| format!("order-{n:06}")).collect();
    let orders: Vec<_> = keys.iter().map(|key| order(key, "USDJPY")).collect();
    line.produce(&orders, Some(0)).await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.rest(orders.len()).await;
    let sent: Vec<_> = line.broker.orders().into_iter().map(|v| v.order.client_order_id).collect();
    assert_eq!(sent, keys);
}
