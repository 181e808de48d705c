//! The borders of ARCHITECTURE.md, held by a machine: what is pure, where SQL is, where Kafka is, the order
//! of the modules.

use crate::source::{Code, code, read};

/// What a pure module must not use: runtimes, services, logs, the world and its clock.
const IMPURE: &[&str] = &[
    "tokio",
    "async ",
    ".await",
    "rdkafka",
    "tokio_postgres",
    "deadpool_postgres",
    "postgres_types",
    "reqwest",
    "axum",
    "tracing",
    "std::env",
    "env::var",
    "std::fs",
    "fs::",
    "std::net",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "println!",
    "eprintln!",
    "Timestamp::now",
    "ZonedDateTime::now",
    "Instant",
    "SystemTime",
    "clock::now",
    "rand::",
    "thread_rng",
];

/// Pure modules know only each other.
const PURE_NEIGHBOURS: &[&str] = &["crate::domain", "crate::wire", "crate::sink::project"];

/// Types that errors and signatures may name anywhere: to name is not to speak to.
const NAMED: &[&str] = &[
    "deadpool_postgres::Client",
    "deadpool_postgres::PoolError",
    "deadpool_postgres::Transaction",
    "rdkafka::error::KafkaError",
    "tokio_postgres::Client",
    "tokio_postgres::Error",
];

/// Files outside of src/pg that use a Postgres crate, and why.
const POSTGRES_OUTSIDE: &[(&str, &str)] = &[
    ("src/demo/embedded/postgres.rs", "asks the server it has started whether it is up"),
    ("src/demo/stage.rs", "connects to a database in which its own can be made"),
    (
        "src/gate/admit.rs",
        "says how the transaction is isolated, and which of its ends are repeated",
    ),
];

/// Files outside of src/pg with SQL in them, and why.
const SQL_OUTSIDE: &[(&str, &str)] = &[];

/// Files outside of src/kafka that use rdkafka, and why.
const KAFKA_OUTSIDE: &[(&str, &str)] = &[
    ("src/demo/embedded/kafka.rs", "the mock cluster is a part of rdkafka"),
    ("src/demo/player/evidence.rs", "reads the dead letters as an outsider"),
    ("src/demo/player/rest.rs", "reads the ends of topics as an outsider"),
];

fn pure(path: &str) -> bool {
    let starts = ["src/domain/", "src/wire/", "src/sink/project"];
    starts.iter().any(|start| path.starts_with(start))
}

#[test]
fn pure_modules_touch_no_runtime_no_service_no_environment_and_no_clock() {
    let all = code();
    let found: Vec<String> = all
        .iter()
        .filter(|code| pure(&code.path))
        .flat_map(|code| code.lines_with(IMPURE))
        .collect();
    assert!(found.is_empty(), "pure modules are given what they need:\n{}", found.join("\n"));
    assert!(all.iter().filter(|code| pure(&code.path)).count() > 20, "the pure modules are there");
}

#[test]
fn pure_modules_know_only_each_other() {
    let mut found = Vec::new();
    for code in code().iter().filter(|code| pure(&code.path)) {
        for (number, line) in &code.lines {
            for (at, _) in line.match_indices("crate::") {
                if !PURE_NEIGHBOURS.iter().any(|n| line[at..].starts_with(n)) {
                    found.push(format!("{}:{number}: {}", code.path, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn postgres_is_used_only_in_its_adapter() {
    let crates = ["tokio_postgres", "deadpool_postgres", "postgres_types", "refinery"];
    only_where("Postgres", &["src/pg/"], POSTGRES_OUTSIDE, |code| code.lines_with(&crates));
}

#[test]
fn sql_is_written_only_in_its_adapter() {
    let sql = [
        "SELECT ",
        "INSERT INTO ",
        "DELETE FROM ",
        "CREATE TABLE ",
        "ALTER TABLE ",
        "FOR UPDATE",
        "ON CONFLICT ",
        "NOTIFY ",
        "LISTEN ",
    ];
    // A capital word may stand in a sentence: only lines with or within a text count, which is near enough.
    only_where("SQL", &["src/pg/"], SQL_OUTSIDE, |code| code.lines_with(&sql));
}

#[test]
fn rdkafka_is_used_only_in_its_adapter() {
    let crates = ["rdkafka", "rdkafka_sys"];
    only_where("rdkafka", &["src/kafka/"], KAFKA_OUTSIDE, |code| code.lines_with(&crates));
}

/// The code without the types that may be named.
fn named_away(code: &Code) -> Code {
    let without = |line: &String| NAMED.iter().fold(line.clone(), |l, name| l.replace(name, ""));
    let lines = code.lines.iter().map(|(number, line)| (*number, without(line))).collect();
    Code { path: code.path.clone(), lines }
}

/// Fails for a use outside of these folders that is no exception, and for an exception that is none any more.
fn only_where(
    what: &str,
    folders: &[&str],
    exceptions: &[(&str, &str)],
    uses: impl Fn(&Code) -> Vec<String>,
) {
    let mut wrong = Vec::new();
    let mut needed = Vec::new();
    for code in code().iter().filter(|c| !folders.iter().any(|f| c.path.starts_with(f))) {
        let found = uses(&named_away(code));
        match exceptions.iter().find(|(path, _)| *path == code.path) {
            Some((path, _)) if !found.is_empty() => needed.push(*path),
            Some(_) => {}
            None => wrong.extend(found),
        }
    }
    assert!(wrong.is_empty(), "{what} outside of {}:\n{}", folders.join(" "), wrong.join("\n"));
    for (path, why) in exceptions {
        assert!(
            needed.contains(path),
            "{path} ({why}) is no exception for {what} any more: strike it"
        );
    }
}

#[test]
fn the_modules_stand_in_the_order_of_the_flow_each_with_a_sentence() {
    let flow = [
        "domain", "wire", "gate", "owed", "dispatch", "paper", "sink", "notify", "ops", "kafka",
        "pg", "runtime", "demo", "sim",
    ];
    let text = read("src/lib.rs");
    let lines: Vec<&str> = text.lines().collect();
    let mut modules = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'))
        else {
            continue;
        };
        assert!(at > 0 && lines[at - 1].starts_with("/// "), "{name} has no sentence");
        modules.push(name);
    }
    assert_eq!(modules, flow);
    assert!(read("rustfmt.toml").contains("reorder_modules = false"), "or rustfmt sorts them");
    let map = read("ARCHITECTURE.md");
    for module in flow {
        assert!(map.contains(&format!("(src/{module})")), "{module} is not on the map");
    }
}
