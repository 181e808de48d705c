//! Service levels: what the views say of rows made for it, and `noctus slo`.

use std::process::Output;

use noctus::domain::event::Severity;
use noctus::domain::policy::slo::Slos;
use noctus::pg::slo;

use super::base::Base;

/// Rows of `obs_do_metrics`: orders 1 to `count`, order n sent at `at` (SQL), every hundredth REJECTED.
pub(super) fn orders(at: &str, count: u32) -> String {
    format!(
        "SELECT obs_make_month(m) FROM generate_series(now() - interval '40 days', now() + interval '1 day', '10 days') AS m;
         INSERT INTO obs_do_metrics (event_id, trace_id, idempotency_key, symbol, child_orders, retry_counts, partial_fills,
                                     requested_qty, filled_qty, queue_ms, final_status, first_at)
         SELECT 'm' || n || random(), 't-' || n, 'k-' || n, 'USDJPY', 1, 0, 0, 1, 1, 5,
                CASE WHEN n % 100 = 0 THEN 'REJECTED' ELSE 'FILLED' END, {at}
           FROM generate_series(1, {count}) AS n;"
    )
}

/// Traces 1 to `count`, each with a PLAN step and an order that is sent `ms` (SQL) later and accepted `accept` (SQL,
/// milliseconds) after its decision; all within the last hours.
fn traces(count: u32, ms: &str, accept: &str) -> String {
    format!(
        "SELECT obs_make_month(m) FROM generate_series(now() - interval '40 days', now() + interval '1 day', '10 days') AS m;
         INSERT INTO obs_plan_runs (event_id, trace_id, status, started_at, meta)
         SELECT 'p' || n, 't-' || n, 'START', now() - interval '2 hours' + n * interval '1 s', '{{}}'
           FROM generate_series(1, {count}) AS n;
         INSERT INTO obs_exec_events (event_id, trace_id, idempotency_key, exec_seq, sent_at, account, symbol, side, size,
                                      provider, status, order_id, executed_qty, queue_ms, response)
         SELECT 'e' || n || s, 't-' || n, 'k-' || n, s,
                now() - interval '2 hours' + n * interval '1 s' + ({ms}) * interval '1 ms'
                    + CASE s WHEN 1 THEN interval '0' ELSE ({accept} - 5) * interval '1 ms' END,
                'main', 'USDJPY', 'BUY', 1, 'paper', (ARRAY['SENT','ACCEPTED'])[s], 'o', 0, 5, '{{}}'
           FROM generate_series(1, {count}) AS n CROSS JOIN generate_series(1, 2) AS s;"
    )
}

/// `state observed threshold severity samples worst` of a service level.
async fn of(base: &Base, slo: &str) -> String {
    let sql = format!(
        "SELECT concat_ws(' ', state, coalesce(trim_scale(observed)::text, '-'), trim_scale(threshold), coalesce(severity, '-'),
                          samples, coalesce(worst_trace_id, '-'))
           FROM obs_slo_status WHERE slo = '{slo}'"
    );
    base.text(&sql).await
}

const VIOLATIONS: &str = "SELECT string_agg(concat_ws(' ', slo, \"window\", trim_scale(observed), trim_scale(threshold), severity, samples),
                                            ' | ' ORDER BY slo) FROM obs_slo_violations_24h";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_data_is_a_violation_of_its_own_and_never_a_pass() {
    let base = Base::new().await;
    let wanted = "availability.no_data 30d 0 200 LOW 0 | decision_to_accept_p95.no_data 24h 0 20 LOW 0 | \
                  exec_failures.no_data 24h 0 100 MEDIUM 0 | plan_to_exec_p95.no_data 24h 0 20 LOW 0";
    assert_eq!(base.text(VIOLATIONS).await, wanted);
    let states =
        "SELECT count(*) || ' ' || count(*) FILTER (WHERE state = 'no_data') FROM obs_slo_status";
    assert_eq!(base.text(states).await, "6 6");
    // One sample too few, and all of them bad: it is still not told.
    base.sql(&traces(19, "20000", "10")).await;
    assert_eq!(of(&base, "plan_to_exec_p95").await, "no_data 20000 10000 LOW 19 t-1");
    assert!(base.text(VIOLATIONS).await.contains("plan_to_exec_p95.no_data 24h 19 20 LOW 19"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_from_plan_to_send_is_judged_by_its_95th_percentile() {
    let base = Base::new().await;
    // 100 traces: 1 s, 2 s … are of the last ones; the 95th percentile is between the 95th and the 96th.
    base.sql(&traces(100, "CASE WHEN n > 94 THEN 12000 ELSE 900 END", "10")).await;
    assert_eq!(of(&base, "plan_to_exec_p95").await, "violated 12000 10000 MEDIUM 100 t-100");
    let times =
        "SELECT (last_at - first_at)::text FROM obs_slo_status WHERE slo = 'plan_to_exec_p95'";
    assert_eq!(base.text(times).await, "00:00:05", "those beyond the threshold");
    base.sql("UPDATE obs_exec_events SET sent_at = sent_at + interval '4 s' WHERE trace_id IN ('t-95','t-96','t-97','t-98','t-99','t-100')")
        .await;
    assert_eq!(of(&base, "plan_to_exec_p95").await, "violated 16000 15000 CRITICAL 100 t-100");
    base.sql("UPDATE obs_exec_events SET sent_at = sent_at - interval '15 s' WHERE trace_id IN ('t-95','t-96')").await;
    assert!(
        of(&base, "plan_to_exec_p95").await.starts_with("holds 1"),
        "{}",
        of(&base, "plan_to_exec_p95").await
    );
    // A fill of an order that was sent last week is no trace that was sent now.
    base.sql(
        "INSERT INTO obs_exec_events SELECT 'late', 't-1', 'old', 7, now() - interval '1 hour', account, symbol, side, size,
                provider, 'FILLED', order_id, 1, NULL, NULL, 5, NULL, NULL, response FROM obs_exec_events WHERE event_id = 'e11'",
    )
    .await;
    let samples = "SELECT samples FROM obs_slo_status WHERE slo = 'plan_to_exec_p95'";
    assert_eq!(base.text(samples).await, "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_from_decision_to_acceptance_is_judged_by_its_95th_percentile() {
    let base = Base::new().await;
    base.sql(&traces(40, "1000", "n")).await;
    assert_eq!(of(&base, "decision_to_accept_p95").await, "holds 38.05 300 - 40 t-40");
    base.sql("UPDATE obs_exec_events SET sent_at = sent_at + interval '290 ms' WHERE exec_seq = 2")
        .await;
    assert_eq!(of(&base, "decision_to_accept_p95").await, "violated 328.05 300 MEDIUM 40 t-40");
    // What was not accepted is no sample.
    base.sql(
        "UPDATE obs_exec_events SET status = 'REJECTED' WHERE exec_seq = 2 AND trace_id > 't-2'",
    )
    .await;
    assert!(of(&base, "decision_to_accept_p95").await.starts_with("no_data"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_counted_of_orders_that_were_sent_and_are_over() {
    let base = Base::new().await;
    base.sql(&orders("now() - n * interval '1 s' - interval '7 hours'", 100)).await;
    assert_eq!(of(&base, "exec_failures").await, "holds 0.01 0.01 - 100 t-100");
    // Neither what was never sent, nor what works still.
    base.sql("UPDATE obs_do_metrics SET queue_ms = NULL, final_status = 'EXPIRED' WHERE trace_id = 't-1'").await;
    base.sql("UPDATE obs_do_metrics SET final_status = 'PARTIALLY_FILLED' WHERE trace_id = 't-2'")
        .await;
    assert_eq!(of(&base, "exec_failures").await, "no_data 0.010204 0.01 MEDIUM 98 t-100");
    base.sql(&orders("now() - n * interval '1 s' - interval '7 hours'", 99)).await;
    base.sql("UPDATE obs_do_metrics SET final_status = 'PARKED' WHERE trace_id = 't-3'").await;
    assert_eq!(of(&base, "exec_failures").await, "violated 0.015228 0.01 MEDIUM 197 t-3");
    base.sql("UPDATE obs_do_metrics SET final_status = 'EXPIRED' WHERE trace_id IN ('t-4','t-5')")
        .await;
    assert_eq!(of(&base, "exec_failures").await, "violated 0.035533 0.03 CRITICAL 197 t-3");
    assert_eq!(of(&base, "availability").await, "no_data 0.964467 0.995 LOW 197 t-3");
    base.sql("UPDATE obs_do_metrics SET first_at = first_at - interval '31 days'").await;
    assert_eq!(of(&base, "availability").await, "no_data - 0.995 LOW 0 -", "31 days ago is not 30");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_burns_when_both_windows_burn() {
    let base = Base::new().await;
    // One of a hundred fails: twice what is allowed.
    base.sql(&orders("now() - interval '50 minutes' + n * interval '6 s'", 300)).await;
    assert_eq!(
        of(&base, "availability.burn_1h").await,
        "holds 0 14.4 - 300 t-300",
        "the last five minutes are quiet"
    );
    assert_eq!(of(&base, "availability").await, "violated 0.99 0.995 HIGH 300 t-300");
    base.sql(&orders("now() - interval '4 minutes' + n * interval '1 s'", 30)).await;
    base.sql("UPDATE obs_do_metrics SET final_status = 'EXPIRED' WHERE first_at > now() - interval '5 minutes'").await;
    // 33 of 330 are 10 %, of 0.5 % that are allowed.
    assert_eq!(of(&base, "availability.burn_1h").await, "violated 20 14.4 CRITICAL 330 t-30");
    assert_eq!(of(&base, "availability.burn_6h").await, "violated 20 6 MEDIUM 330 t-30");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_promises_what_the_shipped_file_does_and_versions_stay() {
    let base = Base::new().await;
    let rows =
        "SELECT string_agg((to_jsonb(s) - 'digest' - 'loaded_at')::text, E'\\n' ORDER BY slo)
                  FROM obs_slo s WHERE in_force";
    let seeded = base.text(rows).await;
    let mut client = base.pool.get().await.unwrap();
    assert!(slo::put(&mut client, &Slos::default()).await.unwrap());
    assert!(!slo::put(&mut client, &Slos::default()).await.unwrap(), "they are in force");
    assert_eq!(base.text(rows).await, seeded);
    let other =
        Slos::parse("f", "slos: {mine: {indicator: failed_share, window: 2h, above: {page: 0.5}}}")
            .unwrap();
    assert!(slo::put(&mut client, &other).await.unwrap());
    let status = slo::status(&client).await.unwrap();
    assert_eq!(status.iter().map(|s| s.slo.as_str()).collect::<Vec<_>>(), ["mine"]);
    assert!(slo::put(&mut client, &Slos::default()).await.unwrap(), "back again");
    assert_eq!(base.text(rows).await, seeded);
    let versions = "SELECT count(DISTINCT digest) || ' ' || count(*) FROM obs_slo";
    assert_eq!(base.text(versions).await, "3 13");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_severity_mean_the_same_in_sql() {
    let base = Base::new().await;
    for word in [
        "info", "low", "warn", "Warning", "medium", "error", "HIGH", "critical", "page",
        "whatever", "",
    ] {
        let sql = format!("SELECT obs_severity('{word}')");
        assert_eq!(base.text(&sql).await, Severity::read(word).as_str(), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_may_look_at_service_levels_and_at_nothing_that_they_are_not_made_of() {
    let base = Base::new().await;
    base.sql(&orders("now() - n * interval '1 s'", 10)).await;
    let mut client = base.pool.get().await.unwrap();
    let tx = client.transaction().await.unwrap();
    tx.batch_execute("SET LOCAL ROLE noctus_reader").await.unwrap();
    let rows = tx.query("SELECT * FROM obs_slo_violations_24h", &[]).await.unwrap();
    assert_eq!(rows.len(), 4);
    tx.query("SELECT * FROM obs_latency_daily, obs_upkeep, obs_api_version()", &[]).await.unwrap();
    tx.query("SELECT * FROM retired_months", &[]).await.expect_err("it is none of theirs");
}

fn noctus(base: &Base, args: &[&str]) -> (Option<i32>, String, String) {
    let mut noctus = assert_cmd::Command::cargo_bin("noctus").expect("it is built");
    let out: Output =
        noctus.args(args).args(["--database", &base.database.url]).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_what_is_promised_and_ends_with_1_unless_it_holds() {
    let base = Base::new().await;
    base.sql(&orders("now() - n * interval '1 s'", 400)).await;
    let (code, told, err) = noctus(&base, &["slo"]);
    assert_eq!(code, Some(1), "{err}");
    let first = told.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let wanted = [
        "availability",
        "30d",
        "0.99",
        "≥",
        "0.995",
        "400",
        "of",
        "200",
        "t-100",
        "violated",
        "HIGH",
    ];
    assert_eq!(first, wanted, "{told}");
    assert!(!told.contains('\u{1b}'), "no colours in a pipe");
    let (code, told, _) = noctus(&base, &["slo", "--json"]);
    assert_eq!(code, Some(1));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told.as_array().map(Vec::len), Some(6));
    assert_eq!(told[0]["slo"], "availability");
    // Only what holds.
    let mut client = base.pool.get().await.unwrap();
    let text = "slos: {mine: {indicator: failed_share, window: 2h, above: {page: 0.5}}}";
    slo::put(&mut client, &Slos::parse("f", text).unwrap()).await.unwrap();
    let (code, told, _) = noctus(&base, &["slo"]);
    assert_eq!(code, Some(0), "{told}");
    slo::put(&mut client, &Slos::parse("f", "slos: {}").unwrap()).await.unwrap();
    let (code, told, _) = noctus(&base, &["slo"]);
    assert_eq!((code, told.contains("nothing is promised")), (Some(0), true), "{told}");
}

#[test]
fn f43_a_file_of_service_levels_is_checked_as_a_whole() {
    let (code, told) = crate::judge::noctus(&["slo", "check", "configs/slo.yml"], "");
    assert_eq!(code, 0, "{told}");
    assert!(
        told.starts_with("configs/slo.yml: good, digest ")
            && told.contains("above MEDIUM 10000, CRITICAL 15000"),
        "{told}"
    );
    let (code, told) = crate::judge::noctus(&["slo", "check", "configs/risk_policy.yml"], "");
    assert_eq!(code, 1);
    assert!(
        told.contains("configs/risk_policy.yml:2:1: default: unknown key; known are slos"),
        "{told}"
    );
    assert!(told.ends_with("3 violation(s)\n"), "{told}");
}

#[test]
fn the_committed_schema_is_what_the_command_prints_and_takes_the_shipped_file() {
    let (code, printed) = crate::judge::noctus(&["slo", "schema"], "");
    assert_eq!(code, 0);
    let path = "configs/schema/slo.json";
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == printed,
        "{path} is out of date; make it with: noctus slo schema > {path}"
    );
    let schema: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let validator = jsonschema::draft7::options().build(&schema).expect("it is a good schema");
    let is_taken = |text: &str| {
        serde_saphyr::from_str::<serde_json::Value>(text)
            .is_ok_and(|file| validator.is_valid(&file))
    };
    let shipped = noctus::domain::policy::slo::SHIPPED;
    assert!(
        shipped.starts_with("# yaml-language-server: $schema=schema/slo.json\n")
            && is_taken(shipped)
    );
    for bad in [
        "{}",
        "slos: {A: {indicator: failed_share, window: 1h, above: {warn: 0.1}}}",
        "slos: {a: {indicator: x, window: 1h}}",
        "slos: {a: {indicator: failed_share, window: 1y}}",
        "slos: {a: {indicator: failed_share, window: 1h, min_samples: 0}}",
        "slos: {a: {indicator: failed_share, window: 1h, x: 1}}",
        "slos: {a: {indicator: failed_share, window: 1h, above: {}}}",
    ] {
        assert!(!is_taken(bad) && Slos::parse("f", bad).is_err(), "{bad}");
    }
}
