//! A large rebuild, killed ten times in the middle. `tests/long rebuild` makes it large and keeps what was measured.

use std::time::{Duration, Instant};

use super::super::verbs::run;
use super::{content, line, sunk, told, verified};

/// Orders whose events are made at once.
const CHUNK: usize = 500;
/// Events that are told of an order.
const EVENTS_OF_ONE: usize = 5;
/// Kills that there must be.
const KILLS: usize = 10;
/// Records that a rebuild commits at once.
const BATCH: usize = 2_000;

fn number(name: &str, or: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => or,
    }
}

fn per_s(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_a_large_rebuild_killed_ten_times_is_equal_by_hash() {
    let events = number("NOCTUS_REBUILD_EVENTS", 4_000);
    let live_per_s = number("NOCTUS_REBUILD_LIVE", 500);
    let orders = events.div_ceil(EVENTS_OF_ONE);
    let events = orders * EVENTS_OF_ONE;
    let mut line = line().await;
    for from in (0..orders).step_by(CHUNK) {
        line.send(&told(&line, from, (from + CHUNK).min(orders)).await).await;
    }
    let began = Instant::now();
    let _sink = line.start("sink");
    sunk(&line).await;
    let caught_up = began.elapsed();
    let before = content(&line).await;

    let began = Instant::now();
    run(&line, "sink rebuild --yes").with(0);
    let rebuilt = began.elapsed();
    assert_eq!(content(&line).await, before, "a rebuild that nobody disturbs");

    let stages = ["written", "commit-in-flight", "copied"];
    let batches = (events / BATCH / (KILLS + 1)).max(1);
    let (mut kills, mut whole, mut more) = (0, 0, orders);
    while kills < KILLS {
        // The sink has new work meanwhile.
        line.send(&told(&line, more, more + 10).await).await;
        more += 10;
        let point = format!("sink/rebuild-{}:{batches}", stages[kills % stages.len()]);
        let mut dying = line.noctus();
        dying.env("NOCTUS_CRASH", &point).args(["sink", "rebuild", "--yes"]);
        let died = dying.output().expect("it can be run");
        match died.status.code() {
            None => kills += 1,
            Some(0) => whole += 1,
            Some(code) => {
                panic!("{point}: exit code {code}: {}", String::from_utf8_lossy(&died.stderr))
            }
        }
        assert!(whole <= KILLS, "there is something left to be killed in");
    }
    sunk(&line).await;
    let before = content(&line).await;
    run(&line, "sink rebuild --yes").with(0);
    assert_eq!(content(&line).await, before, "a rebuild that was killed {kills} times");
    let began = Instant::now();
    verified(&line, 0);
    let compared = began.elapsed();

    let caught_up_per_s = per_s(events, caught_up);
    let text = format!(
        "events                {events} (decisions, steps and alerts of {orders} orders), 2 partitions a topic\n\
         live rate, stated     {live_per_s} events/s\n\
         the sink catches up   {:.1} s, {caught_up_per_s:.0} events/s, {:.1} times the live rate\n\
         a rebuild             {:.1} s, {:.0} events/s, the exchange included, beside a running sink\n\
         killed                {kills} times in the middle, with {} new events meanwhile; {whole} rebuild(s) ended between\n\
         equal by hash         after each of both\n\
         verify --only tables  {:.1} s, {:.0} events/s\n",
        caught_up.as_secs_f64(),
        caught_up_per_s / live_per_s as f64,
        rebuilt.as_secs_f64(),
        per_s(events, rebuilt),
        (more - orders) * EVENTS_OF_ONE,
        compared.as_secs_f64(),
        per_s(events, compared),
    );
    println!("{text}");
    if let Some(path) = std::env::var_os("NOCTUS_REBUILD_RESULT") {
        std::fs::write(path, text).expect("the result can be written");
    }
}
