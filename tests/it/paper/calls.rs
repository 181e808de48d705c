//! What the paper broker's calls besides placing do: cancel, replace, events, positions.

use std::time::{Duration, Instant};

use noctus::dispatch::broker::protocol::{
    BrokerStatus, Capabilities, EventPage, OrderView, Positions, Refusal,
};
use noctus::paper::ledger::Entry;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{PaperBroker, order};

const QUOTES: &[&str] = &["--quotes", "USDJPY=147.250/147.252"];

fn resting(id: &str, time_in_force: &str) -> Value {
    let mut limit = order(id);
    limit["order_type"] = "LIMIT".into();
    limit["limit_price"] = "147.000".into();
    limit["time_in_force"] = time_in_force.into();
    limit
}

async fn view(answer: reqwest::Response) -> OrderView {
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: HTTP {status} {text}"))
}

async fn events(broker: &PaperBroker, after: u64) -> EventPage {
    let path = format!("/v1/events?after={after}&wait_ms=5000");
    broker.get(&path).await.json().await.expect("events")
}

#[tokio::test]
async fn a_cancel_ends_a_working_order_once_and_leaves_an_ended_one_as_it_is() {
    let mut broker = PaperBroker::start(QUOTES);
    broker.post("/v1/orders", &resting("key-000001", "GTC")).await;
    broker.post("/v1/orders", &order("key-000002")).await;
    let path = "/v1/orders/by-client-id/key-000001/cancel";
    for _ in 0..2 {
        let answer = broker.post(path, &json!({"reason": "halted"})).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cancelled = view(answer).await;
        assert_eq!(cancelled.status, BrokerStatus::Cancelled);
        assert_eq!(cancelled.code.as_deref(), Some("halted"));
    }
    let filled = "/v1/orders/by-client-id/key-000002/cancel";
    assert_eq!(view(broker.post(filled, &json!({})).await).await.status, BrokerStatus::Filled);
    let unknown = broker.post("/v1/orders/by-client-id/key-none/cancel", &json!({})).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(unknown.json::<Refusal>().await.expect("a refusal").error, "unknown_order");
    let lines = broker.records();
    assert!(matches!(&lines[2].entry, Entry::Update { status: BrokerStatus::Cancelled, .. }));
    let moot = |entry: &Entry| matches!(entry, Entry::Moot { what, .. } if what == "cancel");
    assert!(moot(&lines[3].entry) && moot(&lines[4].entry));
    broker.restart(QUOTES);
    let found = broker.get("/v1/orders/by-client-id/key-000001").await;
    assert_eq!(view(found).await.status, BrokerStatus::Cancelled);
    broker.post("/quotes", &json!({"USDJPY": {"bid": "146", "ask": "146"}})).await;
    let found = broker.get("/v1/orders/by-client-id/key-000001").await;
    assert!(view(found).await.fills.is_empty(), "it no longer works");
}

#[tokio::test]
async fn a_replace_puts_one_order_in_the_place_of_a_working_one_also_when_it_comes_again() {
    let mut broker = PaperBroker::start(QUOTES);
    broker.post("/v1/orders", &resting("key-000001", "GTC")).await;
    let by_hand = json!({"client_order_id": "key-000001", "qty": "30", "px": "147"});
    assert_eq!(broker.post("/fills", &by_hand).await.status(), StatusCode::OK);
    let path = "/v1/orders/by-client-id/key-000001/replace";
    let with = json!({"client_order_id": "key-000002", "limit_price": "146.5"});
    let first = broker.post(path, &with).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let first = view(first).await;
    assert_eq!((first.status, first.order.qty.to_string()), (BrokerStatus::Working, "70".into()));
    assert_eq!(first.order.limit_price.expect("a price").to_string(), "146.5");
    assert_eq!(first.replaces.as_deref(), Some("p-1"));
    broker.restart(QUOTES);
    let again = broker.post(path, &with).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(view(again).await, OrderView { duplicate: true, ..first });
    let old = view(broker.get("/v1/orders/by-client-id/key-000001").await).await;
    assert_eq!((old.status, old.code.as_deref()), (BrokerStatus::Cancelled, Some("replaced")));
    assert_eq!(old.fills.len(), 1);
    let other = json!({"client_order_id": "key-000002", "limit_price": "146.4"});
    let conflict = broker.post(path, &other).await;
    assert_eq!(conflict.status(), StatusCode::CONFLICT);
    assert_eq!(conflict.json::<Refusal>().await.expect("one").error, "client_order_id_taken");
    let third = json!({"client_order_id": "key-000003"});
    let ended = broker.post(path, &third).await;
    assert_eq!(ended.status(), StatusCode::CONFLICT);
    let ended: Refusal = ended.json().await.expect("a refusal");
    assert_eq!(ended.error, "not_working");
    assert_eq!(ended.original.expect("the order").order.client_order_id, "key-000001");
    assert_eq!(broker.orders().len(), 2);
}

#[tokio::test]
async fn events_are_numbered_without_a_gap_also_after_a_restart_and_are_waited_for() {
    let mut broker = PaperBroker::start(QUOTES);
    broker.post("/v1/orders", &resting("key-000001", "GTC")).await;
    broker.post("/v1/orders", &order("key-000002")).await;
    broker.post("/v1/orders", &order("key-000002")).await; // no event
    broker.restart(QUOTES);
    let newest: EventPage = broker.get("/v1/events").await.json().await.expect("events");
    assert_eq!((newest.events.len(), newest.last), (0, 2));
    let crossing = json!({"USDJPY": {"bid": "146.9", "ask": "146.95"}});
    let (page, _) = tokio::join!(events(&broker, 2), broker.post("/quotes", &crossing));
    assert_eq!((page.events.len(), page.last), (1, 3));
    let all = events(&broker, 0).await;
    let told: Vec<_> = all
        .events
        .iter()
        .map(|e| (e.n, e.order.order.client_order_id.as_str(), e.order.status, e.order.fills.len()))
        .collect();
    assert_eq!(
        told,
        [
            (1, "key-000001", BrokerStatus::Working, 0),
            (2, "key-000002", BrokerStatus::Filled, 1),
            (3, "key-000001", BrokerStatus::Filled, 1)
        ]
    );
    let none: EventPage = broker.get("/v1/events?after=3").await.json().await.expect("events");
    assert_eq!((none.events.len(), none.last), (0, 3));
}

#[tokio::test]
async fn positions_are_the_sum_of_the_fills_of_an_account() {
    let broker = PaperBroker::start(QUOTES);
    broker.post("/v1/orders", &order("key-000001")).await;
    let mut sell = order("key-000002");
    (sell["side"], sell["qty"]) = ("SELL".into(), "30.5".into());
    broker.post("/v1/orders", &sell).await;
    let told: Positions =
        broker.get("/v1/positions?account=main").await.json().await.expect("positions");
    let held: Vec<_> = told.positions.iter().map(|p| format!("{} {}", p.symbol, p.qty)).collect();
    assert_eq!(held, ["USDJPY 69.5"]);
    let other: Positions =
        broker.get("/v1/positions?account=other").await.json().await.expect("positions");
    assert!(other.positions.is_empty());
}

#[tokio::test]
async fn a_day_order_expires_at_the_end_of_the_day_and_a_gtc_order_does_not() {
    let broker = PaperBroker::start(QUOTES);
    broker.post("/v1/orders", &resting("key-day-01", "DAY")).await;
    broker.post("/v1/orders", &resting("key-gtc-01", "GTC")).await;
    assert_eq!(broker.post("/day-end", &json!({})).await.status(), StatusCode::NO_CONTENT);
    let day = view(broker.get("/v1/orders/by-client-id/key-day-01").await).await;
    assert_eq!((day.status, day.code.as_deref()), (BrokerStatus::Expired, Some("end_of_day")));
    let gtc = view(broker.get("/v1/orders/by-client-id/key-gtc-01").await).await;
    assert_eq!(gtc.status, BrokerStatus::Working);
}

#[tokio::test]
async fn what_it_says_it_can_is_true_of_the_lies_it_starts_with_and_not_of_later_ones() {
    let capabilities = async |broker: &PaperBroker| {
        let told: Capabilities =
            broker.get("/v1/capabilities").await.json().await.expect("capabilities");
        (told.dedupes_by_client_id, told.query_by_client_id, told.visible_within_ms)
    };
    let honest = PaperBroker::start(&["--no-dedupe", "--no-query", "--visible-after-ms", "700"]);
    assert_eq!(capabilities(&honest).await, (false, false, 700));
    let liar = PaperBroker::start(&[]);
    liar.lie(json!({"no_dedupe": true, "no_query": true, "visible_after_ms": 700})).await;
    assert_eq!(capabilities(&liar).await, (true, true, 0));
}

#[tokio::test]
async fn f70_a_stop_does_not_wait_for_who_waits_for_events() {
    let mut broker = PaperBroker::start(QUOTES);
    let url = format!("{}/v1/events?after=0&wait_ms=30000", broker.url);
    let waiting = tokio::spawn(broker.http.get(url).send());
    // The long poll has been taken once a later call has been answered on the same listener.
    assert_eq!(broker.get("/livez").await.status(), StatusCode::OK);
    let stopped = Instant::now();
    broker.terminate();
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    drop(waiting.await.expect("it did not panic"));
}
