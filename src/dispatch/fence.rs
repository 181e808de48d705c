//! Owns the last look before a write: is the lane still ours, is the order still alive, is nothing halted.
//! Never trusts the wall clock: leases and lives are measured on the clock that runs on while a process
//! is stopped, from a moment before the database was asked, so a zombie knows (F25). Invariant: I6.

use std::sync::Mutex;
use std::time::Duration;

use super::broker::protocol::Capabilities;
use super::fold::resend_until;
use super::halts::{Halts, Pass};
use crate::pg::outbox::OrderRow;
use crate::runtime::clock::{Boot, boot};
use crate::runtime::faults::is_planted;

/// A lane's lease as this process knows it.
#[derive(Debug)]
pub struct Lease {
    until: Mutex<Option<Boot>>,
    margin: Duration,
}

impl Lease {
    /// A lease asked for at `asked` (before the statement was sent) for `lease_ms`.
    pub fn new(asked: Boot, lease_ms: u64) -> Self {
        // A tenth of the lease, so that a write that was begun reaches the wire before the end.
        let margin = Duration::from_millis((lease_ms / 10).max(100));
        let lease = Self { until: Mutex::new(None), margin };
        lease.prolong(asked, lease_ms);
        lease
    }

    /// The lease was renewed by a statement sent at `asked`.
    pub fn prolong(&self, asked: Boot, lease_ms: u64) {
        self.set(Some(asked.after(Duration::from_millis(lease_ms))));
    }

    /// Someone else has the lane.
    pub fn lose(&self) {
        self.set(None);
    }

    fn set(&self, until: Option<Boot>) {
        *self.until.lock().expect("no panic while a lease is held") = until;
    }

    /// Whether there is time left for a write.
    pub fn holds(&self, now: Boot) -> bool {
        let until = *self.until.lock().expect("no panic while a lease is held");
        until.is_some_and(|until| now.after(self.margin) < until)
    }
}

/// Until when an order may be written, from its row read by a statement sent at `asked`: as long as it lives, and if
/// it is sent again, as long as the broker knows it again.
pub fn alive_until(order: &OrderRow, capabilities: &Capabilities, asked: Boot) -> Option<Boot> {
    let known = if order.unsure_before { resend_until(capabilities, order) } else { None };
    let until = match (order.send_by, known) {
        (Some(life), Some(known)) => life.min(known),
        (life, known) => life.or(known)?,
    };
    let left = until.duration_since(order.read_at);
    Some(asked.after(Duration::try_from(left).unwrap_or(Duration::ZERO)))
}

/// Asked right before the socket is written; the code says why not. What is returned is held during the write.
pub fn may_write(
    lease: &Lease,
    halts: &Halts,
    order: &OrderRow,
    alive_until: Option<Boot>,
) -> Result<Pass, &'static str> {
    let known = halts.check(order)?;
    in_time(lease, alive_until, boot())?;
    Ok(known)
}

/// Whether at `now` the order still lives and its lane is still ours.
pub fn in_time(lease: &Lease, alive_until: Option<Boot>, now: Boot) -> Result<(), &'static str> {
    if alive_until.is_some_and(|end| now >= end) {
        return Err("too_old");
    }
    if !lease.holds(now) && !is_planted("no-lease") {
        return Err("lease_over");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f25_a_lease_ends_early_enough_for_the_write_and_a_lost_one_at_once() {
        let start = boot();
        let lease = Lease::new(start, 5_000);
        let at = |ms| start.after(Duration::from_millis(ms));
        assert!(lease.holds(at(0)) && lease.holds(at(4_499)));
        assert!(!lease.holds(at(4_500)), "the margin is a tenth");
        lease.prolong(at(3_000), 5_000);
        assert!(lease.holds(at(7_000)));
        lease.lose();
        assert!(!lease.holds(at(3_000)));
    }
}
