//! Owns the newest quote of every symbol, read from the whole `quotes` topic by every gate worker (I9).
//! Never believes an unsigned quote where signatures are required. Invariant: nothing is judged before the topic
//! was read to the end it had at the start, nor while Kafka does not answer.

use std::collections::HashMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::intake::signer;
use crate::domain::event::Quote;
use crate::domain::text::Symbol;
use crate::kafka::admin::topic;
use crate::kafka::latest::{Heard, Latest};
use crate::kafka::record::Record;
use crate::runtime::context::Context;
use crate::wire::{self, Subject};

/// Pause before the topic is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// Quotes by symbol; cheap to clone.
#[derive(Clone)]
pub struct Quotes {
    newest: Arc<RwLock<HashMap<Symbol, Quote>>>,
    state: watch::Receiver<Result<(), String>>,
}

impl Quotes {
    /// Starts to read; ends with `stop`.
    pub fn watch(ctx: &Context, stop: CancellationToken) -> Self {
        let newest = Arc::new(RwLock::new(HashMap::new()));
        let (tell, state) = watch::channel(Err("quotes have not been read yet".to_string()));
        let reading = Reading { ctx: ctx.clone(), newest: newest.clone(), tell };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reading.run() => {}
            }
        });
        Self { newest, state }
    }

    /// The quotes at this moment.
    pub fn read(&self) -> RwLockReadGuard<'_, HashMap<Symbol, Quote>> {
        self.newest.read().unwrap_or_else(|poisoned| poisoned.into_inner())
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

struct Reading {
    ctx: Context,
    newest: Arc<RwLock<HashMap<Symbol, Quote>>>,
    tell: watch::Sender<Result<(), String>>,
}

impl Reading {
    async fn run(&self) {
        loop {
            let error = match self.open().await {
                Ok(mut latest) => loop {
                    match latest.next().await {
                        Heard::Record(record) => self.take(&record).await,
                        Heard::UpToDate | Heard::Well => drop(self.tell.send_replace(Ok(()))),
                        Heard::Unwell(why) => {
                            tracing::warn!(why, "quotes: Kafka does not answer; nothing is judged");
                            drop(self.tell.send_replace(Err(format!("quotes: {why}"))));
                        }
                    }
                },
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

    async fn take(&self, record: &Record) {
        let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
        match self.quote(record).await {
            Ok((symbol, quote)) => {
                let mut newest = self.newest.write().unwrap_or_else(|p| p.into_inner());
                let known = newest.entry(symbol).or_insert(quote);
                // A late quote does not replace a newer one, whatever the order in the topic.
                if quote.at >= known.at {
                    *known = quote;
                }
            }
            Err(why) => {
                self.ctx.metrics.quotes_refused.inc();
                tracing::warn!(why, topic, partition, offset, "a quote is not believed");
            }
        }
    }

    async fn quote(&self, record: &Record) -> Result<(Symbol, Quote), String> {
        let value = record.value.as_deref().ok_or("it has no value")?;
        {
            let secrets = self.ctx.secrets.load();
            let key = signer(record, value, &self.ctx.config, &secrets)?;
            if key.is_some_and(|key| !key.scopes.allow_topic(Subject::Quote.topic())) {
                return Err("its key may not sign quotes".into());
            }
        }
        let (id, body) = wire::split(value).map_err(|e| e.to_string())?;
        let schema = self.ctx.registry.schema(id).await.map_err(|e| e.to_string())?;
        let (symbol, quote) = wire::quote::decode(body, &schema).map_err(|e| e.to_string())?;
        match record.key.as_deref() == Some(symbol.as_bytes()) {
            true => Ok((symbol, quote)),
            false => Err(format!("the record's key is not {symbol}")),
        }
    }
}
