//! Owns the events that Noctus emits, and their identity.
//! Never holds bytes: `wire` turns them into Avro.
//! Invariant (I4): an event id is a function of what the event is about, so any emitter makes the same one.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::money;
use super::request::{Intent, OrderType, Side, TimeInForce};
use super::text::{Account, IdempotencyKey, Symbol, TraceId};

/// How much a fired rule matters to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The word on the wire and in `obs_alerts`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "LOW",
            Severity::Medium => "MEDIUM",
            Severity::High => "HIGH",
            Severity::Critical => "CRITICAL",
        }
    }
    /// Reads foreign words too (info, warn, error, page …); an unknown one is MEDIUM (C-OBS-5).
    pub fn read(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "low" | "info" => Severity::Low,
            "high" | "error" => Severity::High,
            "critical" | "page" => Severity::Critical,
            _ => Severity::Medium,
        }
    }
}

/// What a decision does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Action {
    Buy,
    Sell,
    Flat,
    Reject,
}

impl Action {
    /// The word on the wire and in `obs_decisions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Buy => "BUY",
            Action::Sell => "SELL",
            Action::Flat => "FLAT",
            Action::Reject => "REJECT",
        }
    }
    /// Whether an order follows.
    pub fn sends(self) -> bool {
        matches!(self, Action::Buy | Action::Sell)
    }
}

/// 32 lower-case hex digits that identify one event for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub String);

/// What an event is about, for its identity.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// One intended order.
    Key(&'a IdempotencyKey),
    /// A refused input, which has no key of its own.
    Input {
        /// Kafka's id of the topic (not its name: a recreated topic is a new input).
        topic_id: &'a str,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// Something born in a process: the digest of its subject, and the start of its window.
    Process {
        /// What it is about.
        subject: &'a str,
        /// Start of the window in which it is one event.
        window_start: Timestamp,
    },
}

impl EventId {
    /// The id of the `ordinal`-th event of `kind` (e.g. `decision`, `alert`, `exec`) about `subject`.
    pub fn new(subject: Subject<'_>, kind: &str, ordinal: u32) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u32).to_be_bytes());
            hash.update(bytes);
        };
        part(b"noctus-event-v1");
        match subject {
            Subject::Key(key) => {
                part(b"key");
                part(key.as_bytes());
            }
            Subject::Input { topic_id, partition, offset } => {
                part(b"input");
                part(topic_id.as_bytes());
                part(&partition.to_be_bytes());
                part(&offset.to_be_bytes());
            }
            Subject::Process { subject, window_start } => {
                part(b"process");
                part(subject.as_bytes());
                part(&window_start.as_microsecond().to_be_bytes());
            }
        }
        part(kind.as_bytes());
        part(&ordinal.to_be_bytes());
        Self(hex::encode(&hash.finalize()[..16]))
    }
}

/// One change of the quantity on its way through the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What changed it: `engine.rollout`, `quality`, or a rule's policy_name.
    pub rule: String,
    /// Units before.
    #[serde(with = "rust_decimal::serde::str")]
    pub before: Decimal,
    /// Units after.
    #[serde(with = "rust_decimal::serde::str")]
    pub after: Decimal,
    /// Why, for a person.
    pub reason: String,
}

/// The verdict of the quality gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum QualityVerdict {
    Ok,
    Scale,
    Flat,
}

impl QualityVerdict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            QualityVerdict::Ok => "OK",
            QualityVerdict::Scale => "SCALE",
            QualityVerdict::Flat => "FLAT",
        }
    }
}

/// What the quality gate said about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// OK, SCALE or FLAT.
    pub verdict: QualityVerdict,
    /// What the opening part is multiplied with, 0..=1.
    #[serde(with = "rust_decimal::serde::str")]
    pub multiplier: Decimal,
}

/// One of the best five scored candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Candidate {
    pub strategy: String,
    pub intent: Intent,
    #[serde(with = "rust_decimal::serde::str")]
    pub qty_raw: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub score: Decimal,
    /// (1 − α)·weight·confidence.
    #[serde(with = "rust_decimal::serde::str")]
    pub confidence_term: Decimal,
    /// α·(1 − risk_score).
    #[serde(with = "rust_decimal::serde::str")]
    pub risk_term: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub weight: Decimal,
    pub confidence: f64,
    pub risk_score: f64,
}

/// A market quote. Source: topic `quotes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// What a seller gets.
    #[serde(deserialize_with = "money::deserialize")]
    pub bid: Decimal,
    /// What a buyer pays.
    #[serde(deserialize_with = "money::deserialize")]
    pub ask: Decimal,
    /// When the market said so.
    pub at: Timestamp,
}

/// Digests (SHA-256, lower hex) of the policies a decision was made under.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PolicyDigests {
    pub quality: String,
    pub profiles: String,
    pub risk: String,
    pub instruments: String,
}

/// What was decided about one request and why; exactly one per key. Topic `decisions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Decision {
    pub event_id: EventId,
    pub decision_id: String,
    pub idempotency_key: IdempotencyKey,
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub action: Action,
    /// Units; of a proposal set, what the engine chose before rollout.
    #[serde(with = "rust_decimal::serde::str")]
    pub requested_qty: Decimal,
    /// Units; 0 unless BUY or SELL.
    #[serde(with = "rust_decimal::serde::str")]
    pub decided_qty: Decimal,
    pub steps: Vec<Step>,
    /// Absent for REJECT.
    pub quality: Option<Quality>,
    pub score: Option<Decimal>,
    pub strategy_name: Option<String>,
    pub top_candidates: Vec<Candidate>,
    /// `champion` or `challenger`, when a cohort is configured.
    pub arm: Option<String>,
    pub reason: String,
    pub engine_version: String,
    pub policies: PolicyDigests,
    pub quote: Option<Quote>,
    /// The price that notional limits used.
    pub price: Option<Decimal>,
    /// Contract size × rate to the account's currency: what one unit gains when its price rises by 1.
    pub unit_value: Option<Decimal>,
    pub order_type: OrderType,
    pub time_in_force: TimeInForce,
    pub requested_at: Timestamp,
    pub decided_at: Timestamp,
    /// What was asked, as a JSON object.
    pub request: serde_json::Value,
    /// What was known when it was judged, as a JSON object: with the policies enough to judge it again.
    pub facts: serde_json::Value,
    /// How much of `decided_qty` opens risk. None: a build decided that did not tell it.
    pub opening_qty: Option<Decimal>,
    /// The same as a notional in the account's currency, as it was reserved for the trace.
    pub opening_notional: Option<Decimal>,
}

/// One fired rule. Topic `alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Alert {
    pub event_id: EventId,
    /// `-` is never used: an alert without a trace has none.
    pub trace_id: Option<TraceId>,
    pub idempotency_key: Option<IdempotencyKey>,
    pub policy_name: String,
    pub severity: Severity,
    pub reason: String,
    /// A JSON object.
    pub details: serde_json::Value,
    pub at: Timestamp,
}

/// One fill at the broker, known by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Fill {
    pub fill_id: String,
    #[serde(with = "rust_decimal::serde::str")]
    pub px: Decimal,
    #[serde(with = "rust_decimal::serde::str")]
    pub qty: Decimal,
    pub at: Timestamp,
}

/// Where an order is (C-FSM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum OrderStatus {
    New,
    Sent,
    Accepted,
    PartiallyFilled,
    Filled,
    Rejected,
    Cancelled,
    Expired,
    Unknown,
    Parked,
}

impl OrderStatus {
    /// Every status, in the order of the flow.
    pub const ALL: [OrderStatus; 10] = [
        OrderStatus::New,
        OrderStatus::Sent,
        OrderStatus::Accepted,
        OrderStatus::PartiallyFilled,
        OrderStatus::Filled,
        OrderStatus::Rejected,
        OrderStatus::Cancelled,
        OrderStatus::Expired,
        OrderStatus::Unknown,
        OrderStatus::Parked,
    ];
    /// The word on the wire and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderStatus::New => "NEW",
            OrderStatus::Sent => "SENT",
            OrderStatus::Accepted => "ACCEPTED",
            OrderStatus::PartiallyFilled => "PARTIALLY_FILLED",
            OrderStatus::Filled => "FILLED",
            OrderStatus::Rejected => "REJECTED",
            OrderStatus::Cancelled => "CANCELLED",
            OrderStatus::Expired => "EXPIRED",
            OrderStatus::Unknown => "UNKNOWN",
            OrderStatus::Parked => "PARKED",
        }
    }
    /// Reads the word back.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
    /// Whether nothing more is expected of the order.
    pub fn is_final(self) -> bool {
        use OrderStatus::*;
        matches!(self, Filled | Rejected | Cancelled | Expired)
    }
}

/// The broker's name and its own reference of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BrokerRef {
    pub name: String,
    pub order_ref: Option<String>,
}

/// Milliseconds an order spent; absent where not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LatencyMs {
    /// From the decision to the first send.
    pub queue: Option<i64>,
    /// From the send to the broker's answer.
    pub broker_rtt: Option<i64>,
    /// From the producer's requested_at to this step.
    pub total: Option<i64>,
}

/// One step of one order at the broker. Topic `exec-events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ExecEvent {
    pub event_id: EventId,
    pub idempotency_key: IdempotencyKey,
    /// 1, 2, 3 … per order; consumers order by it.
    pub exec_seq: i32,
    pub trace_id: TraceId,
    /// The client order id the broker knows it by.
    pub order_id: String,
    pub account: Account,
    pub symbol: Symbol,
    pub side: Side,
    /// Units decided.
    #[serde(with = "rust_decimal::serde::str")]
    pub qty: Decimal,
    pub status: OrderStatus,
    pub last_fill: Option<Fill>,
    /// Units filled so far.
    #[serde(with = "rust_decimal::serde::str")]
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub broker: BrokerRef,
    pub reason_code: Option<String>,
    pub latency_ms: LatencyMs,
    pub at: Timestamp,
    /// Of a step that moves the position or what is reserved: the n-th of its lane, 1, 2, 3 …
    pub lane_seq: Option<i64>,
    /// Of a step that puts other terms in force; `qty` is the new quantity in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// What a replacement left of an order, and what is reserved for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The limit price in force, if it has one.
    pub limit_price: Option<Decimal>,
    /// Units not filled then: what works.
    #[serde(with = "rust_decimal::serde::str")]
    pub working_qty: Decimal,
    /// How much of `qty` opens risk.
    #[serde(with = "rust_decimal::serde::str")]
    pub opening_qty: Decimal,
    /// The same as a notional in the account's currency, for all of `qty`.
    #[serde(with = "rust_decimal::serde::str")]
    pub opening_notional: Decimal,
}

/// One step of a PLAN run. Topic `plan-runs`; `status` becomes the timeline's `PLAN:<status>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PlanRun {
    pub event_id: EventId,
    pub trace_id: TraceId,
    /// e.g. `START`, `FEATURES`, `END`.
    pub status: String,
    pub symbol: Option<Symbol>,
    pub timeframe: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// A JSON object.
    pub meta: serde_json::Value,
}

/// One call of a model. Topic `infer-calls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct InferCall {
    pub event_id: EventId,
    pub trace_id: TraceId,
    pub model: String,
    pub version: Option<String>,
    pub called_at: Timestamp,
    pub duration_ms: Option<i64>,
    pub status: String,
    /// JSON objects.
    pub inputs: serde_json::Value,
    pub outputs: serde_json::Value,
}
