//! Objectives that are violated, and the heartbeat.

use noctus::domain::event::Severity;

use super::receiver::{Mood, Receiver};
use super::{Desk, condition, routes, says, until};

/// In place of the view, so that a test says what it shows.
const VIEW: &str = "CREATE TABLE obs_slo_violations_24h (slo text, \"window\" text, observed numeric, threshold numeric, severity text,
        samples bigint, first_at timestamptz, last_at timestamptz, worst_trace_id text)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violation_is_told_when_it_is_shown_when_it_is_worse_and_when_it_is_gone_and_is_an_alert()
{
    let mut desk = Desk::new("slo_clear_s: 1").await;
    desk.line.sql(VIEW).await;
    let row = "INSERT INTO obs_slo_violations_24h VALUES ('p95_total', '24h', 12000, 10000, 'warn', 57, now(), now(), 't-9')";
    desk.line.sql(row).await;
    let notify = desk.notify(&[]);
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    desk.line
        .sql("UPDATE obs_slo_violations_24h SET severity = 'critical', observed = 16000")
        .await;
    until(async || desk.pager.taken().len(), |n| *n == 2).await;
    // A view that cannot be read shows nothing, and nothing ends by that.
    desk.line.sql("ALTER TABLE obs_slo_violations_24h RENAME COLUMN samples TO away").await;
    notify.answers(503, "notify-slo").await;
    desk.line.sql("ALTER TABLE obs_slo_violations_24h RENAME COLUMN away TO samples").await;
    notify.answers(200, "ready").await;
    desk.line.sql("DELETE FROM obs_slo_violations_24h").await;
    until(async || desk.pager.taken().len(), |n| *n == 3).await;
    desk.rest().await;
    let got = desk.pager.got();
    let told: Vec<String> = got.iter().map(says).collect();
    assert_eq!(told, ["slo.p95_total open", "slo.p95_total update", "slo.p95_total resolved"]);
    let about = condition(&got[0]);
    assert_eq!(about["subject"], "window=24h");
    assert_eq!(about["reason"], "p95_total: 12000, allowed is 10000, over 24h (57 samples)");
    assert_eq!(about["trace_id"], "t-9");
    // Two alerts on the topic, read back by notify, and no third message of them.
    desk.line.until("SELECT count(*) FROM owed_events", "0").await;
    assert_eq!(desk.line.event_ids("alerts").len(), 2);
    desk.line.read_to_the_end("notify", &["alerts"]).await;
    assert_eq!(desk.line.ask("SELECT count(*) FROM notify_conditions").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heart_beats_while_all_is_well_and_only_then() {
    let mut desk = Desk::new("give_up_s: 60").await;
    let (watch, probe) = (Receiver::start().await, Receiver::start().await);
    probe.is(Mood::Answers(503, None));
    let beat = format!(
        "heartbeat: {{ every_s: 5, allow_http: true, allow_private: true, probes: [\"{}/readyz\"] }}\n",
        probe.url
    );
    desk.route(&(routes(&desk.pager, "give_up_s: 60") + &beat));
    let url = format!("{}/ping", watch.url);
    let notify = desk.notify(&[("NOCTUS_NOTIFY_HEARTBEAT_URL", url.as_str())]);
    until(async || probe.got().len(), |n| *n >= 1).await;
    notify.answers(200, "ready").await;
    assert_eq!(watch.got().len(), 0, "a role that is not ready keeps the heart from beating");
    probe.is(Mood::Answers(200, None));
    until(async || watch.got().len(), |n| *n >= 1).await;
    desk.fire_one("risk.rate", "USDJPY", Severity::High).await;
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    assert_eq!(watch.got()[0].path, "/ping");
}
