//! ADAPTER: a broker over HTTP, as `docs/broker-api.md` describes it.
//! Never follows a redirect, never retries, never reads more or longer than configured (F58).
//! Invariant: only a clear answer is an outcome; before the write the caller is asked once more.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use reqwest::header::{DATE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Request, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handshake::HandshakeError;
use super::protocol::{
    CancelOrder, Capabilities, ENVIRONMENT_HEADER, EventPage, IDEMPOTENCY_HEADER, OrderView,
    PlaceOrder, Positions, Refusal, ReplaceOrder,
};
use super::signing::{Call, KEY_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use super::{Asked, Broker, MayWrite, Moved, NoAnswer, Placed, replacement_fits, traced};
use crate::runtime::clock;
use crate::runtime::config::{self, Config};
use crate::runtime::secrets::{self, BadSecrets};

/// The environment in which calls may go unsigned.
pub const PAPER: &str = "paper";

/// What one event takes, roughly, bytes: so many fit into an answer.
const EVENT_BYTES: usize = 2_048;

/// A broker over HTTP; cheap to clone.
#[derive(Clone)]
pub struct Rest {
    client: Client,
    base: String,
    environment: String,
    answer_max_bytes: usize,
    timeout: Duration,
    key_id: String,
    key: Arc<ArcSwapOption<Key>>,
    source: Option<Source>,
}

/// Where the secret comes from, to be read again when the broker refuses it.
pub type Source = Arc<dyn Fn() -> Result<Option<SecretString>, BadSecrets> + Send + Sync>;

/// What went wrong with a call, before it is known what that means.
struct Broken {
    code: &'static str,
    detail: String,
    nothing_left: bool,
    retry_after: Option<Duration>,
}

/// How a call that changes something ended, if it got as far as an answer.
enum Wrote {
    /// It was not written: the caller did not want it any more.
    Held(&'static str),
    Answered(Response),
    Broken(Broken),
}

impl Rest {
    /// A client for the broker of this configuration, with the secret of this process's environment.
    /// Without one only brokers of paper are called, and any with `dev`.
    pub fn of(config: &Config) -> Result<Self, HandshakeError> {
        let secret = secrets::broker(config.dev)?;
        if secret.is_none() && !config.dev && config.broker.environment != PAPER {
            return Err(BadSecrets::Missing { name: secrets::BROKER }.into());
        }
        let dev = config.dev;
        Ok(Self::new(&config.broker, secret)?.reading(Arc::new(move || secrets::broker(dev))))
    }

    /// The same, with a secret that may change where it comes from.
    pub fn reading(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// A client that signs with this secret; nothing is asked yet.
    pub fn new(
        config: &config::Broker,
        secret: Option<SecretString>,
    ) -> Result<Self, HandshakeError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let client = Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(HandshakeError::Client)?;
        Ok(Self {
            client,
            base: config.url.trim_end_matches('/').to_string(),
            environment: config.environment.clone(),
            answer_max_bytes: config.answer_max_bytes,
            timeout,
            key: Arc::new(ArcSwapOption::from_pointee(
                secret.map(|secret| Key { id: config.key_id.clone(), secret }),
            )),
            key_id: config.key_id.clone(),
            source: None,
        })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let traced = traced::headers().into_iter();
        let traced = traced.filter_map(|(name, value)| Some((name, value?)));
        traced
            .fold(request, |request, (name, value)| request.header(name, value))
            .header(ENVIRONMENT_HEADER, &self.environment)
    }

    /// Signs a request that is complete, if there is a key.
    fn seal(&self, mut request: Request) -> Request {
        let Some(key) = self.key.load_full() else { return request };
        let now = clock::now();
        let url = request.url();
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_string(),
        };
        let call = Call {
            method: request.method().as_str(),
            target: &target,
            environment: &self.environment,
            body: request.body().and_then(|body| body.as_bytes()).unwrap_or_default(),
        };
        let signature = key.sign(&call, now);
        let timestamp = now.as_millisecond().to_string();
        let headers = [
            (KEY_HEADER, key.id.as_str()),
            (TIMESTAMP_HEADER, timestamp.as_str()),
            (SIGNATURE_HEADER, signature.as_str()),
        ];
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a key id, digits and hex");
            request.headers_mut().insert(name, value);
        }
        request
    }

    fn of_order(id: &str, what: &str) -> String {
        // The id holds only characters that the broker said it takes, and those of a key or of hex.
        format!("/v1/orders/by-client-id/{id}{what}")
    }

    /// Writes a call that changes something, if the caller still wants it at the last moment.
    async fn write(
        &self,
        path: &str,
        idempotency_key: &str,
        body: &impl Serialize,
        may_write: MayWrite<'_>,
    ) -> Wrote {
        let request = self.request(Method::POST, path).header(IDEMPOTENCY_HEADER, idempotency_key);
        let Ok(request) = request.json(body).build() else {
            return Wrote::Held("request_not_built");
        };
        let request = self.seal(request);
        #[cfg(feature = "faults")]
        let request = watched::watched(request);
        if let Err(code) = may_write() {
            return Wrote::Held(code);
        }
        match self.client.execute(request).await {
            Ok(response) => Wrote::Answered(response),
            Err(error) => Wrote::Broken(broken(&error)),
        }
    }

    /// Asks something; only 200 with a body that can be read is an answer.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
    ) -> Result<T, NoAnswer> {
        let request = self.request(Method::GET, path).timeout(patience).build();
        let request = request.map_err(|error| no_answer(broken(&error)))?;
        let response = self.execute(request).await?;
        if response.status() != StatusCode::OK {
            return Err(no_answer(unclear(&response)));
        }
        self.read(response).await.map_err(no_answer)
    }

    async fn execute(&self, request: Request) -> Result<Response, NoAnswer> {
        let request = self.seal(request);
        self.client.execute(request).await.map_err(|error| no_answer(broken(&error)))
    }

    /// Reads a whole JSON body within the size limit; the client's time-out covers it too.
    async fn read<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, Broken> {
        let retry_after = retry_after(&response);
        let broken_off = |code, detail| Broken { code, detail, nothing_left: false, retry_after };
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

    /// What the answer to an order means.
    async fn placed(&self, order: &PlaceOrder, response: Response) -> Result<Placed, Broken> {
        let known = |view: OrderView| match view.order == *order {
            true => Placed::Known(Box::new(view)),
            false => Placed::Mismatch(Box::new(view)),
        };
        Ok(match response.status() {
            StatusCode::OK | StatusCode::CREATED => known(self.read(response).await?),
            StatusCode::CONFLICT => match self.read::<Refusal>(response).await?.original {
                Some(view) => known(view),
                None => return Err(lost("http_409", "without the original")),
            },
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                match self.read::<Refusal>(response).await? {
                    Refusal { original: Some(view), .. } => known(view),
                    Refusal { error, .. } => Placed::Refused { code: error },
                }
            }
            _ => return Err(unclear(&response)),
        })
    }

    /// What the answer to a cancel or a replace means; `fits`: is this the order it is about?
    async fn moved(
        &self,
        response: Response,
        fits: impl Fn(&PlaceOrder) -> bool + Send,
    ) -> Result<Moved, Broken> {
        let known = |view: OrderView| match fits(&view.order) {
            true => Moved::Known(Box::new(view)),
            false => Moved::Mismatch(Box::new(view)),
        };
        Ok(match response.status() {
            StatusCode::OK | StatusCode::CREATED => known(self.read(response).await?),
            StatusCode::CONFLICT | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                let refusal = self.read::<Refusal>(response).await?;
                let original = refusal.original.map(Box::new);
                match (refusal.error.as_str(), original) {
                    ("client_order_id_taken", Some(view)) => Moved::Mismatch(view),
                    (_, original) => Moved::Refused { code: refusal.error, original },
                }
            }
            StatusCode::NOT_FOUND => match self.read::<Refusal>(response).await? {
                refusal if refusal.error == UNKNOWN_ORDER => Moved::NotFound,
                refusal => return Err(lost("http_404", refusal.error)),
            },
            _ => return Err(unclear(&response)),
        })
    }
}

/// The broker's own word for an order it does not have.
const UNKNOWN_ORDER: &str = "unknown_order";

#[async_trait]
impl Broker for Rest {
    async fn capabilities(&self) -> Result<Capabilities, HandshakeError> {
        self.get("/v1/capabilities", self.timeout).await.map_err(|why| {
            let broker = format!("the broker at {}", self.base);
            HandshakeError::Unavailable { broker, why }
        })
    }

    async fn place(&self, order: &PlaceOrder, may_write: MayWrite<'_>) -> Placed {
        let id = order.client_order_id.as_str();
        let response = match self.write("/v1/orders", id, order, may_write).await {
            Wrote::Answered(response) => response,
            Wrote::Held(code) => return Placed::NotSent { code },
            Wrote::Broken(broken) => return unplaced(broken),
        };
        self.placed(order, response).await.unwrap_or_else(unplaced)
    }

    async fn ask(&self, order: &PlaceOrder) -> Asked {
        let request = self.request(Method::GET, &Self::of_order(&order.client_order_id, ""));
        let response = match request.build() {
            Ok(request) => match self.execute(request).await {
                Ok(response) => response,
                Err(none) => return Asked::Failed(none),
            },
            Err(error) => return Asked::Failed(no_answer(broken(&error))),
        };
        match response.status() {
            StatusCode::OK => match self.read::<OrderView>(response).await {
                Ok(view) if view.order == *order => Asked::Known(Box::new(view)),
                Ok(view) => Asked::Mismatch(Box::new(view)),
                Err(broken) => Asked::Failed(no_answer(broken)),
            },
            // A 404 counts only in the broker's own words: a proxy or a wrong path says it too.
            StatusCode::NOT_FOUND => match self.read::<Refusal>(response).await {
                Ok(refusal) if refusal.error == UNKNOWN_ORDER => Asked::NotFound,
                Ok(refusal) => Asked::Failed(no_answer(lost("http_404", refusal.error))),
                Err(broken) => Asked::Failed(no_answer(broken)),
            },
            _ => Asked::Failed(no_answer(unclear(&response))),
        }
    }

    async fn cancel(&self, order: &PlaceOrder, reason: &str, may_write: MayWrite<'_>) -> Moved {
        let id = order.client_order_id.as_str();
        let wanted = CancelOrder { reason: Some(reason.to_string()) };
        let path = Self::of_order(id, "/cancel");
        match self.write(&path, &format!("{id}.cancel"), &wanted, may_write).await {
            Wrote::Answered(response) => {
                self.moved(response, |theirs| theirs == order).await.unwrap_or_else(unmoved)
            }
            Wrote::Held(code) => Moved::NotSent { code },
            Wrote::Broken(broken) => unmoved(broken),
        }
    }

    async fn replace(
        &self,
        order: &PlaceOrder,
        with: &ReplaceOrder,
        may_write: MayWrite<'_>,
    ) -> Moved {
        let path = Self::of_order(&order.client_order_id, "/replace");
        match self.write(&path, &with.client_order_id, with, may_write).await {
            Wrote::Answered(response) => self
                .moved(response, |theirs| replacement_fits(theirs, order, with))
                .await
                .unwrap_or_else(unmoved),
            Wrote::Held(code) => Moved::NotSent { code },
            Wrote::Broken(broken) => unmoved(broken),
        }
    }

    async fn positions(&self, account: &str) -> Result<Positions, NoAnswer> {
        // An account holds only characters that stand for themselves in an address.
        let told: Positions =
            self.get(&format!("/v1/positions?account={account}"), self.timeout).await?;
        match told.account == account {
            true => Ok(told),
            false => Err(NoAnswer {
                code: "answer_malformed",
                detail: format!("positions of {}", told.account),
                retry_after: None,
            }),
        }
    }

    async fn events(&self, after: Option<u64>, wait: Duration) -> Result<EventPage, NoAnswer> {
        let path = match after {
            None => "/v1/events".to_string(),
            Some(after) => {
                let limit = (self.answer_max_bytes / EVENT_BYTES).max(1);
                format!("/v1/events?after={after}&wait_ms={}&limit={limit}", wait.as_millis())
            }
        };
        self.get(&path, wait + self.timeout).await
    }

    fn renew_secret(&self) {
        let Some(source) = &self.source else { return };
        match source() {
            // Without one in its place the old one is kept: perhaps the broker takes it again.
            Ok(None) => {}
            Ok(Some(secret)) => {
                let key = self.key.load();
                if key.as_ref().map(|key| key.secret.expose_secret())
                    != Some(secret.expose_secret())
                {
                    tracing::warn!(
                        "the broker's secret has changed, and is signed with from now on"
                    );
                    self.key.store(Some(Arc::new(Key { id: self.key_id.clone(), secret })));
                }
            }
            Err(error) => tracing::error!(%error, "the broker's secret cannot be read again"),
        }
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
    Broken { code, detail: chain(error), nothing_left, retry_after: None }
}

fn lost(code: &'static str, detail: impl Into<String>) -> Broken {
    Broken { code, detail: detail.into(), nothing_left: false, retry_after: None }
}

/// A status that says nothing about what was done.
fn unclear(response: &Response) -> Broken {
    let code = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => "rate_limited",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "not_authorised",
        _ => "http_status",
    };
    let detail = format!("HTTP {}", response.status());
    Broken { code, detail, nothing_left: false, retry_after: retry_after(response) }
}

fn unplaced(broken: Broken) -> Placed {
    let Broken { code, detail, nothing_left, retry_after } = broken;
    match nothing_left {
        true => Placed::NotSent { code },
        false => Placed::Unknown { code, detail, retry_after },
    }
}

fn unmoved(broken: Broken) -> Moved {
    let Broken { code, detail, nothing_left, retry_after } = broken;
    match nothing_left {
        true => Moved::NotSent { code },
        false => Moved::Unknown { code, detail, retry_after },
    }
}

fn no_answer(broken: Broken) -> NoAnswer {
    NoAnswer { code: broken.code, detail: broken.detail, retry_after: broken.retry_after }
}

/// How much peace the broker asks for: seconds, or until a time by its own clock; at most an hour.
fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let wish = header(RETRY_AFTER)?;
    let wished = match wish.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = header(DATE).and_then(second);
            let now = now.unwrap_or_else(|| u64::try_from(clock::now().as_second()).unwrap_or(0));
            Duration::from_secs(second(wish)?.saturating_sub(now))
        }
    };
    Some(wished.min(WISH_MAX))
}

/// A time as HTTP writes it, in Unix seconds.
fn second(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

/// No wish of a broker is believed beyond this.
const WISH_MAX: Duration = Duration::from_secs(3_600);

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
