//! Who is told of what, when all is well and when the receiver is not.

use noctus::domain::event::Severity;
use serde_json::Value;

use super::receiver::{Mood, Receiver};
use super::{Desk, condition, is_well_formed, routes, says, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_a_receiver_in_every_bad_mood_takes_each_change_in_one_message() {
    let mut desk = Desk::new("give_up_s: 600").await;
    let elsewhere = Receiver::start().await;
    let notify = desk.notify(&[]);
    let bad = [
        Mood::Answers(500, None),
        Mood::Answers(429, Some(1)),
        Mood::Answers(503, Some(1)),
        Mood::Redirects(elsewhere.url.clone()),
        Mood::Resets,
        Mood::TakesAndResets,
        Mood::Silent,
        Mood::Answers(401, None),
        Mood::Endless,
    ];
    for (n, mood) in bad.iter().enumerate() {
        desk.pager.becomes(std::slice::from_ref(mood), Mood::Takes);
        desk.fire_one("risk.rate", &format!("MOOD{n}"), Severity::High).await;
        desk.rest().await;
        let taken = desk.pager.taken();
        assert_eq!(taken.len(), n + 1, "{mood:?}");
        assert_eq!(desk.pager.changes().len(), n + 1, "{mood:?}");
    }
    desk.pager.got().iter().for_each(is_well_formed);
    assert_eq!(elsewhere.got().len(), 0, "no redirect is followed");
    // Again only where it did not arrive, or nobody knew: not after 204 and an endless answer.
    assert_eq!(desk.pager.got().len(), bad.len() * 2 - 1);
    desk.ends("DELIVERED", bad.len() as u32).await;
    notify.answers(200, "ready").await;
    assert!(!notify.log().contains("whsec_"), "no secret is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_told_when_it_opens_gets_worse_and_ends_and_not_each_time_it_fires() {
    let mut desk = Desk::new("resolve_after_s: 3600").await;
    let mut notify = desk.notify(&[]);
    desk.fire_one("risk.rate", "USDJPY", Severity::Medium).await;
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    let many: Vec<_> =
        (0..20).map(|_| desk.alert("risk.rate", "USDJPY", Severity::Medium)).collect();
    desk.fire(&many).await;
    desk.fire_one("risk.rate", "USDJPY", Severity::Critical).await;
    until(async || desk.pager.taken().len(), |n| *n == 2).await;
    desk.route(&routes(&desk.pager, "resolve_after_s: 1"));
    desk.line.until("SELECT count(*) FROM notify_changes WHERE kind = 'resolved'", "1").await;
    desk.rest().await;
    let got = desk.pager.got();
    let told: Vec<String> = got.iter().map(says).collect();
    assert_eq!(told, ["risk.rate open", "risk.rate update", "risk.rate resolved"]);
    assert_eq!(condition(&got[2])["alerts"], 22);
    assert_eq!(condition(&got[2])["subject"], "account=main symbol=USDJPY");
    let list = desk.line.noctus().args(["notify", "list", "--all", "--json"]).output();
    let list = list.expect("it can be run");
    let told: Value = serde_json::from_slice(&list.stdout).expect("one line of JSON");
    assert_eq!((&told["state"], &told["change_no"]), (&"RESOLVED".into(), &3.into()));
    assert_eq!(list.status.code(), Some(0), "nothing holds");
    let sent = desk.line.noctus().args(["notify", "deliveries"]).output().expect("it can be run");
    assert_eq!(String::from_utf8_lossy(&sent.stdout).matches("DELIVERED").count(), 3);
    // It ends well, and reading everything again opens nothing.
    assert!(notify.stop().success());
    let rewind = ["rewind", "alerts", "--reader", "notify", "--to", "start", "--yes"];
    assert!(desk.line.noctus().args(rewind).status().expect("it can be run").success());
    let _again = desk.notify(&[]);
    desk.rest().await;
    assert_eq!(desk.pager.got().len(), 3, "a topic that is read again tells nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_what_cannot_be_delivered_fails_and_others_are_told_of_it() {
    let mut desk = Desk::new("give_up_s: 2").await;
    let text = routes(&desk.pager, "give_up_s: 2");
    desk.route(
        &text.replace(
            "routes:\n",
            "routes:\n  - { policy_name: [\"notify.*\"], to: [pager, ops] }\n",
        ),
    );
    desk.ops.is(Mood::Answers(500, None));
    let _notify = desk.notify(&[]);
    desk.fire_one("do.parked", "SLACK", Severity::Critical).await;
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    let told = desk.pager.got().remove(0);
    assert_eq!(says(&told), "notify.delivery_failed open");
    let about = condition(&told);
    assert_eq!(
        (&about["subject"], &told.body["data"]["severity"]),
        (&"receiver=ops".into(), &"CRITICAL".into())
    );
    assert!(!desk.ops.got().is_empty(), "it was tried");
    desk.ends("FAILED", 1).await;
    // 410: left alone until the file changes.
    desk.ops.is(Mood::Answers(410, None));
    desk.fire_one("do.overfill", "SLACK", Severity::High).await;
    until(async || desk.pager.taken().len(), |n| *n == 2).await;
    let tried = desk.ops.got().len();
    desk.ops.is(Mood::Takes);
    desk.fire_one("do.other", "SLACK", Severity::High).await;
    desk.ends("FAILED", 3).await;
    assert_eq!(desk.ops.got().len(), tried, "who is gone is not called");
    desk.route(&text);
    let mut n = 0;
    let again = async || {
        n += 1;
        desk.fire_one(&format!("do.again{n}"), "SLACK", Severity::Critical).await;
        desk.ops.taken().len()
    };
    until(again, |taken| *taken > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f43_a_bad_file_of_routes_changes_nothing_and_is_told() {
    let mut desk = Desk::new("give_up_s: 60").await;
    let notify = desk.notify(&[]);
    desk.fire_one("risk.rate", "BEFORE", Severity::High).await;
    until(async || desk.pager.taken().len(), |n| *n == 1).await;
    desk.route("receivers: { pager: { kind: mail } }\nmore: 1\n");
    until(async || desk.pager.taken().len(), |n| *n == 2).await;
    let told: Vec<String> = desk.pager.got().iter().map(says).collect();
    assert_eq!(told[1], "notify.reload_refused open");
    desk.fire_one("risk.rate", "AFTER", Severity::High).await;
    until(async || desk.pager.taken().len(), |n| *n == 3).await;
    let log = notify.log();
    assert!(log.contains("must be one of slack, webhook") && log.contains("unknown key"), "{log}");
    let bad = desk.line.file("bad.yml", "receivers: { pager: { kind: mail } }\nmore: 1\n");
    let check = desk.line.noctus().args(["notify", "check"]).arg(bad).output().expect("it runs");
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stdout).contains("2 violation(s)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_in_our_own_network_is_not_called_unless_its_route_says_so() {
    let desk = Desk::new("give_up_s: 2").await;
    let (text, named) =
        (routes(&desk.pager, "give_up_s: 2"), desk.pager.url.replace("127.0.0.1", "localhost"));
    let strict = text.replacen(", allow_private: true", "", 1);
    desk.route(&strict);
    let secrets = [
        ("NOCTUS_NOTIFY_PAGER_SECRET", super::SECRET),
        ("NOCTUS_NOTIFY_OPS_URL", "http://127.0.0.1:9"),
    ];
    let test = |desk: &Desk| {
        let mut noctus = desk.line.noctus();
        noctus.envs(secrets).args(["notify", "test", "pager"]);
        let out = noctus.output().expect("it can be run");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stdout).into_owned()
                + &String::from_utf8_lossy(&out.stderr),
        )
    };
    let (code, told) = test(&desk);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("127.0.0.1 is not a public address"), "{told}");
    // A name is checked when it is resolved.
    desk.route(&strict.replace(&desk.pager.url, &named));
    let (code, told) = test(&desk);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is not a public address"), "{told}");
    assert_eq!(desk.pager.got().len(), 0);
    desk.route(&text);
    let (code, told) = test(&desk);
    assert_eq!(code, Some(0), "{told}");
    let got = desk.pager.got().remove(0);
    is_well_formed(&got);
    assert_eq!(got.body["type"], "noctus.test");
}
