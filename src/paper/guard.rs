//! Owns who may call the paper broker, once it has a key: whoever signs with it.
//! Never lets a call pass that is unsigned, wrongly signed or stale; says which of these, and no more.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api::{Shared, refusal};
use crate::dispatch::broker::protocol::ENVIRONMENT_HEADER;
use crate::dispatch::broker::signing::{
    Call, KEY_HEADER, Key, Refused, SIGNATURE_HEADER, TIMESTAMP_HEADER,
};
use crate::runtime::clock;

/// Largest body looked at, bytes.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Verifies a call's signature, if there is a key to verify it with.
pub(super) async fn signed(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = &shared.key else { return next.run(request).await };
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        let error = refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "", None);
        return error.into_response();
    };
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    let call = Call {
        method: head.method.as_str(),
        target: head.uri.path_and_query().map_or("", |target| target.as_str()),
        environment: header(ENVIRONMENT_HEADER).unwrap_or_default(),
        body: &body,
    };
    let said = (header(KEY_HEADER), header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER));
    if let Err(error) = verify(key, &call, said) {
        return refusal(StatusCode::UNAUTHORIZED, error, "", None).into_response();
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

fn verify(
    key: &Key,
    call: &Call<'_>,
    said: (Option<&str>, Option<&str>, Option<&str>),
) -> Result<(), &'static str> {
    let (Some(id), Some(timestamp), Some(signature)) = said else { return Err("unsigned") };
    if id != key.id {
        return Err("unknown_key");
    }
    let timestamp_ms: i64 = timestamp.parse().map_err(|_| "bad_signature")?;
    key.verify(call, timestamp_ms, signature, clock::now()).map_err(|refused| match refused {
        Refused::Stale => "stale_timestamp",
        Refused::BadSignature => "bad_signature",
    })
}
