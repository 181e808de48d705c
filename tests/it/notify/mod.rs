//! Telling people, on real Kafka, registry and Postgres, with roles as processes and a real HTTP receiver that
//! misbehaves.

mod killed;
mod receiver;
mod storm;
mod told;
mod violated;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use noctus::domain::event::{Alert, EventId, Severity, Subject as About};
use noctus::domain::text::TraceId;
use noctus::kafka::producer::Outgoing;
use noctus::runtime::clock;
use noctus::wire::{self, Subject};
use serde_json::{Value, json};

use self::receiver::{Got, Receiver};
use crate::line::{Line, Role};

/// The secret of every webhook of these tests.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A line with routes, and who is told.
struct Desk {
    line: Line,
    pager: Receiver,
    ops: Receiver,
    told: u32,
}

/// Routes: everything goes to the webhook `pager`, and what is about the symbol SLACK to the Slack webhook `ops` alone.
fn routes(pager: &Receiver, pace: &str) -> String {
    format!(
        "receivers:
  pager: {{ kind: webhook, url: \"{}/hook\", allow_http: true, allow_private: true }}
  ops: {{ kind: slack, allow_http: true, allow_private: true }}
routes:
  - {{ symbol: [SLACK], to: [ops] }}
default: [pager]
pace: {{ flush_s: 1, critical_flush_s: 0, retry_max_s: 1, {pace} }}
",
        pager.url
    )
}

impl Desk {
    async fn new(pace: &str) -> Self {
        let (pager, ops) = (Receiver::start().await, Receiver::start().await);
        let path = std::env::temp_dir()
            .join(format!("noctus-it-routes-{:016x}.yml", rand::random::<u64>()));
        let line = Line::new(2, |config| {
            config.notify.file = Some(path.clone());
            config.notify.lease_ms = 2_000;
            config.notify.timeout_ms = 1_000;
            config.notify.slo_poll_s = 1;
        })
        .await;
        let desk = Self { line, pager, ops, told: 0 };
        desk.route(&routes(&desk.pager, pace));
        // Objectives are of no concern but where a test says so.
        desk.line.sql("DROP VIEW IF EXISTS obs_slo_violations_24h CASCADE").await;
        desk
    }

    /// Where the routes are.
    fn path(&self) -> std::path::PathBuf {
        self.line.config.notify.file.clone().expect("there is one")
    }

    /// Puts another file of routes in place.
    fn route(&self, text: &str) {
        let path = self.path();
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("the temporary folder can be written");
        std::fs::rename(&new, &path).expect("the temporary folder can be written");
    }

    /// Starts notify, with these variables besides its secrets.
    fn notify(&mut self, variables: &[(&str, &str)]) -> Role {
        let slack = format!("{}/services/T/B/secret", self.ops.url);
        let mut all =
            vec![("NOCTUS_NOTIFY_PAGER_SECRET", SECRET), ("NOCTUS_NOTIFY_OPS_URL", slack.as_str())];
        all.extend_from_slice(variables);
        self.line.start_with("notify", &all)
    }

    /// An alert as a role would make it, now.
    fn alert(&mut self, rule: &str, symbol: &str, severity: Severity) -> Alert {
        self.told += 1;
        alert(self.told, rule, symbol, severity, clock::now())
    }

    /// Produces alerts.
    async fn fire(&self, alerts: &[Alert]) {
        let framed = self.line.signed(Subject::Alert, "t", b"").await.value.expect("a frame");
        let record = |alert: &Alert| {
            let body = wire::alert::encode(alert).expect("it fits the schema");
            let key = alert.trace_id.as_ref().expect("a trace").to_string().into_bytes();
            self.line.sealed(Subject::Alert, key, [framed.as_slice(), &body].concat())
        };
        let records: Vec<Outgoing> = alerts.iter().map(record).collect();
        self.line.send(&records).await;
    }

    async fn fire_one(&mut self, rule: &str, symbol: &str, severity: Severity) {
        let alert = self.alert(rule, symbol, severity);
        self.fire(&[alert]).await;
    }

    /// Everything was read, every change is in a message, and every message is over.
    async fn rest(&self) {
        self.line.read_to_the_end("notify", &["alerts"]).await;
        self.line.until("SELECT count(*) FROM notify_changes WHERE message_id IS NULL", "0").await;
        let moving = "SELECT count(*) FROM notify_messages WHERE state IN ('PENDING','SENDING')";
        self.line.until(moving, "0").await;
    }

    /// So many changes of this state of delivery are in the ledger.
    async fn ends(&self, state: &str, wanted: u32) {
        let sql = format!("SELECT count(*) FROM notify_messages WHERE state = '{state}'");
        self.line.until(&sql, &wanted.to_string()).await;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(self.path()) {
            eprintln!("{} stays behind: {error}", self.path().display());
        }
    }
}

fn alert(n: u32, rule: &str, symbol: &str, severity: Severity, at: Timestamp) -> Alert {
    let subject = format!("{rule} {symbol} {n}");
    let about = About::Process { subject: &subject, window_start: at };
    Alert {
        event_id: EventId::new(about, "alert:test", n),
        trace_id: TraceId::new(&format!("t-{n}")).ok(),
        idempotency_key: None,
        policy_name: rule.into(),
        severity,
        reason: format!("the {n}th <!channel>"),
        details: json!({"account": "main", "symbol": symbol}),
        at,
    }
}

/// Asks until the answer is as wanted, on a slow machine too; panics with the last one when it never is.
async fn until<T: std::fmt::Debug>(
    mut ask: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it stays {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The one condition that a message names.
fn condition(got: &Got) -> Value {
    got.body["data"]["groups"][0]["conditions"][0].clone()
}

/// What a message says: each rule with the kind of its change.
fn says(got: &Got) -> String {
    let groups = got.body["data"]["groups"].as_array().cloned().unwrap_or_default();
    let told = groups.iter().flat_map(|group| {
        let rule = group["policy_name"].as_str().unwrap_or("?").to_string();
        let conditions = group["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().map(move |c| format!("{rule} {}", c["kind"].as_str().unwrap_or("?")))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// It is signed, by the secret and over its own bytes, and as it is documented.
fn is_well_formed(got: &Got) {
    let schema = include_str!("../../../docs/notify-message.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    if let Err(wrong) = schema.validate(&got.body) {
        panic!("{wrong}: {}", got.body);
    }
    let keys = noctus::domain::notice::webhook::keys(SECRET).expect("a secret");
    let timestamp: i64 = got.headers["webhook-timestamp"].parse().expect("seconds");
    let age_s = clock::now().as_second() - timestamp;
    assert!((0..300).contains(&age_s), "{age_s}");
    let signed = noctus::domain::notice::webhook::signature(&keys, &got.id(), timestamp, &got.raw);
    assert_eq!(got.headers["webhook-signature"], signed);
    assert_eq!(got.body["data"]["id"], got.id().as_str());
}
