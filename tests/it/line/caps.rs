//! Caps hold in every interleaving (I7, C-RISK-8): several gates, one account, orders at the caps. And two planted
//! mistakes, each of which must be noticed.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Line, order, policy_file};

const SYMBOLS: [&str; 8] =
    ["USDJPY", "EURJPY", "GBPJPY", "AUDJPY", "NZDJPY", "CHFJPY", "CADJPY", "SGDJPY"];
const PRICE: f64 = 1.5;

/// A position is capped at 300, a trace at 90: both are reached again and again.
fn policy() -> PathBuf {
    let text =
        "default: { max_position_notional: 300, max_trace_notional: 90, max_order_qty: 20000 }\n";
    policy_file("caps", text)
}

/// Requests of many symbols in traces that several partitions share, all asking for more than there is.
fn requests(n: usize) -> Vec<Value> {
    let one = |i: usize| {
        let mut request = order(&format!("caps-{i:06}"), SYMBOLS[i % 8]);
        request["qty"] = json!((1 + i % 40).to_string());
        request["side"] = json!(if i.is_multiple_of(3) { "SELL" } else { "BUY" });
        if request["side"] == "SELL" {
            // A sale is priced by a reference: its own limit alone must not shrink its notional.
            request["reference_price"] = json!("1.5");
        }
        // A new trace every 24 orders, spread over all symbols and so over all partitions and gates.
        request["trace_id"] = json!(format!("trace-{}", i / 24));
        request
    };
    (0..n).map(one).collect()
}

/// Decisions at which a cap was exceeded, in the order of the ledger within each lane and each trace.
async fn exceeded(line: &Line) -> (usize, usize) {
    let client = line.pool.get().await.expect("a connection");
    let rows = client
        .query(
            "SELECT account, symbol, trace_id, action, decided_qty::float8, opening_qty::float8,
                    opening_notional::float8
               FROM outbox_orders WHERE action IN ('BUY','SELL') ORDER BY id",
            &[],
        )
        .await
        .expect("the ledger");
    let (mut lanes, mut traces) =
        (std::collections::HashMap::new(), std::collections::HashMap::new());
    let (mut over_position, mut over_trace) = (0, 0);
    for row in &rows {
        let lane: (String, String) = (row.get(0), row.get(1));
        let (action, qty, opening): (String, f64, f64) = (row.get(3), row.get(4), row.get(5));
        // Nothing fills here: what works in one direction is all there is of it.
        let working: &mut (f64, f64) = lanes.entry(lane).or_default();
        let side = if action == "BUY" { &mut working.0 } else { &mut working.1 };
        if (*side + opening) * PRICE > 300.0 + 1e-6 {
            over_position += 1;
        }
        *side += qty;
        let trace: &mut f64 = traces.entry(row.get::<_, String>(2)).or_default();
        *trace += row.get::<_, f64>(6);
        if *trace > 90.0 + 1e-6 {
            over_trace += 1;
        }
    }
    (over_position, over_trace)
}

async fn decided(orders: usize, planted: Option<&str>) -> (Line, (usize, usize)) {
    let mut line = Line::new(8, |config| {
        config.policies.risk = Some(policy());
        config.gate.batch_max = 25;
    })
    .await;
    line.produce(&requests(orders), None).await;
    let gates: Vec<_> = (0..4)
        .map(|_| match planted {
            Some(mistake) => line.start_with("gate", &[("NOCTUS_PLANTED", mistake)]),
            None => line.start("gate"),
        })
        .collect();
    line.until("SELECT count(*) FROM outbox_orders", &orders.to_string()).await;
    drop(gates);
    let over = exceeded(&line).await;
    (line, over)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f44_four_gates_at_the_caps_never_exceed_one() {
    let (line, over) = decided(20_000, None).await;
    assert_eq!(over, (0, 0), "decisions beyond the position's cap, beyond the trace's cap");
    let clamped = "SELECT count(*) > 1000 FROM outbox_orders
                    WHERE decided_qty < requested_qty AND payload->>'reason' LIKE '%max_%_notional%'";
    assert_eq!(line.ask(clamped).await, "t", "the caps were reached");
    let sums =
        "SELECT bool_and(p.working_buy = s.buy AND p.working_sell = s.sell) FROM risk_positions p
                  JOIN (SELECT account, symbol,
                               coalesce(sum(working_qty) FILTER (WHERE action = 'BUY'), 0) buy,
                               coalesce(sum(working_qty) FILTER (WHERE action = 'SELL'), 0) sell
                          FROM outbox_orders GROUP BY 1, 2) s USING (account, symbol)";
    assert_eq!(line.ask(sums).await, "t", "what is reserved is what the ledger holds");
}

/// Two workers must meet for a mistake to show, which is chance: the mistake is made in several runs.
async fn is_noticed(mistake: &str) -> bool {
    for _ in 0..4 {
        let (_line, over) = decided(3_000, Some(mistake)).await;
        if over != (0, 0) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f44_reserving_outside_the_transaction_is_noticed() {
    assert!(is_noticed("reserve-outside").await, "the mistake was made and nothing was exceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f44_locking_rows_that_do_not_exist_yet_is_noticed() {
    assert!(is_noticed("lock-missing-rows").await, "the mistake was made and nothing was exceeded");
}
