//! A paper broker with a secret takes only calls that are signed with it.

use jiff::{SignedDuration, Timestamp};
use noctus::dispatch::broker::protocol::{ENVIRONMENT_HEADER, Refusal};
use noctus::dispatch::broker::signing::{
    Call, KEY_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER,
};
use noctus::runtime::clock;
use reqwest::StatusCode;

use super::{PaperBroker, order};

const SECRET: &str = "a secret of at least thirty-two bytes";

fn key(id: &str, secret: &str) -> Key {
    Key { id: id.into(), secret: secret.into() }
}

impl PaperBroker {
    /// Places an order signed by this key at this time, and sends these bytes instead of those signed.
    async fn place_signed(
        &self,
        key: &Key,
        at: Timestamp,
        sent: Option<&str>,
    ) -> (StatusCode, String) {
        let body = order("key-000001").to_string();
        let call = Call {
            method: "POST",
            target: "/v1/orders",
            environment: "paper",
            body: body.as_bytes(),
        };
        let answer = self
            .http
            .post(format!("{}/v1/orders", self.url))
            .header(ENVIRONMENT_HEADER, "paper")
            .header(KEY_HEADER, &key.id)
            .header(TIMESTAMP_HEADER, at.as_millisecond())
            .header(SIGNATURE_HEADER, key.sign(&call, at))
            .body(sent.unwrap_or(&body).to_string())
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let error = answer.json::<Refusal>().await.map_or_else(|_| String::new(), |r| r.error);
        (status, error)
    }
}

#[tokio::test]
async fn only_a_call_signed_with_its_key_just_now_is_taken() {
    let broker = PaperBroker::start_with(&["--quotes", "USDJPY=147.250/147.252"], Some(SECRET));
    let (good, now) = (key("noctus", SECRET), clock::now());
    let seconds = SignedDuration::from_secs;
    let other_body = order("key-000002").to_string();
    let cases = [
        (key("noctus", "another secret of the same length...."), now, None, "bad_signature"),
        (key("other", SECRET), now, None, "unknown_key"),
        (good.clone(), now - seconds(40), None, "stale_timestamp"),
        (good.clone(), now + seconds(40), None, "stale_timestamp"),
        (good.clone(), now, Some(other_body.as_str()), "bad_signature"),
    ];
    for (key, at, sent, wanted) in cases {
        let refused = broker.place_signed(&key, at, sent).await;
        assert_eq!(refused, (StatusCode::UNAUTHORIZED, wanted.to_string()), "{at}");
    }
    for path in ["/v1/capabilities", "/v1/events", "/v1/positions?account=main"] {
        let unsigned = broker.get(path).await;
        assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(unsigned.json::<Refusal>().await.expect("a refusal").error, "unsigned");
    }
    assert!(broker.orders().is_empty(), "nothing was taken");
    let taken = broker.place_signed(&good, clock::now(), None).await;
    assert_eq!(taken.0, StatusCode::CREATED);
    assert_eq!(broker.get("/v1/ledger").await.status(), StatusCode::OK, "not of the contract");
}

#[test]
fn without_a_secret_it_stands_for_paper_only() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(["paper-broker", "--listen", "127.0.0.1:0", "--ledger", "/dev/null"])
        .args(["--environment", "live"])
        .env_remove("NOCTUS_BROKER_SECRET")
        .output()
        .expect("the executable starts");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NOCTUS_BROKER_SECRET is not set"), "{said}");
}

#[test]
fn a_weak_secret_is_refused_and_no_secret_is_printed() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_noctus"))
        .args(["paper-broker", "--listen", "127.0.0.1:0", "--ledger", "/dev/null"])
        .env("NOCTUS_BROKER_SECRET", "short-and-weak")
        .output()
        .expect("the executable starts");
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NOCTUS_BROKER_SECRET is too short"), "{said}");
    assert!(!said.contains("short-and-weak"), "{said}");
}
