//! The paper broker's paths: the contract of `docs/broker-api.md`, and a few of its own to steer it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::desk::{Desk, Placed};
use super::fill::PaperQuote;
use super::lies::{Cut, Lies};
use crate::dispatch::broker::protocol::{
    BrokerStatus, Capabilities, ClientId, ENVIRONMENT_HEADER, OrderView, PlaceOrder, Refusal,
};
use crate::domain::request::{OrderType, TimeInForce};
use crate::runtime::clock;

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) desk: Arc<Mutex<Desk>>,
    pub(super) environment: Arc<str>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("no panic while the desk is held")
    }

    /// Waits until everything seen so far is on disk; only then it may be answered.
    async fn durable(&self) -> Result<(), Response> {
        let (newest, mut durable) = {
            let desk = self.desk();
            (desk.ledger().written(), desk.ledger().durable())
        };
        match durable.wait_for(|n| *n >= newest).await {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "ledger", "disk", None)),
        }
    }
}

/// The routes.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/v1/capabilities", get(capabilities))
        .route("/v1/orders", post(place).get(orders))
        .route("/v1/orders/by-client-id/{id}", get(by_client_id))
        .route("/v1/ledger", get(ledger))
        .route("/quotes", post(quotes))
        .route("/lies", post(set_lies).get(lies))
        .with_state(shared)
}

fn refusal(
    status: StatusCode,
    error: &str,
    detail: impl Into<String>,
    original: Option<OrderView>,
) -> Response {
    (status, Json(Refusal { error: error.into(), detail: detail.into(), original })).into_response()
}

async fn capabilities(State(shared): State<Shared>) -> Json<Capabilities> {
    use OrderType::*;
    use TimeInForce::*;
    Json(Capabilities {
        name: "paper".into(),
        environment: shared.environment.to_string(),
        min_qty: Decimal::new(1, 6),
        qty_step: Decimal::new(1, 6),
        price_tick: None,
        time_in_force: vec![Gtc, Ioc, Fok, Day],
        order_types: vec![Market, Limit, Stop, StopLimit],
        client_id: ClientId { chars: "A-Za-z0-9_-".into(), max_length: 128 },
        dedupes_by_client_id: true,
        dedupe_horizon_s: None,
        query_by_client_id: true,
        visible_within_ms: 0,
        honours_accept_by: true,
        replace: false,
    })
}

async fn place(
    State(shared): State<Shared>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let meant = headers.get(ENVIRONMENT_HEADER).and_then(|v| v.to_str().ok());
    if meant.is_some_and(|meant| meant != &*shared.environment) {
        let detail = format!("this is {}", shared.environment);
        return refusal(StatusCode::FORBIDDEN, "wrong_environment", detail, None);
    }
    let order: PlaceOrder = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(e) => return refusal(StatusCode::BAD_REQUEST, "bad_request", e.to_string(), None),
    };
    let (lies, nth) = shared.desk().arrived();
    if lies.resets(nth) {
        cut.cut();
        return StatusCode::NO_CONTENT.into_response();
    }
    let placed = shared.desk().place(order, clock::now());
    if let Err(failed) = shared.durable().await {
        return failed;
    }
    if lies.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(lies.delay_ms)).await;
    }
    if lies.drops(nth) {
        cut.cut();
        return StatusCode::NO_CONTENT.into_response();
    }
    match placed {
        Placed::Conflict(original) => {
            let detail = "another order has this client order id";
            refusal(StatusCode::CONFLICT, "client_order_id_taken", detail, Some(original))
        }
        Placed::New(view) | Placed::Repeat(view) if view.status == BrokerStatus::Rejected => {
            let code = view.code.clone().unwrap_or_else(|| "rejected".into());
            refusal(StatusCode::UNPROCESSABLE_ENTITY, &code, "", Some(view))
        }
        Placed::New(view) => (StatusCode::CREATED, Json(view)).into_response(),
        Placed::Repeat(view) => Json(view).into_response(),
    }
}

async fn by_client_id(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let found = shared.desk().find(&id);
    if let Err(failed) = shared.durable().await {
        return failed;
    }
    match found {
        Some(view) => Json(view).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "unknown_order", "", None),
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

/// Most orders in one page.
const PAGE_MAX: usize = 10_000;

async fn orders(State(shared): State<Shared>, Query(page): Query<Page>) -> Response {
    let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let found = shared.desk().orders(page.after, limit);
    match shared.durable().await {
        Ok(()) => Json(found).into_response(),
        Err(failed) => failed,
    }
}

async fn ledger(State(shared): State<Shared>) -> Response {
    let digest = shared.desk().digest();
    match shared.durable().await {
        Ok(()) => Json(digest).into_response(),
        Err(failed) => failed,
    }
}

async fn quotes(
    State(shared): State<Shared>,
    Json(quotes): Json<BTreeMap<String, PaperQuote>>,
) -> Response {
    let now = clock::now();
    if let Some((symbol, _)) = quotes.iter().find(|(_, q)| q.bid <= Decimal::ZERO || q.bid > q.ask)
    {
        let detail = format!("{symbol}: 0 < bid ≤ ask");
        return refusal(StatusCode::BAD_REQUEST, "bad_quote", detail, None);
    }
    for (symbol, quote) in quotes {
        shared.desk().quote(symbol, quote, now);
    }
    match shared.durable().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failed) => failed,
    }
}

async fn lies(State(shared): State<Shared>) -> Json<Lies> {
    Json(shared.desk().lies())
}

async fn set_lies(State(shared): State<Shared>, Json(lies): Json<Lies>) -> StatusCode {
    shared.desk().set_lies(lies);
    StatusCode::NO_CONTENT
}
