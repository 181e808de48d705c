//! Owns what is halted, read from Postgres all the time: a sender writes only on fresh knowledge (C-OUT-6).
//! Never lets an order pass that was decided before a halt, even if the halt has been lifted since.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pg::Pool;
use crate::pg::outbox::OrderRow;
use crate::pg::risk::{self, HaltRow};
use crate::runtime::clock::{Boot, boot};

/// A sender's knowledge may be this old, milliseconds.
const FRESH_MS: u64 = 200;
/// Pause between two reads, milliseconds.
const READ_MS: u64 = 50;

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
        if halt.mode == "halted" && (halt.in_force || halt.at >= order.decided_at) {
            return Some("halted");
        }
        if halt.mode == "reduce_only" && halt.in_force && !order.opening_qty.is_zero() {
            stopped = Some("reduce_only");
        }
    }
    stopped
}

#[derive(Debug, Clone)]
struct Seen {
    /// Before the question was asked, so that it is never taken for fresher than it is.
    at: Boot,
    halts: Vec<HaltRow>,
}

/// The newest knowledge; cheap to clone.
#[derive(Clone)]
pub struct Halts(watch::Receiver<Seen>);

impl Halts {
    /// Reads the halts now, and then again and again until `stop`.
    pub async fn watch(pool: Pool, stop: CancellationToken) -> Result<Self, super::DispatchError> {
        let (tell, seen) = watch::channel(read(&pool).await?);
        tokio::spawn(async move {
            while !stop.is_cancelled() && !tell.is_closed() {
                tokio::time::sleep(Duration::from_millis(READ_MS)).await;
                match read(&pool).await {
                    Ok(seen) => drop(tell.send_replace(seen)),
                    Err(error) => tracing::warn!(%error, "halts cannot be read: nothing is sent"),
                }
            }
        });
        Ok(Self(seen))
    }

    /// Waits (at most `patience`) until the knowledge is fresh.
    pub async fn fresh(&mut self, patience: Duration) {
        let wait = self.0.wait_for(|seen| is_fresh(seen.at));
        // Out of patience, or the watch has ended: `check` says so right before the write.
        if !matches!(tokio::time::timeout(patience, wait).await, Ok(Ok(_))) {
            tracing::debug!("no fresh knowledge of halts");
        }
    }

    /// Right before the write: fresh knowledge, and no halt in it that stops the order.
    pub fn check(&self, order: &OrderRow) -> Result<(), &'static str> {
        let seen = self.0.borrow();
        match stops(&seen.halts, order) {
            Some(code) => Err(code),
            None if is_fresh(seen.at) => Ok(()),
            None => Err("halts_not_read"),
        }
    }
}

fn is_fresh(at: Boot) -> bool {
    boot().since(at) <= Duration::from_millis(FRESH_MS)
}

async fn read(pool: &Pool) -> Result<Seen, super::DispatchError> {
    let at = boot();
    let client = pool.get().await?;
    let halts = risk::halts(&**client).await?;
    Ok(Seen { at, halts })
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
