//! ADAPTER: a broker over HTTP, as `docs/broker-api.md` describes it.
//! Never follows a redirect, never retries, never reads more or longer than configured (F58).
//! Invariant: only a clear answer is an outcome; before the write the caller is asked once more.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::protocol::{Capabilities, ENVIRONMENT_HEADER, OrderView, PlaceOrder, Refusal};
use super::{Asked, Placed, unusable};
use crate::runtime::config::Broker;

/// Why dispatch does not start with this broker.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HandshakeError {
    #[error("the HTTP client cannot be built: {0}")]
    Client(reqwest::Error),
    #[error("the broker at {url} does not tell what it can: {why}")]
    Unavailable { url: String, why: String },
    #[error("the broker at {url} must not be used: {why}")]
    Unusable { url: String, why: String },
}

/// A broker over HTTP; cheap to clone.
#[derive(Clone)]
pub struct Rest {
    client: Client,
    base: String,
    environment: String,
    answer_max_bytes: usize,
}

/// What went wrong with a call, before it is known what that means.
struct Broken {
    code: &'static str,
    detail: String,
    nothing_left: bool,
}

impl Rest {
    /// Asks the broker what it is and can; a broker of another environment is refused (F61).
    pub async fn connect(config: &Broker) -> Result<(Self, Capabilities), HandshakeError> {
        let rest = Self::new(config)?;
        let capabilities = rest.capabilities().await?;
        if let Some(why) = unusable(&capabilities, &config.environment) {
            return Err(HandshakeError::Unusable { url: rest.base, why });
        }
        Ok((rest, capabilities))
    }

    fn new(config: &Broker) -> Result<Self, HandshakeError> {
        let client = Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(HandshakeError::Client)?;
        let base = config.url.trim_end_matches('/').to_string();
        Ok(Self {
            client,
            base,
            environment: config.environment.clone(),
            answer_max_bytes: config.answer_max_bytes,
        })
    }

    /// `GET /v1/capabilities`.
    pub async fn capabilities(&self) -> Result<Capabilities, HandshakeError> {
        let unavailable = |why: String| HandshakeError::Unavailable { url: self.base.clone(), why };
        let request = self.request(Method::GET, "/v1/capabilities");
        let response = request.send().await.map_err(|e| unavailable(chain(&e)))?;
        if response.status() != StatusCode::OK {
            return Err(unavailable(format!("HTTP {}", response.status())));
        }
        self.read(response).await.map_err(|broken| unavailable(broken.detail))
    }

    /// Sends one order. `may_write` is asked right before the write; its refusal is `NotSent`.
    pub async fn place(
        &self,
        order: &PlaceOrder,
        may_write: impl FnOnce() -> Result<(), &'static str>,
    ) -> Placed {
        let request = match self.request(Method::POST, "/v1/orders").json(order).build() {
            Ok(request) => request,
            Err(_) => return Placed::NotSent { code: "request_not_built" },
        };
        #[cfg(feature = "faults")]
        let request = watched::watched(request);
        if let Err(code) = may_write() {
            return Placed::NotSent { code };
        }
        let response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return unplaced(broken(&error)),
        };
        let retry_after = retry_after(&response);
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => match self.read::<OrderView>(response).await {
                Ok(view) if view.order == *order => Placed::Known(Box::new(view)),
                Ok(view) => Placed::Mismatch(Box::new(view)),
                Err(broken) => unplaced(broken),
            },
            StatusCode::CONFLICT => match self.read::<Refusal>(response).await {
                Ok(Refusal { original: Some(view), .. }) if view.order == *order => {
                    Placed::Known(Box::new(view))
                }
                Ok(Refusal { original: Some(view), .. }) => Placed::Mismatch(Box::new(view)),
                Ok(_) => unknown("http_409", "without the original", retry_after),
                Err(broken) => unplaced(broken),
            },
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                match self.read::<Refusal>(response).await {
                    Ok(Refusal { original: Some(view), .. }) if view.order == *order => {
                        Placed::Known(Box::new(view))
                    }
                    Ok(Refusal { original: Some(view), .. }) => Placed::Mismatch(Box::new(view)),
                    Ok(Refusal { error, .. }) => Placed::Refused { code: error },
                    Err(broken) => unplaced(broken),
                }
            }
            StatusCode::TOO_MANY_REQUESTS => unknown("rate_limited", "HTTP 429", retry_after),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                unknown("not_authorised", "HTTP 401 or 403", retry_after)
            }
            status => unknown("http_status", format!("HTTP {status}"), retry_after),
        }
    }

    /// Asks what became of an order, by its client order id.
    pub async fn ask(&self, order: &PlaceOrder) -> Asked {
        let path = format!("/v1/orders/by-client-id/{}", order.client_order_id);
        let failed = |b: Broken| Asked::Failed { code: b.code, detail: b.detail };
        let response = match self.request(Method::GET, &path).send().await {
            Ok(response) => response,
            Err(error) => return failed(broken(&error)),
        };
        match response.status() {
            StatusCode::OK => match self.read::<OrderView>(response).await {
                Ok(view) if view.order == *order => Asked::Known(Box::new(view)),
                Ok(view) => Asked::Mismatch(Box::new(view)),
                Err(broken) => failed(broken),
            },
            // A 404 counts only in the broker's own words: a proxy or a wrong path says it too.
            StatusCode::NOT_FOUND => match self.read::<Refusal>(response).await {
                Ok(refusal) if refusal.error == "unknown_order" => Asked::NotFound,
                Ok(refusal) => Asked::Failed { code: "http_404", detail: refusal.error },
                Err(broken) => failed(broken),
            },
            status => Asked::Failed { code: "http_status", detail: format!("HTTP {status}") },
        }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .header(ENVIRONMENT_HEADER, &self.environment)
    }

    /// Reads a whole JSON body within the size limit; the client's time-out covers it too.
    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, Broken> {
        let broken_off = |code, detail| Broken { code, detail, nothing_left: false };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > self.answer_max_bytes => {
                    return Err(broken_off("answer_too_large", "the answer is too large".into()));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => {
                    let why = chain(&error);
                    return Err(broken_off("answer_cut_short", why));
                }
            }
        }
        // Postgres stores no NUL, in text or JSON: an answer that holds one could never be settled.
        if body.windows(6).any(|six| six == br"\u0000") {
            return Err(broken_off("answer_malformed", "a NUL character".into()));
        }
        serde_json::from_slice(&body).map_err(|e| broken_off("answer_malformed", e.to_string()))
    }
}

fn broken(error: &reqwest::Error) -> Broken {
    // Refused, unreachable, unresolved, no TLS: there was no connection to write to.
    let nothing_left = error.is_connect() || error.is_builder();
    let code = if nothing_left {
        "broker_unreachable"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "connection_lost"
    };
    Broken { code, detail: chain(error), nothing_left }
}

fn unplaced(broken: Broken) -> Placed {
    match broken.nothing_left {
        true => Placed::NotSent { code: broken.code },
        false => unknown(broken.code, broken.detail, None),
    }
}

fn unknown(code: &'static str, detail: impl Into<String>, retry_after: Option<Duration>) -> Placed {
    Placed::Unknown { code, detail: detail.into(), retry_after }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse::<u64>().ok()?.min(300)))
}

/// An error with its sources, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
#[cfg(feature = "faults")]
mod watched;
