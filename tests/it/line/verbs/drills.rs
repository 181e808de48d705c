//! C-OUT-7, F60: drills of the kill switch under load. `tests/long drills` runs many and keeps the times.

use std::io::Write;

use serde_json::{Value, json};

use super::super::order;
use super::halted::{SYMBOLS, acknowledged, line_with};
use super::{proposal, run};

/// Requests of one drill.
const REQUESTS: usize = 240;
/// Whether the n-th request of a drill is covered.
type Covers = fn(usize) -> bool;
/// What is halted, in turn.
const SCOPES: [(&str, Covers); 4] = [
    ("", |_| true),
    ("--account main", |_| true),
    ("--symbol USDJPY", |n| n.is_multiple_of(8)),
    ("--strategy Aurus", |n| n.is_multiple_of(2)),
];

fn request(drill: usize, n: usize) -> Value {
    let mut request = order(&key(drill, n), SYMBOLS[n % 8]);
    if n.is_multiple_of(2) {
        request["strategy"] = json!("Aurus");
    }
    request
}

fn key(drill: usize, n: usize) -> String {
    format!("drill-{drill:04}-{n:05}")
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_in_every_drill_nothing_of_its_scope_comes_after_the_acknowledgement() {
    let drills = std::env::var("NOCTUS_DRILLS").map_or(4, |n| n.parse().expect("a number"));
    let mut line = line_with(|_| {}).await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    let (_one, _two) = (line.start("dispatch"), line.start("dispatch"));
    let (mut waited, mut decided) = (Vec::new(), 0);
    for drill in 0..drills {
        let (words, covers) = SCOPES[drill % SCOPES.len()];
        let requests: Vec<Value> = (0..REQUESTS).map(|n| request(drill, n)).collect();
        line.produce(&requests, None).await;
        let mine = format!("FROM outbox_orders WHERE idempotency_key LIKE 'drill-{drill:04}-%'");
        line.until(&format!("SELECT count(*) >= 24 {mine} AND state = 'FILLED'"), "t").await;
        let words = format!("{words} --reason drill").trim().to_string();
        let told = run(&line, &format!("halt {words} --as alice --json")).with(0).json().remove(0);
        let at = acknowledged(&told);
        waited.push(told["waited_ms"].as_u64().expect("a time"));
        decided += REQUESTS;
        line.until("SELECT count(*) FROM outbox_orders", &decided.to_string()).await;
        line.until(&format!("SELECT count(*) {mine} AND state IN ('NEW','SENT','UNKNOWN')"), "0")
            .await;
        let covered: Vec<String> =
            (0..REQUESTS).filter(|n| covers(*n)).map(|n| key(drill, n)).collect();
        let orders = line.broker.orders();
        let late = orders.iter().filter(|view| view.received_at > at);
        let late: Vec<&str> = late.map(|view| view.order.client_order_id.as_str()).collect();
        let late: Vec<_> = late.iter().filter(|id| covered.iter().any(|key| key == *id)).collect();
        assert!(late.is_empty(), "drill {drill} ({words}), acknowledged at {at}: {late:?}");
        let number = proposal(&run(&line, &format!("resume {words} --as alice")).with(0));
        run(&line, &format!("resume --approve {number} --as bob")).with(0);
    }
    waited.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| percentile(&waited, percent));
    let max = waited.last().expect("a drill");
    let told = format!(
        "{drills} drills, {REQUESTS} orders each, two dispatch processes, broker answers after 15 ms\n\
         sent in a halt's scope after its acknowledgement: 0\n\
         acknowledged after, ms: p50 {p50}, p99 {p99}, max {max}\n"
    );
    if let Ok(path) = std::env::var("NOCTUS_DRILLS_RESULT") {
        let file = std::fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(told.as_bytes())).expect("it can be written");
    }
}
