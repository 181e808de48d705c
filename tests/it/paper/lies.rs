//! Every lie of the paper broker: what is answered, and what the ledger says all the same.

use std::time::{Duration, Instant};

use noctus::dispatch::broker::protocol::{BrokerStatus, EventPage, OrderView, Positions, Refusal};
use noctus::paper::ledger::Entry;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{PaperBroker, order};

const QUOTES: &[&str] = &["--quotes", "USDJPY=147.250/147.252"];
const SHORT: Duration = Duration::from_millis(700);

async fn lying(lies: Value) -> PaperBroker {
    let broker = PaperBroker::start(QUOTES);
    broker.lie(lies).await;
    broker
}

impl PaperBroker {
    /// Places an order; whole answers only, within a short time.
    async fn try_place(&self, id: &str) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let url = format!("{}/v1/orders", self.url);
        let answer = self.http.post(url).timeout(SHORT).json(&order(id)).send().await?;
        Ok((answer.status(), answer.bytes().await?.to_vec()))
    }

    async fn placed(&self, body: &Value) -> OrderView {
        self.post("/v1/orders", body).await.json().await.expect("an order")
    }

    async fn found(&self, id: &str) -> Option<OrderView> {
        let answer = self.get(&format!("/v1/orders/by-client-id/{id}")).await;
        answer.status().is_success().then_some(())?;
        Some(answer.json().await.expect("an order"))
    }

    async fn events(&self, after: u64) -> EventPage {
        let path = format!("/v1/events?after={after}&wait_ms=3000");
        self.get(&path).await.json().await.expect("events")
    }

    /// The calls that lies kept from being carried out.
    fn turned_away(&self) -> Vec<(String, String)> {
        let away = |entry| match entry {
            Entry::TurnedAway { what, by, .. } => Some((what, by)),
            _ => None,
        };
        self.records().into_iter().filter_map(|r| away(r.entry)).collect()
    }
}

fn limit(id: &str) -> Value {
    let mut limit = order(id);
    (limit["order_type"], limit["limit_price"]) = ("LIMIT".into(), "147.000".into());
    limit
}

#[tokio::test]
async fn before_an_order_is_applied_it_is_reset_refused_for_its_rate_or_failed() {
    let cases = [
        ("reset_before_apply_every", "reset_before_apply", None),
        ("rate_limit_every", "rate_limit", Some(StatusCode::TOO_MANY_REQUESTS)),
        ("error_before_every", "error_before", Some(StatusCode::INTERNAL_SERVER_ERROR)),
    ];
    for (lie, name, wanted) in cases {
        let broker = lying(json!({lie: 2})).await;
        assert_eq!(broker.try_place("key-000001").await.expect("the first").0, 201, "{lie}");
        let second = broker.try_place("key-000002").await;
        assert_eq!(second.as_ref().ok().map(|(status, _)| *status), wanted, "{lie}: {second:?}");
        assert_eq!(broker.try_place("key-000002").await.expect("the third").0, 201, "{lie}");
        assert_eq!(broker.orders().len(), 2, "{lie}: applied once");
        assert_eq!(broker.turned_away(), [("order".to_string(), name.to_string())]);
        assert_eq!(broker.told().await.get(name), Some(&1));
    }
}

#[tokio::test]
async fn a_rate_limit_says_how_long_to_wait() {
    let broker = lying(json!({"rate_limit_every": 1})).await;
    let answer = broker.post("/v1/orders", &order("key-000001")).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.json::<Refusal>().await.expect("a refusal").error, "rate_limited");
}

#[tokio::test]
async fn after_an_order_is_applied_its_answer_is_lost_failed_slow_broken_or_huge() {
    for lie in ["drop_answer", "error_after", "drip", "malformed", "huge"] {
        let broker = lying(json!({format!("{lie}_every"): 2})).await;
        assert_eq!(broker.try_place("key-000001").await.expect("the first").0, 201, "{lie}");
        let second = broker.try_place("key-000002").await;
        match lie {
            "drop_answer" => assert!(second.is_err_and(|e| !e.is_timeout()), "{lie}"),
            "drip" => assert!(second.is_err_and(|e| e.is_timeout()), "{lie}"),
            "error_after" => assert_eq!(second.expect("an answer").0, 500),
            "malformed" => {
                let (status, body) = second.expect("an answer");
                assert_eq!(status, 201);
                assert!(serde_json::from_slice::<Value>(&body).is_err(), "{body:?}");
            }
            _ => {
                let (status, body) = second.expect("an answer");
                assert!(status == 201 && body.len() > 8 << 20, "{status} {}", body.len());
            }
        }
        assert_eq!(broker.orders().len(), 2, "{lie}: applied");
        assert!(broker.found("key-000002").await.is_some(), "{lie}");
        assert_eq!(broker.told().await.get(lie), Some(&1));
    }
}

#[tokio::test]
async fn lies_about_the_connection_count_cancels_by_themselves() {
    let broker = lying(json!({"error_before_every": 2, "drop_answer_every": 3})).await;
    broker.placed(&limit("key-000001")).await;
    let cancel = "/v1/orders/by-client-id/key-000001/cancel";
    assert_eq!(broker.post(cancel, &json!({})).await.status(), StatusCode::OK);
    assert_eq!(broker.post(cancel, &json!({})).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let url = format!("{}{cancel}", broker.url);
    assert!(broker.http.post(url).json(&json!({})).send().await.is_err());
    assert_eq!(broker.turned_away(), [("cancel".to_string(), "error_before".to_string())]);
}

#[tokio::test]
async fn an_answer_is_late_and_a_fill_comes_in_parts() {
    let broker = lying(json!({"delay_ms": 200, "fill_parts": 3})).await;
    let asked = Instant::now();
    let view = broker.placed(&order("key-000001")).await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    let parts: Vec<String> = view.fills.iter().map(|f| f.qty.to_string()).collect();
    assert_eq!(parts, ["33.333333", "33.333333", "33.333334"]);
}

#[tokio::test]
async fn every_nth_order_is_rejected_and_stays_so() {
    let broker = lying(json!({"reject_every": 2})).await;
    broker.placed(&order("key-000001")).await;
    for _ in 0..2 {
        let refused = broker.post("/v1/orders", &order("key-000002")).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Refusal>().await.expect("a refusal").error, "no_margin");
    }
    assert_eq!(broker.orders()[1].status, BrokerStatus::Rejected);
}

#[tokio::test]
async fn a_fill_is_told_twice_under_one_id_and_is_one_in_the_ledger() {
    let broker = lying(json!({"duplicate_fill_every": 1})).await;
    let told = broker.placed(&order("key-000001")).await;
    let asked = broker.found("key-000001").await.expect("it is there");
    let heard = broker.events(0).await.events.remove(0).order;
    for view in [told, asked, heard] {
        assert_eq!(view.fills.len(), 2);
        assert_eq!(view.fills[0], view.fills[1]);
    }
    assert_eq!(broker.orders()[0].fills.len(), 1);
}

#[tokio::test]
async fn a_fill_comes_after_a_cancel_and_after_the_end_of_the_day() {
    let broker = lying(json!({"late_fill_every": 1})).await;
    broker.placed(&limit("key-000001")).await;
    let mut day = limit("key-000002");
    day["time_in_force"] = "DAY".into();
    broker.placed(&day).await;
    let cancelled = broker.post("/v1/orders/by-client-id/key-000001/cancel", &json!({})).await;
    let cancelled: OrderView = cancelled.json().await.expect("an order");
    assert!(cancelled.fills.is_empty(), "the answer does not know of it yet");
    broker.post("/day-end", &json!({})).await;
    let ends = [("key-000001", BrokerStatus::Cancelled), ("key-000002", BrokerStatus::Expired)];
    for (id, status) in ends {
        let view = broker.found(id).await.expect("it is there");
        assert_eq!((view.status, view.fills.len()), (status, 1), "{id}");
        assert_eq!(view.fills[0].qty.to_string(), "100");
    }
    assert_eq!(broker.events(0).await.last, 6, "each end and each late fill is told");
    assert_eq!(broker.told().await.get("late_fill"), Some(&2));
}

#[tokio::test]
async fn more_is_filled_than_was_asked_for() {
    let broker = lying(json!({"over_fill_every": 2})).await;
    let sum = |view: &OrderView| view.fills.iter().map(|f| f.qty).sum::<rust_decimal::Decimal>();
    assert_eq!(sum(&broker.placed(&order("key-000001")).await).to_string(), "100");
    assert_eq!(sum(&broker.placed(&order("key-000002")).await).to_string(), "110");
    assert_eq!(sum(&broker.orders()[1]).to_string(), "110", "it is so");
}

#[tokio::test]
async fn f54_an_order_is_not_found_until_it_has_been_there_for_a_while() {
    let broker = lying(json!({"visible_after_ms": 300})).await;
    let placed = Instant::now();
    broker.placed(&order("key-000001")).await;
    let early = broker.get("/v1/orders/by-client-id/key-000001").await;
    assert_eq!(early.status(), StatusCode::NOT_FOUND);
    assert_eq!(early.json::<Refusal>().await.expect("a refusal").error, "unknown_order");
    while broker.found("key-000001").await.is_none() {
        assert!(placed.elapsed() < Duration::from_secs(10), "it never shows");
    }
    assert!(placed.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn without_dedupe_the_same_order_is_made_again_and_the_ledger_shows_both() {
    for broker in [lying(json!({"no_dedupe": true})).await, PaperBroker::start(&["--no-dedupe"])] {
        let mut priced = order("key-000001");
        priced["reference_price"] = "147.25".into();
        for order_ref in ["p-1", "p-2"] {
            let answer = broker.post("/v1/orders", &priced).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
            let view: OrderView = answer.json().await.expect("an order");
            assert_eq!((view.order_ref.as_str(), view.duplicate), (order_ref, false));
        }
        let ids: Vec<String> =
            broker.orders().into_iter().map(|view| view.order.client_order_id).collect();
        assert_eq!(ids, ["key-000001", "key-000001"]);
        let held: Positions =
            broker.get("/v1/positions?account=main").await.json().await.expect("positions");
        assert_eq!(held.positions[0].qty.to_string(), "200");
    }
}

#[tokio::test]
async fn without_queries_an_order_cannot_be_asked_about() {
    let broker = lying(json!({"no_query": true})).await;
    broker.placed(&order("key-000001")).await;
    let asked = broker.get("/v1/orders/by-client-id/key-000001").await;
    assert_eq!(asked.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn events_are_left_out_told_twice_told_late_and_told_the_wrong_way_round() {
    let numbers = async |lies: Value, orders: u64| {
        let broker = lying(lies).await;
        for n in 1..=orders {
            broker.placed(&order(&format!("key-{n:06}"))).await;
        }
        let started = Instant::now();
        let page = broker.events(0).await;
        let numbers: Vec<u64> = page.events.iter().map(|e| e.n).collect();
        (numbers, page.last, started.elapsed())
    };
    let (told, last, _) = numbers(json!({"drop_event_every": 2}), 4).await;
    assert_eq!((told, last), (vec![1, 3], 4));
    let (told, last, _) = numbers(json!({"duplicate_event_every": 2}), 3).await;
    assert_eq!((told, last), (vec![1, 2, 2, 3], 3));
    let (told, last, _) = numbers(json!({"reorder_events": true}), 2).await;
    assert_eq!((told, last), (vec![2, 1], 2));
    let (told, _, took) = numbers(json!({"delay_event_ms": 400}), 1).await;
    assert_eq!(told, [1]);
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn a_position_is_told_with_an_offset() {
    let broker = lying(json!({"position_offset": {"USDJPY": "5", "EURUSD": "-1"}})).await;
    broker.placed(&order("key-000001")).await;
    let told: Positions =
        broker.get("/v1/positions?account=main").await.json().await.expect("positions");
    let told: Vec<_> = told.positions.iter().map(|p| format!("{} {}", p.symbol, p.qty)).collect();
    assert_eq!(told, ["USDJPY 105", "EURUSD -1"]);
    let option = PaperBroker::start(&["--position-offset", "USDJPY=5,EURUSD=-1"]);
    let told: Positions =
        option.get("/v1/positions?account=main").await.json().await.expect("positions");
    assert_eq!(told.positions.len(), 2);
}

#[tokio::test]
async fn every_lie_is_also_an_option_and_an_unknown_lie_is_refused() {
    let broker = PaperBroker::start(&[]);
    let told: Value = broker.get("/lies").await.json().await.expect("the lies");
    let mut arguments = Vec::new();
    for (lie, value) in told.as_object().expect("an object") {
        arguments.push(format!("--{}", lie.replace('_', "-")));
        match value {
            Value::Number(_) => arguments.push("7".into()),
            Value::Object(_) => arguments.push("USDJPY=7".into()),
            other => assert_eq!(*other, json!(false), "{lie}"),
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = PaperBroker::start(&arguments);
    let set: Value = all.get("/lies").await.json().await.expect("the lies");
    for (lie, value) in set.as_object().expect("an object") {
        let wanted = [json!(7), json!(true), json!({"USDJPY": "7"})];
        assert!(wanted.contains(value), "{lie}: {value}");
    }
    let refused = broker.post("/lies", &json!({"drop_answers": 1})).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
}
