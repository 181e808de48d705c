//! Every metric of Noctus: names and labels in this one file.
//! Never takes an unbounded label (no symbol, no trace, no key).

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident : $kind:ident $args:tt),+ $(,)?) => {
        /// The metrics, one field each.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }
        impl Default for Metrics {
            fn default() -> Self {
                let registry = Registry::new();
                $(let $field = metrics!(@new $kind $args concat!($($help),+));
                registry.register(Box::new($field.clone())).expect("every name stands once in this file");)+
                #[cfg(target_os = "linux")]
                registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
                    .expect("the process collector has names of its own");
                Self { registry, $($field,)+ }
            }
        }
    };
    (@new IntCounter ($name:literal) $help:expr) => { IntCounter::new($name, $help.trim()).expect("a valid name") };
    (@new IntCounterVec ($name:literal, $labels:expr) $help:expr) => {
        IntCounterVec::new(Opts::new($name, $help.trim()), $labels).expect("valid names")
    };
    (@new IntGauge ($name:literal) $help:expr) => { IntGauge::new($name, $help.trim()).expect("a valid name") };
    (@new IntGaugeVec ($name:literal, $labels:expr) $help:expr) => {
        IntGaugeVec::new(Opts::new($name, $help.trim()), $labels).expect("valid names")
    };
    (@new Histogram ($name:literal) $help:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help.trim()).buckets(SECONDS.to_vec())).expect("a valid name")
    };
}

metrics! {
    /// Requests read by the gate.
    gate_requests: IntCounter("noctus_gate_requests_total"),
    /// Decisions committed, by action.
    gate_decisions: IntCounterVec("noctus_gate_decisions_total", &["action"]),
    /// Order commands decided, by what they want and what became of it.
    gate_commands: IntCounterVec("noctus_gate_commands_total", &["action", "status"]),
    /// Requests whose key and digest were known already.
    gate_replays: IntCounter("noctus_gate_replays_total"),
    /// Requests whose key was known with another digest.
    gate_conflicts: IntCounter("noctus_gate_conflicts_total"),
    /// Inputs refused before the ledger, by reason.
    gate_refused: IntCounterVec("noctus_gate_refused_total", &["reason"]),
    /// Transactions repeated (40001, 40P01, a key claimed by another worker in between).
    gate_repeats: IntCounter("noctus_gate_batch_repeats_total"),
    /// Batches dropped because another worker owns the partition.
    gate_fenced: IntCounter("noctus_gate_fenced_total"),
    /// Partitions of the gate of which too many records are refused.
    gate_flooded: IntGauge("noctus_gate_flooded_partitions"),
    /// How far Postgres' clock is ahead of the gate's, milliseconds.
    clock_skew: IntGauge("noctus_clock_skew_ms"),
    /// Quotes that are not believed: badly signed, undecodable, under another key.
    quotes_refused: IntCounter("noctus_quotes_refused_total"),
    /// Quotes more than 5 s ahead of our clock: set aside until their time comes.
    quotes_ahead: IntCounter("noctus_quotes_ahead_total"),
    /// For how long the schema registry has not answered a look-up, seconds; 0 = it answers.
    registry_away: IntGauge("noctus_registry_away_seconds"),
    /// Policy and key files taken into force while running.
    gate_reloads: IntCounter("noctus_gate_reloads_total"),
    /// Changed policy or key files that were refused; the last good ones stay in force.
    gate_reloads_refused: IntCounter("noctus_gate_reloads_refused_total"),
    /// Seconds from polling a batch to its commit.
    gate_batch_seconds: Histogram("noctus_gate_batch_seconds"),
    /// Rules that fired, by policy_name.
    alerts: IntCounterVec("noctus_alerts_total", &["policy_name", "severity"]),
    /// Events emitted and acknowledged, by topic.
    owed_emitted: IntCounterVec("noctus_owed_events_emitted_total", &["topic"]),
    /// Orphaned batches of events found and emitted.
    owed_orphans: IntCounter("noctus_owed_orphan_batches_total"),
    /// Orders sent to the broker.
    dispatch_sends: IntCounter("noctus_dispatch_sends_total"),
    /// Outcomes of sends, by outcome.
    dispatch_outcomes: IntCounterVec("noctus_dispatch_outcomes_total", &["outcome"]),
    /// Orders that expired before they were sent.
    dispatch_expired: IntCounter("noctus_dispatch_expired_total"),
    /// Exec events committed, by status.
    dispatch_events: IntCounterVec("noctus_dispatch_events_total", &["status"]),
    /// Orders by state that dispatch still has to move.
    dispatch_open: IntGaugeVec("noctus_dispatch_open_orders", &["state"]),
    /// Seconds from the decision to the broker's acceptance.
    dispatch_accept_seconds: Histogram("noctus_dispatch_accept_seconds"),
    /// Must stay 0: the broker answered with an order of ours that differs from what we decided.
    dispatch_mismatch: IntCounter("noctus_dispatch_mismatch_total"),
    /// 1 while the broker refuses us (401, 403) and nothing is sent: SAFE.
    dispatch_safe: IntGauge("noctus_dispatch_safe"),
    /// Events that the broker told.
    broker_events: IntCounter("noctus_broker_events_total"),
    /// Numbers missing among the broker's events; questions are the net under them.
    broker_events_missed: IntCounter("noctus_broker_events_missed_total"),
    /// Calls to the broker that waited for its limits, or for its peace to end.
    broker_waits: IntCounter("noctus_broker_waits_total"),
    /// How long they waited.
    broker_wait_seconds: Histogram("noctus_broker_wait_seconds"),
    /// Times that the broker asked for peace (429, or 503 with Retry-After), by reason.
    broker_pauses: IntCounterVec("noctus_broker_pauses_total", &["reason"]),
    /// 1 while the broker is left in peace.
    broker_paused: IntGauge("noctus_broker_paused"),
    /// Dispatch processes that share the broker's limits.
    broker_senders: IntGauge("noctus_broker_senders"),
    /// Positions compared with the broker's, by result.
    position_checks: IntCounterVec("noctus_position_checks_total", &["result"]),
    /// Rows written by the sink, by table.
    sink_rows: IntCounterVec("noctus_sink_rows_total", &["table"]),
    /// Events the sink had already.
    sink_repeats: IntCounterVec("noctus_sink_repeats_total", &["table"]),
    /// Records that are no row, or whose row cannot be kept, and went to dead letters.
    sink_refused: IntCounterVec("noctus_sink_refused_total", &["reason"]),
    /// Records behind the end of the partition, by role, topic and owned partition.
    lag_records: IntGaugeVec("noctus_lag_records", &["role", "topic", "partition"]),
    /// Partitions paused because something they need is away.
    paused: IntGaugeVec("noctus_paused_partitions", &["role"]),
    /// Inputs whose trace context is malformed: they are decided as if they had none.
    trace_contexts_refused: IntCounter("noctus_trace_contexts_refused_total"),
    /// Dead letters delivered, by reason.
    dead_letters: IntCounterVec("noctus_dead_letters_total", &["reason"]),
}

impl Metrics {
    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}
