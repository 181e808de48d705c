//! A record whose outcome cannot be kept is parked alone; trouble of Postgres itself parks nothing (I9).

use noctus::gate::refusal::header;
use noctus::kafka::producer::Outgoing;
use serde_json::{Value, json};

use super::{Line, open_policy, order};
use crate::stack::until;

/// Traces whose decisions a planted mistake spoils: bad text for Postgres (22), a broken rule of the table (23), and
/// a number that the event's schema cannot hold.
const SPOILED: [(&str, usize); 3] =
    [("unstorable-22", 2), ("unstorable-23", 5), ("unstorable-event", 6)];

fn requests(line: &Line) -> Vec<Outgoing> {
    let one = |n: usize| {
        let mut request = order(&format!("unstorable-{n:04}"), "USDJPY");
        if let Some((trace, _)) = SPOILED.iter().find(|(_, at)| *at == n) {
            request["trace_id"] = json!(trace);
        }
        line.record(&request, Some(0))
    };
    (0..10).map(one).collect()
}

fn reason(letter: &Value) -> String {
    let headers = letter["headers"].as_array().expect("headers");
    let found = headers.iter().find(|h| h[0] == header::REASON).expect("a reason");
    let bytes = hex::decode(found[1].as_str().expect("hex")).expect("hex");
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_kept_is_parked_alone_and_its_key_stays_free() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let requests = requests(&line);
    // One that is refused anyway stands among them.
    let forged = Outgoing { headers: vec![], ..requests[3].clone() };
    let all = [&requests[..4], &[forged], &requests[4..]].concat();
    line.send(&all).await;
    let mut gate = line.start_with("gate", &[("NOCTUS_PLANTED", "unstorable")]);
    let _sink = line.start("sink");
    line.until("SELECT count(*) FROM outbox_orders", "7").await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    let decided = "SELECT string_agg(right(idempotency_key, 1), '' ORDER BY id) FROM outbox_orders";
    assert_eq!(line.ask(decided).await, "0134789", "in the order in which they came");
    let alerts = "SELECT string_agg(trace_id || ' ' || severity::text, ', ' ORDER BY trace_id)
                    FROM obs_alerts WHERE policy_name = 'ingest.unstorable'";
    let parked = "unstorable-22 CRITICAL, unstorable-23 CRITICAL, unstorable-event CRITICAL";
    line.until(alerts, parked).await;
    let codes =
        "SELECT string_agg(substring(reason from '\\(([0-9A-Z]{5})\\)'), ' ' ORDER BY trace_id)
                   FROM obs_alerts WHERE policy_name = 'ingest.unstorable'";
    assert_eq!(line.ask(codes).await, "22P02 23514", "and what the third cannot is the wire's");
    let letters = line.dump("dead-letters");
    let unstorable = letters.iter().filter(|letter| reason(letter) == "unstorable");
    let mut values: Vec<&str> = unstorable.filter_map(|letter| letter["value"].as_str()).collect();
    let mut wanted: Vec<String> = SPOILED
        .iter()
        .map(|(_, at)| hex::encode(requests[*at].value.as_ref().expect("a value")))
        .collect();
    values.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(values, wanted, "their bytes are unchanged");
    assert_eq!(letters.len(), 4, "and the forged one");
    line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(gate.metric("noctus_gate_requests_total").await, 11.0, "nothing was read twice");

    // Mended: the same records are decided, under the same keys.
    assert!(gate.stop().success());
    let _gate = line.start("gate");
    line.send(&[2, 5, 6].map(|n: usize| requests[n].clone())).await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state = 'NEW'", "10").await;
    assert_eq!(line.dump("dead-letters").len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f39_a_database_that_may_only_be_read_pauses_the_gate_and_parks_nothing() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let gate = line.start("gate");
    line.produce(&[order("read-only-1", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let database = line.ask("SELECT current_database()").await;
    // A setting of the database holds for new connections, so those of the gate are ended.
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    line.sql(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    line.ask(ended).await;
    line.produce(&[order("read-only-2", "USDJPY")], None).await;
    until(async || gate.log(), |log| log.contains("(25006)")).await;
    let reset = format!("ALTER DATABASE {database} RESET default_transaction_read_only");
    line.sql(&format!("BEGIN READ WRITE; {reset}; COMMIT")).await;
    line.ask(ended).await;
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    assert_eq!(line.dump("dead-letters").len(), 0);
}
