//! What the adapter makes of answers, written to a real socket byte by byte.

use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::domain::request::{OrderType, Side, TimeInForce};

fn order() -> PlaceOrder {
    PlaceOrder {
        client_order_id: "key-000001".into(),
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

fn view(qty: &str) -> Value {
    let mut order = serde_json::to_value(order()).expect("plain data");
    order["qty"] = qty.into();
    json!({"order": order, "order_ref": "r-1", "status": "working", "received_at": "2026-01-01T00:00:00Z"})
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A broker that reads a request, writes these bytes, and closes; or never answers.
async fn answering(answer: Option<Vec<u8>>) -> Rest {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_err() {
                continue;
            }
            match &answer {
                Some(bytes) if stream.write_all(bytes).await.is_ok() => drop(stream),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    });
    rest(url)
}

fn rest(url: String) -> Rest {
    let config = config::Broker {
        url,
        timeout_ms: 300,
        answer_max_bytes: 2_000,
        ..config::Broker::default()
    };
    Rest::new(&config, None).expect("a client")
}

/// The outcome in a word.
fn word(placed: Placed) -> String {
    match placed {
        Placed::Known(_) => "known".into(),
        Placed::Refused { code } => format!("refused {code}"),
        Placed::Mismatch(_) => "mismatch".into(),
        Placed::NotSent { code } => format!("not sent {code}"),
        Placed::Unknown { code, .. } => format!("unknown {code}"),
    }
}

#[tokio::test]
async fn f51_f57_f58_only_a_clear_answer_is_an_outcome() {
    let good = view("100").to_string();
    let conflict = json!({"error": "client_order_id_taken", "original": view("7")}).to_string();
    let cases = [
        (http("201 Created", &good), "known"),
        (http("200 OK", &view("100.000000").to_string()), "known"),
        (http("200 OK", &view("101").to_string()), "mismatch"),
        (http("409 Conflict", &conflict), "mismatch"),
        (http("422 Unprocessable", r#"{"error":"no_price"}"#), "refused no_price"),
        (http("422 Unprocessable", "<html>"), "unknown answer_malformed"),
        (http("200 OK", "{}"), "unknown answer_malformed"),
        (http("200 OK", &good.replace("r-1", r"\u0000")), "unknown answer_malformed"),
        (http("200 OK", &"x".repeat(3_000)), "unknown answer_too_large"),
        (http("201 Created", &good)[..120].to_vec(), "unknown answer_cut_short"),
        (b"HTTP/1.1 20".to_vec(), "unknown connection_lost"),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "unknown connection_lost"),
        (vec![], "unknown connection_lost"),
        (http("302 Found\r\nlocation: http://127.0.0.1:1/", ""), "unknown http_status"),
        (http("404 Not Found", ""), "unknown http_status"),
        (http("500 Internal Server Error", &good), "unknown http_status"),
        (http("502 Bad Gateway", ""), "unknown http_status"),
        (http("429 Too Many Requests", ""), "unknown rate_limited"),
        (http("403 Forbidden", ""), "unknown not_authorised"),
    ];
    for (answer, wanted) in cases {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let placed = answering(Some(answer)).await.place(&order(), Box::new(|| Ok(()))).await;
        assert_eq!(word(placed), wanted, "{shown}");
    }
}

#[tokio::test]
async fn f53_a_broker_that_never_answers_leaves_the_outcome_unknown() {
    let placed = answering(None).await.place(&order(), Box::new(|| Ok(()))).await;
    assert_eq!(word(placed), "unknown timeout");
}

#[tokio::test]
async fn f57_the_broker_may_ask_for_peace() {
    // A time counts by the broker's own clock, however far from ours.
    let dated = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\nretry-after: ";
    for (headers, wanted) in [
        ("retry-after: 7".to_string(), Some(7)),
        ("retry-after: 999999999".into(), Some(3_600)),
        ("retry-after: soon".into(), None),
        ("retry-after: -1".into(), None),
        (format!("{dated}Wed, 21 Oct 2015 07:28:30 GMT"), Some(30)),
        (format!("{dated}Wednesday, 21-Oct-15 07:28:30 GMT"), Some(30)),
        (format!("{dated}Wed, 21 Oct 2015 07:00:00 GMT"), Some(0)),
        ("retry-after: Wed, 21 Oct 2015 07:28:00 GMT".into(), Some(0)),
        ("retry-after: Fri, 31 Dec 9999 23:59:59 GMT".into(), Some(3_600)),
    ] {
        for status in ["503 Service Unavailable", "429 Too Many Requests"] {
            let busy = http(&format!("{status}\r\n{headers}"), "");
            let placed = answering(Some(busy)).await.place(&order(), Box::new(|| Ok(()))).await;
            let Placed::Unknown { retry_after, .. } = placed else { panic!("{placed:?}") };
            assert_eq!(retry_after, wanted.map(Duration::from_secs), "{headers}");
        }
    }
}

#[tokio::test]
async fn what_never_left_is_not_sent_provably() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener); // nobody listens there now
    let placed = rest(format!("http://{address}")).place(&order(), Box::new(|| Ok(()))).await;
    assert_eq!(word(placed), "not sent broker_unreachable");
    let placed = answering(None).await.place(&order(), Box::new(|| Err("lease_over"))).await;
    assert_eq!(word(placed), "not sent lease_over");
}

#[tokio::test]
async fn f54_only_the_brokers_own_words_mean_not_found() {
    let own = r#"{"error":"unknown_order"}"#;
    let cases = [
        (http("404 Not Found", own), "not found"),
        (http("404 Not Found", ""), "answer_malformed"),
        (http("404 Not Found", r#"{"error":"no such path"}"#), "http_404"),
        (http("502 Bad Gateway", own), "http_status"),
        (http("200 OK", &view("100").to_string()), "known"),
        (http("200 OK", &view("7").to_string()), "mismatch"),
    ];
    for (answer, wanted) in cases {
        let asked = answering(Some(answer)).await.ask(&order()).await;
        let found = match asked {
            Asked::Known(_) => "known",
            Asked::Mismatch(_) => "mismatch",
            Asked::NotFound => "not found",
            Asked::Failed(none) => none.code,
        };
        assert_eq!(found, wanted);
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_in_time_means_that_nothing_left() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("an address");
    // Nobody takes connections: once its queue is full, the next one hangs.
    let mut queue = Vec::new();
    let short = Duration::from_millis(200);
    while let Ok(connected) =
        tokio::time::timeout(short, tokio::net::TcpStream::connect(address)).await
    {
        queue.push(connected.expect("a connection"));
        assert!(queue.len() < 100, "the queue never fills");
    }
    let config = config::Broker {
        url: format!("http://{address}"),
        connect_timeout_ms: 100,
        timeout_ms: 2_000,
        ..config::Broker::default()
    };
    let rest = Rest::new(&config, None).expect("a client");
    let placed = rest.place(&order(), Box::new(|| Ok(()))).await;
    assert_eq!(word(placed), "not sent broker_unreachable");
}

#[tokio::test]
async fn without_a_secret_only_a_broker_of_paper_is_called() {
    let mut config = Config::default();
    assert!(Rest::of(&config).is_ok());
    config.broker.environment = "live".into();
    let refused = Rest::of(&config).err();
    let missing = matches!(
        refused,
        Some(HandshakeError::Secret(BadSecrets::Missing { name: "NOCTUS_BROKER_SECRET" }))
    );
    assert!(missing, "{refused:?}");
    config.dev = true;
    assert!(Rest::of(&config).is_ok());
}
