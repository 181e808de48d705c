//! A production line to test the whole way on: real Kafka, registry and Postgres, a paper broker, and roles as
//! processes of their own, so that they can be killed and stopped as in life.

mod acceptance;
mod again;
mod caps;
mod clocks;
mod commands;
mod crash;
mod exhausted;
mod fenced;
mod flood;
mod letters;
mod once;
#[cfg(feature = "otlp")]
mod otlp;
mod outage;
mod producer;
mod quotes;
mod rebuilt;
mod refused;
mod renumbered;
mod rotation;
mod runaway;
mod scenarios;
mod starts;
mod traced;
mod truth;
mod unstorable;
mod upkeep;
mod vectors;
mod verbs;
mod verify;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use noctus::domain::request::OrderDraft;
use noctus::kafka::producer::{Delivered, Outgoing, Producer};
use noctus::kafka::registry::{Registry, subject_of};
use noctus::pg;
use noctus::runtime::clock;
use noctus::runtime::config::Config;
use noctus::runtime::secrets::DEV_SECRET;
use noctus::wire::{self, Subject, signature};
use serde_json::{Value, json};

use crate::paper::PaperBroker;
use crate::stack::{
    FreshDatabase, FreshPrefix, Stack, fresh_prefix, make_topics, migrated_database,
};

const DEADLINE: Duration = Duration::from_secs(90);

/// The line. Dropping it ends its processes and removes its topics and its database.
pub struct Line {
    pub broker: PaperBroker,
    pub pool: pg::Pool,
    pub config: Config,
    producer: Producer,
    registry: Registry,
    /// The ids of OrderRequest v1.0 and of the newest.
    order_schemas: [u32; 2],
    folder: PathBuf,
    roles: u32,
    _database: FreshDatabase,
    pub prefix: FreshPrefix,
}

/// A role's process.
pub struct Role {
    pub name: String,
    pub process: Child,
    log: PathBuf,
}

impl Line {
    pub async fn new(partitions: i32, change: impl FnOnce(&mut Config)) -> Self {
        let (database, prefix) = (migrated_database().await, fresh_prefix());
        let mut config = Stack::get().config(&database.url, &prefix);
        let broker = PaperBroker::start(&[]);
        config.broker.url = broker.url.clone();
        config.broker.settle_ms = 300;
        config.dispatch.lease_ms = 2_000;
        config.dispatch.poll_ms = 50;
        config.kafka.session_timeout_ms = 6_000;
        config.kafka.orphan_after_ms = 1_000;
        change(&mut config);
        make_topics(&config, partitions).await;
        noctus::ops::schemas::register_all(&config).await.expect("schemas can be registered");
        let registry = Registry::new(&config.registry).expect("a registry client");
        let subject = subject_of(&config.topic(Subject::OrderRequest.topic()));
        let versions = registry.versions(&subject).await.expect("they are registered");
        let version = |v: Option<&noctus::kafka::registry::Version>| v.expect("a version").id;
        let order_schemas = [version(versions.first()), version(versions.last())];
        let folder = std::env::temp_dir().join(format!("noctus-it-{}", &*prefix));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let text = serde_json::to_string_pretty(&config).expect("plain data");
        std::fs::write(folder.join("noctus.yml"), text).expect("the folder can be written");
        let small = pg_config(&config, 4);
        Self {
            broker,
            pool: pg::connect(&small).await.expect("a pool"),
            producer: Producer::new(&config).expect("a producer"),
            order_schemas,
            registry,
            config,
            folder,
            roles: 0,
            _database: database,
            prefix,
        }
    }

    /// `noctus` with this line's configuration.
    pub fn noctus(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_noctus"));
        command.arg("--config").arg(self.folder.join("noctus.yml")).arg("--dev");
        command.stdin(Stdio::null());
        command
    }

    /// Where a file of this name is in the line's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file in the line's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path
    }

    /// Starts a role.
    pub fn start(&mut self, role: &str) -> Role {
        self.start_with(role, &[])
    }

    /// The same with environment variables.
    pub fn start_with(&mut self, role: &str, variables: &[(&str, &str)]) -> Role {
        self.roles += 1;
        let log = self.folder.join(format!("{role}-{}.log", self.roles));
        let out = std::fs::File::create(&log).expect("the folder can be written");
        let mut command = self.noctus();
        command.envs(variables.iter().copied());
        command.args([role, "--listen", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(out);
        let process = command.spawn().expect("noctus can be started");
        Role { name: role.into(), process, log }
    }

    /// The same under a limit of the shell's `ulimit`, e.g. `-n 64`.
    pub fn start_limited(&mut self, role: &str, limit: &str) -> Role {
        self.roles += 1;
        let log = self.folder.join(format!("{role}-{}.log", self.roles));
        let out = std::fs::File::create(&log).expect("the folder can be written");
        let noctus = self.noctus();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit {limit} && exec \"$@\"")).arg("sh");
        command.arg(noctus.get_program()).args(noctus.get_args());
        command.args([role, "--listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
        let process = command.spawn().expect("a shell can be started");
        Role { name: role.into(), process, log }
    }

    /// Produces signed requests; without a partition where the key belongs.
    pub async fn produce(&self, orders: &[Value], partition: Option<i32>) -> Vec<Delivered> {
        let records: Vec<Outgoing> = orders.iter().map(|o| self.record(o, partition)).collect();
        self.producer.produce(&records).await.expect("Kafka takes them")
    }

    pub fn record(&self, order: &Value, partition: Option<i32>) -> Outgoing {
        Outgoing { partition, ..self.request(order, "dev", DEV_SECRET) }
    }

    /// A record signed with this key; of version 1.0, so without an idempotency key, if the order has none.
    pub fn request(&self, order: &Value, kid: &str, secret: &str) -> Outgoing {
        let mut draft: OrderDraft = serde_json::from_value(order.clone()).expect("an order");
        let is_old = draft.idempotency_key.is_none();
        draft.schema_version = Some(if is_old { "1.0" } else { "1.1" }.into());
        let mut body = wire::order_request::encode(&draft).expect("it fits the schema");
        if is_old {
            assert_eq!(body.pop(), Some(0), "v1.1 ends with an absent key");
        }
        let key = format!("{}|{}", draft.account, draft.symbol);
        let value = wire::frame(self.order_schemas[usize::from(!is_old)], &body);
        self.sealed_by(kid, secret, Subject::OrderRequest, key.into_bytes(), value)
    }

    /// A well signed record of any subject.
    pub async fn signed(&self, subject: Subject, key: &str, body: &[u8]) -> Outgoing {
        let id = self.registry.newest_id(&self.config, subject).await.expect("it was registered");
        self.sealed(subject, key.as_bytes().to_vec(), wire::frame(id, body))
    }

    /// A record signed well, whatever is in it; it goes where its key belongs.
    pub fn sealed(&self, subject: Subject, key: Vec<u8>, value: Vec<u8>) -> Outgoing {
        self.sealed_by("dev", DEV_SECRET, subject, key, value)
    }

    fn sealed_by(
        &self,
        kid: &str,
        secret: &str,
        subject: Subject,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Outgoing {
        let logical = subject.topic();
        let v1 = signature::sign(secret.as_bytes(), logical, Some(&key), &value);
        let header = signature::header(kid, &v1).into_bytes();
        Outgoing {
            topic: self.config.topic(logical),
            key: Some(key),
            value: Some(value),
            headers: vec![(signature::HEADER.into(), Some(header))],
            timestamp_ms: None,
            partition: None,
        }
    }

    pub async fn send(&self, records: &[Outgoing]) -> Vec<Delivered> {
        self.producer.produce(records).await.expect("Kafka takes them")
    }

    /// The first value of the first row, as text.
    pub async fn ask(&self, sql: &str) -> String {
        let client = self.pool.get().await.expect("a connection");
        let rows = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
                _ => None,
            })
            .unwrap_or_default()
    }

    pub async fn sql(&self, sql: &str) {
        let client = self.pool.get().await.expect("a connection");
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Asks until the answer is this one.
    pub async fn until(&self, sql: &str, wanted: &str) {
        // As long as the answer moves there is hope, however slow the machine.
        let (mut moved_at, mut last) = (Instant::now(), String::new());
        loop {
            let answer = self.ask(sql).await;
            if answer == wanted {
                return;
            }
            if answer != last {
                (moved_at, last) = (Instant::now(), answer.clone());
            }
            if moved_at.elapsed() > DEADLINE {
                panic!("{sql} stays {answer}, not {wanted}\n{}", self.state().await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What an unhappy test shows.
    pub async fn state(&self) -> String {
        let mut told = String::new();
        for sql in [
            "SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) n FROM outbox_orders GROUP BY 1) s",
            "SELECT string_agg(reader || ' ' || topic || '/' || partition || ' ' || next_offset || ' e' || epoch || ' ' || owner, E'\n' ORDER BY 1) FROM input_positions",
            "SELECT count(*) FROM owed_events",
        ] {
            told += &format!("{sql}\n  {}\n", self.ask(sql).await);
        }
        for entry in std::fs::read_dir(&self.folder).expect("the folder is there").flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(12).collect();
                told += &format!("--- {}\n", entry.file_name().to_string_lossy());
                told += &lines.into_iter().rev().map(|l| format!("{l}\n")).collect::<String>();
            }
        }
        told
    }

    /// So many rows are in the ledger, and nothing moves any more, the tables included.
    pub async fn rest(&self, decided: usize) {
        self.until("SELECT count(*) FROM outbox_orders", &decided.to_string()).await;
        let moving = "SELECT count(*) FROM outbox_orders
             WHERE state NOT IN ('NOT_SENT','FILLED','REJECTED','CANCELLED','EXPIRED','PARKED')";
        self.until(moving, "0").await;
        self.until("SELECT count(*) FROM owed_events", "0").await;
        self.read_to_the_end("sink", &["decisions", "alerts", "exec-events"]).await;
    }

    /// A reader has read these topics to their ends.
    pub async fn read_to_the_end(&self, reader: &str, topics: &[&str]) {
        for topic in topics {
            let topic = self.config.topic(topic);
            for (partition, end) in self.ends(&topic).await {
                if end > 0 {
                    let sql = format!(
                        "SELECT coalesce(max(next_offset), 0) >= {end} FROM input_positions
                          WHERE reader = '{reader}' AND topic = '{topic}' AND partition = {partition}"
                    );
                    self.until(&sql, "t").await;
                }
            }
        }
    }

    /// Partitions of a topic and the offsets of their next records.
    pub async fn ends(&self, topic: &str) -> Vec<(i32, i64)> {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let mut client = noctus::kafka::client::client(&self.config);
        client.set("group.id", format!("{}asker", &*self.prefix));
        let topic = topic.to_string();
        let ask = move || {
            let consumer: BaseConsumer = client.create().expect("a client");
            let limit = Duration::from_secs(10);
            let metadata = consumer.fetch_metadata(Some(&topic), limit).expect("metadata");
            let partitions = metadata.topics()[0].partitions().iter().map(|p| p.id());
            partitions
                .map(|p| (p, consumer.fetch_watermarks(&topic, p, limit).expect("offsets").1))
                .collect()
        };
        tokio::task::spawn_blocking(ask).await.expect("it did not panic")
    }

    /// Every record that a topic has now goes from Kafka, as if its time there were over.
    pub async fn forget(&self, topic: &str) {
        use rdkafka::admin::{AdminClient, AdminOptions};
        use rdkafka::client::DefaultClientContext;
        use rdkafka::{Offset, TopicPartitionList};
        let admin: AdminClient<DefaultClientContext> =
            noctus::kafka::client::client(&self.config).create().expect("a client");
        let mut before = TopicPartitionList::new();
        for (partition, end) in self.ends(topic).await {
            before.add_partition_offset(topic, partition, Offset::Offset(end)).expect("an offset");
        }
        admin.delete_records(&before, &AdminOptions::new()).await.expect("Kafka does it");
    }

    /// Every record of a topic, read by another client (confluent-kafka).
    pub fn dump(&self, logical: &str) -> Vec<Value> {
        let stack = Stack::get();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack/dump.py");
        let out = Command::new(&stack.python)
            .arg(script)
            .arg(self.config.topic(logical))
            .env("BROKERS", &stack.brokers)
            .output()
            .expect("python can be started");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
    }

    /// Distinct values of the first field (event_id) of a topic's records, from a dump by another client.
    pub fn event_ids(&self, logical: &str) -> std::collections::BTreeSet<String> {
        let id = |record: &Value| {
            let bytes = hex::decode(record["value"].as_str().expect("a value")).expect("hex");
            // Frame of 5 bytes, then a string of 32 characters, its length zig-zag coded.
            assert_eq!(bytes[5], 64, "an event begins with its id");
            String::from_utf8(bytes[6..38].to_vec()).expect("hex digits")
        };
        self.dump(logical).iter().map(id).collect()
    }
}

fn pg_config(config: &Config, pool_max: usize) -> noctus::runtime::config::Database {
    noctus::runtime::config::Database { pool_max, ..config.database.clone() }
}

impl Drop for Line {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("its logs are in {}", self.folder.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays behind: {error}", self.folder.display());
        }
    }
}

impl Role {
    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill can be run");
        assert!(sent.success(), "{signal} {pid}");
    }
    pub fn kill(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it can be waited for");
    }
    pub fn freeze(&self) {
        self.signal("-STOP");
    }
    pub fn wake(&self) {
        self.signal("-CONT");
    }
    /// SIGTERM; how it ended.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM");
        self.process.wait().expect("it can be waited for")
    }
    /// How it ends by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("it can be asked") {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "{} does not end: {}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    /// The most memory that it has had, KB.
    pub fn peak_kb(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let peak = peak.trim().trim_end_matches(" kB");
        peak.parse().expect("a number")
    }
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
    /// Where it answers, `http://host:port`.
    pub fn address(&self) -> String {
        let log = self.log();
        let (_, rest) = log.split_once("metrics address=").expect("it says where it listens");
        format!("http://{}", rest.split_whitespace().next().expect("an address"))
    }
    /// `/readyz` answers with this status and a text that has this in it, sooner or later.
    pub async fn answers(&self, status: u16, text: &str) {
        let began = Instant::now();
        while !self.log().contains("metrics address=") {
            assert!(began.elapsed() < DEADLINE, "{} does not listen: {}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        answered(&self.address(), "/readyz", status, text).await;
    }
    /// A metric without labels comes to this, sooner or later.
    pub async fn counts(&self, name: &str, wanted: f64) {
        let began = Instant::now();
        while self.metric(name).await != wanted {
            assert!(began.elapsed() < DEADLINE, "{name} is not {wanted}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    /// A metric without labels, as it is scraped.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.address())).await.expect("it listens");
        let text = text.text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A role at this address answers with this status and a text that has this in it, sooner or later.
pub async fn answered(address: &str, path: &str, status: u16, text: &str) {
    let began = Instant::now();
    loop {
        let answer = reqwest::get(format!("{address}{path}")).await.expect("it listens");
        let (got, body) = (answer.status().as_u16(), answer.text().await.expect("text"));
        if got == status && body.contains(text) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{path} stays {got} {body}, not {status} {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An order that policy has nothing against, at any hour; a limit order lives long enough for a slow machine.
pub fn order(key: &str, symbol: &str) -> Value {
    json!({
        "trace_id": format!("t-{key}"), "symbol": symbol, "side": "BUY", "qty": "3",
        "order_type": "LIMIT", "limit_price": "1.5", "requested_at": clock::now(), "idempotency_key": key,
        "quality": {"missing_ratio": 0.0, "data_lag_min": 1.0},
    })
}

/// Policies without hours, wide enough for many orders: a file for `policies.risk`.
pub fn open_policy() -> PathBuf {
    policy_file("open", "default: { max_position_notional: 1000000000, max_order_qty: 20000 }\n")
}

/// A file that several tests ask for at once while roles of others read it: it is put in place whole, never half.
pub fn policy_file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("noctus-it-{name}-{}.yml", std::process::id()));
    let new = path.with_extension(format!("{:08x}", rand::random::<u32>()));
    std::fs::write(&new, text).expect("the temporary folder can be written");
    std::fs::rename(&new, &path).expect("the temporary folder can be written");
    path
}
