//! The paper broker as a process of its own: its ledger, its dedupe, its restart.

mod calls;
mod lies;
mod signed;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use noctus::dispatch::broker::protocol::{BrokerStatus, LedgerDigest, OrderView, Refusal};
use noctus::paper::ledger::{Entry, Record};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// A paper broker process with a ledger of its own; killed and its folder removed when dropped.
pub struct PaperBroker {
    process: Child,
    folder: PathBuf,
    pub url: String,
    http: Client,
}

impl PaperBroker {
    /// Starts one with a new ledger.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, None)
    }

    /// Starts one with a new ledger that takes only calls signed with this secret.
    pub fn start_with(arguments: &[&str], secret: Option<&str>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("noctus-it-paper-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let (process, url) = spawn_at("127.0.0.1:0", &folder, arguments, secret);
        Self { process, folder, url, http: Client::builder().no_proxy().build().expect("a client") }
    }

    /// Kills it (SIGKILL) and starts it again on the same ledger.
    pub fn restart(&mut self, arguments: &[&str]) {
        self.kill();
        (self.process, self.url) = spawn(&self.folder, arguments);
    }

    /// Starts it again, after a kill, at this address.
    pub fn restart_at(&mut self, address: &str, arguments: &[&str]) {
        (self.process, self.url) = spawn_at(address, &self.folder, arguments, None);
    }

    /// Kills it (SIGKILL) and starts it again where it was; from then on it takes only calls signed with this secret.
    pub fn change_secret(&mut self, arguments: &[&str], secret: &str) {
        let address = self.url.trim_start_matches("http://").to_string();
        self.kill();
        (self.process, self.url) = spawn_at(&address, &self.folder, arguments, Some(secret));
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it can be waited for");
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill can be run");
        assert!(sent.success(), "{pid}");
        assert!(self.process.wait().expect("it can be waited for").success());
    }

    /// SIGSTOP: it takes connections, and says nothing any more.
    pub fn freeze(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-STOP", &pid]).status().expect("kill can be run");
        assert!(sent.success(), "{pid}");
    }

    /// Its ledger file.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.jsonl")
    }

    /// The lines of its ledger file.
    pub fn records(&self) -> Vec<Record> {
        let text = std::fs::read_to_string(self.ledger()).expect("the ledger can be read");
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        text[..whole]
            .lines()
            .map(|l| serde_json::from_str(l).expect("a line is a record"))
            .collect()
    }

    /// The orders of its ledger file, in the order in which they came.
    pub fn orders(&self) -> Vec<OrderView> {
        let order = |record: Record| match record.entry {
            Entry::Order(view) => Some(*view),
            _ => None,
        };
        self.records().into_iter().filter_map(order).collect()
    }

    /// How the broker misbehaves from now.
    pub async fn lie(&self, lies: Value) {
        let answer = self.post("/lies", &lies).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.http.post(format!("{}{path}", self.url)).json(body).send().await.expect("an answer")
    }

    /// How often which lie was told.
    pub async fn told(&self) -> BTreeMap<String, u64> {
        self.get("/lies/told").await.json().await.expect("counts")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url)).send().await.expect("an answer")
    }
}

impl Drop for PaperBroker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> (Child, String) {
    spawn_at("127.0.0.1:0", folder, arguments, None)
}

fn spawn_at(
    address: &str,
    folder: &Path,
    arguments: &[&str],
    secret: Option<&str>,
) -> (Child, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_noctus"))
        .env_remove("NOCTUS_BROKER_SECRET")
        .envs(secret.map(|secret| ("NOCTUS_BROKER_SECRET", secret)))
        .args(["paper-broker", "--listen", address, "--ledger"])
        .arg(folder.join("ledger.jsonl"))
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    let out = process.stdout.take().expect("its output is piped");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("it says where it listens");
    let url = line.trim().strip_prefix("paper broker on ").expect("the line it prints").to_string();
    (process, url)
}

fn order(id: &str) -> Value {
    json!({
        "client_order_id": id, "account": "main", "symbol": "USDJPY", "side": "BUY", "qty": "100",
        "order_type": "MARKET", "time_in_force": "GTC",
    })
}

#[tokio::test]
async fn the_same_client_order_id_is_one_order_also_after_a_kill_and_a_restart() {
    let mut broker = PaperBroker::start(&["--quotes", "USDJPY=147.250/147.252"]);
    let first = broker.post("/v1/orders", &order("key-000001")).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first: OrderView = first.json().await.expect("an order");
    assert_eq!(first.status, BrokerStatus::Filled);
    assert_eq!(first.fills[0].px.to_string(), "147.252");
    broker.restart(&[]);
    let again = broker.post("/v1/orders", &order("key-000001")).await;
    assert_eq!(again.status(), StatusCode::OK);
    let again: OrderView = again.json().await.expect("an order");
    assert!(again.duplicate);
    assert_eq!(OrderView { duplicate: false, ..again }, first);
    let other = json!({"qty": "101"});
    let mut body = order("key-000001");
    body.as_object_mut().expect("an object").extend(other.as_object().expect("one").clone());
    let conflict = broker.post("/v1/orders", &body).await;
    assert_eq!(conflict.status(), StatusCode::CONFLICT);
    let conflict: Refusal = conflict.json().await.expect("a refusal");
    assert_eq!(conflict.original.expect("the original").order_ref, first.order_ref);
    let found = broker.get("/v1/orders/by-client-id/key-000001").await;
    assert_eq!(found.status(), StatusCode::OK);
    assert_eq!(broker.orders().len(), 1);
}

#[tokio::test]
async fn what_was_answered_is_in_the_ledger_file_and_a_line_cut_short_is_dropped() {
    let mut broker = PaperBroker::start(&["--quotes", "USDJPY=147.250/147.252"]);
    let all = (0..50).map(|n| {
        let broker = &broker;
        async move { broker.post("/v1/orders", &order(&format!("key-{n:06}"))).await.status() }
    });
    let statuses = futures::future::join_all(all).await;
    assert!(statuses.iter().all(|s| *s == StatusCode::CREATED));
    broker.kill();
    assert_eq!(broker.orders().len(), 50);
    let mut bytes = std::fs::read(broker.ledger()).expect("the ledger");
    bytes.extend_from_slice(b"{\"n\":51,\"at\":\"2026-");
    std::fs::write(broker.ledger(), &bytes).expect("the ledger");
    (broker.process, broker.url) = spawn(&broker.folder, &[]);
    let digest: LedgerDigest = broker.get("/v1/ledger").await.json().await.expect("a digest");
    assert_eq!((digest.records, digest.orders), (50, 50));
    assert_eq!(broker.records().len(), 50);
}

#[tokio::test]
async fn an_order_without_a_price_or_too_late_is_rejected_and_stays_so() {
    let broker = PaperBroker::start(&[]);
    let late = json!({"accept_by": "2020-01-01T00:00:00Z", "reference_price": "147.25"});
    let mut too_late = order("key-late-01");
    too_late.as_object_mut().expect("an object").extend(late.as_object().expect("one").clone());
    for (body, code) in [(order("key-price-1"), "no_price"), (too_late, "too_late")] {
        for _ in 0..2 {
            let refused = broker.post("/v1/orders", &body).await;
            assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
            let refusal: Refusal = refused.json().await.expect("a refusal");
            assert_eq!(refusal.error, code);
            assert_eq!(refusal.original.expect("the order").status, BrokerStatus::Rejected);
        }
    }
    assert_eq!(broker.orders().len(), 2);
}

#[tokio::test]
async fn a_resting_order_fills_when_the_quote_crosses_it() {
    let broker = PaperBroker::start(&["--quotes", "USDJPY=147.250/147.252"]);
    let mut limit = order("key-limit-1");
    limit["order_type"] = "LIMIT".into();
    limit["limit_price"] = "147.000".into();
    let view: OrderView = broker.post("/v1/orders", &limit).await.json().await.expect("an order");
    assert_eq!(view.status, BrokerStatus::Working);
    broker.post("/quotes", &json!({"USDJPY": {"bid": "146.990", "ask": "146.995"}})).await;
    let found = broker.get("/v1/orders/by-client-id/key-limit-1").await;
    let found: OrderView = found.json().await.expect("an order");
    assert_eq!(found.status, BrokerStatus::Filled);
    assert_eq!(found.fills[0].px.to_string(), "146.995");
}
