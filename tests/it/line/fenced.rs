//! The fence (I3): batches of a partition that another worker has taken are dropped, and again and again is an alert.

use super::{Line, open_policy, order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_three_fenced_batches_of_a_partition_within_a_minute_are_an_alert() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let (gate, _sink) = (line.start("gate"), line.start("sink"));
    line.produce(&[order("fenced-0000", "USDJPY")], None).await;
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    let told = "SELECT count(*) FROM obs_alerts WHERE policy_name = 'gate.fenced'";
    for fenced in 1..=6 {
        // As another worker would that takes the partition and does nothing with it.
        line.sql("UPDATE input_positions SET epoch = epoch + 1 WHERE reader = 'gate'").await;
        line.produce(&[order(&format!("fenced-{fenced:04}"), "USDJPY")], None).await;
        let decided = (fenced + 1).to_string();
        line.until("SELECT count(*) FROM outbox_orders", &decided).await;
        if fenced <= 3 {
            assert_eq!(line.ask(told).await, "0", "{fenced} are borne");
        }
    }
    assert_eq!(gate.metric("noctus_gate_fenced_total").await, 6.0);
    line.until(
        &format!("{told} AND severity::text = 'HIGH'").replace("count(*)", "count(*) > 0"),
        "t",
    )
    .await;
    // One a minute: as many rows as minutes.
    let minutes = "SELECT count(*) = count(DISTINCT created_at) AND count(*) <= 2
                     FROM obs_alerts WHERE policy_name = 'gate.fenced'";
    assert_eq!(line.ask(minutes).await, "t", "{}", line.state().await);
    let about =
        "SELECT DISTINCT details->>'topic' || ' ' || (details->>'partition') FROM obs_alerts
                  WHERE policy_name = 'gate.fenced'";
    assert_eq!(line.ask(about).await, format!("{}order-requests 0", &*line.prefix));
}
