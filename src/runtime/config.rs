//! Owns the configuration: defaults, a YAML file, `NOCTUS_…` variables, command-line flags, in this order.
//! Never holds a secret (those are in `secrets`). Invariant: a [`Config`] in use has no violation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Serialized};
use serde::{Deserialize, Serialize};

/// Everything that can be set. Times carry their unit in the name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    /// Development: weak secrets and unsigned input may be allowed. Never with real orders.
    pub dev: bool,
    pub kafka: Kafka,
    pub registry: RegistryConfig,
    pub database: Database,
    pub http: Http,
    pub input: Input,
    pub gate: Gate,
    pub dispatch: Dispatch,
    pub broker: Broker,
    pub sink: Sink,
    pub upkeep: Upkeep,
    pub slo: SloFile,
    pub notify: Notify,
    pub tracing: Tracing,
    pub policies: PolicyFiles,
}

/// Kafka: where it is and how it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Put before every topic name, e.g. `uat-`; empty in production.
    pub topic_prefix: String,
    /// Put before every consumer group name.
    pub group_prefix: String,
    /// After this long without a heartbeat a consumer loses its partitions, milliseconds.
    pub session_timeout_ms: u64,
    /// An event not acknowledged after this long is owed still and is produced again, milliseconds.
    pub delivery_timeout_ms: u64,
    /// Events still owed after this long are taken for a dead worker's and emitted by whoever finds them, milliseconds.
    pub orphan_after_ms: u64,
    /// `required`: Kafka's topic ids are the identity of inputs. `by_name`: the name stands for it
    /// (librdkafka's mock cluster has no ids; a recreated topic is then not noticed).
    pub topic_ids: TopicIds,
    /// librdkafka properties passed as they are (security.protocol, sasl.*, ssl.*).
    pub properties: BTreeMap<String, String>,
}

/// What identifies an input topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TopicIds {
    Required,
    ByName,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".into(),
            topic_prefix: String::new(),
            group_prefix: String::new(),
            session_timeout_ms: 10_000,
            delivery_timeout_ms: 30_000,
            orphan_after_ms: 5_000,
            topic_ids: TopicIds::Required,
            properties: BTreeMap::new(),
        }
    }
}

/// The schema registry (Confluent API).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Base address, e.g. `http://localhost:8081`.
    pub url: String,
    /// A call that takes longer has failed, milliseconds.
    pub timeout_ms: u64,
    /// An unknown schema id is asked for again for this long before its record is a dead letter, milliseconds.
    pub unknown_schema_ms: u64,
    /// A registry that answers no look-up for this long is an alert, milliseconds.
    pub absent_alert_ms: u64,
    /// What it says of the ids in use is compared this often with what it said first, seconds.
    pub compare_s: u64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            url: "http://localhost:8081".into(),
            timeout_ms: 3_000,
            unknown_schema_ms: 60_000,
            absent_alert_ms: 30_000,
            compare_s: 60,
        }
    }
}

/// Postgres.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://user@host:port/database`; a password here is redacted wherever it is shown.
    pub url: String,
    /// Most connections of one process.
    pub pool_max: usize,
    /// A statement that takes longer is cancelled, milliseconds.
    pub statement_timeout_ms: u64,
    /// A lock not had after this long fails the statement, milliseconds.
    pub lock_timeout_ms: u64,
    /// A transaction left idle for this long is ended by the server, milliseconds (frees a zombie's locks).
    pub idle_in_transaction_ms: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: "postgres://noctus@localhost:5432/noctus".into(),
            pool_max: 16,
            statement_timeout_ms: 5_000,
            lock_timeout_ms: 2_000,
            idle_in_transaction_ms: 10_000,
        }
    }
}

/// The port for `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Http {
    pub listen: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9464).into() }
    }
}

/// How requests are accepted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    /// `required` (default) or `optional`; optional still refuses a wrong signature.
    pub signatures: Signatures,
    /// Actual topic name → the logical name that producers signed (for mirrored topics).
    pub signed_as: BTreeMap<String, String>,
}

/// Whether a request must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Signatures {
    #[default]
    Required,
    Optional,
}

/// The gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Most records in one transaction.
    pub batch_max: usize,
    /// Largest value accepted, bytes; a larger one is a dead letter.
    pub value_max_bytes: usize,
    /// So many records of a partition refused one after the other are a flood; 0: none is.
    pub flood_in_a_row: u64,
    /// More than so many of a hundred records of a partition refused are a flood, percent; 0: none is.
    pub flood_percent: u64,
    /// But not before so many were read within the window.
    pub flood_of_at_least: u64,
    /// That window, seconds.
    pub flood_window_s: u64,
    /// What follows besides the alert.
    pub flood_action: FloodAction,
    /// With `pause`: for how long the partition is not read, seconds.
    pub flood_pause_s: u64,
    /// Our clock and Postgres' further apart are an alert, milliseconds.
    pub clock_alert_ms: u64,
    /// Further apart than this nothing is decided until they agree again, milliseconds.
    pub clock_pause_ms: u64,
}

/// What follows from a flood of refused records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloodAction {
    /// The alert; each record is a dead letter as ever.
    #[default]
    Alert,
    /// The partition waits, too, if our own keys have signed them.
    Pause,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            batch_max: 500,
            value_max_bytes: 262_144,
            flood_in_a_row: 100,
            flood_percent: 10,
            flood_of_at_least: 500,
            flood_window_s: 300,
            flood_action: FloodAction::Alert,
            flood_pause_s: 60,
            clock_alert_ms: 2_000,
            clock_pause_ms: 5_000,
        }
    }
}

/// Dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dispatch {
    /// Most orders claimed in one transaction.
    pub claim_max: usize,
    /// Most sends in flight.
    pub in_flight_max: usize,
    /// How long a lane (account, symbol) belongs to a worker without renewal, milliseconds.
    pub lease_ms: u64,
    /// Longest pause between looks for pending orders when nothing notifies, milliseconds.
    pub poll_ms: u64,
    /// This host's own halt: while the file is there, no dispatch of this host sends (C-OUT-7). Not set: there is none.
    pub halt_file: Option<PathBuf>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self { claim_max: 200, in_flight_max: 64, lease_ms: 5_000, poll_ms: 200, halt_file: None }
    }
}

/// The broker behind the `rest` adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// Its name in exec events.
    pub name: String,
    /// Base address.
    pub url: String,
    /// The environment it must say it is (`paper`, `live`): a mismatch stops the start (F61).
    pub environment: String,
    /// No connection after this long: nothing was sent, milliseconds.
    pub connect_timeout_ms: u64,
    /// An answer not complete after this long is UNKNOWN, milliseconds.
    pub timeout_ms: u64,
    /// Largest answer read, bytes.
    pub answer_max_bytes: usize,
    /// First question about an UNKNOWN order after this long, milliseconds; then doubled, six times.
    pub settle_ms: u64,
    /// A cancelled or expired order is asked about for so long, since fills may come late, seconds; 0: not at all.
    pub late_fill_s: u64,
    /// The broker is left in peace for so long at most, whatever it asks for, milliseconds.
    pub quiet_max_ms: u64,
    /// Which key calls are signed with; its secret is NOCTUS_BROKER_SECRET.
    pub key_id: String,
    /// The broker is asked what it can this often, seconds.
    pub handshake_s: u64,
    /// Positions are compared with the broker's this often, seconds.
    pub positions_s: u64,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            name: "paper".into(),
            url: "http://localhost:9500".into(),
            environment: "paper".into(),
            connect_timeout_ms: 2_000,
            timeout_ms: 5_000,
            answer_max_bytes: 65_536,
            settle_ms: 5_000,
            late_fill_s: 60,
            quiet_max_ms: 60_000,
            key_id: "noctus".into(),
            handshake_s: 3_600,
            positions_s: 3_600,
        }
    }
}

/// The sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sink {
    /// Most records in one transaction.
    pub batch_max: usize,
    /// Longest wait for a batch to fill, milliseconds.
    pub linger_ms: u64,
}

impl Default for Sink {
    fn default() -> Self {
        Self { batch_max: 1_000, linger_ms: 20 }
    }
}

/// Upkeep of the obs_* tables, done by one of the sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upkeep {
    /// Whether sinks do it; else `noctus maintain` has to be run.
    pub enabled: bool,
    /// Months made ahead, besides the one that it is.
    pub months_ahead: u32,
    /// When the day that is over is counted, `HH:MM` UTC.
    pub daily_at: String,
    /// Table → for how long its rows are kept, e.g. `13 months` or `90 days`; one that is not named is kept for ever.
    pub retention: BTreeMap<String, String>,
    /// A statement of upkeep that takes longer is cancelled, seconds.
    pub statement_timeout_s: u64,
    /// A lock not had after this long fails its task, which is tried again, milliseconds.
    pub lock_timeout_ms: u64,
    /// Pause between two looks for what is due, milliseconds.
    pub look_every_ms: u64,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            enabled: true,
            months_ahead: 2,
            daily_at: "00:20".into(),
            retention: BTreeMap::new(),
            statement_timeout_s: 600,
            lock_timeout_ms: 2_000,
            look_every_ms: 5_000,
        }
    }
}

/// The file of service levels; if none is named they are the plan's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SloFile {
    pub file: Option<PathBuf>,
}

/// Telling people of alerts and violations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// The file of routes; not set: nobody is told, everything is recorded.
    pub file: Option<PathBuf>,
    /// Most alerts in one transaction.
    pub batch_max: usize,
    /// A call of a receiver that takes longer may have arrived or not, milliseconds.
    pub timeout_ms: u64,
    /// For how long one process tells without renewal before another may, milliseconds.
    pub lease_ms: u64,
    /// Objectives are looked at this often, seconds.
    pub slo_poll_s: u64,
}

impl Default for Notify {
    fn default() -> Self {
        Self { file: None, batch_max: 1_000, timeout_ms: 10_000, lease_ms: 10_000, slo_poll_s: 15 }
    }
}

/// Spans for an OTLP receiver; a build with the feature `otlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// Where spans are sent, OTLP over HTTP as protobuf, e.g. `http://localhost:4318/v1/traces`; absent: none are.
    pub otlp_endpoint: Option<String>,
    /// A call to the receiver that takes longer has failed, milliseconds.
    pub otlp_timeout_ms: u64,
    /// Spans that wait for the receiver; more are dropped.
    pub otlp_queue_max: usize,
    /// `service.name` of the spans.
    pub service_name: String,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_timeout_ms: 5_000,
            otlp_queue_max: 8_192,
            service_name: "noctus".into(),
        }
    }
}

/// Policy files; one that is not named is the plan's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PolicyFiles {
    pub quality: Option<PathBuf>,
    pub profiles: Option<PathBuf>,
    pub risk: Option<PathBuf>,
    pub instruments: Option<PathBuf>,
}

impl PolicyFiles {
    /// Those that are named.
    pub fn named(&self) -> Vec<PathBuf> {
        let all = [&self.quality, &self.profiles, &self.risk, &self.instruments];
        all.into_iter().flatten().cloned().collect()
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} violation(s):\n{}", .0.len(), .0.iter().map(|v| format!("  - {v}")).collect::<Vec<_>>().join("\n"))]
pub struct BadConfig(pub Vec<String>);

impl Config {
    /// Reads defaults, then `file` if given, then `NOCTUS_SECTION__KEY` variables, then `flags`
    /// (pairs of `section.key` and a value); lists every violation at once.
    pub fn load(
        file: Option<&Path>,
        flags: &[(String, String)],
        dev: bool,
    ) -> Result<Self, BadConfig> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|e| BadConfig(vec![format!("{}: {e}", path.display())]))?;
            let tree: serde_json::Value = serde_saphyr::from_str(&text)
                .map_err(|e| BadConfig(vec![format!("{}: {e}", path.display())]))?;
            if !tree.is_null() {
                figment = figment.merge(Serialized::defaults(tree));
            }
        }
        let sections = [
            "kafka", "registry", "database", "http", "input", "gate", "dispatch", "broker", "sink",
            "upkeep", "slo", "notify", "tracing", "policies",
        ];
        figment = figment.merge(
            Env::prefixed("NOCTUS_")
                .filter(move |key| {
                    let key = key.as_str().to_ascii_lowercase();
                    key == "dev" || sections.iter().any(|s| key.starts_with(&format!("{s}__")))
                })
                .split("__"),
        );
        for (key, value) in flags {
            figment = figment.merge((key.as_str(), value.as_str()));
        }
        let config: Config = figment
            .extract()
            .map_err(|errors| BadConfig(errors.into_iter().map(|e| e.to_string()).collect()))?;
        let config = Config { dev: config.dev || dev, ..config };
        let violations = config.violations();
        if violations.is_empty() { Ok(config) } else { Err(BadConfig(violations)) }
    }

    /// Everything that is out of its limits.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |ok: bool, text: &str| {
            if !ok {
                found.push(text.to_string());
            }
        };
        check(!self.kafka.brokers.trim().is_empty(), "kafka.brokers must name a broker");
        check(
            (1_000..=300_000).contains(&self.kafka.session_timeout_ms),
            "kafka.session_timeout_ms must be 1000..300000",
        );
        check(
            (1_000..=600_000).contains(&self.kafka.delivery_timeout_ms),
            "kafka.delivery_timeout_ms must be 1000..600000",
        );
        check(
            (500..=600_000).contains(&self.kafka.orphan_after_ms),
            "kafka.orphan_after_ms must be 500..600000",
        );
        check(
            self.registry.url.starts_with("http"),
            "registry.url must start with http:// or https://",
        );
        check(
            (100..=60_000).contains(&self.registry.timeout_ms),
            "registry.timeout_ms must be 100..60000",
        );
        check(
            (100..=3_600_000).contains(&self.registry.absent_alert_ms),
            "registry.absent_alert_ms must be 100..3600000",
        );
        check(
            (1..=86_400).contains(&self.registry.compare_s),
            "registry.compare_s must be 1..86400",
        );
        check(
            self.database.url.starts_with("postgres"),
            "database.url must start with postgres://",
        );
        check((2..=1_000).contains(&self.database.pool_max), "database.pool_max must be 2..1000");
        check((1..=10_000).contains(&self.gate.batch_max), "gate.batch_max must be 1..10000");
        check(
            (1_024..=10_485_760).contains(&self.gate.value_max_bytes),
            "gate.value_max_bytes must be 1024..10485760",
        );
        check(self.gate.flood_percent <= 99, "gate.flood_percent must be 0..99");
        check(
            (1..=1_000_000).contains(&self.gate.flood_of_at_least),
            "gate.flood_of_at_least must be 1..1000000",
        );
        check(
            (1..=86_400).contains(&self.gate.flood_window_s),
            "gate.flood_window_s must be 1..86400",
        );
        check(
            (1..=86_400).contains(&self.gate.flood_pause_s),
            "gate.flood_pause_s must be 1..86400",
        );
        check(
            (100..=60_000).contains(&self.gate.clock_alert_ms),
            "gate.clock_alert_ms must be 100..60000",
        );
        check(
            (self.gate.clock_alert_ms..=600_000).contains(&self.gate.clock_pause_ms),
            "gate.clock_pause_ms must be gate.clock_alert_ms..600000",
        );
        check(
            (1..=10_000).contains(&self.dispatch.claim_max),
            "dispatch.claim_max must be 1..10000",
        );
        check(
            (1..=10_000).contains(&self.dispatch.in_flight_max),
            "dispatch.in_flight_max must be 1..10000",
        );
        check(
            (1_000..=60_000).contains(&self.dispatch.lease_ms),
            "dispatch.lease_ms must be 1000..60000",
        );
        check((1..=10_000).contains(&self.dispatch.poll_ms), "dispatch.poll_ms must be 1..10000");
        check(
            self.broker.url.starts_with("http"),
            "broker.url must start with http:// or https://",
        );
        check(
            (10..=60_000).contains(&self.broker.timeout_ms),
            "broker.timeout_ms must be 10..60000",
        );
        check(
            (10..=60_000).contains(&self.broker.connect_timeout_ms),
            "broker.connect_timeout_ms must be 10..60000",
        );
        let key_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        check(
            (1..=64).contains(&self.broker.key_id.len()) && self.broker.key_id.chars().all(key_id),
            "broker.key_id must be 1..64 of [A-Za-z0-9._-]",
        );
        check(
            (1..=86_400).contains(&self.broker.handshake_s),
            "broker.handshake_s must be 1..86400",
        );
        check(
            (1..=86_400).contains(&self.broker.positions_s),
            "broker.positions_s must be 1..86400",
        );
        check(
            (10..=600_000).contains(&self.broker.settle_ms),
            "broker.settle_ms must be 10..600000",
        );
        check(
            (100..=3_600_000).contains(&self.broker.quiet_max_ms),
            "broker.quiet_max_ms must be 100..3600000",
        );
        check(self.broker.late_fill_s <= 86_400, "broker.late_fill_s must be 0..86400");
        check((1..=100_000).contains(&self.sink.batch_max), "sink.batch_max must be 1..100000");
        check((1..=10_000).contains(&self.notify.batch_max), "notify.batch_max must be 1..10000");
        check(
            (100..=60_000).contains(&self.notify.timeout_ms),
            "notify.timeout_ms must be 100..60000",
        );
        check(
            (1_000..=120_000).contains(&self.notify.lease_ms),
            "notify.lease_ms must be 1000..120000",
        );
        check((1..=3_600).contains(&self.notify.slo_poll_s), "notify.slo_poll_s must be 1..3600");
        let endpoint = self.tracing.otlp_endpoint.as_deref();
        check(
            endpoint.is_none_or(|url| url.starts_with("http")),
            "tracing.otlp_endpoint must start with http:// or https://",
        );
        check(
            (100..=60_000).contains(&self.tracing.otlp_timeout_ms),
            "tracing.otlp_timeout_ms must be 100..60000",
        );
        check(
            (1..=1_000_000).contains(&self.tracing.otlp_queue_max),
            "tracing.otlp_queue_max must be 1..1000000",
        );
        check(!self.tracing.service_name.trim().is_empty(), "tracing.service_name must name it");
        check(
            self.input.signatures == Signatures::Required || self.dev,
            "input.signatures: optional needs dev: true",
        );
        found.extend(crate::sink::upkeep::calendar::violations(&self.upkeep));
        found
    }

    /// The same with the database's password replaced by `***`.
    pub fn redacted(&self) -> Self {
        let mut shown = self.clone();
        if let Some((head, rest)) = shown.database.url.split_once("://")
            && let Some((user, place)) = rest.rsplit_once('@')
            && let Some((name, _)) = user.split_once(':')
        {
            shown.database.url = format!("{head}://{name}:***@{place}");
        }
        for (name, value) in &mut shown.kafka.properties {
            if name.contains("password") || name.contains("secret") || name.ends_with(".pem") {
                *value = "***".into();
            }
        }
        shown
    }

    /// The actual name of a logical topic.
    pub fn topic(&self, logical: &str) -> String {
        format!("{}{logical}", self.kafka.topic_prefix)
    }

    /// The actual name of a role's consumer group.
    pub fn group(&self, role: &str) -> String {
        format!("{}noctus-{role}", self.kafka.group_prefix)
    }

    /// The name that producers signed for an actual topic.
    pub fn signed_as<'a>(&'a self, topic: &'a str) -> &'a str {
        match self.input.signed_as.get(topic) {
            Some(logical) => logical,
            None => topic.strip_prefix(&self.kafka.topic_prefix).unwrap_or(topic),
        }
    }
}
