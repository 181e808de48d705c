//! What every adapter of a broker must do, whatever the broker does.

mod stage;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use noctus::dispatch::broker::handshake::{HandshakeError, shake_hands};
use noctus::dispatch::broker::protocol::{BrokerStatus, OrderView, PlaceOrder, ReplaceOrder};
use noctus::dispatch::broker::{Asked, MayWrite, Moved, Placed, events};
use noctus::domain::order::Event;
use noctus::domain::request::{OrderType, Side, TimeInForce};
use rust_decimal::Decimal;
use serde_json::json;
use stage::{AtTheDesk, OverHttp, PATIENCE, Signed, Stage};

/// Runs each of these on every adapter.
macro_rules! conformance {
    ($($name:ident),+ $(,)?) => {
        mod over_http {
            $(#[tokio::test]
            async fn $name() {
                super::$name::<super::OverHttp>().await;
            })+
        }
        mod signed_over_http {
            $(#[tokio::test]
            async fn $name() {
                super::$name::<super::Signed>().await;
            })+
        }
        mod at_the_desk {
            $(#[tokio::test]
            async fn $name() {
                super::$name::<super::AtTheDesk>().await;
            })+
        }
    };
}

conformance!(
    the_same_order_again_is_one_order,
    f55_another_order_under_the_id_is_a_mismatch,
    a_rejected_order_is_known_as_rejected_and_stays_so,
    f60_a_write_is_asked_for_once_and_one_that_is_refused_sends_nothing,
    f51_f53_f58_an_order_whose_answer_is_lost_is_unknown_and_found_by_asking,
    f51_f57_an_order_that_was_not_applied_is_unknown_not_found_and_may_be_sent_again,
    f54_not_found_is_said_only_when_the_broker_says_so,
    f57_the_broker_may_ask_for_peace,
    a_cancel_ends_an_order_once,
    f51_f58_a_cancel_whose_answer_is_lost_is_unknown_and_the_order_says_what_it_did,
    a_replace_puts_one_order_in_the_place_of_another,
    f51_a_replace_whose_answer_is_lost_comes_again_without_a_third_order,
    events_tell_every_step_once_in_the_order_of_their_numbers,
    f56_a_fill_that_is_told_twice_is_one_fill,
    positions_are_what_was_filled,
    f61_a_broker_of_another_environment_is_not_used,
    without_dedupe_the_same_order_is_two_and_the_broker_says_so_before,
);

fn order(id: &str) -> PlaceOrder {
    PlaceOrder {
        client_order_id: id.into(),
        account: "main".into(),
        symbol: "USDJPY".into(),
        side: Side::Buy,
        qty: Decimal::ONE_HUNDRED,
        order_type: OrderType::Market,
        limit_price: None,
        stop_price: None,
        stop_loss: None,
        take_profit: None,
        reference_price: None,
        time_in_force: TimeInForce::Gtc,
        accept_by: None,
        trace_id: None,
    }
}

fn resting(id: &str) -> PlaceOrder {
    let limit_price = Some(Decimal::from(147));
    PlaceOrder { order_type: OrderType::Limit, limit_price, ..order(id) }
}

fn yes<'a>() -> MayWrite<'a> {
    Box::new(|| Ok(()))
}

async fn place(stage: &impl Stage, order: &PlaceOrder) -> Placed {
    stage.broker().place(order, yes()).await
}

async fn known(stage: &impl Stage, order: &PlaceOrder) -> OrderView {
    match place(stage, order).await {
        Placed::Known(view) => *view,
        other => panic!("{other:?}"),
    }
}

async fn found(stage: &impl Stage, order: &PlaceOrder) -> OrderView {
    match stage.broker().ask(order).await {
        Asked::Known(view) => *view,
        other => panic!("{other:?}"),
    }
}

async fn the_same_order_again_is_one_order<S: Stage>() {
    let stage = S::start(json!({})).await;
    let first = known(&stage, &order("key-000001")).await;
    assert_eq!((first.status, first.duplicate), (BrokerStatus::Filled, false));
    let again = known(&stage, &order("key-000001")).await;
    assert_eq!(again, OrderView { duplicate: true, ..first.clone() });
    assert_eq!(found(&stage, &order("key-000001")).await, first);
    assert_eq!(stage.orders().await.len(), 1);
}

async fn f55_another_order_under_the_id_is_a_mismatch<S: Stage>() {
    let stage = S::start(json!({})).await;
    known(&stage, &order("key-000001")).await;
    let other = PlaceOrder { qty: Decimal::TEN, ..order("key-000001") };
    let (placed, asked) = (place(&stage, &other).await, stage.broker().ask(&other).await);
    let cancelled = stage.broker().cancel(&other, "test", yes()).await;
    assert!(matches!(&placed, Placed::Mismatch(view) if view.order_ref == "p-1"), "{placed:?}");
    assert!(matches!(&asked, Asked::Mismatch(view) if view.order_ref == "p-1"), "{asked:?}");
    assert!(matches!(&cancelled, Moved::Mismatch(_)), "{cancelled:?}");
    assert_eq!(stage.orders().await.len(), 1);
}

async fn a_rejected_order_is_known_as_rejected_and_stays_so<S: Stage>() {
    let stage = S::start(json!({"reject_every": 1})).await;
    for _ in 0..2 {
        let view = known(&stage, &order("key-000001")).await;
        assert_eq!(view.status, BrokerStatus::Rejected);
        assert_eq!(events(&view), [Event::Reject { code: "no_margin".into() }]);
        stage.lie(json!({})).await;
    }
    assert_eq!(found(&stage, &order("key-000001")).await.status, BrokerStatus::Rejected);
}

async fn f60_a_write_is_asked_for_once_and_one_that_is_refused_sends_nothing<S: Stage>() {
    let stage = S::start(json!({})).await;
    let asked = Mutex::new(0);
    let no = || -> MayWrite<'_> {
        Box::new(|| {
            *asked.lock().expect("no panic") += 1;
            Err("halted")
        })
    };
    let broker = stage.broker();
    let placed = broker.place(&resting("key-000001"), no()).await;
    assert_eq!(placed, Placed::NotSent { code: "halted" });
    assert!(stage.orders().await.is_empty());
    known(&stage, &resting("key-000001")).await;
    let cancelled = broker.cancel(&resting("key-000001"), "test", no()).await;
    assert_eq!(cancelled, Moved::NotSent { code: "halted" });
    let with = replacement("key-000002");
    let replaced = broker.replace(&resting("key-000001"), &with, no()).await;
    assert_eq!(replaced, Moved::NotSent { code: "halted" });
    assert_eq!(*asked.lock().expect("no panic"), 3);
    assert_eq!(stage.orders().await[0].status, BrokerStatus::Working);
}

/// What may become of an answer, and the codes that an adapter may give it.
const LOST: &[(&str, &[&str])] = &[
    ("drop_answer_every", &["connection_lost"]),
    ("error_after_every", &["http_status"]),
    ("drip_every", &["timeout", "answer_cut_short"]),
    ("malformed_every", &["answer_malformed"]),
    ("huge_every", &["answer_too_large"]),
    ("delay_ms", &["timeout"]),
];

/// The lie, for every call; a delay longer than anyone waits.
fn always(lie: &str) -> serde_json::Value {
    let late = PATIENCE.as_millis() * 2;
    json!({lie: if lie == "delay_ms" { late } else { 1 }})
}

async fn f51_f53_f58_an_order_whose_answer_is_lost_is_unknown_and_found_by_asking<S: Stage>() {
    for (lie, codes) in LOST {
        let stage = S::start(json!({})).await;
        stage.lie(always(lie)).await;
        let started = Instant::now();
        let placed = place(&stage, &order("key-000001")).await;
        assert!(started.elapsed() < PATIENCE * 5, "{lie}: {:?}", started.elapsed());
        let Placed::Unknown { code, .. } = placed else { panic!("{lie}: {placed:?}") };
        assert!(codes.contains(&code), "{lie}: {code}");
        let view = found(&stage, &order("key-000001")).await;
        assert_eq!(view.status, BrokerStatus::Filled, "{lie}");
        stage.lie(json!({})).await;
        assert!(known(&stage, &order("key-000001")).await.duplicate, "{lie}");
        assert_eq!(stage.orders().await.len(), 1, "{lie}");
    }
}

async fn f51_f57_an_order_that_was_not_applied_is_unknown_not_found_and_may_be_sent_again<
    S: Stage,
>() {
    for (lie, wanted) in [
        ("reset_before_apply_every", "connection_lost"),
        ("error_before_every", "http_status"),
        ("rate_limit_every", "rate_limited"),
    ] {
        let stage = S::start(json!({lie: 1})).await;
        let placed = place(&stage, &order("key-000001")).await;
        let Placed::Unknown { code, .. } = placed else { panic!("{lie}: {placed:?}") };
        assert_eq!(code, wanted);
        assert_eq!(stage.broker().ask(&order("key-000001")).await, Asked::NotFound, "{lie}");
        stage.lie(json!({})).await;
        assert!(!known(&stage, &order("key-000001")).await.duplicate, "{lie}");
        assert_eq!(stage.orders().await.len(), 1, "{lie}");
    }
}

async fn f54_not_found_is_said_only_when_the_broker_says_so<S: Stage>() {
    let stage = S::start(json!({"visible_after_ms": 200})).await;
    let bound = stage.broker().capabilities().await.expect("capabilities").visible_within_ms;
    assert_eq!(stage.broker().ask(&order("key-000001")).await, Asked::NotFound, "never placed");
    let placed = Instant::now();
    known(&stage, &order("key-000001")).await;
    assert_eq!(stage.broker().ask(&order("key-000001")).await, Asked::NotFound, "not yet");
    while stage.broker().ask(&order("key-000001")).await == Asked::NotFound {
        assert!(placed.elapsed() < Duration::from_millis(bound) + PATIENCE * 10);
    }
    found(&stage, &order("key-000001")).await;
    stage.lie(json!({"no_query": true})).await;
    for id in ["key-000001", "key-000002"] {
        let asked = stage.broker().ask(&order(id)).await;
        assert!(matches!(&asked, Asked::Failed(none) if none.code == "http_status"), "{asked:?}");
    }
}

async fn f57_the_broker_may_ask_for_peace<S: Stage>() {
    let stage = S::start(json!({"rate_limit_every": 1})).await;
    let placed = place(&stage, &order("key-000001")).await;
    let peace = match placed {
        Placed::Unknown { code: "rate_limited", retry_after, .. } => retry_after,
        other => panic!("{other:?}"),
    };
    assert_eq!(peace, Some(Duration::from_secs(1)));
}

async fn a_cancel_ends_an_order_once<S: Stage>() {
    let stage = S::start(json!({})).await;
    let (resting, filled) = (resting("key-000001"), order("key-000002"));
    known(&stage, &resting).await;
    known(&stage, &filled).await;
    for _ in 0..2 {
        let moved = stage.broker().cancel(&resting, "halted", yes()).await;
        let Moved::Known(view) = moved else { panic!("{moved:?}") };
        assert_eq!((view.status, view.code.as_deref()), (BrokerStatus::Cancelled, Some("halted")));
    }
    let moved = stage.broker().cancel(&filled, "halted", yes()).await;
    assert!(matches!(&moved, Moved::Known(view) if view.status == BrokerStatus::Filled));
    let moved = stage.broker().cancel(&order("key-none"), "halted", yes()).await;
    assert_eq!(moved, Moved::NotFound);
}

async fn f51_f58_a_cancel_whose_answer_is_lost_is_unknown_and_the_order_says_what_it_did<
    S: Stage,
>() {
    let applied = LOST.iter().map(|(lie, _)| (*lie, BrokerStatus::Cancelled));
    let not = ["reset_before_apply_every", "error_before_every", "rate_limit_every"];
    for (lie, status) in applied.chain(not.map(|lie| (lie, BrokerStatus::Working))) {
        let stage = S::start(json!({})).await;
        known(&stage, &resting("key-000001")).await;
        stage.lie(always(lie)).await;
        let moved = stage.broker().cancel(&resting("key-000001"), "halted", yes()).await;
        assert!(matches!(moved, Moved::Unknown { .. }), "{lie}: {moved:?}");
        assert_eq!(found(&stage, &resting("key-000001")).await.status, status, "{lie}");
    }
}

fn replacement(id: &str) -> ReplaceOrder {
    let limit_price = Some("146.5".parse().expect("a price"));
    ReplaceOrder {
        client_order_id: id.into(),
        qty: None,
        limit_price,
        stop_price: None,
        if_filled: None,
    }
}

async fn a_replace_puts_one_order_in_the_place_of_another<S: Stage>() {
    let stage = S::start(json!({})).await;
    let broker = stage.broker();
    let (old, with) = (resting("key-000001"), replacement("key-000002"));
    assert_eq!(broker.replace(&old, &with, yes()).await, Moved::NotFound);
    known(&stage, &old).await;
    for again in [false, true] {
        let moved = broker.replace(&old, &with, yes()).await;
        let Moved::Known(view) = moved else { panic!("{moved:?}") };
        assert_eq!((view.duplicate, view.order.qty), (again, Decimal::ONE_HUNDRED));
        assert_eq!(view.order.limit_price, with.limit_price);
    }
    let other = ReplaceOrder { qty: Some(Decimal::TEN), ..with.clone() };
    let moved = broker.replace(&old, &other, yes()).await;
    assert!(matches!(moved, Moved::Mismatch(_)), "{moved:?}");
    let third = replacement("key-000003");
    let moved = broker.replace(&old, &third, yes()).await;
    let Moved::Refused { code, original } = moved else { panic!("{moved:?}") };
    assert_eq!(code, "not_working");
    assert_eq!(original.expect("the order").code.as_deref(), Some("replaced"));
    let states: Vec<BrokerStatus> = stage.orders().await.iter().map(|view| view.status).collect();
    assert_eq!(states, [BrokerStatus::Cancelled, BrokerStatus::Working]);
}

async fn f51_a_replace_whose_answer_is_lost_comes_again_without_a_third_order<S: Stage>() {
    let stage = S::start(json!({})).await;
    let (old, with) = (resting("key-000001"), replacement("key-000002"));
    known(&stage, &old).await;
    stage.lie(json!({"drop_answer_every": 1})).await;
    let moved = stage.broker().replace(&old, &with, yes()).await;
    assert!(matches!(moved, Moved::Unknown { .. }), "{moved:?}");
    stage.lie(json!({})).await;
    let moved = stage.broker().replace(&old, &with, yes()).await;
    assert!(matches!(&moved, Moved::Known(view) if view.duplicate), "{moved:?}");
    assert_eq!(stage.orders().await.len(), 2);
}

async fn events_tell_every_step_once_in_the_order_of_their_numbers<S: Stage>() {
    let stage = S::start(json!({})).await;
    let broker = stage.broker();
    let newest = broker.events(None, Duration::ZERO).await.expect("events");
    assert_eq!((newest.events.len(), newest.last), (0, 0));
    known(&stage, &resting("key-000001")).await;
    known(&stage, &order("key-000002")).await;
    let wait = Duration::from_secs(5);
    let (waited, ()) = tokio::join!(broker.events(Some(2), wait), stage.quote("146.9"));
    assert_eq!(waited.expect("events").last, 3);
    // Page after page: an answer has its largest size.
    let (mut all, mut last) = (Vec::new(), 0);
    while last < 3 {
        let page = broker.events(Some(last), wait).await.expect("events");
        assert!(page.last > last, "it goes on");
        last = page.last;
        all.extend(page.events);
    }
    let steps: Vec<_> =
        all.iter().map(|e| (e.n, e.order.order.client_order_id.as_str(), e.order.status)).collect();
    assert_eq!(
        steps,
        [
            (1, "key-000001", BrokerStatus::Working),
            (2, "key-000002", BrokerStatus::Filled),
            (3, "key-000001", BrokerStatus::Filled)
        ]
    );
    let none = broker.events(Some(3), Duration::from_millis(50)).await.expect("an empty page");
    assert_eq!((none.events.len(), none.last), (0, 3));
}

async fn f56_a_fill_that_is_told_twice_is_one_fill<S: Stage>() {
    let stage = S::start(json!({"duplicate_fill_every": 1, "fill_parts": 2})).await;
    let view = known(&stage, &order("key-000001")).await;
    assert_eq!(view.fills.len(), 4, "it is told twice");
    let page = stage.broker().events(Some(0), Duration::ZERO).await.expect("events");
    for view in [&view, &page.events[0].order, &found(&stage, &order("key-000001")).await] {
        let fills = events(view).into_iter().filter(|event| matches!(event, Event::Fill(_)));
        assert_eq!(fills.count(), 2);
    }
}

async fn positions_are_what_was_filled<S: Stage>() {
    let stage = S::start(json!({})).await;
    known(&stage, &order("key-000001")).await;
    known(&stage, &PlaceOrder { side: Side::Sell, qty: Decimal::TEN, ..order("key-000002") }).await;
    known(&stage, &resting("key-000003")).await;
    let told = stage.broker().positions("main").await.expect("positions");
    let held: Vec<_> = told.positions.iter().map(|p| (p.symbol.as_str(), p.qty)).collect();
    assert_eq!((told.account.as_str(), held), ("main", vec![("USDJPY", Decimal::from(90))]));
    assert!(stage.broker().positions("other").await.expect("positions").positions.is_empty());
}

async fn f61_a_broker_of_another_environment_is_not_used<S: Stage>() {
    let stage = S::start(json!({})).await;
    let good = shake_hands(stage.broker(), "paper").await.expect("it is paper");
    assert_eq!(good.digest.len(), 64);
    let bad = shake_hands(stage.broker(), "live").await;
    assert!(matches!(bad, Err(HandshakeError::Unusable { .. })), "{bad:?}");
}

async fn without_dedupe_the_same_order_is_two_and_the_broker_says_so_before<S: Stage>() {
    let stage = S::start(json!({"no_dedupe": true})).await;
    let told = stage.broker().capabilities().await.expect("capabilities");
    assert!(!told.dedupes_by_client_id);
    for _ in 0..2 {
        known(&stage, &order("key-000001")).await;
    }
    assert_eq!(stage.orders().await.len(), 2);
}
