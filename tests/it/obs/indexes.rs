//! The indexes of the obs_* tables: each has somebody who uses it. And the version of what dashboards read.

use std::collections::BTreeMap;

use super::base::Base;

/// Index and who uses it.
const REASONS: &[(&str, &str)] = &[
    ("obs_alerts_pkey", "an event that is said again is one row"),
    ("obs_alerts_time", "dashboards: alerts of a day"),
    ("obs_alerts_trace", "obs_trace_timeline, explain"),
    ("obs_command_outcomes_pkey", "an event that is said again is one row"),
    ("obs_command_outcomes_trace", "obs_trace_timeline, explain"),
    ("obs_decisions_pkey", "an event that is said again is one row"),
    (
        "obs_decisions_time",
        "obs_latency_daily, policy what-if, dashboards: what the gate took away today",
    ),
    (
        "obs_decisions_trace",
        "obs_trace_timeline, obs_trace_latency, explain; the sink looks up an order's price",
    ),
    ("obs_do_metrics_pkey", "an order's row is rewritten; explain"),
    ("obs_do_metrics_time", "obs_slo_status, dashboards: what orders cost this week"),
    (
        "obs_exec_events_idempotency_key_exec_seq_sent_at_key",
        "one row per step; the sink measures an order; explain",
    ),
    ("obs_exec_events_pkey", "an event that is said again is one row"),
    ("obs_exec_events_time", "obs_slo_status, obs_latency_daily"),
    ("obs_exec_events_trace", "obs_trace_timeline, obs_trace_latency, explain"),
    ("obs_infer_calls_pkey", "an event that is said again is one row"),
    ("obs_infer_calls_time", "obs_latency_daily"),
    ("obs_infer_calls_trace", "obs_trace_timeline, obs_trace_latency"),
    ("obs_latency_daily_day", "REFRESH MATERIALIZED VIEW CONCURRENTLY"),
    ("obs_plan_runs_pkey", "an event that is said again is one row"),
    ("obs_plan_runs_time", "obs_slo_status, obs_latency_daily"),
    ("obs_plan_runs_trace", "obs_trace_timeline, obs_trace_latency"),
    ("obs_slo_hours_pkey", "obs_slo_status: hours of a window"),
    ("obs_slo_pkey", "a service level stands once in a version"),
    ("obs_upkeep_pkey", "one row a task"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_index_is_used_by_something() {
    let base = Base::new().await;
    let sql = "SELECT string_agg(x.relname, ' ' ORDER BY x.relname COLLATE \"C\")
                 FROM pg_class x JOIN pg_index i ON i.indexrelid = x.oid JOIN pg_class c ON c.oid = i.indrelid
                WHERE c.relname LIKE 'obs\\_%' AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace";
    let wanted: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        base.text(sql).await.split(' ').collect::<Vec<_>>(),
        wanted,
        "say what a new index is for"
    );
}

/// Every month has the indexes of its table, made by attaching it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_that_is_made_has_the_indexes_of_its_table() {
    let base = Base::new().await;
    base.sql("SELECT obs_make_month('2025-08-01Z')").await;
    let sql = "SELECT string_agg(c.relname || ' ' || n.of_month, ', ')
                 FROM pg_class c
                 JOIN LATERAL (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) AS t (of_table) ON true
                 JOIN LATERAL (SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(c.relname || '_2025_08')) AS n (of_month) ON true
                WHERE c.relname LIKE 'obs\\_%' AND c.relkind = 'p' AND t.of_table <> n.of_month";
    assert_eq!(base.text(sql).await, "-");
}

/// What dashboards may rely on, with its version: whoever changes one changes the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dashboards_read_has_a_version_that_changes_with_it() {
    let base = Base::new().await;
    let client = base.pool.get().await.unwrap();
    let sql = "SELECT c.relname::text, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                 FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                WHERE c.relname LIKE 'obs\\_%' AND c.relkind IN ('p','v','m','r') AND NOT c.relispartition
                  AND c.relnamespace = 'public'::regnamespace GROUP BY 1";
    let rows = client.query(sql, &[]).await.unwrap();
    let all: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut told = format!("version {}\n", base.text("SELECT obs_api_version()").await);
    all.iter().for_each(|(name, columns)| told.push_str(&format!("{name}: {columns}\n")));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/obs/snapshots/api.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &told).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        known == told,
        "tables or views have changed. Give obs_api_version() another answer in the migration, as docs/tables.md says \
         (columns more: the minor number; others gone or changed: the major one), then UPDATE=1 for this test:\n{told}"
    );
}
