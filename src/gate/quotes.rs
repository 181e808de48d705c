//! Owns the quotes that a gate judges by, read from the whole `quotes` topic by every gate worker (I9).
//! Never believes an unsigned quote where signatures are required. Invariant: nothing is judged before the topic
//! was read to the end it had at the start, nor while Kafka, or a registry that a quote needs, does not answer.

use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::book::{Book, Came};
use super::intake::signer;
use crate::domain::event::Quote;
use crate::domain::text::Symbol;
use crate::kafka::admin::topic;
use crate::kafka::latest::{Heard, Latest};
use crate::kafka::record::Record;
use crate::kafka::registry::RegistryError;
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::wire::{self, Subject};

/// Pause before the topic is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether anything may be judged, or why not.
type State = Result<(), String>;

/// Quotes by symbol; cheap to clone.
#[derive(Clone)]
pub struct Quotes {
    book: Arc<RwLock<Book>>,
    state: watch::Receiver<State>,
}

impl Quotes {
    /// Starts to read; ends with `stop`.
    pub fn watch(ctx: &Context, stop: CancellationToken) -> Self {
        let book = Arc::default();
        let (tell, state) = watch::channel(not_read());
        let reading = Reading { ctx: ctx.clone(), book: Arc::clone(&book), tell };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reading.run() => {}
            }
        });
        Self { book, state }
    }

    /// The quotes at this moment.
    pub fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Returns when it has become possible, or impossible, to judge.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Why nothing may be judged now, if so.
    pub fn problem(&self) -> Option<String> {
        self.state.borrow().as_ref().err().cloned()
    }
}

fn not_read() -> State {
    Err("quotes have not been read yet".into())
}

struct Reading {
    ctx: Context,
    book: Arc<RwLock<Book>>,
    tell: watch::Sender<State>,
}

/// Why a quote is not taken.
enum Unread {
    /// It is not believed.
    Refused(String),
    /// The registry does not answer.
    Away(String),
}

impl<E: Into<String>> From<E> for Unread {
    fn from(why: E) -> Self {
        Self::Refused(why.into())
    }
}

impl Reading {
    async fn run(&self) {
        loop {
            let error = match self.open().await {
                Ok(latest) => self.follow(latest).await,
                Err(error) => error,
            };
            tracing::warn!(error, "quotes cannot be read");
            drop(self.tell.send_replace(Err(format!("quotes: {error}"))));
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn open(&self) -> Result<Latest, String> {
        let topic = topic(&self.ctx.config, Subject::Quote.topic()).await;
        let topic = topic.map_err(|e| e.to_string())?;
        Latest::open(&self.ctx.config, topic).await.map_err(|e| e.to_string())
    }

    /// Reads on and on.
    async fn follow(&self, mut latest: Latest) -> ! {
        let (mut read, mut well) = (not_read(), Ok(()));
        loop {
            match latest.next().await {
                Heard::Record(record) => {
                    if !self.take(&record).await {
                        continue;
                    }
                }
                Heard::UpToDate => read = Ok(()),
                Heard::Well => well = Ok(()),
                Heard::Unwell(why) => {
                    tracing::warn!(why, "quotes: Kafka does not answer; nothing is judged");
                    well = Err(format!("quotes: {why}"));
                }
            }
            drop(self.tell.send_replace(well.clone().and(read.clone())));
        }
    }

    /// Takes a quote; true if nothing could be judged meanwhile, because the registry was away: a quote that was
    /// passed over then would be missed until the next one comes.
    async fn take(&self, record: &Record) -> bool {
        let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
        let mut waited = false;
        loop {
            match self.quote(record).await {
                Ok((symbol, quote)) => self.keep(symbol, quote, record),
                Err(Unread::Refused(why)) => {
                    self.ctx.metrics.quotes_refused.inc();
                    tracing::warn!(why, topic, partition, offset, "a quote is not believed");
                }
                Err(Unread::Away(why)) => {
                    tracing::warn!(why, topic, partition, offset, "a quote waits for its schema");
                    drop(self.tell.send_replace(Err(format!("quotes: {why}"))));
                    waited = true;
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            self.ctx.metrics.quotes_read.inc();
            return waited;
        }
    }

    fn keep(&self, symbol: Symbol, quote: Quote, record: &Record) {
        let mut book = self.book.write().unwrap_or_else(|p| p.into_inner());
        let metrics = &self.ctx.metrics;
        match book.take(symbol.clone(), quote, clock::now()) {
            Came::InTime => {
                let at = quote.at.as_microsecond() as f64 / 1e6;
                metrics.quotes_newest.set(metrics.quotes_newest.get().max(at));
            }
            Came::Ahead { first } => {
                metrics.quotes_ahead.inc();
                if first {
                    let (at, offset) = (quote.at, record.offset);
                    tracing::warn!(%at, %symbol, offset, "a quote is ahead of us and waits for its time");
                }
            }
        }
    }

    async fn quote(&self, record: &Record) -> Result<(Symbol, Quote), Unread> {
        let value = record.value.as_deref().ok_or("it has no value")?;
        {
            let secrets = self.ctx.secrets.load();
            let key = signer(record, value, &self.ctx.config, &secrets)?;
            if key.is_some_and(|key| !key.scopes.allow_topic(Subject::Quote.topic())) {
                return Err("its key may not sign quotes".into());
            }
        }
        let (id, body) = wire::open(&record.headers, value).map_err(|e| e.to_string())?;
        let schema = self.ctx.registry.schema(id).await.map_err(|error| match error {
            RegistryError::Unavailable { .. } => Unread::Away(error.to_string()),
            error => Unread::Refused(error.to_string()),
        })?;
        let (symbol, quote) = wire::quote::decode(body, &schema).map_err(|e| e.to_string())?;
        match record.key.as_deref() == Some(symbol.as_bytes()) {
            true => Ok((symbol, quote)),
            false => Err(format!("the record's key is not {symbol}").into()),
        }
    }
}
