//! The obs_* tables by name: what a row of each says. A column that says when or by whom a row was written is none of these.

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The column of the event's own time.
    pub time: &'static str,
    /// What a row says, by the names that its row has in `sink::project::rows`.
    pub columns: &'static str,
}

/// Every table, `obs_do_metrics` last: it follows from others.
pub const TABLES: [Table; 7] = [
    Table {
        name: "obs_plan_runs",
        time: "started_at",
        columns: "event_id, trace_id, status, symbol, timeframe, started_at, finished_at, meta",
    },
    Table {
        name: "obs_infer_calls",
        time: "called_at",
        columns: "event_id, trace_id, model, version, called_at, duration_ms, status, inputs, outputs",
    },
    Table {
        name: "obs_decisions",
        time: "made_at",
        columns: "event_id, trace_id, made_at, engine_version, strategy_name, score, reason, price, features, decision",
    },
    Table {
        name: "obs_exec_events",
        time: "sent_at",
        columns: "event_id, trace_id, idempotency_key, exec_seq, sent_at, account, symbol, side, size, provider, status,
                  order_id, executed_qty, avg_price, reason_code, queue_ms, broker_rtt_ms, total_ms, response",
    },
    Table {
        name: "obs_alerts",
        time: "created_at",
        columns: "event_id, trace_id, idempotency_key, policy_name, severity, reason, details, created_at",
    },
    Table {
        name: "obs_command_outcomes",
        time: "decided_at",
        columns: "event_id, trace_id, decided_at, idempotency_key, target_key, account, symbol, action, status,
                  reason_code, reason, order_status, qty, limit_price, requested_at",
    },
    Table {
        name: "obs_do_metrics",
        time: "first_at",
        columns: "event_id, trace_id, idempotency_key, symbol, child_orders, retry_counts, partial_fills, requested_qty,
                  filled_qty, slippage, queue_ms, broker_rtt_ms, total_ms, final_status, first_at",
    },
];

/// The table of this name, if it is one of ours.
pub fn named(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}
