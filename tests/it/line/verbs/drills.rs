//! C-OUT-7, F60: drills of the kill switch under load. `tests/long drills` runs many and keeps the times.

use std::io::Write;

use jiff::Timestamp;
use noctus::dispatch::broker::protocol::OrderView;
use serde_json::{Value, json};

use super::super::order;
use super::halted::{SYMBOLS, acknowledged, line_with};
use super::{proposal, run};

/// Requests of one drill, unless NOCTUS_DRILL_ORDERS says otherwise.
const REQUESTS: usize = 240;
/// They are spread over these, and over the symbols: as many lanes as that are sent for side by side.
const ACCOUNTS: [&str; 4] = ["main", "alpha", "beta", "gamma"];
/// Whether the n-th request of a drill is covered.
type Covers = fn(usize) -> bool;
/// What is halted, in turn.
const SCOPES: [(&str, Covers); 4] = [
    ("", |_| true),
    ("--account main", |n| account(n) == "main"),
    ("--symbol USDJPY", |n| n.is_multiple_of(8)),
    ("--strategy Aurus", |n| n.is_multiple_of(2)),
];

fn account(n: usize) -> &'static str {
    ACCOUNTS[n / 8 % ACCOUNTS.len()]
}

fn request(drill: usize, n: usize) -> Value {
    let mut request = order(&key(drill, n), SYMBOLS[n % 8]);
    request["account"] = json!(account(n));
    if n.is_multiple_of(2) {
        request["strategy"] = json!("Aurus");
    }
    request
}

fn key(drill: usize, n: usize) -> String {
    format!("drill-{drill:04}-{n:05}")
}

/// How many orders of a drill came to the broker each second, from its first one until then.
fn per_second(orders: &[OrderView], of: &str, until: Timestamp) -> u64 {
    let mine = orders.iter().filter(|view| view.order.client_order_id.starts_with(of));
    let times: Vec<Timestamp> =
        mine.map(|view| view.received_at).filter(|at| *at <= until).collect();
    let first = times.iter().min().copied().unwrap_or(until);
    let ms = u64::try_from(until.duration_since(first).as_millis()).unwrap_or(0).max(1);
    times.len() as u64 * 1_000 / ms
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_in_every_drill_nothing_of_its_scope_comes_after_the_acknowledgement() {
    let given =
        |name, otherwise| std::env::var(name).map_or(otherwise, |n| n.parse().expect("a number"));
    let (drills, requests_of_one) =
        (given("NOCTUS_DRILLS", 4), given("NOCTUS_DRILL_ORDERS", REQUESTS));
    let mut line = line_with(|_| {}).await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    let (_one, _two) = (line.start("dispatch"), line.start("dispatch"));
    let (mut waited, mut rates, mut decided) = (Vec::new(), Vec::new(), 0);
    for drill in 0..drills {
        let (words, covers) = SCOPES[drill % SCOPES.len()];
        let requests: Vec<Value> = (0..requests_of_one).map(|n| request(drill, n)).collect();
        line.produce(&requests, None).await;
        let mine = format!("FROM outbox_orders WHERE idempotency_key LIKE 'drill-{drill:04}-%'");
        let tenth = requests_of_one / 10;
        line.until(&format!("SELECT count(*) >= {tenth} {mine} AND state = 'FILLED'"), "t").await;
        let words = format!("{words} --reason drill").trim().to_string();
        let told = run(&line, &format!("halt {words} --as alice --json")).with(0).json().remove(0);
        let at = acknowledged(&told);
        waited.push(told["waited_ms"].as_u64().expect("a time"));
        decided += requests_of_one;
        line.until("SELECT count(*) FROM outbox_orders", &decided.to_string()).await;
        line.until(&format!("SELECT count(*) {mine} AND state IN ('NEW','SENT','UNKNOWN')"), "0")
            .await;
        let covered: Vec<String> =
            (0..requests_of_one).filter(|n| covers(*n)).map(|n| key(drill, n)).collect();
        let orders = line.broker.orders();
        rates.push(per_second(&orders, &format!("drill-{drill:04}-"), at));
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
    rates.sort_unstable();
    let (least, middle) = (rates[0], percentile(&rates, 50));
    let told = format!(
        "{drills} drills, {requests_of_one} orders each, two dispatch processes, broker answers after 15 ms\n\
         orders per second at the broker until the halt was acknowledged: p50 {middle}, least {least}\n\
         sent in a halt's scope after its acknowledgement: 0\n\
         acknowledged after, ms: p50 {p50}, p99 {p99}, max {max}\n"
    );
    if let Ok(path) = std::env::var("NOCTUS_DRILLS_RESULT") {
        let file = std::fs::File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(told.as_bytes())).expect("it can be written");
    }
}
