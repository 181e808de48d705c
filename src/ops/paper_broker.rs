//! `noctus paper-broker`: a broker of paper with a durable ledger, to try Noctus on.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Global};
use crate::dispatch::broker::rest::PAPER;
use crate::dispatch::broker::signing::Key;
use crate::paper::fill::PaperQuote;
use crate::paper::lies::Lies;
use crate::paper::{self, Options, PaperError};
use crate::runtime::secrets::{self, BadSecrets};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it listens (port 0 picks one, and it is printed)
    #[arg(long, default_value = "127.0.0.1:9500", value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Its ledger: JSON lines, append-only, on disk before it answers
    #[arg(long, default_value = "paper-ledger.jsonl", value_name = "FILE")]
    ledger: PathBuf,
    /// What it says it is; dispatch refuses a broker of another environment
    #[arg(long, default_value = "paper", value_name = "NAME")]
    environment: String,
    /// Quotes it fills at, e.g. USDJPY=147.250/147.252,EURUSD=1.1000/1.1001
    #[arg(long, value_delimiter = ',', value_parser = quote, value_name = "SYMBOL=BID/ASK")]
    quotes: Vec<(String, PaperQuote)>,
    /// Which key calls must be signed with, when NOCTUS_BROKER_SECRET or NOCTUS_BROKER_SECRET_FILE is set
    #[arg(long, default_value = "noctus", value_name = "ID")]
    key_id: String,
    #[command(flatten)]
    lies: Lies,
}

fn quote(text: &str) -> Result<(String, PaperQuote), String> {
    let (symbol, quote) = text.split_once('=').ok_or("SYMBOL=BID/ASK")?;
    Ok((symbol.to_string(), quote.parse()?))
}

/// Runs the command until SIGTERM or SIGINT.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let secret = secrets::broker(global.dev)?;
    if secret.is_none() && !global.dev && args.environment != PAPER {
        return Err(BadSecrets::Missing { name: secrets::BROKER }.into());
    }
    let stop = CancellationToken::new();
    let options = Options {
        listen: args.listen,
        ledger: args.ledger,
        environment: args.environment,
        quotes: args.quotes.into_iter().collect(),
        lies: args.lies,
        key: secret.map(|secret| Key { id: args.key_id, secret }),
    };
    let running = match paper::serve(options, stop.clone()).await {
        Ok(running) => running,
        Err(PaperError::Listen(error)) => return Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    println!("paper broker on http://{}", running.address);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    stop.cancel();
    running.ended.await?;
    Ok(Exit::Ok)
}
