//! Cancel: which working orders the broker is to be asked to cancel now, by a halt or by a person (C-OUT-6).
//! Never ends an order: its end is what the broker answers or tells. Invariant: what is wanted is in the
//! database before the broker is asked, so a halt that is lifted or a process that dies takes nothing back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::broker::protocol::Capabilities;
use super::fence::Lease;
use super::lanes::Lanes;
use super::{Dispatch, DispatchError};
use crate::pg::cancels;
use crate::pg::outbox::{self, OrderRow};
use crate::runtime::clock::{Boot, boot};
use crate::runtime::faults::crash_point;

/// States in which the broker is asked to cancel. Where it answers no questions, an order of unknown outcome is in them, also
/// when it is PARKED for that: nothing else would keep it from working there.
pub fn cancellable(capabilities: &Capabilities) -> &'static [&'static str] {
    match capabilities.query_by_client_id {
        true => &["ACCEPTED", "PARTIALLY_FILLED"],
        false => &["ACCEPTED", "PARTIALLY_FILLED", "UNKNOWN", "PARKED"],
    }
}

/// Pause between two looks, unless a halt is new.
const LOOK: Duration = Duration::from_millis(100);

/// What this process is asking, and when it looked.
#[derive(Default)]
pub struct Cancels {
    asking: HashSet<String>,
    looked: Option<(i64, Boot)>,
    /// They did not leave: the database does not know that yet.
    unsent: HashSet<String>,
}

impl Cancels {
    /// At most `room` orders of these lanes, with the code that the broker is told, and their lane's fence.
    pub async fn due(
        &mut self,
        dispatch: &Dispatch,
        lanes: &Lanes,
        room: usize,
    ) -> Result<Vec<(OrderRow, String, Arc<Lease>)>, DispatchError> {
        let (number, halts) = dispatch.halts.known();
        let fresh = |(of, at): (i64, Boot)| of == number && boot().since(at) < LOOK;
        let held = lanes.all();
        if self.looked.is_some_and(fresh) || held.is_empty() || room == 0 {
            return Ok(vec![]);
        }
        let client = dispatch.ctx.pool.get().await?;
        if !self.unsent.is_empty() {
            let keys: Vec<&str> = self.unsent.iter().map(String::as_str).collect();
            cancels::unasked(&client, &keys).await?;
            self.unsent.clear();
        }
        let states = cancellable(&dispatch.known().capabilities);
        let new = cancels::want_halted(&client, &held, &halts, states).await?;
        if new > 0 {
            tracing::warn!(orders = new, "a halt cancels orders that work at the broker");
        }
        let asking: Vec<&str> = self.asking.iter().map(String::as_str).collect();
        let due = cancels::due(&client, &held, states, &asking, room).await?;
        if !due.is_empty() {
            crash_point("dispatch/cancel-noted");
        }
        self.looked = Some((number, boot()));
        let keys: Vec<&str> = due.iter().map(|(key, _)| key.as_str()).collect();
        let mut found = Vec::with_capacity(due.len());
        if keys.is_empty() {
            return Ok(found);
        }
        for row in outbox::of_keys(&**client, &keys).await? {
            let code = due.iter().find(|(key, _)| key == row.key.as_str()).map(|(_, code)| code);
            let (Some(code), Some(lease)) = (code, lanes.lease(&row.lane())) else { continue };
            self.asking.insert(row.key.to_string());
            found.push((row, code.clone(), lease));
        }
        Ok(found)
    }

    /// How many are being asked.
    pub fn flying(&self) -> usize {
        self.asking.len()
    }

    /// The broker has answered, or has not, and what it said is settled; or it was not asked at all.
    pub fn landed(&mut self, key: &str, was_sent: bool) {
        self.asking.remove(key);
        if !was_sent {
            self.unsent.insert(key.to_string());
        }
    }
}
