//! Where a role finds itself: a database of another version (F40), logs that nobody reads (F68), too few handles or
//! too little memory (F69).

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use noctus::pg::migrate::known_version;

use super::verbs::run;
use super::{DEADLINE, Line, Role, open_policy, order};

async fn line() -> Line {
    Line::new(2, |c| c.policies.risk = Some(open_policy())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f40_a_build_does_not_start_on_another_schema_version_and_one_that_runs_goes_on() {
    let mut line = line().await;
    let gate = line.start("gate");
    line.produce(&[order("version-0001", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let known = known_version();
    for (sql, advice) in [
        (
            format!(
                "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 SELECT {known} + 1, 'newer', applied_on, checksum FROM refinery_schema_history LIMIT 1"
            ),
            "this build is older than the database",
        ),
        (
            format!("DELETE FROM refinery_schema_history WHERE version >= {known}"),
            "run `noctus migrate` first",
        ),
    ] {
        line.sql(&sql).await;
        for words in ["gate", "dispatch", "sink", "run", "verify --risk", "halts"] {
            let ran = run(&line, words).with(78);
            assert!(ran.err.contains(advice), "{words}: {ran:?}");
        }
    }
    // What runs does not look again: new processes are started one after the other.
    line.produce(&[order("version-0002", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "2").await;
    gate.answers(200, "ready").await;
}

/// `noctus gate` that logs everything into a pipe.
fn into_a_pipe(line: &Line) -> std::process::Child {
    let mut command = line.noctus();
    command.args(["--log", "trace", "gate", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("noctus can be started")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f68_logs_that_nobody_reads_any_more_stop_nothing() {
    for is_closed in [true, false] {
        let line = line().await;
        let mut gate = into_a_pipe(&line);
        let mut log = BufReader::new(gate.stderr.take().expect("it is piped"));
        let mut first = String::new();
        log.read_line(&mut first).expect("it logs");
        // The pipe breaks, or is full after 64 KB.
        let unread = if is_closed { None } else { Some(log) };
        for wave in 0..3 {
            let orders: Vec<_> =
                (0..100).map(|n| order(&format!("unread-{wave}{n:04}"), "USDJPY")).collect();
            line.produce(&orders, None).await;
            let decided = ((wave + 1) * 100).to_string();
            line.until("SELECT count(*) FROM outbox_orders", &decided).await;
        }
        assert!(gate.try_wait().expect("it can be asked").is_none(), "it runs: closed {is_closed}");
        let pid = gate.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let ended = gate.wait().expect("it can be waited for");
        assert!(ended.success(), "closed {is_closed}: {ended}");
        drop(unread);
        assert_eq!(line.dump("dead-letters").len(), 0);
    }
}

/// What a gate comes to that may lack something: it decides, it ends, or it waits and says why.
async fn comes_to(line: &Line, gate: &mut Role, decided: &str) -> String {
    let began = Instant::now();
    loop {
        if line.ask("SELECT count(*) FROM outbox_orders").await == decided {
            return "it has decided".into();
        }
        if let Some(status) = gate.process.try_wait().expect("it can be asked") {
            return format!("it has ended: {status}");
        }
        let log = gate.log();
        let lacks = ["Too many open files", "os error 24", "Cannot allocate memory"];
        if lacks.iter().any(|words| log.contains(words)) {
            return "it says what it lacks".into();
        }
        assert!(began.elapsed() < DEADLINE, "it does nothing and says nothing: {log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f69_a_gate_with_too_few_handles_or_too_little_memory_leaves_nothing_half_done() {
    let mut line = line().await;
    let _sink = line.start("sink");
    for (n, limit) in ["-n 64", "-n 24", "-n 12", "-v 300000"].into_iter().enumerate() {
        let orders: Vec<_> =
            (0..50).map(|i| order(&format!("limit-{n}-{i:04}"), "USDJPY")).collect();
        line.produce(&orders, None).await;
        let mut gate = line.start_limited("gate", limit);
        // It decides, or says what it lacks, or ends, and never by a panic; another one does what it does not.
        let decided = ((n + 1) * 50).to_string();
        let came = comes_to(&line, &mut gate, &decided).await;
        // Without memory for a thread the runtime itself gives up; handles are ours to run out of.
        let is_ours = limit.starts_with("-n");
        assert!(!is_ours || !gate.log().contains("panicked"), "{limit}: {came}\n{}", gate.log());
        drop(gate);
        let mut next = line.start("gate");
        line.until("SELECT count(*) FROM outbox_orders", &decided).await;
        line.until("SELECT count(*) FROM owed_events", "0").await;
        // There may have been nothing left to do for it: a stop is asked of who reads.
        let began = Instant::now();
        while !next.log().contains("partitions taken") {
            assert!(began.elapsed() < DEADLINE, "it does not read: {}", next.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(next.stop().success());
        assert_eq!(line.event_ids("decisions").len(), (n + 1) * 50, "{limit}: {came}");
    }
    assert_eq!(line.dump("dead-letters").len(), 0);
}
