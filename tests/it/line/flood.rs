//! A flood of refused records (F18): it is told once, and if that is asked for its partition waits; nothing is lost.

use noctus::gate::refusal::header;
use noctus::kafka::producer::Outgoing;
use noctus::runtime::config::FloodAction;
use noctus::wire::Subject;
use serde_json::Value;

use super::{Line, open_policy, order};

const TOLD: &str = "SELECT count(*) FROM obs_alerts
                     WHERE policy_name = 'gate.flooded' AND severity = 'CRITICAL'";

/// A line on which ten refused records in a row are a flood.
async fn line(action: FloodAction, pause_s: u64) -> Line {
    Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.gate.flood_in_a_row = 10;
        config.gate.flood_action = action;
        config.gate.flood_pause_s = pause_s;
    })
    .await
}

/// Records that are signed well and no requests.
fn bad(line: &Line, many: usize) -> Vec<Outgoing> {
    let key = b"main|USDJPY".to_vec();
    let one = |_| line.sealed(Subject::OrderRequest, key.clone(), b"no Avro".to_vec());
    (0..many).map(|n| Outgoing { partition: Some(0), ..one(n) }).collect()
}

fn good(line: &Line, name: &str, partition: i32) -> Outgoing {
    line.record(&order(name, "USDJPY"), Some(partition))
}

fn offsets(letters: &[Value]) -> Vec<i64> {
    let offset = |letter: &Value| {
        let headers = letter["headers"].as_array().expect("headers");
        let found = headers.iter().find(|h| h[0] == header::OFFSET).expect("an offset");
        let text = hex::decode(found[1].as_str().expect("hex")).expect("hex");
        String::from_utf8(text).expect("text").parse().expect("a number")
    };
    let mut offsets: Vec<i64> = letters.iter().map(offset).collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_a_flood_is_told_once_and_stops_nothing_unless_that_is_asked_for() {
    let mut line = line(FloodAction::Alert, 3_600).await;
    line.send(&[bad(&line, 60), vec![good(&line, "flood-0001", 0)]].concat()).await;
    let (gate, _sink) = (line.start("gate"), line.start("sink"));
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.until(TOLD, "1").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(line.dump("dead-letters").len(), 60, "each is a dead letter as ever");
    gate.answers(200, "ready").await;
    assert_eq!(gate.metric("noctus_gate_flooded_partitions").await, 0.0, "a good one ended it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_a_partition_waits_after_a_flood_and_others_go_on() {
    let mut line = line(FloodAction::Pause, 3_600).await;
    line.send(&[bad(&line, 25), vec![good(&line, "flood-0001", 0)]].concat()).await;
    let (mut gate, _sink) = (line.start("gate"), line.start("sink"));
    gate.answers(503, "a flood of refused").await;
    line.send(&[good(&line, "flood-0002", 1)]).await;
    line.until("SELECT min(idempotency_key) FROM outbox_orders", "flood-0002").await;
    line.until(TOLD, "1").await;
    assert_eq!(gate.metric("noctus_gate_flooded_partitions").await, 1.0);
    assert_eq!(gate.metric("noctus_paused_partitions{role=\"gate\"}").await, 1.0);
    let at = "SELECT next_offset FROM input_positions
               WHERE reader = 'gate' AND topic LIKE '%order-requests' AND partition = 0";
    assert_eq!(line.ask(at).await, "10", "{}", line.state().await);
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(offsets(&line.dump("dead-letters")), (0..10).collect::<Vec<_>>());
    // Who wants to go on sooner starts it again without the pause.
    assert!(gate.stop().success());
    let gate = line.start_with("gate", &[("NOCTUS_GATE__FLOOD_ACTION", "alert")]);
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(offsets(&line.dump("dead-letters")), (0..25).collect::<Vec<_>>(), "each once");
    gate.answers(200, "ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_after_a_pause_the_partition_is_tried_again_and_nothing_is_lost() {
    let mut line = line(FloodAction::Pause, 1).await;
    line.send(&[bad(&line, 25), vec![good(&line, "flood-0001", 0)]].concat()).await;
    let (gate, _sink) = (line.start("gate"), line.start("sink"));
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    line.until(TOLD, "1").await;
    assert_eq!(offsets(&line.dump("dead-letters")), (0..25).collect::<Vec<_>>(), "each once");
    gate.answers(200, "ready").await;
    let pauses = gate.log().matches("a flood of refused records: it waits").count();
    assert_eq!(pauses, 2, "after the tenth and the twentieth");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_who_has_no_key_cannot_stop_a_partition() {
    let mut line = line(FloodAction::Pause, 3_600).await;
    let unsigned = bad(&line, 60).into_iter().map(|r| Outgoing { headers: vec![], ..r });
    let tombstones = bad(&line, 20).into_iter().map(|r| Outgoing { value: None, ..r });
    let flood: Vec<Outgoing> = unsigned.chain(tombstones).collect();
    line.send(&[flood, vec![good(&line, "flood-0001", 0)]].concat()).await;
    let (gate, _sink) = (line.start("gate"), line.start("sink"));
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    line.until(TOLD, "1").await;
    assert!(!gate.log().contains("it waits"), "{}", gate.log());
}
