//! Upkeep by the sinks themselves: one of them leads, another takes over, what fails is told, files are read again.

use std::path::PathBuf;

use super::role::{Place, Running};
use crate::stack::until;

async fn place() -> Place {
    Place::new(|config| config.upkeep.look_every_ms = 100).await
}

fn leads(sink: &Running) -> i64 {
    sink.metrics.upkeep_leads.get()
}

const LED: &str = "SELECT count(*) FROM obs_upkeep WHERE finished_at IS NOT NULL AND failures = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_sinks_leads_and_the_other_takes_over_when_it_dies_or_loses_its_session() {
    let place = place().await;
    let one = place.sink("one").await;
    until(async || leads(&one), |n| *n == 1).await;
    place.becomes(LED, "7").await; // late_days is due only when rows come late
    let two = place.sink("two").await;
    two.ready().await;
    let whom = "SELECT string_agg(DISTINCT by_whom, ' ') FROM obs_upkeep";
    assert_eq!(place.base.text(whom).await, "one");
    assert_eq!(leads(&two), 0);
    one.crash().await;
    until(async || leads(&two), |n| *n == 1).await;
    // Its session is ended: nobody leads, then it does again. Meanwhile its service levels are put anew.
    let begun = "SELECT count(*) FROM obs_upkeep WHERE task = 'slo_load' AND by_whom = 'two'";
    place.becomes(begun, "1").await;
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'noctus upkeep'";
    let started = "SELECT started_at FROM obs_upkeep WHERE task = 'slo_load'";
    let before = place.base.text(started).await;
    assert_eq!(place.base.text(ended).await, "1", "one session leads, nobody else has one open");
    until(async || place.base.text(started).await, |now| *now != before).await;
    until(async || leads(&two), |n| *n == 1).await;
    two.stop().await;
    let sessions = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'noctus upkeep'";
    place.becomes(sessions, "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_told_so_does_no_upkeep() {
    let place = Place::new(|config| config.upkeep.enabled = false).await;
    let sink = place.sink("one").await;
    place.produce(&place.orders(0, 1).await).await;
    place.becomes("SELECT count(*) FROM obs_do_metrics WHERE final_status = 'FILLED'", "1").await;
    assert_eq!(place.base.text("SELECT count(*) FROM obs_upkeep").await, "0");
    sink.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_again_and_again_is_an_alert_once_and_ends_by_itself() {
    let place = place().await;
    place.base.sql("ALTER MATERIALIZED VIEW obs_latency_daily RENAME TO away").await;
    let sink = place.sink("one").await;
    let told = "SELECT string_agg(policy_name || ' ' || severity || ' ' || (reason LIKE 'latency_daily: %(42P01)'), ',')
                  FROM obs_alerts";
    place.becomes(told, "sink.upkeep_failing HIGH true").await;
    let failures = "SELECT failures > 3 FROM obs_upkeep WHERE task = 'latency_daily'";
    place.becomes(failures, "true").await;
    place.base.sql("ALTER MATERIALIZED VIEW away RENAME TO obs_latency_daily").await;
    place
        .becomes(
            "SELECT failures || coalesce(error, '') FROM obs_upkeep WHERE task = 'latency_daily'",
            "0",
        )
        .await;
    assert_eq!(place.base.text(told).await, "sink.upkeep_failing HIGH true");
    let runs =
        |result| sink.metrics.upkeep_runs.with_label_values(&["latency_daily", result]).get();
    assert!(runs("failed") > 3 && runs("done") >= 1, "{} {}", runs("failed"), runs("done"));
    sink.stop().await;
}

/// A file that is replaced as a whole.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let name =
            format!("noctus-it-slo-{}-{:08x}.yml", std::process::id(), rand::random::<u32>());
        let file = Self(std::env::temp_dir().join(name));
        file.put(text);
        file
    }
    fn put(&self, text: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text).expect("the temporary folder can be written");
        std::fs::rename(&beside, &self.0).expect("it can be replaced");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_changed_service_levels_are_in_force_and_bad_ones_are_told_and_refused() {
    let text = |share: &str| {
        format!("slos: {{mine: {{indicator: failed_share, window: 2h, above: {{page: {share}}}}}}}")
    };
    let file = File::new(&text("0.5"));
    let place = Place::new(|config| {
        config.upkeep.look_every_ms = 100;
        config.slo.file = Some(file.0.clone());
    })
    .await;
    let sink = place.sink("one").await;
    let critical =
        "SELECT string_agg(slo || ' ' || trim_scale(critical), ',') FROM obs_slo WHERE in_force";
    place.becomes(critical, "mine 0.5").await;
    file.put(&text("0.25"));
    place.becomes(critical, "mine 0.25").await;
    file.put("slos: {mine: {indicator: guess}}");
    let told = "SELECT string_agg(policy_name || ' ' || severity || ' ' || (reason LIKE '%must be one of plan_to_exec_ms%'), ',')
                  FROM obs_alerts";
    place.becomes(told, "sink.slo_refused HIGH true").await;
    assert_eq!(place.base.text(critical).await, "mine 0.25");
    file.put(&text("0.125"));
    place.becomes(critical, "mine 0.125").await;
    assert_eq!(
        place.base.text("SELECT count(DISTINCT digest) FROM obs_slo").await,
        "4",
        "every version stays"
    );
    sink.stop().await;
    // At the start a bad file ends the role.
    file.put("slos: 7");
    let ended = noctus::sink::upkeep::slos::SloSource::load(&noctus::runtime::config::SloFile {
        file: Some(file.0.clone()),
    });
    assert!(ended.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_row_of_a_month_that_was_dropped_makes_the_month_again_and_is_no_dead_letter() {
    let place = place().await;
    place.produce(&place.orders(0, 3).await).await;
    let sink = place.sink("one").await;
    let done = "SELECT count(*) FROM obs_do_metrics WHERE final_status = 'FILLED'";
    place.becomes(done, "3").await;
    // The sink knows the month; retention takes it.
    place
        .base
        .sql("DROP TABLE obs_decisions_2025_08, obs_exec_events_2025_08, obs_do_metrics_2025_08")
        .await;
    place.produce(&place.orders(3, 6).await).await;
    place.becomes(done, "3").await;
    place.becomes("SELECT count(*) FROM obs_decisions", "3").await;
    assert_eq!(sink.metrics.sink_refused.with_label_values(&["unstorable"]).get(), 0);
    // And the day is counted again, when no more rows come.
    place.becomes("SELECT traces FROM latency_days WHERE day = '2025-08-23'", "3").await;
    place.becomes("SELECT traces FROM obs_latency_daily WHERE day = '2025-08-23'", "3").await;
    sink.stop().await;
}
