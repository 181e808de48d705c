//! Owns what is halted, read from Postgres all the time: a sender writes only on fresh knowledge (C-OUT-6).
//! Never lets an order pass that was decided before a halt, even if the halt has been lifted since.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::host::{self, watch_file};
use crate::pg::outbox::OrderRow;
use crate::pg::risk::{self, HaltRow};
use crate::pg::{Pool, halts};
use crate::runtime::clock::{Boot, boot};
use crate::runtime::context::Context;

/// A sender's knowledge may be this old, milliseconds.
const FRESH_MS: u64 = 200;
/// Pause between two reads, milliseconds.
const READ_MS: u64 = 50;
/// Pause between two confirmations of the same halt, milliseconds: they say that the sender lives.
const HEARTBEAT_MS: u64 = 5_000;

/// Why the order must not be sent under these halts: `halted` or `reduce_only`.
pub fn stops(halts: &[HaltRow], order: &OrderRow) -> Option<&'static str> {
    let same = |scope: &Option<String>, of: Option<&str>| match scope {
        None => true,
        Some(scope) => Some(scope.as_str()) == of,
    };
    let mut stopped = None;
    for halt in halts {
        if !same(&halt.account, Some(order.account.as_str()))
            || !same(&halt.symbol, Some(order.symbol.as_str()))
            || !same(&halt.strategy, order.strategy.as_deref())
        {
            continue;
        }
        if !halt.in_force && halt.at < order.decided_at {
            continue;
        }
        match halt.mode.as_str() {
            "halted" => return Some("halted"),
            "reduce_only" if !order.opening_qty.is_zero() => stopped = Some("reduce_only"),
            _ => {}
        }
    }
    stopped
}

#[derive(Debug, Clone)]
struct Seen {
    /// Before the question was asked, so that it is never taken for fresher than it is.
    at: Boot,
    halts: Vec<HaltRow>,
    /// The newest halt; 0 before the first.
    number: i64,
    /// One for everything known since that halt: writes under way hold it.
    known: Known,
}

/// Stands for what is known from Postgres since the newest halt.
#[derive(Debug, Clone)]
struct Known(Arc<()>);

/// Held while a write is under way: the knowledge that let it pass is still in use.
#[derive(Debug)]
#[must_use]
pub struct Pass {
    _known: Known,
    _host: Option<Arc<()>>,
}

/// The newest knowledge; cheap to clone.
#[derive(Clone)]
pub struct Halts {
    seen: watch::Receiver<Seen>,
    /// The host's own halt file, if it has one.
    host: Option<watch::Receiver<host::Read>>,
}

impl Halts {
    /// Reads the halts now, and then again and again until `stop`, and confirms what was read.
    pub async fn watch(
        ctx: &Context,
        stop: CancellationToken,
    ) -> Result<Self, super::DispatchError> {
        let (pool, worker) = (ctx.pool.clone(), ctx.worker.clone());
        let (tell, seen) = watch::channel(read(&pool, None).await?);
        let host = match &ctx.config.dispatch.halt_file {
            Some(path) => {
                let seen = seen.clone();
                let number = move || seen.borrow().number;
                let host = watch_file(path.clone(), worker.clone(), number, stop.clone());
                Some(host.map_err(super::DispatchError::HaltFile)?)
            }
            None => None,
        };
        tokio::spawn(async move {
            let mut confirmations = Confirmations { worker, told: None, older: Vec::new() };
            while !stop.is_cancelled() && !tell.is_closed() {
                tokio::time::sleep(Duration::from_millis(READ_MS)).await;
                let before = tell.borrow().clone();
                match read(&pool, Some(&before)).await {
                    Ok(seen) => {
                        let number = seen.number;
                        drop(tell.send_replace(seen));
                        confirmations.superseded(before, number);
                        confirmations.tell(&pool, number).await;
                    }
                    Err(error) => tracing::warn!(%error, "halts cannot be read: nothing is sent"),
                }
            }
            confirmations.retire(&pool).await;
        });
        Ok(Self { seen, host })
    }

    /// Waits (at most `patience`) until the knowledge is fresh.
    pub async fn fresh(&mut self, patience: Duration) {
        let wait = self.seen.wait_for(|seen| is_fresh(seen.at, boot()));
        // Out of patience, or the watch has ended: `check` says so right before the write.
        if !matches!(tokio::time::timeout(patience, wait).await, Ok(Ok(_))) {
            tracing::debug!("no fresh knowledge of halts");
        }
    }

    /// The halts as they are known now, however old that is, and the newest one's number.
    pub fn known(&self) -> (i64, Vec<HaltRow>) {
        let seen = self.seen.borrow();
        (seen.number, seen.halts.clone())
    }

    /// Right before the write: fresh knowledge, and no halt in it that stops the order. What is returned
    /// is held until the write has ended.
    pub fn check(&self, order: &OrderRow) -> Result<Pass, &'static str> {
        let seen = self.seen.borrow();
        let host = self.host.as_ref().map(|host| host.borrow());
        if let Some(code) = stops(&seen.halts, order) {
            return Err(code);
        }
        if host.as_ref().is_some_and(|host| host.holds(&seen.halts)) {
            return Err("halted_here");
        }
        if !is_fresh(seen.at, boot())
            || host.as_ref().is_some_and(|host| !is_fresh(host.at, boot()))
        {
            return Err("halts_not_read");
        }
        Ok(Pass { _known: seen.known.clone(), _host: host.map(|host| host.known.clone()) })
    }

    /// Whether this host is halted by its own file; and what that stops for good: whatever was decided before it.
    pub fn here(&self) -> (bool, Option<HaltRow>) {
        let Some(host) = &self.host else { return (false, None) };
        let (seen, host) = (self.seen.borrow(), host.borrow());
        (host.holds(&seen.halts), host.stops_earlier())
    }
}

/// What this sender has told about the halts it acts on (C-OUT-7).
struct Confirmations {
    worker: Arc<str>,
    told: Option<(i64, Boot)>,
    /// Knowledge before the newest halt that may still be in use by a write.
    older: Vec<Weak<()>>,
}

impl Confirmations {
    fn superseded(&mut self, before: Seen, number: i64) {
        if before.number != number {
            self.older.push(Arc::downgrade(&before.known.0));
        }
    }

    /// Confirms the newest halt, once no write on older knowledge is under way; and says that it lives.
    async fn tell(&mut self, pool: &Pool, number: i64) {
        self.older.retain(|known| known.strong_count() > 0);
        let number = match (self.older.is_empty(), self.told) {
            (true, _) => number,
            (false, Some((told, _))) => told,
            (false, None) => return,
        };
        let is_told = |(told, at): (i64, Boot)| {
            told == number && boot().since(at) < Duration::from_millis(HEARTBEAT_MS)
        };
        if self.told.is_some_and(is_told) {
            return;
        }
        let confirmed: Result<(), super::DispatchError> = async {
            halts::confirm(&pool.get().await?, &self.worker, number).await?;
            Ok(())
        }
        .await;
        match confirmed {
            Ok(()) => self.told = Some((number, boot())),
            Err(error) => tracing::warn!(%error, number, "a halt is not confirmed yet"),
        }
    }

    async fn retire(&self, pool: &Pool) {
        let Ok(client) = pool.get().await else { return };
        if let Err(error) = halts::retire(&client, &self.worker).await {
            tracing::debug!(%error, "a confirmation stays behind");
        }
    }
}

/// Whether what was asked for at `at` may still be acted on at `now`.
pub(crate) fn is_fresh(at: Boot, now: Boot) -> bool {
    now.since(at) <= Duration::from_millis(FRESH_MS)
}

async fn read(pool: &Pool, before: Option<&Seen>) -> Result<Seen, super::DispatchError> {
    let at = boot();
    let client = pool.get().await?;
    let halts = risk::halts(&**client).await?;
    let number = halts.iter().map(|halt| halt.number).max().unwrap_or(0);
    let known = before.filter(|seen| seen.number == number).map(|seen| seen.known.clone());
    let known = known.unwrap_or_else(|| Known(Arc::new(())));
    Ok(Seen { at, halts, number, known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::order_row;
    use jiff::Timestamp;

    fn halt(number: i64, mode: &str, in_force: bool, at: Timestamp) -> HaltRow {
        let mode = mode.to_string();
        HaltRow { number, in_force, mode, account: None, symbol: None, strategy: None, at }
    }

    #[test]
    fn f60_a_halt_stops_what_was_decided_before_it_even_after_it_is_lifted() {
        let order = order_row("halt-key-1");
        let (before, after) =
            (order.decided_at - jiff::SignedDuration::from_secs(1), order.decided_at);
        let later = after + jiff::SignedDuration::from_secs(1);
        let cases = [
            (vec![], None),
            (vec![halt(1, "halted", true, before)], Some("halted")),
            (vec![halt(1, "halted", true, later)], Some("halted")),
            (
                vec![halt(1, "halted", false, later), halt(2, "resumed", true, later)],
                Some("halted"),
            ),
            (vec![halt(1, "halted", false, before), halt(2, "resumed", true, before)], None),
            (vec![halt(1, "reduce_only", true, later)], Some("reduce_only")),
            (
                vec![halt(1, "reduce_only", false, later), halt(2, "resumed", true, later)],
                Some("reduce_only"),
            ),
            (vec![halt(1, "reduce_only", false, before)], None),
            (
                vec![HaltRow { symbol: Some("OTHER".into()), ..halt(1, "halted", true, later) }],
                None,
            ),
            (
                vec![HaltRow { strategy: Some("Aurus".into()), ..halt(1, "halted", true, later) }],
                None,
            ),
        ];
        for (halts, wanted) in cases {
            assert_eq!(stops(&halts, &order), wanted, "{halts:?}");
        }
    }
}
