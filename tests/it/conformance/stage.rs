//! Where the conformance suite plays: an adapter, and a broker behind it that can be told to misbehave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use noctus::dispatch::broker::Broker;
use noctus::dispatch::broker::desk::InProcess;
use noctus::dispatch::broker::protocol::OrderView;
use noctus::dispatch::broker::rest::Rest;
use noctus::paper::desk::Desk;
use noctus::paper::ledger::Ledger;
use noctus::paper::lies::Lies;
use noctus::runtime::clock;
use noctus::runtime::config;
use serde_json::{Value, json};

use crate::paper::PaperBroker;

/// How long the adapters wait for an answer.
pub const PATIENCE: Duration = Duration::from_millis(600);

/// An adapter and its broker.
pub trait Stage: Sized {
    /// A broker that starts with these lies, and is honest about them.
    async fn start(lies: Value) -> Self;
    /// The adapter.
    fn broker(&self) -> &dyn Broker;
    /// Lies from now on.
    async fn lie(&self, lies: Value);
    /// The broker's orders as they are, whatever it tells.
    async fn orders(&self) -> Vec<OrderView>;
    /// What a quote of USDJPY at this price fills.
    async fn quote(&self, price: &str);
}

/// `rest`, and a paper broker that is a process of its own.
pub struct OverHttp {
    paper: PaperBroker,
    rest: Rest,
}

impl OverHttp {
    fn new(lies: &Value, secret: Option<&str>) -> Self {
        let mut arguments = vec!["--quotes".to_string(), "USDJPY=147.250/147.252".to_string()];
        for (lie, value) in lies.as_object().expect("an object") {
            arguments.push(format!("--{}", lie.replace('_', "-")));
            if *value != json!(true) {
                arguments.push(value.to_string());
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let paper = PaperBroker::start_with(&arguments, secret);
        let timeout_ms = u64::try_from(PATIENCE.as_millis()).expect("short");
        let config = config::Broker {
            url: paper.url.clone(),
            timeout_ms,
            answer_max_bytes: 4_096,
            ..config::Broker::default()
        };
        let rest = Rest::new(&config, secret.map(Into::into)).expect("a client");
        Self { paper, rest }
    }
}

impl Stage for OverHttp {
    async fn start(lies: Value) -> Self {
        Self::new(&lies, None)
    }
    fn broker(&self) -> &dyn Broker {
        &self.rest
    }
    async fn lie(&self, lies: Value) {
        self.paper.lie(lies).await;
    }
    async fn orders(&self) -> Vec<OrderView> {
        self.paper.get("/v1/orders").await.json().await.expect("orders")
    }
    async fn quote(&self, price: &str) {
        self.paper.post("/quotes", &json!({"USDJPY": {"bid": price, "ask": price}})).await;
    }
}

/// The same, and every call is signed.
pub struct Signed(OverHttp);

impl Stage for Signed {
    async fn start(lies: Value) -> Self {
        Self(OverHttp::new(&lies, Some("a secret of at least thirty-two bytes")))
    }
    fn broker(&self) -> &dyn Broker {
        self.0.broker()
    }
    async fn lie(&self, lies: Value) {
        self.0.lie(lies).await;
    }
    async fn orders(&self) -> Vec<OrderView> {
        self.0.orders().await
    }
    async fn quote(&self, price: &str) {
        self.0.quote(price).await;
    }
}

/// `desk`: the paper broker's desk in this process.
pub struct AtTheDesk {
    desk: Arc<Mutex<Desk>>,
    broker: InProcess,
}

fn lies(value: Value) -> Lies {
    serde_json::from_value(value).expect("lies")
}

impl Stage for AtTheDesk {
    async fn start(value: Value) -> Self {
        let quotes = [("USDJPY".to_string(), "147.250/147.252".parse().expect("a quote"))];
        let desk = Desk::new(Ledger::nowhere(), vec![], "paper", quotes.into(), lies(value));
        let desk = Arc::new(Mutex::new(desk));
        Self { broker: InProcess::new(desk.clone(), PATIENCE), desk }
    }
    fn broker(&self) -> &dyn Broker {
        &self.broker
    }
    async fn lie(&self, value: Value) {
        self.desk.lock().expect("no panic").set_lies(lies(value));
    }
    async fn orders(&self) -> Vec<OrderView> {
        self.desk.lock().expect("no panic").orders(0, usize::MAX)
    }
    async fn quote(&self, price: &str) {
        let quote = format!("{price}/{price}").parse().expect("a quote");
        self.desk.lock().expect("no panic").quote("USDJPY".into(), quote, clock::now());
    }
}
