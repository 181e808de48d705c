//! Claim: in one transaction the orders that may be sent become SENT, with their attempt rows and events.
//! Never sends, and never claims in a lane that is not ours at commit. Invariant (C-OUT-3): the attempt
//! row is committed before the socket is written.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::broker::cannot_take;
use super::broker::protocol::PlaceOrder;
use super::events::StepSeen;
use super::fence::alive_until;
use super::fold::{Finding, Outcome};
use super::{Dispatch, DispatchError, halts, replace};
use crate::domain::event::OrderStatus;
use crate::domain::order::Event;
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
    let mut going = Vec::new();
    let mut unknown = HashSet::new();
    for row in rows {
        // Behind one that stays of unknown outcome opening orders wait (C-OUT-4).
        if !row.opening_qty.is_zero() && unknown.contains(&row.lane()) {
            continue;
        }
        let order = dispatch.place_order(&row);
        match instead(dispatch, &halts, &row, &order) {
            Some(finding) => {
                if finding == Finding::AskAgain {
                    unknown.insert(row.lane());
                }
                claim.findings.push(local(row, finding));
            }
            None => going.push((row, order)),
        }
    }
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
        row.sent_at = sent_at.get(row.key.as_str()).copied();
        row.state = OrderStatus::Sent;
        row.exec_seq += 1;
        row.attempt_no += 1;
        let seen = StepSeen {
            exec_seq: row.exec_seq,
            status: row.state,
            last_fill: None,
            executed_qty: rust_decimal::Decimal::ZERO,
            avg_price: None,
            broker_ref: None,
            code: (row.attempt_no > 1).then(|| format!("attempt_{}", row.attempt_no)),
            sent_at: row.sent_at,
            rtt_ms: None,
            at,
            lane_seq: None,
            qty: row.qty,
            replaced: None,
            order_id: None,
        };
        owed.push(dispatch.scribe.step(&row, &order.client_order_id, seen)?);
        let alive_until = alive_until(&row, asked);
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

/// Why an order is not sent now, and what that makes of it.
fn instead(
    dispatch: &Dispatch,
    halts: &[risk::HaltRow],
    row: &OrderRow,
    order: &PlaceOrder,
) -> Option<Finding> {
    let too_old = row.send_by.is_some_and(|by| row.read_at > by);
    let stopped = halts::stops(halts, row);
    // An order of unknown outcome cannot be ended here: a send of it may still be under way.
    if row.state == OrderStatus::Unknown {
        let unwanted = too_old || stopped.is_some() || row.cancel.is_some();
        return unwanted.then_some(Finding::AskAgain);
    }
    if !too_old && stopped.is_none() && row.cancel.is_none() && row.replace.is_some() {
        return replace::unsent(dispatch, row);
    }
    let event = if too_old {
        Event::Expire { code: "too_old".into() }
    } else if let Some(code) = stopped {
        Event::Cancel { code: code.into() }
    } else if let Some(code) = &row.cancel {
        Event::Cancel { code: code.clone() }
    } else {
        let code = cannot_take(&dispatch.known().capabilities, order)?;
        Event::Reject { code: code.into() }
    };
    Some(Finding::Unsent(event))
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
