//! Killed in the middle of telling, at both crash points and at random; frozen and replaced.

use std::time::Duration;

use noctus::domain::event::Severity;

use super::receiver::Mood;
use super::{Desk, says, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_killed_before_and_after_the_call_a_change_is_told_once_under_one_id() {
    let mut desk = Desk::new("give_up_s: 600").await;
    let mut calls = 0;
    for (point, arrived) in [("notify/before-post:1", 0), ("notify/after-post:1", 1)] {
        let mut doomed = desk.notify(&[("NOCTUS_CRASH", point)]);
        let symbol = if arrived == 0 { "BEFORE" } else { "AFTER" };
        desk.fire_one("do.parked", symbol, Severity::Critical).await;
        assert_eq!(doomed.ended().await.code(), None, "it was killed at {point}");
        assert_eq!(desk.pager.got().len(), calls + arrived, "{point}");
        assert_eq!(
            desk.line.ask("SELECT count(*) FROM notify_messages WHERE state = 'SENDING'").await,
            "1"
        );
        let mut next = desk.notify(&[]);
        desk.rest().await;
        calls += arrived + 1;
        assert_eq!(desk.pager.got().len(), calls, "{point}");
        assert!(next.stop().success());
    }
    assert_eq!(desk.pager.changes().len(), 2, "two changes, each in one message");
    let got = desk.pager.got();
    assert_eq!(
        (got[1].id(), &got[1].raw),
        (got[2].id(), &got[2].raw),
        "the same id and the same bytes"
    );
    desk.ends("DELIVERED", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_slack_which_knows_no_ids_is_told_twice_only_that_something_critical_holds() {
    let mut desk = Desk::new("give_up_s: 600").await;
    for (severity, calls, state) in
        [(Severity::High, 1, "UNKNOWN"), (Severity::Critical, 2, "DELIVERED")]
    {
        let before = desk.ops.got().len();
        let mut doomed = desk.notify(&[("NOCTUS_CRASH", "notify/after-post:1")]);
        desk.fire_one(&format!("do.{}", severity.as_str().to_lowercase()), "SLACK", severity).await;
        assert_eq!(doomed.ended().await.code(), None, "it was killed");
        let mut next = desk.notify(&[]);
        desk.rest().await;
        desk.ends(state, 1).await;
        assert!(next.stop().success());
        assert_eq!(desk.ops.got().len() - before, calls, "{severity:?}");
    }
    let got = desk.ops.got();
    let again: Vec<bool> = got
        .iter()
        .map(|got| String::from_utf8_lossy(&got.raw).contains("may have been sent before"))
        .collect();
    assert_eq!(again, [false, false, true]);
    assert_eq!(got[1].id(), got[2].id());
    assert!(got.iter().all(|got| !String::from_utf8_lossy(&got.raw).contains("<!channel>")));
    assert!(got.iter().all(|got| got.path == "/services/T/B/secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_killed_at_random_while_the_receiver_is_in_any_mood_no_change_is_told_by_two_messages()
{
    let mut desk = Desk::new("give_up_s: 600").await;
    let moods =
        [Mood::Takes, Mood::Answers(500, None), Mood::TakesAndResets, Mood::Resets, Mood::Takes];
    let mut fired = 0;
    for (round, mood) in moods.iter().enumerate() {
        desk.pager.is(mood.clone());
        let mut notify = desk.notify(&[]);
        for n in 0..10 {
            let severity = if n % 3 == 0 { Severity::Critical } else { Severity::High };
            desk.fire_one("risk.rate", &format!("R{round}N{n}"), severity).await;
            fired += 1;
        }
        let calls = desk.pager.got().len();
        until(async || desk.pager.got().len(), |n| *n > calls).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..400))).await;
        notify.kill();
    }
    desk.pager.is(Mood::Takes);
    let _last = desk.notify(&[]);
    desk.rest().await;
    let opened: u64 =
        desk.pager.taken().values().filter_map(|got| got.body["data"]["opened"].as_u64()).sum();
    assert_eq!(opened, fired, "every change was told in one message");
    desk.pager.changes();
    let untold = "SELECT count(*) FROM notify_messages WHERE state <> 'DELIVERED'";
    assert_eq!(desk.line.ask(untold).await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_a_second_process_takes_over_from_one_that_is_frozen_and_the_frozen_one_tells_nothing_more()
 {
    let mut desk = Desk::new("give_up_s: 600").await;
    let one = desk.notify(&[]);
    desk.fire_one("do.first", "A", Severity::Critical).await;
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    let two = desk.notify(&[]);
    two.answers(200, "ready").await;
    assert_eq!(one.metric("noctus_notify_leads").await, 1.0);
    assert_eq!(two.metric("noctus_notify_leads").await, 0.0);
    one.freeze();
    two.counts("noctus_notify_leads", 1.0).await;
    desk.fire_one("do.second", "A", Severity::Critical).await;
    // The group gives the frozen one's partitions away after a while.
    desk.rest().await;
    until(async || desk.pager.taken().len(), |n| *n == 2).await;
    one.wake();
    one.counts("noctus_notify_leads", 0.0).await;
    desk.fire_one("do.third", "A", Severity::Critical).await;
    desk.rest().await;
    let told: Vec<String> = desk.pager.got().iter().map(says).collect();
    assert_eq!(told, ["do.first open", "do.second open", "do.third open"]);
}
