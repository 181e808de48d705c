//! Owns the paper broker's ledger: an append-only file of JSON lines.
//! Never rewrites a line. A line cut short by a crash was never answered and is dropped at the next start.
//! Invariant: what was answered is on disk; one fsync covers all lines that wait for it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::PaperError;
use crate::dispatch::broker::protocol::{BrokerStatus, OrderView};
use crate::domain::event::Fill;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1, 2, 3 …
    pub n: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A new order, as it was first answered.
    Order(Box<OrderView>),
    /// An order moved: filled, cancelled, expired.
    Update {
        /// Its client order id.
        client_order_id: String,
        /// Which order; absent in old ledgers, where a client order id was one order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order_ref: Option<String>,
        /// Its status now.
        status: BrokerStatus,
        /// Why it was cancelled or has expired.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The fills it got.
        fills: Vec<Fill>,
    },
    /// A client order id came again; no order was made.
    Repeat {
        /// Which.
        client_order_id: String,
        /// Whether it was the same order (else it was refused).
        same: bool,
    },
    /// A cancel or a replace came that changed nothing.
    Moot {
        /// What: `cancel` or `replace`.
        what: String,
        /// For which order.
        client_order_id: String,
    },
    /// An order, a cancel or a replace came, and a lie kept it from being carried out.
    TurnedAway {
        /// What: `order`, `cancel` or `replace`.
        what: String,
        /// For which order.
        client_order_id: String,
        /// Which lie.
        by: String,
    },
}

/// The open ledger: appends in order, tells what is on disk.
pub struct Ledger {
    written: u64,
    hash: Sha256,
    lines: Lines,
    durable: watch::Receiver<u64>,
}

enum Lines {
    File(mpsc::Sender<(u64, Vec<u8>)>),
    Nowhere(watch::Sender<u64>),
}

impl Ledger {
    /// Opens or makes the file and returns what it holds.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), PaperError> {
        let at = |error| PaperError::Ledger { path: path.to_owned(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(at)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            tracing::warn!(
                bytes = bytes.len() - whole,
                "the ledger's last line was cut short; dropped"
            );
            bytes.truncate(whole);
            file.set_len(whole as u64).map_err(at)?;
        }
        let records = bytes
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<Vec<Record>, _>>()
            .map_err(|e| at(e.into()))?;
        file.seek(SeekFrom::End(0)).map_err(at)?;
        file.sync_all().map_err(at)?;
        let written = records.last().map_or(0, |r| r.n);
        let (tell, durable) = watch::channel(written);
        let (lines, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("paper-ledger".into())
            .spawn(move || write(file, queue, tell))
            .map_err(at)?;
        let hash = Sha256::new_with_prefix(&bytes);
        Ok((Self { written, hash, lines: Lines::File(lines), durable }, records))
    }

    /// A ledger that is kept nowhere, for a desk that lives as long as its process.
    pub fn nowhere() -> Self {
        let (tell, durable) = watch::channel(0);
        Self { written: 0, hash: Sha256::new(), lines: Lines::Nowhere(tell), durable }
    }

    /// Appends a line; it is on disk once [`Ledger::durable`] has reached the number returned.
    pub fn append(&mut self, at: Timestamp, entry: Entry) -> u64 {
        self.written += 1;
        let record = Record { n: self.written, at, entry };
        let mut line = serde_json::to_vec(&record).expect("a record is plain data");
        line.push(b'\n');
        self.hash.update(&line);
        match &self.lines {
            Lines::File(lines) if lines.send((self.written, line)).is_err() => {
                tracing::error!("the ledger cannot be written: nothing is answered any more");
            }
            Lines::File(_) => {}
            Lines::Nowhere(tell) => drop(tell.send_replace(self.written)),
        }
        self.written
    }

    /// The number of the newest line.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The number of the newest line on disk; closed when the disk failed.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    /// SHA-256 of all lines, lower hex.
    pub fn digest(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

/// Takes what waits, writes it, syncs once, tells. Ends (and so closes `tell`) at the first error.
fn write(mut file: File, queue: mpsc::Receiver<(u64, Vec<u8>)>, tell: watch::Sender<u64>) {
    while let Ok((mut newest, mut bytes)) = queue.recv() {
        for (n, line) in queue.try_iter() {
            newest = n;
            bytes.extend_from_slice(&line);
        }
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            tracing::error!(%error, "the ledger cannot be written");
            return;
        }
        tell.send_replace(newest);
    }
}
