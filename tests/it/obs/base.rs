//! A database of its own on the stack's Postgres, and events made by hand.

use jiff::{SignedDuration, Timestamp};
use noctus::domain::command::{CommandAction, CommandOutcome, CommandStatus};
use noctus::domain::event::{
    Action, Alert, BrokerRef, Decision, EventId, ExecEvent, Fill, InferCall, LatencyMs,
    OrderStatus, PlanRun, PolicyDigests, Severity, Step, Subject as About,
};
use noctus::domain::request::{OrderType, Side, TimeInForce};
use noctus::domain::text::{Account, IdempotencyKey, Symbol, TraceId};
use noctus::pg::{self, obs};
use noctus::sink::project;
use noctus::sink::project::rows::{AlertRow, Row, Rows};
use rust_decimal::Decimal;
use serde_json::json;

use crate::stack::{FreshDatabase, Stack, migrated_database};

/// A database with this build's schema; dropped with its value.
pub struct Base {
    pub pool: pg::Pool,
    pub database: FreshDatabase,
}

impl Base {
    pub async fn new() -> Self {
        let database = migrated_database().await;
        let config = Stack::get().config(&database.url, "").database;
        let pool = pg::connect(&config).await.expect("a pool");
        let base = Self { pool, database };
        // What is tested is what is written, not that the disk was waited for.
        base.sql(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
             END $$",
        )
        .await;
        base.pool.retain(|_, _| false); // sessions that were made before it
        base
    }

    /// Writes rows as the sink does: months, rows, metrics, commit. Returns new rows and repeats by table.
    pub async fn write(&self, rows: Vec<Row>) -> Vec<(&'static str, u64, u64)> {
        let batch = Rows::of(&rows);
        let mut client = self.pool.get().await.expect("a connection");
        obs::Months::default().make(&client, &batch).await.expect("months");
        let tx = client.transaction().await.expect("a transaction");
        let written = obs::write(&tx, &batch).await.expect("rows");
        obs::measure(&tx, &written).await.expect("metrics");
        tx.commit().await.expect("a commit");
        written.tables.iter().map(|c| (c.table, c.new, c.repeats)).collect()
    }

    pub async fn sql(&self, sql: &str) {
        let client = self.pool.get().await.expect("a connection");
        client.batch_execute(sql).await.expect("good SQL");
    }

    /// One text answer; `-` for none.
    pub async fn text(&self, sql: &str) -> String {
        let client = self.pool.get().await.expect("a connection");
        let sql = format!("SELECT coalesce(({sql})::text, '-')");
        client.query_one(&sql, &[]).await.expect("good SQL").get(0)
    }

    /// Every row of every table, as one text.
    pub async fn content(&self) -> String {
        let mut all = String::new();
        for table in TABLES {
            let sql = format!(
                "SELECT string_agg(t, E'\\n' ORDER BY t) FROM (SELECT (to_jsonb(r) - 'ingested_at')::text AS t FROM {table} r) s"
            );
            all.push_str(&format!("{table}\n{}\n", self.text(&sql).await));
        }
        all
    }
}

pub const TABLES: [&str; 7] = [
    "obs_plan_runs",
    "obs_infer_calls",
    "obs_decisions",
    "obs_exec_events",
    "obs_alerts",
    "obs_do_metrics",
    "obs_command_outcomes",
];

/// 2025-08-23T11:00:00Z and so many milliseconds.
pub fn at(ms: i64) -> Timestamp {
    let start: Timestamp = "2025-08-23T11:00:00Z".parse().expect("a time");
    start.checked_add(SignedDuration::from_millis(ms)).expect("a time")
}

pub fn number(text: &str) -> Decimal {
    text.parse().expect("a number")
}

/// The events of one order of a trace: BUY 500 USDJPY, asked at 0.
#[derive(Clone)]
pub struct Order {
    pub trace: TraceId,
    pub key: IdempotencyKey,
}

impl Order {
    pub fn new(trace: &str, key: &str) -> Self {
        let trace = TraceId::new(trace).expect("a trace id");
        Self { trace, key: IdempotencyKey::new(key).expect("a key") }
    }

    pub fn id(&self, kind: &str, ordinal: u32) -> EventId {
        EventId::new(About::Key(&self.key), kind, ordinal)
    }

    pub fn plan(&self, status: &str, at: Timestamp) -> Row {
        project::plan_run(PlanRun {
            event_id: self.id(&format!("plan:{status}"), 0),
            trace_id: self.trace.clone(),
            status: status.into(),
            symbol: Symbol::new("USDJPY").ok(),
            timeframe: Some("1h".into()),
            started_at: at,
            finished_at: None,
            meta: json!({"run": "hourly"}),
        })
        .expect("a row")
    }

    pub fn infer(&self, at: Timestamp) -> Row {
        project::infer_call(InferCall {
            event_id: self.id("infer", 0),
            trace_id: self.trace.clone(),
            model: "Prometheus".into(),
            version: Some("3".into()),
            called_at: at,
            duration_ms: Some(240),
            status: "ok".into(),
            inputs: json!({}),
            outputs: json!({"p_up": "0.61"}),
        })
        .expect("a row")
    }

    pub fn decision_of(&self, action: Action, price: Option<&str>, at: Timestamp) -> Decision {
        Decision {
            event_id: self.id("decision", 0),
            decision_id: format!("d-{}", self.key),
            idempotency_key: self.key.clone(),
            trace_id: self.trace.clone(),
            account: Account::new("main").expect("an account"),
            symbol: Symbol::new("USDJPY").expect("a symbol"),
            action,
            requested_qty: number("700"),
            decided_qty: if action.sends() { number("500") } else { Decimal::ZERO },
            steps: vec![Step {
                rule: "risk.max_order_qty".into(),
                before: number("700"),
                after: number("500"),
                reason: "700 > 500".into(),
            }],
            quality: None,
            score: None,
            strategy_name: None,
            top_candidates: vec![],
            arm: None,
            reason: "risk.max_order_qty: 700 > 500".into(),
            engine_version: "noctus/0.1.0".into(),
            policies: PolicyDigests {
                quality: "a1".repeat(32),
                profiles: "b2".repeat(32),
                risk: "c3".repeat(32),
                instruments: "d4".repeat(32),
            },
            quote: None,
            price: price.map(number),
            unit_value: None,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Gtc,
            requested_at: self::at(0),
            decided_at: at,
            request: json!({"symbol": "USDJPY", "side": "BUY", "qty": "700"}),
            facts: json!({"position": "0"}),
            opening_qty: Some(if action.sends() { number("500") } else { Decimal::ZERO }),
            opening_notional: Some(Decimal::ZERO),
        }
    }

    pub fn decision(&self, action: Action, at: Timestamp) -> Row {
        project::decision(self.decision_of(action, Some("147.252"), at)).expect("a row")
    }

    pub fn step(&self, exec_seq: i32, status: OrderStatus, at: Timestamp) -> ExecEvent {
        let ordinal = exec_seq.unsigned_abs();
        ExecEvent {
            event_id: self.id("exec", ordinal),
            idempotency_key: self.key.clone(),
            exec_seq,
            trace_id: self.trace.clone(),
            order_id: self.key.to_string(),
            account: Account::new("main").expect("an account"),
            symbol: Symbol::new("USDJPY").expect("a symbol"),
            side: Side::Buy,
            qty: number("500"),
            status,
            last_fill: None,
            executed_qty: Decimal::ZERO,
            avg_price: None,
            broker: BrokerRef { name: "paper".into(), order_ref: Some("p-1".into()) },
            reason_code: None,
            latency_ms: LatencyMs {
                queue: Some(12),
                broker_rtt: (exec_seq > 1).then_some(4),
                total: Some(at.as_millisecond() - self::at(0).as_millisecond()),
            },
            at,
            lane_seq: None,
            replaced: None,
        }
    }

    pub fn exec(&self, exec_seq: i32, status: OrderStatus, at: Timestamp) -> Row {
        project::exec_event(self.step(exec_seq, status, at)).expect("a row")
    }

    pub fn filled(&self, exec_seq: i32, price: &str, at: Timestamp) -> Row {
        let fill_id = format!("f-{}-{exec_seq}", self.key);
        let (px, qty) = (number(price), number("500"));
        let fill = Fill { fill_id, px, qty, at };
        let event = self.step(exec_seq, OrderStatus::Filled, at);
        let event =
            ExecEvent { last_fill: Some(fill), executed_qty: qty, avg_price: Some(px), ..event };
        project::exec_event(event).expect("a row")
    }

    pub fn alert_of(&self, rule: &str, at: Timestamp) -> Alert {
        Alert {
            event_id: self.id(&format!("alert:{rule}"), 0),
            trace_id: Some(self.trace.clone()),
            idempotency_key: Some(self.key.clone()),
            policy_name: rule.into(),
            severity: Severity::Medium,
            reason: "700 > 500".into(),
            details: json!({"before": "700", "after": "500"}),
            at,
        }
    }

    pub fn alert(&self, rule: &str, at: Timestamp) -> Row {
        project::alert(self.alert_of(rule, at)).expect("a row")
    }

    /// The outcome of a command that cancels it.
    pub fn commanded(&self, at: Timestamp) -> Row {
        project::command_outcome(CommandOutcome {
            event_id: self.id("command", 0),
            idempotency_key: IdempotencyKey::new(&format!("cancel-{}", self.key)).expect("a key"),
            target_key: self.key.clone(),
            trace_id: self.trace.clone(),
            account: Account::new("main").expect("an account"),
            symbol: Symbol::new("USDJPY").expect("a symbol"),
            action: CommandAction::Cancel,
            status: CommandStatus::Refused,
            reason_code: Some("too_late".into()),
            reason: "the order is FILLED".into(),
            order_status: Some("FILLED".into()),
            qty: None,
            limit_price: None,
            requested_at: at,
            at,
        })
        .expect("a row")
    }

    /// An alert without a trace, as of a refused input.
    pub fn untraced(&self, at: Timestamp) -> Row {
        let Row::Alert(row) = self.alert("ingest.bad_signature", at) else { unreachable!() };
        Row::Alert(AlertRow { trace_id: None, idempotency_key: None, ..row })
    }

    /// All that a filled order causes.
    pub fn everything(&self) -> Vec<Row> {
        vec![
            self.plan("START", at(-3_000)),
            self.infer(at(-1_800)),
            self.plan("END", at(-900)),
            self.decision(Action::Buy, at(30)),
            self.alert("risk.max_order_qty", at(30)),
            self.exec(1, OrderStatus::Sent, at(42)),
            self.exec(2, OrderStatus::Accepted, at(46)),
            self.filled(3, "147.26", at(46)),
        ]
    }
}
