//! A broker of paper: a process of its own with a durable ledger, to try Noctus on (`docs/broker-api.md`).
//! Never shares state with Noctus: it is reached over HTTP only (its desk also in process, for simulations).
//! Invariant: what it answered is in its ledger file; a client order id is one order, also after a restart.

mod api;
mod book;
pub mod desk;
pub mod fill;
mod guard;
pub mod ledger;
pub mod lies;
mod line;
mod steer;
mod telling;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::dispatch::broker::signing::Key;
use crate::runtime::clock;

use fill::PaperQuote;
use ledger::Ledger;
use lies::Lies;
use line::{Cut, Lines};

/// How often it is looked whether a day has ended.
const DAY_LOOK: Duration = Duration::from_secs(1);

/// How the paper broker is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Its ledger, JSON lines; made if it is not there.
    pub ledger: PathBuf,
    /// What it says it is.
    pub environment: String,
    /// Quotes by symbol.
    pub quotes: BTreeMap<String, PaperQuote>,
    /// How it misbehaves.
    pub lies: Lies,
    /// Calls must be signed with it.
    pub key: Option<Key>,
}

/// Why the paper broker does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PaperError {
    #[error("the ledger {}: {error}", path.display())]
    Ledger { path: PathBuf, error: std::io::Error },
    #[error("the paper broker cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// A running paper broker.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends after `stop`.
    pub ended: tokio::task::JoinHandle<()>,
}

/// Loads the ledger, listens, and serves until `stop`.
pub async fn serve(options: Options, stop: CancellationToken) -> Result<Running, PaperError> {
    let (ledger, records) = Ledger::open(&options.ledger)?;
    let environment = options.environment;
    let desk = desk::Desk::new(ledger, records, &environment, options.quotes, options.lies);
    let desk = Arc::new(Mutex::new(desk));
    tokio::spawn(days(desk.clone(), stop.clone()));
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    let address = listener.local_addr()?;
    let app = api::router(api::Shared {
        desk,
        environment: environment.into(),
        key: options.key.map(Arc::new),
        stop: stop.clone(),
    })
    .into_make_service_with_connect_info::<Cut>();
    let ended = tokio::spawn(async move {
        let served =
            axum::serve(Lines(listener), app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the paper broker stopped");
        }
    });
    Ok(Running { address, ended })
}

/// Ends each UTC day at its end.
async fn days(desk: Arc<Mutex<desk::Desk>>, stop: CancellationToken) {
    let mut today = day();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DAY_LOOK) => {}
        }
        if std::mem::replace(&mut today, day()) != today {
            let ended = desk.lock().expect("no panic while the desk is held").end_day(clock::now());
            tracing::info!(ended, "the trading day is over");
        }
    }
}

fn day() -> jiff::civil::Date {
    jiff::tz::Offset::UTC.to_datetime(clock::now()).date()
}
