//! Every metric of Noctus: names and labels in this one file; docs/metrics.md is made from it.
//! Never takes an unbounded label (no account, no symbol, no trace, no key).
//! Invariant: what is counted per guarantee stands at 0 from the start, so that one rule sees the first breach.

mod guarantee;
mod lag;
pub mod page;

use std::sync::{Mutex, PoisonError};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use self::guarantee::Guarantee;
pub use self::lag::Lag;
use super::clock;

/// Upper ends of the buckets of times, seconds: 0.3 is the SLO of a broker's acceptance.
const SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
/// The same of what is mostly shorter: a connection that is free, a transaction.
const SHORT_SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Upper ends of the buckets of batches, records.
const RECORDS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

/// A metric as a page tells it.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Described {
    pub name: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident : $kind:ident $args:tt),+ $(,)?) => {
        /// The metrics, one field each.
        pub struct Metrics {
            registry: Registry,
            /// How far readers are behind; becomes `lag_records` and `lag_seconds` at each scrape.
            pub lag: Lag,
            refresh: Mutex<Vec<Refresh>>,
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
                let metrics = Self { registry, lag: Lag::default(), refresh: Mutex::default(), $($field,)+ };
                metrics.stand_at_0();
                metrics
            }
        }
        /// Every metric, in the order of this file; besides them there are those of the process (`process_*`).
        pub const LIST: &[Described] = &[
            $(Described {
                name: metrics!(@name $args),
                kind: metrics!(@kind $kind),
                labels: metrics!(@labels $kind $args),
                help: concat!($($help),+),
            },)+
        ];
    };
    (@new IntCounter ($name:literal) $help:expr) => { IntCounter::new($name, $help.trim()).expect("a valid name") };
    (@new IntCounterVec ($name:literal, $labels:expr) $help:expr) => {
        IntCounterVec::new(Opts::new($name, $help.trim()), $labels).expect("valid names")
    };
    (@new IntGauge ($name:literal) $help:expr) => { IntGauge::new($name, $help.trim()).expect("a valid name") };
    (@new IntGaugeVec ($name:literal, $labels:expr) $help:expr) => {
        IntGaugeVec::new(Opts::new($name, $help.trim()), $labels).expect("valid names")
    };
    (@new Gauge ($name:literal) $help:expr) => { Gauge::new($name, $help.trim()).expect("a valid name") };
    (@new GaugeVec ($name:literal, $labels:expr) $help:expr) => {
        GaugeVec::new(Opts::new($name, $help.trim()), $labels).expect("valid names")
    };
    (@new Histogram ($name:literal) $help:expr) => { metrics!(@new Histogram ($name, SECONDS) $help) };
    (@new Histogram ($name:literal, $buckets:expr) $help:expr) => {
        Histogram::with_opts(HistogramOpts::new($name, $help.trim()).buckets($buckets.to_vec())).expect("a valid name")
    };
    (@new HistogramVec ($name:literal, $labels:expr) $help:expr) => {
        metrics!(@new HistogramVec ($name, $labels, SECONDS) $help)
    };
    (@new HistogramVec ($name:literal, $labels:expr, $buckets:expr) $help:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help.trim()).buckets($buckets.to_vec()), $labels)
            .expect("valid names")
    };
    (@name ($name:literal $($rest:tt)*)) => { $name };
    (@kind IntCounter) => { "counter" };
    (@kind IntCounterVec) => { "counter" };
    (@kind Histogram) => { "histogram" };
    (@kind HistogramVec) => { "histogram" };
    (@kind $gauge:ident) => { "gauge" };
    (@labels Histogram $args:tt) => { &[] };
    (@labels $kind:ident ($name:literal)) => { &[] };
    (@labels $kind:ident ($name:literal, $labels:expr $(, $buckets:expr)?)) => { $labels };
}

metrics! {
    /// Requests read by the gate.
    gate_requests: IntCounter("noctus_gate_requests_total"),
    /// Decisions committed, by action; FLAT and REJECT included.
    gate_decisions: IntCounterVec("noctus_gate_decisions_total", &["action"]),
    /// Order commands decided, by what they want and what became of it.
    gate_commands: IntCounterVec("noctus_gate_commands_total", &["action", "status"]),
    /// Requests whose key and digest were known already. Grows with retries and rewinds, never with orders.
    gate_replays: IntCounter("noctus_gate_replays_total"),
    /// Requests whose key was known with another digest: a producer reuses keys. Should stay 0.
    gate_conflicts: IntCounter("noctus_gate_conflicts_total"),
    /// Inputs refused before the ledger, by reason; what cannot be kept included.
    gate_refused: IntCounterVec("noctus_gate_refused_total", &["reason"]),
    /// Transactions repeated (40001, 40P01, a key claimed by another worker in between). A few are normal with many gates.
    gate_repeats: IntCounter("noctus_gate_batch_repeats_total"),
    /// Batches dropped because another worker owns the partition. More than a few outside of rebalances: look.
    gate_fenced: IntCounter("noctus_gate_fenced_total"),
    /// Partitions of the gate of which too many records are refused. Should stay 0.
    gate_flooded: IntGauge("noctus_gate_flooded_partitions"),
    /// How far Postgres' clock is ahead of the gate's; compared every 5 s.
    clock_skew: Gauge("noctus_clock_skew_seconds"),
    /// Quotes read, good or bad.
    quotes_read: IntCounter("noctus_quotes_read_total"),
    /// The time of the newest quote that counts, of whatever symbol, as Unix time; 0 before the first. How old it is: time() - this.
    quotes_newest: Gauge("noctus_quotes_newest_timestamp_seconds"),
    /// Quotes that are not believed: badly signed, undecodable, under another key. Should stay 0.
    quotes_refused: IntCounter("noctus_quotes_refused_total"),
    /// Quotes more than 5 s ahead of our clock: set aside until their time comes. Should stay 0.
    quotes_ahead: IntCounter("noctus_quotes_ahead_total"),
    /// For how long the schema registry has not answered a look-up, seconds; 0 while it answers, or nobody asks it.
    registry_away: IntGauge("noctus_registry_away_seconds"),
    /// How long look-ups of schemas took, by outcome: answered, unknown (404), away. Known ids are asked for no more.
    registry_call_seconds: HistogramVec("noctus_registry_call_seconds", &["outcome"]),
    /// Policy and key files taken into force while running.
    gate_reloads: IntCounter("noctus_gate_reloads_total"),
    /// Changed policy or key files that were refused; the last good ones stay in force. Should stay 0.
    gate_reloads_refused: IntCounter("noctus_gate_reloads_refused_total"),
    /// From when a batch departs to its commit, repeats included.
    gate_batch_seconds: Histogram("noctus_gate_batch_seconds"),
    /// Rules that fired, by policy_name, in whatever process told it.
    alerts: IntCounterVec("noctus_alerts_total", &["policy_name", "severity"]),
    /// Events emitted and acknowledged, by topic.
    owed_emitted: IntCounterVec("noctus_owed_events_emitted_total", &["topic"]),
    /// Orphaned batches of events found and emitted.
    owed_orphans: IntCounter("noctus_owed_orphan_batches_total"),
    /// Batches of events committed and not acknowledged by Kafka, of all processes. Looked at every 5 s.
    owed_batches: IntGauge("noctus_owed_batches"),
    /// Age of the oldest of them, seconds; 0 without one.
    owed_oldest: Gauge("noctus_owed_oldest_seconds"),
    /// How long Kafka took to acknowledge a batch of events.
    owed_emit_seconds: Histogram("noctus_owed_emit_seconds"),
    /// Orders sent to the broker.
    dispatch_sends: IntCounter("noctus_dispatch_sends_total"),
    /// Outcomes of sends: answered, refused, mismatch, not_sent, unknown. The last one growing: the broker is unwell.
    dispatch_outcomes: IntCounterVec("noctus_dispatch_outcomes_total", &["outcome"]),
    /// Orders that expired before they were sent.
    dispatch_expired: IntCounter("noctus_dispatch_expired_total"),
    /// Exec events committed, by status.
    dispatch_events: IntCounterVec("noctus_dispatch_events_total", &["status"]),
    /// Orders by state that dispatch still has to move. PARKED needs a person.
    dispatch_open: IntGaugeVec("noctus_dispatch_open_orders", &["state"]),
    /// From the decision to the broker's answer, of orders that were answered; p95 is promised to be at most 0.3.
    dispatch_accept_seconds: Histogram("noctus_dispatch_accept_seconds"),
    /// Age of the oldest order that is NEW, seconds; 0 without one. Looked at every 15 s, as are open orders.
    dispatch_oldest_new: Gauge("noctus_dispatch_oldest_new_seconds"),
    /// For how long the oldest order of unknown outcome (SENT, UNKNOWN, PARKED) has been so since its first send, seconds; 0 without one.
    dispatch_oldest_unclear: Gauge("noctus_dispatch_oldest_unclear_seconds"),
    /// Halts in force, by mode: halted, reduce_only.
    halts: IntGaugeVec("noctus_halts", &["mode"]),
    /// Cancels that are wanted and that the broker has not answered clearly.
    cancels_wanted: IntGauge("noctus_cancels_wanted"),
    /// 1 while the broker refuses us (401, 403) and nothing is sent: SAFE.
    dispatch_safe: IntGauge("noctus_dispatch_safe"),
    /// Events that the broker told.
    broker_events: IntCounter("noctus_broker_events_total"),
    /// Numbers missing among the broker's events; what they said is found by asking, seconds later.
    broker_events_missed: IntCounter("noctus_broker_events_missed_total"),
    /// How long the broker took to answer, by call (place, query, cancel, replace, positions) and outcome; without the wait for its limits.
    broker_call_seconds: HistogramVec("noctus_broker_call_seconds", &["call", "outcome"]),
    /// Calls to the broker that waited for its limits, or for its peace to end.
    broker_waits: IntCounter("noctus_broker_waits_total"),
    /// How long they waited. Growing: more is decided than the broker takes.
    broker_wait_seconds: Histogram("noctus_broker_wait_seconds"),
    /// Times that the broker asked for peace (429, or 503 with Retry-After), by reason.
    broker_pauses: IntCounterVec("noctus_broker_pauses_total", &["reason"]),
    /// 1 while the broker is left in peace.
    broker_paused: IntGauge("noctus_broker_paused"),
    /// Dispatch processes that share the broker's limits.
    broker_senders: IntGauge("noctus_broker_senders"),
    /// Positions compared with the broker's, by result: agrees, differs.
    position_checks: IntCounterVec("noctus_position_checks_total", &["result"]),
    /// Rows written by the sink, by table.
    sink_rows: IntCounterVec("noctus_sink_rows_total", &["table"]),
    /// Events the sink had already.
    sink_repeats: IntCounterVec("noctus_sink_repeats_total", &["table"]),
    /// Records that are no row, or whose row cannot be kept, and went to dead letters. Should stay 0.
    sink_refused: IntCounterVec("noctus_sink_refused_total", &["reason"]),
    /// Records behind the end of the partition, by role, topic and owned partition; gone when the partition is given away. Stands still while the role waits for something that is away.
    lag_records: IntGaugeVec("noctus_lag_records", &["role", "topic", "partition"]),
    /// For how long the oldest record that is not done has been in the partition, seconds; 0 if all are. Goes on while the role waits.
    lag_seconds: GaugeVec("noctus_lag_seconds", &["role", "topic", "partition"]),
    /// Partitions paused because something they need is away.
    paused: IntGaugeVec("noctus_paused_partitions", &["role"]),
    /// Inputs whose trace context is malformed: they are decided as if they had none.
    trace_contexts_refused: IntCounter("noctus_trace_contexts_refused_total"),
    /// Alerts that notify has read, by what came of them.
    notify_alerts: IntCounterVec("noctus_notify_alerts_total", &["outcome"]),
    /// Changes of conditions, by kind.
    notify_changes: IntCounterVec("noctus_notify_changes_total", &["kind"]),
    /// Attempts to deliver a message, by receiver and what came of them.
    notify_messages: IntCounterVec("noctus_notify_attempts_total", &["receiver", "outcome"]),
    /// Seconds that a receiver took to answer.
    notify_post_seconds: Histogram("noctus_notify_post_seconds", SECONDS),
    /// Conditions that hold, by severity.
    notify_open: IntGaugeVec("noctus_notify_open_conditions", &["severity"]),
    /// Messages on their way, by receiver.
    notify_outstanding: IntGaugeVec("noctus_notify_outstanding_messages", &["receiver"]),
    /// For how long the oldest change has not been put into a message, seconds; 0 = there is none.
    notify_untold: IntGauge("noctus_notify_untold_seconds"),
    /// 1 while this process is the one that tells.
    notify_leads: IntGauge("noctus_notify_leads"),
    /// Heartbeats, by what came of them.
    notify_heartbeats: IntCounterVec("noctus_notify_heartbeats_total", &["outcome"]),
    /// Changed files of routes, by whether they were taken.
    notify_reloads: IntCounterVec("noctus_notify_reloads_total", &["outcome"]),
    /// 1 in the sink that does upkeep.
    upkeep_leads: IntGauge("noctus_upkeep_leads"),
    /// Tasks of upkeep that were carried out, by task and result.
    upkeep_runs: IntCounterVec("noctus_upkeep_runs_total", &["task", "result"]),
    /// When a task of upkeep last ended well here, Unix seconds.
    upkeep_last_success: IntGaugeVec("noctus_upkeep_last_success_timestamp_seconds", &["task"]),
    /// Seconds that tasks of upkeep took.
    upkeep_seconds: Histogram("noctus_upkeep_task_seconds", SECONDS),
    /// Dead letters committed, by reason.
    dead_letters: IntCounterVec("noctus_dead_letters_total", &["reason"]),
    /// How long transactions took that were committed: admit (gate), claim and settle (dispatch), write (sink).
    transaction_seconds: HistogramVec("noctus_transaction_seconds", &["transaction"], SHORT_SECONDS),
    /// What a committed transaction was about: records read (admit, write), orders (claim), findings (settle).
    batch_records: HistogramVec("noctus_batch_records", &["transaction"], RECORDS),
    /// How long it took to get a connection to Postgres from the pool.
    pool_wait_seconds: Histogram("noctus_pool_wait_seconds", SHORT_SECONDS),
    /// Connections of the pool, by state: in_use, idle, and max, which is what there may be.
    pool_connections: IntGaugeVec("noctus_pool_connections", &["state"]),
    /// Who waits for a connection now.
    pool_waiting: IntGauge("noctus_pool_waiting"),
    /// 1 if a part of the process is ready, else 0: what /readyz says.
    ready: IntGaugeVec("noctus_ready", &["part"]),
    /// Must stay 0: a guarantee did not hold, by guarantee. Each of them is a line below.
    guarantee_broken: IntCounterVec("noctus_guarantee_broken_total", &["guarantee"]),
    /// 1; the label is the version that runs.
    build: IntGaugeVec("noctus_build_info", &["version"]),
}

impl Metrics {
    /// The series whose first count must be seen as an increase.
    fn stand_at_0(&self) {
        for guarantee in Guarantee::ALL {
            self.guarantee_broken.with_label_values(&[guarantee.as_str()]);
        }
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    }

    /// A guarantee did not hold: counted, and told where a person looks. Nothing is decided by it.
    pub fn broken(&self, guarantee: Guarantee, how: impl std::fmt::Display) {
        tracing::error!(guarantee = guarantee.as_str(), %how, "a guarantee is broken");
        self.guarantee_broken.with_label_values(&[guarantee.as_str()]).inc();
    }

    /// Runs before each scrape: for what is read off rather than counted.
    pub fn before_scrapes(&self, refresh: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.refreshing().push(Box::new(refresh));
    }

    fn refreshing(&self) -> std::sync::MutexGuard<'_, Vec<Refresh>> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> String {
        // Held to the end: of two scrapes at once none sees gauges that the other is setting anew.
        let refreshing = self.refreshing();
        refreshing.iter().for_each(|refresh| refresh(self));
        self.lag.tell(&self.lag_records, &self.lag_seconds, clock::now());
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests;
