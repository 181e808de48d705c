//! C-OUT-4: a PARKED order is ended by two people, and everything that hangs on it moves with it.

use super::super::{Line, open_policy, order};
use super::{proposal, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_order_is_resolved_each_way_by_a_second_person() {
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.broker.timeout_ms = 600;
        config.broker.settle_ms = 10;
    })
    .await;
    let (_gate, _dispatch, _sink) =
        (line.start("gate"), line.start("dispatch"), line.start("sink"));
    line.produce(&[order("resolved-warm", "CADJPY")], None).await;
    line.rest(1).await;
    // The broker takes connections and says nothing.
    line.broker.freeze();
    let cases = [
        ("resolved-0001", "USDJPY"),
        ("resolved-0002", "EURJPY"),
        ("resolved-0003", "GBPJPY"),
        ("resolved-0004", "AUDJPY"),
    ];
    let orders: Vec<_> = cases.iter().map(|(key, symbol)| order(key, symbol)).collect();
    line.produce(&orders, None).await;
    line.until("SELECT count(*) FROM outbox_orders WHERE state = 'PARKED'", "4").await;
    let working = "SELECT sum(working_buy)::float8 FROM risk_positions";
    assert_eq!(line.ask(working).await, "12");
    let listed = run(&line, "orders list --state parked --json").with(0).json();
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().all(|o| o["state"] == "PARKED" && o["attempts"] == 1), "{listed:?}");
    // What arrived is forgotten with the process: it is as if it had never got there.
    let address = line.broker.url.trim_start_matches("http://").to_string();
    line.broker.kill();
    line.broker.restart_at(&address, &[]);

    let reason = "--reason phoned --by alice";
    let propose =
        |what: &str| proposal(&run(&line, &format!("orders resolve {what} {reason}")).with(0));
    let not_sent = propose("resolved-0001 --as not-sent");
    let rejected = propose("resolved-0002 --as rejected");
    let filled = propose("resolved-0003 --as filled --qty 3 --px 1.45");
    let partly = propose("resolved-0004 --as filled --qty 2 --px 1.45");
    run(&line, &format!("orders resolve resolved-0004 --as filled --qty 4 --px 1.45 {reason}"))
        .with(2);
    run(&line, &format!("orders resolve resolved-0004 --as filled {reason}")).with(2);
    run(&line, &format!("orders resolve resolved-warm --as rejected {reason}")).with(1);
    run(&line, &format!("orders resolve resolved-none --as rejected {reason}")).with(1);
    run(&line, &format!("orders resolve --approve {filled} --by alice")).with(77);
    assert_eq!(line.ask(working).await, "12", "nothing has moved");
    for number in [&not_sent, &rejected, &filled, &partly] {
        run(&line, &format!("orders resolve --approve {number} --by bob")).with(0);
    }
    run(&line, &format!("orders resolve --approve {filled} --by carol")).with(1);

    let states = "SELECT string_agg(idempotency_key || ' ' || state || ' ' || executed_qty::float8, ', '
                         ORDER BY idempotency_key) FROM outbox_orders WHERE idempotency_key LIKE '%-000%'";
    let wanted = "resolved-0001 CANCELLED 0, resolved-0002 REJECTED 0, \
                  resolved-0003 FILLED 3, resolved-0004 CANCELLED 2";
    assert_eq!(line.ask(states).await, wanted);
    let positions =
        "SELECT string_agg(symbol || ' ' || position::float8 || ' ' || working_buy::float8, ', '
                            ORDER BY symbol) FROM risk_positions WHERE symbol <> 'CADJPY'";
    let wanted = "AUDJPY 2 0, EURJPY 0 0, GBPJPY 3 0, USDJPY 0 0";
    assert_eq!(line.ask(positions).await, wanted);
    let traces =
        "SELECT string_agg(trace_id || ' ' || opening_notional::float8, ', ' ORDER BY trace_id)
                    FROM risk_traces WHERE trace_id LIKE '%-000%'";
    let wanted = "t-resolved-0001 0, t-resolved-0002 0, t-resolved-0003 4.5, t-resolved-0004 3";
    assert_eq!(line.ask(traces).await, wanted);
    let outcomes = "SELECT string_agg(outcome, ' ' ORDER BY idempotency_key) FROM send_attempts
                     WHERE idempotency_key LIKE '%-000%'";
    assert_eq!(line.ask(outcomes).await, "not_sent rejected accepted accepted");
    // The events are owed and told: nothing was sent again.
    line.rest(5).await;
    let steps = "SELECT string_agg(status::text, ' ' ORDER BY exec_seq) FROM obs_exec_events
                  WHERE idempotency_key = 'resolved-0004'";
    assert_eq!(line.ask(steps).await, "SENT UNKNOWN PARKED PARTIALLY_FILLED CANCELLED");
    assert_eq!(line.broker.orders().len(), 1, "only the one before the silence");
    let shown = run(&line, "orders show resolved-0003 --json").with(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!(shown["orders"][0]["fills"][0]["px"], "1.450000000");
    run(&line, "orders show resolved-none").with(1);
    // The lane is free again.
    line.produce(&[order("resolved-next", "USDJPY")], None).await;
    line.rest(6).await;
    assert_eq!(line.broker.orders().len(), 2);
    // What people ended is told as well.
    run(&line, "verify --risk").with(0);
}
