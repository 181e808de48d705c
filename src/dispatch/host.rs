//! Owns what the host's own halt file says, read all the time by a thread of its own: no database is needed for it.
//! Never lifts a halt by itself. Invariant: what is not fresh lets nothing pass.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pg::risk::HaltRow;
use crate::runtime::clock::{Boot, boot};
use crate::runtime::halt_file::{Entry, HostHalt, HostSender, read};

/// Pause between two reads.
const READ: Duration = Duration::from_millis(50);

/// What the file said when it was read last.
#[derive(Debug, Clone)]
pub struct Read {
    /// Before the file was opened.
    pub at: Boot,
    /// What it says.
    pub halt: Option<HostHalt>,
    /// Above this number a resume of everything lifts it.
    after: i64,
    /// One for everything read since the file changed: writes under way hold it.
    pub known: Arc<()>,
}

impl Read {
    /// Whether the host is halted, as far as these halts know.
    pub fn holds(&self, halts: &[HaltRow]) -> bool {
        let everything =
            |h: &HaltRow| h.account.is_none() && h.symbol.is_none() && h.strategy.is_none();
        let lifts = |h: &HaltRow| h.mode == "resumed" && everything(h) && h.number > self.after;
        self.halt.is_some() && !halts.iter().any(lifts)
    }

    /// What was decided before the host's halt is never sent by it, also when it is lifted.
    pub fn stops_earlier(&self) -> Option<HaltRow> {
        let halt = self.halt.as_ref()?;
        Some(HaltRow {
            number: 0,
            in_force: false,
            mode: "halted".into(),
            account: None,
            symbol: None,
            strategy: None,
            at: halt.at,
        })
    }
}

/// Reads the file now, and then again and again until `stop`; `number` is the newest that is known from Postgres.
pub fn watch_file(
    path: PathBuf,
    worker: Arc<str>,
    number: impl Fn() -> i64 + Send + 'static,
    stop: CancellationToken,
) -> std::io::Result<watch::Receiver<Read>> {
    // Before the first look: who writes the file after it finds this process.
    let mut entry = Entry::make(&path, &worker)?;
    let first = look(&path, None, number());
    if let Some(halt) = &first.halt {
        tracing::warn!(path = %path.display(), reason = halt.reason, "this host has a halt of its own");
    }
    let (tell, seen) = watch::channel(first);
    std::thread::Builder::new().name("halt-file".into()).spawn(move || {
        let mut older: Vec<Weak<()>> = Vec::new();
        while !stop.is_cancelled() && !tell.is_closed() {
            let before = tell.borrow().clone();
            let now = look(&path, Some(&before), number());
            let token = now.halt.as_ref().map(|halt| halt.token.clone()).unwrap_or_default();
            if !Arc::ptr_eq(&now.known, &before.known) {
                tracing::warn!(path = %path.display(), halt = ?now.halt, "the host's halt file has changed");
                older.push(Arc::downgrade(&before.known));
            }
            drop(before);
            drop(tell.send_replace(now));
            older.retain(|known| known.strong_count() > 0);
            if older.is_empty() {
                let says = HostSender { worker: worker.to_string(), token, number: number() };
                if let Err(error) = entry.say(says) {
                    tracing::warn!(%error, "the host's halt is not confirmed yet");
                }
            }
            std::thread::sleep(READ);
        }
    })?;
    Ok(seen)
}

fn look(path: &std::path::Path, before: Option<&Read>, number: i64) -> Read {
    let at = boot();
    let halt = read(path);
    match before {
        Some(before) if before.halt == halt => Read { at, ..before.clone() },
        _ => {
            // A host that knew nothing of Postgres: what this process knows now counts.
            let after = halt.as_ref().and_then(|halt| halt.after).unwrap_or(number);
            Read { at, halt, after, known: Arc::new(()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn f67_only_a_higher_resume_of_everything_lifts_a_hosts_own_halt() {
        let halt = HostHalt {
            token: "t".into(),
            after: Some(5),
            reason: "test".into(),
            by_whom: "alice".into(),
            at: Timestamp::UNIX_EPOCH,
        };
        let read = Read { at: boot(), halt: Some(halt), after: 5, known: Arc::new(()) };
        let row = |number, mode: &str, symbol: Option<&str>| HaltRow {
            number,
            in_force: true,
            mode: mode.into(),
            account: None,
            symbol: symbol.map(String::from),
            strategy: None,
            at: Timestamp::UNIX_EPOCH,
        };
        assert!(read.holds(&[]));
        assert!(read.holds(&[row(5, "resumed", None), row(9, "resumed", Some("USDJPY"))]));
        assert!(read.holds(&[row(9, "halted", None)]));
        assert!(!read.holds(&[row(6, "resumed", None)]));
        assert!(!Read { halt: None, ..read }.holds(&[]));
    }
}
