//! `/livez`, `/readyz` and `/metrics` on one port.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::metrics::Metrics;

/// Serves until `stop`. Returns the address in use (port 0 picks a free one).
pub async fn serve(
    listen: SocketAddr,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state((health, metrics));
    tokio::spawn(async move {
        let served =
            axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the health port stopped");
        }
    });
    Ok(address)
}

type Shared = (Health, Arc<Metrics>);

async fn readyz(State((health, _)): State<Shared>) -> (StatusCode, String) {
    let problems = health.problems();
    if problems.is_empty() {
        return (StatusCode::OK, "ready\n".into());
    }
    let text = problems.iter().map(|(part, why)| format!("{part}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn scrape(State((_, metrics)): State<Shared>) -> String {
    metrics.text()
}
