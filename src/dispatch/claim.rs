//! Claim: in one transaction the orders that may be sent become SENT, with their attempt rows and events.
//! Never sends, and never claims in a lane that is not ours at commit. Invariant (C-OUT-3): the attempt
//! row is committed before the socket is written.

use std::collections::HashMap;

use serde_json::Value;

use super::broker::protocol::PlaceOrder;
use super::choose::{Chosen, begin, choose};
use super::fence::alive_until;
use super::fold::{Finding, Outcome};
use super::{Dispatch, DispatchError};
use crate::owed;
use crate::pg::lanes::{self, HeldLane, LaneKey};
use crate::pg::outbox::{self, OrderRow};
use crate::pg::risk;
use crate::runtime::clock::{self, Boot, boot};
use crate::runtime::faults::{crash_point, in_flight};

/// Orders of one lane claimed together; only a broker that dedupes may see one of them twice after a crash.
const PER_LANE_DEDUPED: usize = 16;

/// An order that is SENT in the ledger and not yet on the wire.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its row after the claim.
    pub row: OrderRow,
    /// What is sent.
    pub order: PlaceOrder,
    /// Until when it may be written.
    pub alive_until: Option<Boot>,
}

/// What one claiming transaction came to.
#[derive(Debug, Default)]
pub struct Claim {
    /// Per lane, in the order of decisions.
    pub sends: HashMap<LaneKey, Vec<Claimed>>,
    /// Orders that are not sent: too old, halted, not for this broker.
    pub findings: Vec<Outcome>,
}

/// Claims what these lanes have.
pub async fn claim(dispatch: &Dispatch, idle: &[HeldLane]) -> Result<Claim, DispatchError> {
    let mut claim = Claim::default();
    if idle.is_empty() {
        return Ok(claim);
    }
    let room = dispatch.emitter.room_now();
    let asked = boot();
    let mut client = dispatch.ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let ours = lanes::hold(&tx, &dispatch.ctx.worker, idle).await?;
    let mut halts = risk::halts(&*tx).await?;
    let (held_here, earlier) = dispatch.halts.here();
    halts.extend(earlier);
    let known = dispatch.known();
    let per_lane = match known.capabilities.dedupes_by_client_id {
        true => PER_LANE_DEDUPED,
        false => 1,
    };
    let rows =
        outbox::claimable(&tx, &ours, &halts, (per_lane, dispatch.ctx.config.dispatch.claim_max))
            .await?;
    let epochs: HashMap<LaneKey, i64> = ours.into_iter().map(|l| (l.key, l.epoch)).collect();
    let Chosen { going, staying } = choose(rows, &halts, &known.capabilities);
    claim.findings.extend(staying.into_iter().map(|(row, finding)| local(row, finding)));
    // Halted here: what was decided since waits for another host, or for the resume.
    if going.is_empty() || held_here {
        return Ok(claim);
    }
    let attempts: Vec<(&OrderRow, i64)> =
        going.iter().map(|(row, _)| (row, epochs[&row.lane()])).collect();
    let ids: Vec<&str> = going.iter().map(|(_, order)| order.client_order_id.as_str()).collect();
    let under = (ids.as_slice(), known.digest.as_str());
    let begun = outbox::begin_attempts(&tx, &dispatch.ctx.worker, &attempts, under).await?;
    if begun.len() != going.len() {
        return Err(DispatchError::Moved);
    }
    let sent_at: HashMap<String, _> = begun.into_iter().collect();
    let at = clock::now();
    let mut owed = Vec::with_capacity(going.len());
    for (mut row, order) in going {
        let first_sent_at = sent_at.get(row.key.as_str()).copied();
        let seen = begin(&mut row, first_sent_at, at);
        owed.push(dispatch.scribe.step(&row, &order.client_order_id, seen)?);
        let alive_until = alive_until(&row, &known.capabilities, asked);
        claim.sends.entry(row.lane()).or_default().push(Claimed { row, order, alive_until });
    }
    let batch = owed::insert(&tx, &dispatch.ctx.worker, &owed).await?;
    in_flight("dispatch/claim-in-flight", tx.commit()).await?;
    crash_point("dispatch/after-claim");
    let sent = dispatch.ctx.metrics.dispatch_events.with_label_values(&["SENT"]);
    sent.inc_by(owed.len() as u64);
    dispatch.emitter.emit(room, batch, owed);
    Ok(claim)
}

fn local(row: OrderRow, finding: Finding) -> Outcome {
    Outcome {
        attempt_no: row.attempt_no,
        row,
        finding,
        ends: None,
        detail: Value::Null,
        response: None,
        cancel: None,
        rtt_ms: None,
        at: clock::now(),
        jitter: 0.0,
    }
}
