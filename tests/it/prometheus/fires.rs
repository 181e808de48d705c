//! Alerts that fire for real faults, seen by a real Prometheus at a real process.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{DEADLINE, Prometheus, lint};
use crate::line::{Line, open_policy, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_over_fills_and_a_letter_that_is_refused_wake_somebody() {
    let mut line = Line::new(2, |c| c.policies.risk = Some(open_policy())).await;
    let (gate, dispatch) = (line.start("gate"), line.start("dispatch"));
    for role in [&gate, &dispatch] {
        role.answers(200, "ready").await;
    }
    let prometheus = Prometheus::watching(&[&gate, &dispatch]);
    line.produce(&[order("well-00000001", "USDJPY")], None).await;
    line.until("SELECT state FROM outbox_orders", "FILLED").await;
    prometheus.comes("sum(noctus_dispatch_sends_total) >= 1 and sum(up) == 2").await;
    prometheus.comes("sum(noctus_guarantee_broken_total) == 0").await;
    // The rules that need no time at all have looked at that.
    let quiet = prometheus.firing("guarantee").await;
    assert!(quiet.iter().all(|(name, _)| name == "NoctusRoleMissing"), "{quiet:?}");

    line.broker.lie(json!({"over_fill_every": 1})).await;
    line.produce(&[order("fault-0000001", "EURJPY")], None).await;
    let stranger =
        line.request(&order("fault-0000002", "USDJPY"), "dev", "a secret that is not of the ring");
    line.send(&[stranger]).await;
    let wanted = [
        ("guarantee", "NoctusGuaranteeBroken", "no_over_fill"),
        ("policy_name", "NoctusCriticalAlert", "do.over_fill"),
        ("reason", "NoctusDeadLetters", "bad_signature"),
    ];
    let began = Instant::now();
    for (label, name, value) in wanted {
        loop {
            let firing = prometheus.firing(label).await;
            if firing.contains(&(name.to_string(), value.to_string())) {
                break;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "{name} {value} does not fire: {firing:?}\n{}",
                line.state().await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for role in [&gate, &dispatch] {
        let text = reqwest::get(format!("{}/metrics", role.address())).await.expect("it listens");
        assert_eq!(lint(&text.text().await.expect("text")), "", "{}", role.name);
    }
    assert_eq!(
        dispatch.metric("noctus_guarantee_broken_total{guarantee=\"no_over_fill\"}").await,
        1.0
    );
    assert_eq!(gate.metric("noctus_guarantee_broken_total{guarantee=\"caps_hold\"}").await, 0.0);
}
