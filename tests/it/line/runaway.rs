//! A producer that runs away (F49): ever new keys for one intent. The rate holds, over every gate, in every minute.

use super::{Line, order, policy_file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f49_ever_new_keys_of_one_lane_get_no_more_than_the_rate_in_any_minute_over_all_gates() {
    let mut line = Line::new(4, |config| {
        let text = "default: { max_position_notional: 1000000000, max_order_qty: 20000, \
                    max_orders_per_minute: 20 }\n";
        config.policies.risk = Some(policy_file("runaway", text));
        config.gate.batch_max = 10;
    })
    .await;
    // Wrongly spread over partitions, so that both gates have to do with the lane.
    for partition in 0..4 {
        let one = |n| order(&format!("runaway-{partition}-{n:04}"), "USDJPY");
        let orders: Vec<_> = (0..200).map(one).collect();
        line.produce(&orders, Some(partition)).await;
    }
    let (_one, _two, _sink) = (line.start("gate"), line.start("gate"), line.start("sink"));
    line.until("SELECT count(*) FROM outbox_orders", "800").await;
    let most = "SELECT max(n) FROM (
                  SELECT count(*) OVER (ORDER BY decided_at RANGE BETWEEN '60 s' PRECEDING AND CURRENT ROW) n
                    FROM outbox_orders WHERE decided_qty > 0) minute";
    let most: u32 = line.ask(most).await.parse().expect("a number");
    assert!((1..=21).contains(&most), "{most} within a minute, both ends included");
    let rest = "SELECT count(*) = (SELECT count(*) FROM obs_alerts
                                    WHERE policy_name = 'risk.rate' AND severity = 'HIGH')
                  FROM outbox_orders WHERE decided_qty = 0";
    line.until(rest, "t").await;
}
