//! Spans of an order at a real OTLP receiver, in a build with the feature `otlp` (`tests/long otlp`).

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use noctus::domain::trace_context::{TraceContext, decide, send};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::{Line, open_policy, order};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-af7651916cd43dd8448eb211c80319c7-b7ad6b7169203331-00";

type Heard = Arc<Mutex<Vec<Span>>>;

async fn take(State(heard): State<Heard>, body: Bytes) -> (StatusCode, Vec<u8>) {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, vec![]);
    };
    let mut heard = heard.lock().expect("nobody panicked");
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap_or_default().attributes;
        assert!(attributes.iter().any(|a| a.key == "service.name"), "{attributes:?}");
        heard.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    (StatusCode::OK, vec![])
}

/// Takes spans at this address.
async fn receiver() -> (String, Heard) {
    let heard = Heard::default();
    let app = axum::Router::new().route("/v1/traces", post(take)).with_state(heard.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_spans_of_an_order_hang_together_from_the_producers_to_the_sinks() {
    let (address, heard) = receiver().await;
    let mut line = Line::new(2, |config| {
        config.policies.risk = Some(open_policy());
        config.tracing.otlp_endpoint = Some(address);
    })
    .await;
    let mut roles = [line.start("gate"), line.start("dispatch"), line.start("sink")];
    for (key, parent) in [("spans-0001", SAMPLED), ("spans-0002", NOT_SAMPLED)] {
        let mut record = line.record(&order(key, "USDJPY"), None);
        record.headers.push(("traceparent".into(), Some(parent.as_bytes().to_vec())));
        line.send(&[record]).await;
    }
    line.rest(2).await;
    // Whoever stops sends what it still has.
    assert!(roles.iter_mut().all(|role| role.stop().success()));
    let spans = heard.lock().expect("nobody panicked").clone();
    let given = TraceContext::parse(SAMPLED, None).expect("a good context");
    let ours = |span: &&Span| span.trace_id == given.trace_id();
    let named = |name: &str| -> Vec<Span> {
        spans.iter().filter(ours).filter(|span| span.name == name).cloned().collect()
    };
    let [decided] = &named("noctus.decide")[..] else { panic!("one decision: {spans:#?}") };
    assert_eq!(decided.parent_span_id, given.parent_id(), "the producer's span caused it");
    assert_eq!(decided.span_id, given.span(&decide("spans-0001")));
    let [sent] = &named("noctus.send")[..] else { panic!("one send: {spans:#?}") };
    assert_eq!(sent.parent_span_id, decided.span_id);
    assert_eq!(sent.span_id, given.span(&send("spans-0001", 1)));
    let mut written: Vec<_> =
        named("noctus.write").into_iter().map(|span| span.parent_span_id).collect();
    written.sort();
    written.dedup();
    let mut causes = vec![decided.span_id.clone(), sent.span_id.clone()];
    causes.sort();
    assert_eq!(written, causes, "what headers name as parent was told: {spans:#?}");
    let batch = &decided.links[0];
    let is_batch = |span: &&Span| span.trace_id == batch.trace_id && span.span_id == batch.span_id;
    let batch = spans.iter().find(is_batch).expect("the batch's own span");
    assert_eq!((batch.name.as_str(), batch.parent_span_id.len()), ("noctus.batch", 0));
    let not_sampled = TraceContext::parse(NOT_SAMPLED, None).expect("a good context");
    assert!(spans.iter().all(|span| span.trace_id != not_sampled.trace_id()));
    let ends = |span: &Span| span.end_time_unix_nano >= span.start_time_unix_nano;
    assert!(spans.iter().all(ends), "{spans:#?}");
}
