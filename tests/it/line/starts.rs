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

/// Takes every handle that is free from a running process: what it has open stays open.
fn take_the_handles(gate: &Role) {
    let pid = gate.process.id().to_string();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let limit = format!("--nofile={open}:{open}");
    assert!(
        Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit").success()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f69_too_few_handles_are_told_at_the_start_and_a_low_soft_limit_is_raised() {
    let mut line = line().await;
    line.produce(&[order("handles-0001", "USDJPY")], None).await;
    for role in ["gate", "dispatch", "sink", "run"] {
        let mut process = line.start_limited(role, "-n 64");
        assert_eq!(
            process.process.wait().expect("it ends").code(),
            Some(78),
            "{role}: {}",
            process.log()
        );
        assert!(
            process.log().contains("may have 64 open files and needs 256"),
            "{}",
            process.log()
        );
    }
    let _gate = line.start_limited("gate", "-Sn 64");
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f69_a_gate_without_free_handles_or_with_too_little_memory_leaves_nothing_half_done() {
    let mut line = line().await;
    let _sink = line.start("sink");
    for n in 0..4 {
        let mut gate = match n {
            0 => line.start_limited("gate", "-v 300000"),
            _ => line.start("gate"),
        };
        // At once, in the middle of its start, and when it has begun to read.
        match n {
            1 => take_the_handles(&gate),
            2 => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                take_the_handles(&gate);
            }
            3 => {
                reads(&gate).await;
                take_the_handles(&gate);
            }
            _ => {}
        }
        let orders: Vec<_> =
            (0..50).map(|i| order(&format!("limit-{n}-{i:04}"), "USDJPY")).collect();
        line.produce(&orders, None).await;
        // It decides, or ends, or waits, and never by a panic of ours: another one does what it does not.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ended = gate.process.try_wait().expect("it can be asked");
        // Without memory for a thread the runtime itself gives up; handles are ours to run out of.
        assert!(n == 0 || !gate.log().contains("panicked"), "{n}: {ended:?}\n{}", gate.log());
        drop(gate);
        let mut next = line.start("gate");
        let decided = ((n + 1) * 50).to_string();
        line.until("SELECT count(*) FROM outbox_orders", &decided).await;
        line.until("SELECT count(*) FROM owed_events", "0").await;
        // There may have been nothing left to do for it: a stop is asked of who reads.
        reads(&next).await;
        assert!(next.stop().success());
        assert_eq!(line.event_ids("decisions").len(), (n + 1) * 50, "{n}: {ended:?}");
    }
    assert_eq!(line.dump("dead-letters").len(), 0);
}

async fn reads(gate: &Role) {
    let began = Instant::now();
    while !gate.log().contains("partitions taken") {
        assert!(began.elapsed() < DEADLINE, "it does not read: {}", gate.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
