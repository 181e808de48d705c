//! The paper broker's paths of the contract in `docs/broker-api.md`.
//! Never answers what is not on disk. Invariant: only a lie keeps an answer back or spoils it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::desk::{Arrival, Call, Desk, Placed};
use super::lies::{After, Before};
use super::line::Cut;
use super::{guard, steer};
use crate::dispatch::broker::protocol::{
    BrokerStatus, CancelOrder, ENVIRONMENT_HEADER, EventPage, OrderView, PlaceOrder, Refusal,
    ReplaceOrder,
};
use crate::dispatch::broker::signing::Key;
use crate::runtime::clock;

/// What the huge lie adds to an answer, bytes.
const HUGE_BYTES: usize = 8 << 20;
/// Longest wait for an event, milliseconds.
const WAIT_MAX_MS: u64 = 30_000;
/// Events may become tellable by their age alone: so often that is looked at, milliseconds.
const LOOK_MS: u64 = 20;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) desk: Arc<Mutex<Desk>>,
    pub(super) environment: Arc<str>,
    pub(super) key: Option<Arc<Key>>,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("no panic while the desk is held")
    }

    /// Waits until everything seen so far is on disk; only then it may be answered.
    pub(super) async fn durable(&self) -> Result<(), Answer> {
        let (newest, mut durable) = {
            let desk = self.desk();
            (desk.ledger().written(), desk.ledger().durable())
        };
        match durable.wait_for(|n| *n >= newest).await {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "ledger", "disk", None)),
        }
    }

    /// What was found, once it is on disk.
    pub(super) async fn tell(&self, answer: Answer) -> Answer {
        self.durable().await.err().unwrap_or(answer)
    }

    fn is_meant(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let meant = headers.get(ENVIRONMENT_HEADER).and_then(|v| v.to_str().ok());
        if meant.is_none_or(|meant| meant == &*self.environment) {
            return Ok(());
        }
        let detail = format!("this is {}", self.environment);
        Err(refusal(StatusCode::FORBIDDEN, "wrong_environment", detail, None))
    }
}

/// An answer in JSON, before the lies have seen it.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    retry_after: bool,
}

pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("an answer is plain data");
    Answer { status, body, retry_after: false }
}

pub(super) fn refusal(
    status: StatusCode,
    error: &str,
    detail: impl Into<String>,
    original: Option<OrderView>,
) -> Answer {
    answer(status, &Refusal { error: error.into(), detail: detail.into(), original })
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, self.body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        if self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The routes.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/capabilities", get(capabilities))
        .route("/v1/orders", post(place))
        .route("/v1/orders/by-client-id/{id}", get(by_client_id))
        .route("/v1/orders/by-client-id/{id}/cancel", post(cancel))
        .route("/v1/orders/by-client-id/{id}/replace", post(replace))
        .route("/v1/events", get(events))
        .route("/v1/positions", get(positions))
        .route_layer(middleware::from_fn_with_state(shared.clone(), away))
        .route_layer(middleware::from_fn_with_state(shared.clone(), guard::signed))
        .merge(steer::routes())
        .with_state(shared)
}

/// Nobody is served during maintenance.
async fn away(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if !shared.desk().lies().maintenance {
        return next.run(request).await;
    }
    let answer = refusal(StatusCode::SERVICE_UNAVAILABLE, "maintenance", "not applied", None);
    Answer { retry_after: true, ..answer }.into_response()
}

async fn capabilities(State(shared): State<Shared>) -> Answer {
    answer(StatusCode::OK, shared.desk().capabilities())
}

async fn place(
    State(shared): State<Shared>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Answer> {
    shared.is_meant(&headers)?;
    let order: PlaceOrder = parse(&body)?;
    let id = order.client_order_id.clone();
    carry_out(&shared, &cut, Call::Order, &id, |desk, arrival| {
        placed(desk.place(order, arrival.mischief, clock::now()))
    })
    .await
}

async fn cancel(
    State(shared): State<Shared>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Answer> {
    shared.is_meant(&headers)?;
    let wanted: CancelOrder = if body.is_empty() { CancelOrder::default() } else { parse(&body)? };
    carry_out(&shared, &cut, Call::Cancel, &id, |desk, arrival| {
        if arrival.refused {
            return desk.refuse_cancel(&id, clock::now()).map_or_else(unknown_order, |view| {
                refusal(StatusCode::CONFLICT, "cannot_cancel", "it goes on", Some(view))
            });
        }
        match desk.cancel(&id, wanted.reason, clock::now()) {
            Some(view) => answer(StatusCode::OK, &view),
            None => unknown_order(),
        }
    })
    .await
}

async fn replace(
    State(shared): State<Shared>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Answer> {
    shared.is_meant(&headers)?;
    let with: ReplaceOrder = parse(&body)?;
    if !shared.desk().replaces_orders() {
        let detail = "orders cannot be replaced";
        return Err(refusal(StatusCode::NOT_IMPLEMENTED, "not_supported", detail, None));
    }
    carry_out(&shared, &cut, Call::Replace, &id, |desk, _| {
        placed(desk.replace(&id, with, clock::now()))
    })
    .await
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body)
        .map_err(|e| refusal(StatusCode::BAD_REQUEST, "bad_request", e.to_string(), None))
}

fn unknown_order() -> Answer {
    refusal(StatusCode::NOT_FOUND, "unknown_order", "", None)
}

fn placed(placed: Placed) -> Answer {
    match placed {
        Placed::Conflict(original) => {
            let detail = "another order has this client order id";
            refusal(StatusCode::CONFLICT, "client_order_id_taken", detail, Some(original))
        }
        Placed::New(view) | Placed::Repeat(view) if view.status == BrokerStatus::Rejected => {
            let code = view.code.clone().unwrap_or_else(|| "rejected".into());
            refusal(StatusCode::UNPROCESSABLE_ENTITY, &code, "", Some(view))
        }
        Placed::New(view) => answer(StatusCode::CREATED, &view),
        Placed::Repeat(view) => answer(StatusCode::OK, &view),
        Placed::Unknown => unknown_order(),
        Placed::Filled(original) => {
            let detail = "another quantity of it is filled by now";
            refusal(StatusCode::CONFLICT, "filled_meanwhile", detail, Some(original))
        }
        Placed::Ended(original) => {
            let detail = "an order that has ended is not replaced";
            refusal(StatusCode::CONFLICT, "not_working", detail, Some(original))
        }
    }
}

/// Carries a call out and answers it, as far as the lies let it.
async fn carry_out(
    shared: &Shared,
    cut: &Cut,
    call: Call,
    id: &str,
    work: impl FnOnce(&mut Desk, &Arrival) -> Answer,
) -> Result<Response, Answer> {
    let arrival = shared.desk().arrived(call);
    if let Some(before) = arrival.before {
        shared.desk().turn_away(call, id, before, clock::now());
        shared.durable().await?;
        return Ok(turned_away(cut, before));
    }
    let answer = work(&mut shared.desk(), &arrival);
    shared.durable().await?;
    if arrival.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(arrival.delay_ms)).await;
    }
    Ok(match arrival.after {
        None => answer.into_response(),
        Some(after) => spoiled(cut, after, answer),
    })
}

fn reset(cut: &Cut) -> Response {
    cut.cut();
    StatusCode::NO_CONTENT.into_response()
}

fn turned_away(cut: &Cut, before: Before) -> Response {
    let error = |status, error| refusal(status, error, "not applied", None);
    match before {
        Before::Reset => reset(cut),
        Before::RateLimited => {
            let answer = error(StatusCode::TOO_MANY_REQUESTS, "rate_limited");
            Answer { retry_after: true, ..answer }.into_response()
        }
        Before::Error => error(StatusCode::INTERNAL_SERVER_ERROR, "error").into_response(),
    }
}

fn spoiled(cut: &Cut, after: After, mut answer: Answer) -> Response {
    match after {
        After::Reset => return reset(cut),
        After::Error => {
            answer = refusal(StatusCode::INTERNAL_SERVER_ERROR, "error", "applied", None);
        }
        After::Malformed => answer.body.truncate(answer.body.len() / 2),
        // Still JSON, and true but for its size: spaces between its last value and its end.
        After::Huge => {
            let end = answer.body.pop();
            answer.body.resize(answer.body.len() + HUGE_BYTES, b' ');
            answer.body.extend(end);
        }
        After::Drip => {
            let bytes = futures::stream::unfold(answer.body.into_iter(), |mut left| async move {
                let byte = left.next()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, Infallible>(vec![byte]), left))
            });
            return (answer.status, Body::from_stream(bytes)).into_response();
        }
    }
    answer.into_response()
}

async fn by_client_id(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    let found = {
        let desk = shared.desk();
        if !desk.answers_queries() {
            let detail = "orders cannot be asked about";
            return refusal(StatusCode::NOT_IMPLEMENTED, "not_supported", detail, None);
        }
        desk.find(&id, clock::now())
    };
    let told = found.map_or_else(unknown_order, |view| answer(StatusCode::OK, &view));
    shared.tell(told).await
}

#[derive(Deserialize)]
struct Since {
    after: Option<u64>,
    #[serde(default)]
    wait_ms: u64,
    limit: Option<u64>,
}

/// Answers as soon as there is an event after this number; without a number: which is the newest.
async fn events(State(shared): State<Shared>, Query(since): Query<Since>) -> Answer {
    if shared.desk().lies().no_events {
        return refusal(StatusCode::NOT_IMPLEMENTED, "not_supported", "events are not told", None);
    }
    let Some(after) = since.after else {
        let page = EventPage { events: vec![], last: shared.desk().newest_event() };
        return shared.tell(answer(StatusCode::OK, &page)).await;
    };
    let wait = Duration::from_millis(since.wait_ms.min(WAIT_MAX_MS));
    let until = tokio::time::Instant::now() + wait;
    let mut written = shared.desk().ledger().durable();
    loop {
        let page = shared.desk().events(after, since.limit, clock::now());
        if page.last > after || tokio::time::Instant::now() >= until {
            return shared.tell(answer(StatusCode::OK, &page)).await;
        }
        let look = tokio::time::sleep(Duration::from_millis(LOOK_MS));
        if shared.stop.is_cancelled() {
            return shared.tell(answer(StatusCode::OK, &page)).await;
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { look.await },
            () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => {}
        }
    }
}

#[derive(Deserialize)]
struct Of {
    account: String,
}

async fn positions(
    State(shared): State<Shared>,
    Query(of): Query<Of>,
    headers: HeaderMap,
) -> Result<Answer, Answer> {
    shared.is_meant(&headers)?;
    let told = shared.desk().positions(&of.account, clock::now());
    Ok(shared.tell(answer(StatusCode::OK, &told)).await)
}
