//! The registry gives another schema for an id than it gave before (F06): nothing is decided until it is as it was.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use noctus::wire::Subject;
use serde_json::json;

use super::{Line, open_policy, order};
use crate::stack::Stack;

/// The real registry, but for one id that it may lie about.
struct Liar {
    url: String,
    lie: Arc<Mutex<Option<(u32, &'static str)>>>,
}

impl Liar {
    async fn start() -> Self {
        let lie: Arc<Mutex<Option<(u32, &'static str)>>> = Arc::default();
        let told = lie.clone();
        let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let lie = *told.lock().expect("nobody panics with it");
            match lie {
                Some((id, text)) if uri.path() == format!("/schemas/ids/{id}") => {
                    axum::Json(json!({"schema": text})).into_response()
                }
                _ => forwarded(method, uri, headers, body).await,
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let app = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, lie }
    }

    fn says(&self, id: u32, lie: Option<&'static str>) {
        *self.lie.lock().expect("nobody panics with it") = lie.map(|text| (id, text));
    }
}

async fn forwarded(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let url = format!("{}{}", Stack::get().registry.trim_end_matches('/'), uri);
    let mut request = reqwest::Client::new().request(method, url).body(body);
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    let answer = request.send().await.expect("the registry answers");
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
    let text = answer.bytes().await.expect("a body");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f06_while_the_registry_gives_another_schema_for_an_id_nothing_is_decided() {
    let liar = Liar::start().await;
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.registry.url = liar.url.clone();
        config.registry.compare_s = 1;
    })
    .await;
    let real = [("NOCTUS_REGISTRY__URL", Stack::get().registry.as_str())];
    let _sink = line.start_with("sink", &real);
    let mut gate = line.start("gate");
    let decided = "SELECT count(*) FROM outbox_orders";
    line.produce(&[order("schema-0001", "USDJPY")], None).await;
    line.until(decided, "1").await;
    let value = line.record(&order("schema-0001", "USDJPY"), None).value.expect("a value");
    let id = u32::from_be_bytes([value[1], value[2], value[3], value[4]]);
    let seen = format!("SELECT count(*) FROM registry_schemas WHERE id = {id}");
    line.until(&seen, "1").await;

    // While it runs: noticed by asking again.
    let other = Subject::Quote.versions()[0];
    liar.says(id, Some(other));
    let differs = format!("another schema for id {id}");
    gate.answers(503, &differs).await;
    let told = "SELECT string_agg(DISTINCT severity || ' ' || (details->>'id'), ', ')
                  FROM obs_alerts WHERE policy_name = 'ingest.schema_changed'";
    line.until(told, &format!("CRITICAL {id}")).await;
    line.produce(&[order("schema-0002", "USDJPY")], None).await;
    gate.counts("noctus_gate_requests_total", 2.0).await;
    gate.answers(503, &differs).await;
    assert_eq!(line.ask(decided).await, "1", "{}", line.state().await);
    liar.says(id, None);
    line.until(decided, "2").await;
    gate.answers(200, "ready").await;

    // From the start: noticed before anything that was read with it is judged, or refused.
    assert!(gate.stop().success());
    liar.says(id, Some(other));
    line.produce(&[order("schema-0003", "USDJPY")], None).await;
    let gate = line.start("gate");
    gate.answers(503, &differs).await;
    assert_eq!(line.ask(decided).await, "2");
    liar.says(id, None);
    line.until(decided, "3").await;
    gate.answers(200, "ready").await;
    assert_eq!(line.dump("dead-letters").len(), 0, "none was taken for something else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f06_a_schema_that_a_person_says_is_right_is_taken() {
    let liar = Liar::start().await;
    let mut line = Line::new(1, |config| {
        config.policies.risk = Some(open_policy());
        config.registry.url = liar.url.clone();
    })
    .await;
    let value = line.record(&order("schema-0001", "USDJPY"), None).value.expect("a value");
    let id = u32::from_be_bytes([value[1], value[2], value[3], value[4]]);
    // As an older registry said it.
    line.sql(&format!(
        "INSERT INTO registry_schemas (id, sha256) VALUES ({id}, sha256('another schema'))"
    ))
    .await;
    let mut gate = line.start("gate");
    line.produce(&[order("schema-0001", "USDJPY")], None).await;
    gate.answers(503, &format!("another schema for id {id}")).await;
    line.sql(&format!("DELETE FROM registry_schemas WHERE id = {id}")).await;
    assert!(gate.stop().success());
    let gate = line.start("gate");
    line.until("SELECT count(*) FROM outbox_orders", "1").await;
    gate.answers(200, "ready").await;
    assert_eq!(line.dump("dead-letters").len(), 0);
}
