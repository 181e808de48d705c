//! C-OUT-7, F67: a host's own halt file stops that host, with Postgres and without.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Line;
use super::super::outage::Cable;
use super::halted::{acknowledged, backlog, came_after, line_with, nothing_came_after, requests};
use super::{proposal, run};

/// Halts with these words and variables: what it told, and its exit code.
fn halt(line: &Line, words: &[&str], variables: &[(&str, &str)]) -> (Value, i32) {
    let mut command = line.noctus();
    command.envs(variables.iter().copied()).args(["halt", "--reason", "test", "--json"]);
    let done = command.args(words).output().expect("it can be run");
    let told = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"));
    (told, done.status.code().expect("it was not killed"))
}

/// Who began the newest attempts of these orders.
async fn senders_of(line: &Line, keys: &[String]) -> BTreeSet<String> {
    let keys = keys.join("','");
    let sql = format!(
        "SELECT string_agg(DISTINCT worker, ' ') FROM send_attempts a
          WHERE idempotency_key IN ('{keys}') AND outcome = 'accepted'"
    );
    line.ask(&sql).await.split(' ').map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f67_a_host_halted_by_its_own_file_stops_and_the_other_goes_on_until_everything_is_halted()
{
    // So few that each has lanes.
    let mut line = line_with(|config| config.dispatch.in_flight_max = 2).await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    backlog(&line, 800).await;
    let files = ["halt-a", "halt-b"].map(|name| line.path(name).display().to_string());
    let [a, b] = [0, 1].map(|n| [("NOCTUS_DISPATCH__HALT_FILE", files[n].as_str())]);
    let (_one, _two) = (line.start_with("dispatch", &a), line.start_with("dispatch", &b));
    line.until("SELECT count(DISTINCT worker) FROM send_attempts", "2").await;
    line.until("SELECT count(*) >= 100 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    let (here, code) = halt(&line, &["--local"], &a);
    assert_eq!((code, here["senders"].as_array().map(Vec::len)), (0, Some(1)), "{here}");
    let halted = here["senders"][0].as_str().expect("a name").to_string();
    let filled: usize = line
        .ask("SELECT count(*) FROM outbox_orders WHERE state = 'FILLED'")
        .await
        .parse()
        .expect("a number");
    let more =
        format!("SELECT count(*) >= {} FROM outbox_orders WHERE state = 'FILLED'", filled + 60);
    line.until(&more, "t").await;
    let (everywhere, code) = halt(&line, &[], &a);
    assert_eq!(code, 0, "{everywhere}");
    line.until("SELECT count(*) FROM outbox_orders WHERE state IN ('NEW','SENT','UNKNOWN')", "0")
        .await;
    nothing_came_after(&line, acknowledged(&everywhere));
    let later: Vec<String> = came_after(&line, acknowledged(&here))
        .iter()
        .map(|told| told.split(' ').next().expect("an id").to_string())
        .collect();
    // Some of the sixty that were filled since had come to the broker before.
    assert!(later.len() >= 30, "the other went on: {}", later.len());
    let senders = senders_of(&line, &later).await;
    assert!(!senders.contains(&halted), "{halted} was halted, and sent: {senders:?}");
    // A resume of everything lifts both.
    let number = proposal(&run(&line, "resume --reason over --as alice").with(0));
    run(&line, &format!("resume --approve {number} --as bob")).with(0);
    line.produce(&requests(800, 816), None).await;
    line.rest(816).await;
    let sent = "SELECT count(*) FROM outbox_orders WHERE state = 'FILLED' AND idempotency_key >= 'halted-00800'";
    assert_eq!(line.ask(sent).await, "16");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f67_with_postgres_away_a_halt_stops_this_host_and_goes_on_when_postgres_is_back() {
    let mut line = line_with(|_| {}).await;
    let (_gate, _sink) = (line.start("gate"), line.start("sink"));
    backlog(&line, 400).await;
    let cable = Cable::to(&line.config.database.url).await;
    let file = line.path("halt").display().to_string();
    let variables = [
        ("NOCTUS_DISPATCH__HALT_FILE", file.as_str()),
        ("NOCTUS_DATABASE__URL", cable.url.as_str()),
    ];
    let _dispatch = line.start_with("dispatch", &variables);
    line.until("SELECT count(*) >= 40 FROM outbox_orders WHERE state = 'FILLED'", "t").await;
    cable.cut(true);
    let (told, code) = halt(&line, &[], &variables);
    assert_eq!((code, &told["where"], &told["after"]), (1, &json!("host"), &json!(0)), "{told}");
    let at: Timestamp = acknowledged(&told);
    assert_eq!(told["senders"].as_array().map(Vec::len), Some(1), "{told}");
    let lines = "SELECT count(*) FROM halts";
    assert_eq!(line.ask(lines).await, "0", "Postgres knows nothing of it");
    cable.cut(false);
    // It reads Postgres again, as it says there every few seconds.
    let reads =
        format!("SELECT count(*) > 0 FROM sender_confirmations WHERE at > timestamptz '{at}'");
    line.until(&reads, "t").await;
    nothing_came_after(&line, at);
    let came = line.broker.orders().len();
    let number = proposal(&run(&line, "resume --local --reason over --as alice").with(0));
    run(&line, &format!("resume --approve {number} --as alice")).with(77);
    run(&line, &format!("resume --approve {number} --as bob")).with(0);
    line.produce(&requests(400, 408), None).await;
    line.rest(408).await;
    assert_eq!(line.broker.orders().len(), came + 8, "what was decided before it never goes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f67_without_a_halt_file_a_halt_says_that_postgres_is_away_and_that_it_needs_one() {
    let line = Line::new(1, |_| {}).await;
    let away = [("NOCTUS_DATABASE__URL", "postgres://noctus@127.0.0.1:1/noctus")];
    let code = |words: &[&str]| {
        let mut command = line.noctus();
        command.envs(away).args(words).args(["--reason", "test"]);
        command.output().expect("it can be run").status.code()
    };
    assert_eq!(code(&["halt"]), Some(69));
    assert_eq!(code(&["halt", "--local"]), Some(78));
    assert_eq!(code(&["halt", "--local", "--symbol", "USDJPY"]), Some(2));
    assert_eq!(code(&["reduce-only", "--local"]), Some(2));
}
