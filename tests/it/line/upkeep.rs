//! Upkeep by sinks as processes: killed where it matters, stopped and woken; another one goes on.

use super::Line;

async fn line(look_every_ms: u64) -> Line {
    Line::new(1, |config| {
        config.upkeep.look_every_ms = look_every_ms;
        config.upkeep.retention = [("obs_alerts".to_string(), "35 days".to_string())].into();
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_killed_in_the_middle_of_upkeep_is_replaced_and_the_work_is_ended() {
    let mut line = line(150).await;
    line.ask("SELECT obs_make_month('2020-01-01T00:00Z')").await;
    let month = "SELECT coalesce(to_regclass('obs_alerts_2020_01')::text, 'gone')";
    let unfinished =
        "SELECT count(*) FROM obs_upkeep WHERE task = 'latency_daily' AND finished_at IS NULL";
    for (point, left) in [
        ("sink/upkeep-refreshed:1", unfinished),
        ("sink/upkeep-noted:1", "SELECT count(*) FROM retired_months WHERE dropped_at IS NULL"),
        (
            "sink/upkeep-detached:1",
            "SELECT count(*) FROM pg_class WHERE relname = 'obs_alerts_2020_01' AND NOT relispartition",
        ),
    ] {
        let mut sink = line.start_with("sink", &[("NOCTUS_CRASH", point)]);
        let ended = sink.ended().await;
        assert!(!ended.success(), "{point}: {ended}\n{}", sink.log());
        assert_eq!(line.ask(left).await, "1", "{point}");
        assert_eq!(line.ask(month).await, "obs_alerts_2020_01", "{point}");
    }
    let mut sink = line.start("sink");
    line.until(month, "gone").await;
    line.until(unfinished, "0").await;
    line.until("SELECT count(*) FROM retired_months WHERE dropped_at IS NULL", "0").await;
    let months = "SELECT count(*) > 0 FROM pg_inherits WHERE inhparent = 'obs_decisions'::regclass
                     AND inhrelid::regclass::text = 'obs_decisions_2020_01'";
    assert_eq!(line.ask(months).await, "t", "a table that is not named keeps its months");
    assert!(sink.stop().success(), "{}", sink.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_stopped_loses_the_lead_and_follows_when_it_wakes() {
    // Twelve looks of silence end a session: only who is stopped is silent for so long.
    let mut line = line(1_000).await;
    let led_by =
        "SELECT by_whom FROM obs_upkeep WHERE task = 'slo_load' AND finished_at IS NOT NULL";
    let mut one = line.start("sink");
    line.until(
        "SELECT count(*) FROM obs_upkeep WHERE task = 'slo_load' AND finished_at IS NOT NULL",
        "1",
    )
    .await;
    let first = line.ask(led_by).await;
    let mut two = line.start("sink");
    let sessions = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'noctus upkeep'";
    line.until(sessions, "2").await;
    assert_eq!(line.ask(led_by).await, first, "one leads, the other waits");
    one.freeze();
    let other = format!("SELECT by_whom <> '{first}' FROM obs_upkeep WHERE task = 'slo_load'");
    line.until(&other, "t").await;
    let second = line.ask(led_by).await;
    one.wake();
    line.until(sessions, "2").await;
    assert_eq!(line.ask(led_by).await, second, "it follows");
    for sink in [&mut one, &mut two] {
        assert!(sink.stop().success(), "{}", sink.log());
    }
}
