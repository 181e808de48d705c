//! Upkeep: days counted, months made and dropped, by hand and by one of the sinks, killed anywhere.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use noctus::domain::event::Action;
use noctus::pg::upkeep::Session;
use noctus::runtime::config::Config;
use noctus::sink::upkeep::by_hand;
use noctus::sink::upkeep::round::{Desk, Outcome, Task};
use noctus::sink::upkeep::slos::SloSource;

use super::base::{Base, Order, at};
use crate::stack::Stack;

fn config(base: &Base, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Stack::get().config(&base.database.url, "");
    config.upkeep.lock_timeout_ms = 20_000;
    change(&mut config);
    assert_eq!(config.violations(), Vec::<String>::new());
    config
}

async fn upkeep(config: &Config) -> Vec<Outcome> {
    let slos = SloSource::load(&config.slo).expect("good service levels");
    let outcomes = by_hand(Arc::new(config.clone()), "test".into(), &slos, Duration::from_secs(60));
    outcomes.await.expect("Postgres answers").expect("nobody else is at it")
}

/// Every task once, and all of them end well.
async fn done(config: &Config) {
    for outcome in upkeep(config).await {
        assert_eq!(outcome.result, Ok(()), "{}", outcome.task.name());
    }
}

fn kept(tables: &[(&str, &str)]) -> impl FnOnce(&mut Config) {
    let tables: Vec<_> = tables.iter().map(|(t, k)| (t.to_string(), k.to_string())).collect();
    |config| config.upkeep.retention = tables.into_iter().collect()
}

const DAILY: &str =
    "SELECT string_agg(concat_ws(' ', day, p50_ms, p99_ms, traces, executed), ' | ' ORDER BY day)
                       FROM obs_latency_daily";

fn table(name: &str) -> String {
    format!("SELECT coalesce(to_regclass('{name}')::text, 'gone')")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_is_carried_out_by_hand_and_noted() {
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    done(&config(&base, |_| {})).await;
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 1 1");
    let noted = "SELECT string_agg(task, ' ' ORDER BY task) FROM obs_upkeep
                  WHERE finished_at >= started_at AND took_ms >= 0 AND failures = 0 AND error IS NULL
                    AND by_whom = 'test' AND reached IS NOT NULL";
    let wanted =
        "late_days latency_daily latency_days months retention slo_hours slo_load summaries";
    assert_eq!(base.text(noted).await, wanted);
    let ahead = "SELECT count(*) FROM generate_series(0, 2) AS n
                  WHERE to_regclass('obs_alerts_' || to_char(now() AT TIME ZONE 'UTC' + n * interval '1 month', 'YYYY_MM'))
                        IS NOT NULL";
    assert_eq!(base.text(ahead).await, "3");
    // Every day from the first month on has its row; the two newest have none.
    let days = "SELECT concat_ws(' ', min(day), max(day) = (now() AT TIME ZONE 'UTC')::date - 2
                                             OR max(day) = (now() AT TIME ZONE 'UTC')::date - 3,
                                 count(*) = max(day) - min(day) + 1) FROM latency_days";
    assert_eq!(base.text(days).await, "2025-08-01 t t");
}

/// Traces over midnights, with and without stages, one of them long before the others.
const TRACES: &str = "
    SELECT obs_make_month('2025-08-01Z'); SELECT obs_make_month('2025-09-01Z');
    INSERT INTO obs_plan_runs (event_id, trace_id, status, started_at, meta)
    SELECT 'p' || n, 't' || n, 'START', '2025-08-28T00:00Z'::timestamptz + n * interval '617 s', '{}'
      FROM generate_series(1, 1500) n WHERE n % 7 <> 0;
    INSERT INTO obs_decisions (event_id, trace_id, made_at, engine_version, reason, features, decision)
    SELECT 'd' || n, 't' || n, '2025-08-28T00:00Z'::timestamptz + n * interval '617 s' + interval '40 s', 'v', '', '{}',
           '{\"action\": \"BUY\"}' FROM generate_series(1, 1500) n WHERE n % 11 <> 0;
    INSERT INTO obs_exec_events (event_id, trace_id, idempotency_key, exec_seq, sent_at, account, symbol, side, size,
                                 provider, status, order_id, executed_qty, response)
    SELECT 'e' || n || '-' || s, 't' || n, 'k' || n, s,
           '2025-08-28T00:00Z'::timestamptz + n * interval '617 s' + interval '41 s' + (n % 60 + s) * interval '1 s', 'a',
           'USDJPY', 'BUY', 1, 'paper', (ARRAY['SENT','ACCEPTED','FILLED'])[s], 'o', 0, '{}'
      FROM generate_series(1, 1500) n CROSS JOIN generate_series(1, 3) s WHERE n % 13 <> 0;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_are_counted_once_are_what_all_rows_together_give() {
    let base = Base::new().await;
    base.sql(TRACES).await;
    let all = "SELECT string_agg(concat_ws(' ', day, p50_ms, p90_ms, p95_ms, p99_ms, max_ms, traces, executed), E'\\n'
                                 ORDER BY day) FROM ";
    // As it was before days were counted one by one: from every row at once.
    let whole = "(SELECT (coalesce(plan_start, infer_ts, decision_ts, exec_ts) AT TIME ZONE 'UTC')::date AS day,
                         percentile_cont(0.50) WITHIN GROUP (ORDER BY ms_total::float8) AS p50_ms,
                         percentile_cont(0.90) WITHIN GROUP (ORDER BY ms_total::float8) AS p90_ms,
                         percentile_cont(0.95) WITHIN GROUP (ORDER BY ms_total::float8) AS p95_ms,
                         percentile_cont(0.99) WITHIN GROUP (ORDER BY ms_total::float8) AS p99_ms,
                         max(ms_total::float8) AS max_ms, count(*) AS traces, count(exec_ts) AS executed
                    FROM obs_trace_latency GROUP BY 1) AS whole";
    let wanted = base.text(&format!("{all}{whole}")).await;
    assert_eq!(wanted.lines().count(), 11, "{wanted}");
    let now = "REFRESH MATERIALIZED VIEW CONCURRENTLY obs_latency_daily";
    base.sql(now).await;
    assert_eq!(
        base.text(&format!("{all}obs_latency_daily")).await,
        wanted,
        "nothing is counted yet"
    );
    done(&config(&base, |_| {})).await;
    assert_eq!(base.text("SELECT count(*) FROM latency_days WHERE traces > 0").await, "11");
    assert_eq!(base.text(&format!("{all}obs_latency_daily")).await, wanted, "every day is counted");
    base.sql("DELETE FROM latency_days WHERE day >= '2025-09-02'").await;
    base.sql(now).await;
    assert_eq!(base.text(&format!("{all}obs_latency_daily")).await, wanted, "some are");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_which_rows_come_late_is_counted_again() {
    let base = Base::new().await;
    let config = config(&base, |_| {});
    base.write(Order::new("run-1", "order-00001").everything()).await;
    done(&config).await;
    assert_eq!(base.text("SELECT count(*) FROM sink_late_days").await, "0");
    base.write(Order::new("run-2", "order-00002").everything()).await;
    let late = "SELECT string_agg(DISTINCT day::text, ' ') FROM sink_late_days";
    assert_eq!(base.text(late).await, "2025-08-22 2025-08-23 2025-08-24");
    done(&config).await;
    assert_eq!(base.text(late).await, "-");
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 2 2");
    // What happens today is late for nothing.
    let today =
        "SELECT (extract(epoch FROM now() - '2025-08-23T11:00Z'::timestamptz) * 1000)::bigint";
    let ms: i64 = base.text(today).await.parse().expect("a number");
    base.write(vec![Order::new("run-3", "order-00003").decision(Action::Flat, at(ms))]).await;
    assert_eq!(base.text(late).await, "-");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_drops_whole_months_of_the_tables_it_names_and_the_daily_latency_stays() {
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    let two = [("obs_alerts", "13 months"), ("obs_exec_events", "40 days")];
    let config = config(&base, kept(&two));
    done(&config).await;
    for (name, there) in [
        ("obs_alerts_2025_08", false),
        ("obs_exec_events_2025_08", false),
        ("obs_decisions_2025_08", true),
        ("obs_plan_runs_2025_08", true),
    ] {
        let wanted = if there { name } else { "gone" };
        assert_eq!(base.text(&table(name)).await, wanted);
    }
    let dropped = "SELECT string_agg(partition, ' ' ORDER BY partition) FROM retired_months WHERE dropped_at >= noted_at";
    assert_eq!(base.text(dropped).await, "obs_alerts_2025_08 obs_exec_events_2025_08");
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 1 1", "it was counted before");
    // A row that is read again makes its month again. What is left of the day is no day: it is not counted again.
    base.write(Order::new("run-2", "order-00002").everything()).await;
    assert_eq!(base.text(&table("obs_alerts_2025_08")).await, "obs_alerts_2025_08");
    done(&config).await;
    assert_eq!(base.text(&table("obs_alerts_2025_08")).await, "gone");
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 1 1");
    assert_eq!(base.text("SELECT count(*) FROM sink_late_days").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_whose_days_are_not_counted_stays_and_so_does_one_that_is_not_all_too_old() {
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    let month = "SELECT obs_make_month(date_trunc('month', now() - interval '36 days', 'UTC'))";
    base.sql(month).await;
    let all = noctus::pg::upkeep::TABLES.map(|(name, _)| (name, "35 days"));
    let config = Arc::new(config(&base, kept(&all)));
    let mut session = Session::open(&config).await.expect("a session");
    let now = session.now().await.expect("a time");
    let desk = Desk::new(config.clone(), "test".into());
    let old = desk.too_old(session.client(), now).await.expect("an answer");
    let names: Vec<&str> = old.iter().map(|month| month.partition.as_str()).collect();
    let wanted = ["obs_alerts_2025_08", "obs_do_metrics_2025_08", "obs_command_outcomes_2025_08"];
    assert_eq!(names[..3], wanted, "of tables that days are counted from none");
    assert!(
        names
            .iter()
            .all(|n| !noctus::pg::upkeep::TABLES[..4].iter().any(|(t, _)| n.starts_with(t))),
        "{names:?}"
    );
    // However the calendar stands: no partition with a moment in it that is younger than the limit.
    let limit = noctus::sink::upkeep::calendar::Keep::Days(35).limit(now);
    assert!(old.iter().all(|month| month.until <= limit), "{old:?}");
    drop(session);
    done(&config).await;
    let left = "SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \\('([^']+)'$$)::timestamptz)
                       > now() - interval '35 days'
                  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent::regclass::text LIKE 'obs_%'
                   AND c.relkind = 'r'";
    assert_eq!(base.text(left).await, "true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_the_middle_of_a_month_goes_on_and_the_month_goes_later() {
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    let alerts = [("obs_alerts", "13 months")];
    let hasty = config(&base, |config| {
        kept(&alerts)(config);
        config.upkeep.lock_timeout_ms = 200;
    });
    let mut client = base.pool.get().await.unwrap();
    let reading = client.transaction().await.unwrap();
    let count = "SELECT count(*) FROM obs_alerts";
    assert_eq!(reading.query_one(count, &[]).await.unwrap().get::<_, i64>(0), 1);
    let outcomes = upkeep(&hasty).await;
    let retention = outcomes.into_iter().find(|o| o.task == Task::Retention).expect("it is a task");
    let failed = retention.result.expect_err("somebody reads");
    assert!(failed.why.contains("lock timeout (55P03)") && failed.in_a_row == 1, "{failed:?}");
    // The month is on its way out already; nobody waits for that.
    reading.query_one(count, &[]).await.expect("an answer");
    // Meanwhile rows of other months are written.
    let later = Order::new("run-2", "order-00002").alert("risk.max_order_qty", at(40 * 86_400_000));
    base.write(vec![later]).await;
    reading.commit().await.unwrap();
    drop(client);
    let error = "SELECT failures || ' ' || (error LIKE '%lock timeout%') FROM obs_upkeep WHERE task = 'retention'";
    assert_eq!(base.text(error).await, "1 true");
    done(&config(&base, kept(&alerts))).await;
    assert_eq!(base.text(&table("obs_alerts_2025_08")).await, "gone");
    assert_eq!(base.text("SELECT failures FROM obs_upkeep WHERE task = 'retention'").await, "0");
}

/// `noctus maintain` as a process, with alerts kept for 13 months if `keeps`, told to die at a point.
fn maintain(base: &Base, args: &[&str], keeps: bool, crash: &str) -> Output {
    let mut noctus = assert_cmd::Command::cargo_bin("noctus").expect("it is built");
    noctus.arg("maintain").args(args).args(["--database", &base.database.url, "--log", "warn"]);
    noctus.env("NOCTUS_UPKEEP__LOCK_TIMEOUT_MS", "20000");
    if keeps {
        noctus.env("NOCTUS_UPKEEP__RETENTION__OBS_ALERTS", "13 months");
    }
    if !crash.is_empty() {
        noctus.env("NOCTUS_CRASH", crash);
    }
    noctus.output().expect("it can be started")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_any_two_steps_the_next_one_goes_on() {
    use std::os::unix::process::ExitStatusExt as _;
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    let alerts = "obs_alerts_2025_08";
    let is_partition = format!("SELECT relispartition FROM pg_class WHERE relname = '{alerts}'");
    let killed = |point: &str| {
        let out = maintain(&base, &[], true, &format!("{point}:1"));
        assert_eq!(
            out.status.signal(),
            Some(9),
            "{point}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    let whole = |keeps| {
        let out = maintain(&base, &[], keeps, "");
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    };
    killed("sink/upkeep-refreshed");
    let unfinished = "SELECT finished_at IS NULL FROM obs_upkeep WHERE task = 'latency_daily'";
    assert_eq!(base.text(unfinished).await, "true");
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 1 1");
    killed("sink/upkeep-noted");
    assert_eq!(base.text(&is_partition).await, "true");
    // It is to be kept after all.
    whole(false);
    assert_eq!(base.text(&is_partition).await, "true");
    assert_eq!(base.text("SELECT count(*) FROM retired_months").await, "0");
    killed("sink/upkeep-detached");
    assert_eq!(base.text(&is_partition).await, "false");
    // What was detached goes, also when nothing is to be dropped any more; what somebody else has detached stays.
    base.sql("SELECT obs_make_month('2025-07-01Z'); ALTER TABLE obs_alerts DETACH PARTITION obs_alerts_2025_07").await;
    whole(false);
    assert_eq!(base.text(&table(alerts)).await, "gone");
    assert_eq!(base.text(&table("obs_alerts_2025_07")).await, "obs_alerts_2025_07");
    assert_eq!(base.text(DAILY).await, "2025-08-23 3042 3042 1 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    let base = Base::new().await;
    base.write(Order::new("run-1", "order-00001").everything()).await;
    let out = maintain(&base, &["--dry-run"], true, "");
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let told = String::from_utf8(out.stdout).expect("text");
    assert!(told.contains("months to drop    obs_alerts_2025_08 (before 2025-09-01)\n"), "{told}");
    assert!(told.contains("days to count     2025-08-01 to "), "{told}");
    assert_eq!(base.text(&table("obs_alerts_2025_08")).await, "obs_alerts_2025_08");
    assert_eq!(base.text("SELECT count(*) FROM obs_upkeep").await, "0");
    let out = maintain(&base, &["--json"], true, "");
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(told.as_array().map(Vec::len), Some(Task::ALL.len()));
    assert!(told.as_array().unwrap().iter().all(|task| task["error"].is_null()), "{told}");
    let again = maintain(&base, &["--dry-run", "--json"], true, "");
    let told: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(
        [&told["months"], &told["drops"]].map(|list| list.as_array().map(Vec::len)),
        [Some(0); 2]
    );
    assert!(told["days"].is_null(), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_at_a_time_and_by_hand_one_waits_for_who_is_at_it() {
    let base = Base::new().await;
    let config = config(&base, |_| {});
    let one = Session::open(&config).await.expect("a session");
    let two = Session::open(&config).await.expect("a session");
    assert!(one.lead().await.unwrap());
    assert!(!two.lead().await.unwrap());
    assert!(one.begin().await.unwrap());
    let slos = SloSource::load(&config.slo).expect("good service levels");
    let hasty = by_hand(Arc::new(config.clone()), "test".into(), &slos, Duration::from_millis(300));
    assert!(hasty.await.expect("Postgres answers").is_none(), "the work is another one's");
    one.end().await.unwrap();
    done(&config).await; // the lead is no hindrance
    drop(one);
    crate::stack::until(async || two.lead().await.unwrap(), |leads| *leads).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_that_are_counted_and_those_that_are_not_give_the_same_together() {
    let base = Base::new().await;
    base.sql(&super::slo::orders("now() - interval '20 days' + n * interval '7 minutes'", 4_000))
        .await;
    let month = "SELECT final || ' ' || failed || ' ' || last_failed_trace || ' ' || (first_failed_at IS NOT NULL)
                   FROM obs_slo_orders(date_trunc('hour', now() - interval '30 days'), now())";
    let wanted = base.text(month).await;
    assert!(wanted.starts_with("4000 40 t-"), "{wanted}");
    let config = config(&base, |_| {});
    done(&config).await;
    let counted = "SELECT sum(final) BETWEEN 3900 AND 4000 AND count(*) > 400 FROM obs_slo_hours";
    assert_eq!(base.text(counted).await, "true");
    assert_eq!(base.text(month).await, wanted);
    // An order of yesterday fails late: its hour is counted anew with the next ones.
    base.sql(
        "UPDATE obs_do_metrics SET final_status = 'PARKED'
          WHERE event_id = (SELECT event_id FROM obs_do_metrics WHERE first_at > now() - interval '40 hours'
                               AND final_status = 'FILLED' ORDER BY first_at LIMIT 1)",
    )
    .await;
    done(&config).await;
    assert!(base.text(month).await.starts_with("4000 41 t-"));
}
