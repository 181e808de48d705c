//! A gate that dies or is told to repeat, at the moments that matter for what was committed and not told (F22, F31,
//! F37): whoever comes next leaves the same rows and the same events, each once.

use super::{Line, open_policy, order};

/// Everything of these requests is there, once.
async fn whole(line: &Line, decided: usize) {
    let decided = decided.to_string();
    line.until("SELECT count(*) FROM outbox_orders", &decided).await;
    line.until("SELECT count(*) FROM owed_events", "0").await;
    line.read_to_the_end("gate", &["order-requests"]).await;
    line.read_to_the_end("sink", &["decisions", "alerts"]).await;
    line.until("SELECT count(*) FROM obs_decisions", &decided).await;
    assert_eq!(line.event_ids("decisions").len().to_string(), decided, "they may be told twice");
    let reserved = "SELECT sum(working_buy)::float8 = 3 * (SELECT count(*) FROM outbox_orders)
                      FROM risk_positions";
    assert_eq!(line.ask(reserved).await, "t", "each is reserved for once");
    assert_eq!(line.dump("dead-letters").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_f31_what_was_committed_and_perhaps_told_is_told_by_the_next_gate_and_counts_once() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    let _sink = line.start("sink");
    // Committed and told to nobody; handed to Kafka's client, acknowledged or not; acknowledged and not settled; and
    // told to the consumer group, too.
    let points = ["gate/after-commit", "emission/produced", "emission/acked", "gate/offset-stored"];
    for (n, point) in points.into_iter().enumerate() {
        let mut gate = line.start_with("gate", &[("NOCTUS_CRASH", &format!("{point}:1"))]);
        let requests = [2 * n, 2 * n + 1].map(|n| order(&format!("again-{n:04}"), "USDJPY"));
        line.produce(&requests, None).await;
        let ended = gate.ended().await;
        assert!(ended.code().is_none(), "{point}: killed, not ended: {ended}\n{}", gate.log());
        let mut next = line.start("gate");
        whole(&line, 2 * n + 2).await;
        assert!(next.stop().success());
    }
}

/// The first inserts into the ledger fail as if another transaction were in the way: a sequence counts what a rollback
/// does not take back.
const IN_THE_WAY: &str = "
    CREATE SEQUENCE planted;
    CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        CASE nextval('planted')
          WHEN 1, 2 THEN RAISE EXCEPTION 'planted' USING ERRCODE = '40001';
          WHEN 3, 4 THEN RAISE EXCEPTION 'planted' USING ERRCODE = '40P01';
          ELSE RETURN NULL;
        END CASE;
      END $$;
    CREATE TRIGGER planted AFTER INSERT ON outbox_orders
      FOR EACH STATEMENT EXECUTE FUNCTION planted();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_a_batch_that_another_transaction_was_in_the_way_of_is_repeated_whole() {
    let mut line = Line::new(1, |c| c.policies.risk = Some(open_policy())).await;
    line.sql(IN_THE_WAY).await;
    let requests: Vec<_> = (0..5).map(|n| order(&format!("again-{n:04}"), "USDJPY")).collect();
    line.produce(&requests, None).await;
    let (gate, _sink) = (line.start("gate"), line.start("sink"));
    whole(&line, 5).await;
    assert_eq!(gate.metric("noctus_gate_batch_repeats_total").await, 4.0);
    assert!(!gate.log().contains("the gate waits"), "no outage: {}", gate.log());
}
