//! The client against a registry that misbehaves as registries do. The real one is in tests/it/schemas.rs.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::*;

/// What the fake does next, and how often it was asked.
#[derive(Default)]
struct Fake {
    /// 200 with a schema, 0 never answers, else this status with a registry's error body.
    status: AtomicU16,
    /// The text of the answer's schema.
    text: RwLock<String>,
    asked: AtomicUsize,
}

async fn answer(State(fake): State<Arc<Fake>>) -> Response {
    fake.asked.fetch_add(1, SeqCst);
    let text = read(&fake.text).clone();
    match fake.status.load(SeqCst) {
        0 => std::future::pending().await,
        200 => axum::Json(json!({"schema": text, "id": 7})).into_response(),
        404 => (StatusCode::NOT_FOUND, r#"{"error_code":40403,"message":"Schema not found"}"#)
            .into_response(),
        // A proxy or a wrong base address: a 404 that no registry wrote.
        4040 => (StatusCode::NOT_FOUND, "<html>not here</html>").into_response(),
        409 => {
            (StatusCode::CONFLICT, r#"{"error_code":409,"message":"incompatible"}"#).into_response()
        }
        status => {
            let status = StatusCode::from_u16(status).expect("the test names a status");
            (status, r#"{"error_code":50001,"message":"store"}"#).into_response()
        }
    }
}

async fn fake(status: u16) -> (Arc<Fake>, Registry) {
    let fake = Arc::new(Fake::default());
    fake.status.store(status, SeqCst);
    *write(&fake.text) = Subject::Alert.versions()[0].into();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().fallback(answer).with_state(fake.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = RegistryConfig { url, timeout_ms: 200, ..RegistryConfig::default() };
    (fake, Registry::new(&config).expect("a client"))
}

#[tokio::test]
async fn f04_a_known_id_is_answered_while_the_registry_is_away() {
    let (fake, registry) = fake(200).await;
    let first = registry.schema(7).await.expect("it answers");
    for away in [0, 404, 500, 503] {
        fake.status.store(away, SeqCst);
        assert!(Arc::ptr_eq(&first, &registry.schema(7).await.expect("it is known")));
    }
    assert_eq!(fake.asked.load(SeqCst), 1);
}

#[tokio::test]
async fn f03_only_the_registrys_own_404_is_an_unknown_id() {
    let (fake, registry) = fake(404).await;
    let error = registry.schema(7).await.expect_err("404");
    assert!(matches!(error, RegistryError::UnknownId(7)), "{error}");
    // Late registration: the 404 is not kept for ever, nor asked for again at once.
    registry.schema(7).await.expect_err("still held");
    assert_eq!(fake.asked.load(SeqCst), 1);
    for status in [4040, 500, 503, 429, 0] {
        let (_fake, registry) = self::fake(status).await;
        let error = registry.schema(7).await.expect_err("no answer");
        assert!(matches!(error, RegistryError::Unavailable { .. }), "{status}: {error}");
    }
    write(&registry.unknown).clear();
    fake.status.store(200, SeqCst);
    registry.schema(7).await.expect("it has been registered");
}

/// Apicurio answers such an id with a 404 of its web framework, which looks like an absent registry.
#[tokio::test]
async fn f03_an_id_that_no_registry_can_give_is_unknown_whatever_the_registry_says() {
    let (fake, registry) = fake(4040).await;
    let error = registry.schema(u32::MAX).await.expect_err("no id");
    assert!(matches!(error, RegistryError::UnknownId(u32::MAX)), "{error}");
    assert_eq!(fake.asked.load(SeqCst), 0);
}

#[tokio::test]
async fn f05_a_schema_that_is_no_avro_is_told_apart_from_an_absent_registry() {
    let (fake, registry) = fake(200).await;
    *write(&fake.text) = r#"{"type":"nonsense"}"#.into();
    let error = registry.schema(7).await.expect_err("no Avro");
    assert!(matches!(error, RegistryError::NotAvro { id: 7, .. }), "{error}");
}

#[tokio::test]
async fn an_incompatible_schema_is_refused_and_an_unknown_one_not_registered() {
    let (fake, registry) = fake(409).await;
    let error = registry.register("alerts-value", "{}").await.expect_err("409");
    assert!(matches!(error, RegistryError::Refused { status: 409, .. }), "{error}");
    fake.status.store(404, SeqCst);
    let error = registry.id_of("alerts-value", Subject::Alert.schema()).await.expect_err("404");
    assert!(matches!(error, RegistryError::NotRegistered { .. }), "{error}");
    fake.status.store(200, SeqCst);
    assert_eq!(registry.id_of("alerts-value", Subject::Alert.schema()).await.expect("known"), 7);
}
