//! The paper broker's paths besides the contract: to look at its ledger and to steer it.
//! Never part of what a real broker has to offer.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::api::{Answer, Shared, answer, refusal};
use super::fill::PaperQuote;
use super::lies::Lies;
use crate::runtime::clock;

/// Most orders in one page.
const PAGE_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/v1/orders", get(orders))
        .route("/v1/ledger", get(ledger))
        .route("/quotes", post(quotes))
        .route("/fills", post(fill))
        .route("/day-end", post(day_end))
        .route("/lies", post(set_lies).get(lies))
        .route("/lies/told", get(told))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

async fn orders(State(shared): State<Shared>, Query(page): Query<Page>) -> Answer {
    let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let found = shared.desk().orders(page.after, limit);
    shared.tell(answer(StatusCode::OK, &found)).await
}

async fn ledger(State(shared): State<Shared>) -> Answer {
    let digest = shared.desk().digest();
    shared.tell(answer(StatusCode::OK, &digest)).await
}

/// Nothing to say, once everything is on disk.
async fn done(shared: &Shared) -> Response {
    match shared.durable().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failed) => failed.into_response(),
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
        return refusal(StatusCode::BAD_REQUEST, "bad_quote", detail, None).into_response();
    }
    for (symbol, quote) in quotes {
        shared.desk().quote(symbol, quote, now);
    }
    done(&shared).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    client_order_id: String,
    qty: Decimal,
    px: Decimal,
}

async fn fill(State(shared): State<Shared>, Json(by_hand): Json<ByHand>) -> Answer {
    let ByHand { client_order_id, qty, px } = by_hand;
    if qty <= Decimal::ZERO || px <= Decimal::ZERO {
        return refusal(StatusCode::BAD_REQUEST, "bad_fill", "qty and px above 0", None);
    }
    let filled = shared.desk().fill(&client_order_id, qty, px, clock::now());
    let told = match filled {
        Some(view) => answer(StatusCode::OK, &view),
        None => refusal(StatusCode::CONFLICT, "not_working", client_order_id, None),
    };
    shared.tell(told).await
}

async fn day_end(State(shared): State<Shared>) -> Response {
    shared.desk().end_day(clock::now());
    done(&shared).await
}

async fn lies(State(shared): State<Shared>) -> Json<Lies> {
    Json(shared.desk().lies().clone())
}

async fn set_lies(State(shared): State<Shared>, Json(lies): Json<Lies>) -> StatusCode {
    shared.desk().set_lies(lies);
    StatusCode::NO_CONTENT
}

async fn told(State(shared): State<Shared>) -> Answer {
    answer(StatusCode::OK, shared.desk().told())
}
