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
use super::{Dispatch, DispatchError, halts};
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
    /// Lanes in which there was nothing to claim.
    pub barren: Vec<LaneKey>,
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
    // Cut off by the limit, a lane says nothing of itself.
    if rows.len() < dispatch.ctx.config.dispatch.claim_max {
        let full: HashSet<LaneKey> = rows.iter().map(OrderRow::lane).collect();
        claim.barren = idle.iter().map(|l| l.key.clone()).filter(|k| !full.contains(k)).collect();
    }
    let epochs: HashMap<LaneKey, i64> = ours.into_iter().map(|l| (l.key, l.epoch)).collect();
    let mut going = Vec::new();
    let mut unknown = HashSet::new();
    let mut road = Road::new(dispatch, held_here);
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
            None if road.takes(&row) => going.push((row, order)),
            None => {}
        }
    }
    if going.is_empty() {
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

/// One in so many flights may be an order that opens and waits for its turn: the others are for what matters more.
const WAITING_PART: usize = 4;

/// Which orders have a way to the broker; what has none stays NEW, where a halt or its age still ends it at once.
struct Road {
    /// Nothing is sent at all.
    shut: bool,
    /// Lanes that may still begin to wait with an order that opens.
    room: usize,
    waiting: HashSet<LaneKey>,
    /// Behind an order that was left nothing of its lane goes (C-OUT-5).
    left: HashSet<LaneKey>,
}

impl Road {
    fn new(dispatch: &Dispatch, held_here: bool) -> Self {
        let waiting_max = (dispatch.ctx.config.dispatch.in_flight_max / WAITING_PART).max(1);
        Self {
            // Halted here: what was decided since waits for another host, or for the resume.
            shut: held_here || dispatch.broker.is_shut(),
            room: dispatch.broker.room(waiting_max),
            waiting: HashSet::new(),
            left: HashSet::new(),
        }
    }

    fn takes(&mut self, row: &OrderRow) -> bool {
        let lane = row.lane();
        if self.shut || self.left.contains(&lane) {
            return false;
        }
        if row.opening_qty.is_zero() || self.waiting.contains(&lane) {
            return true;
        }
        if self.waiting.len() >= self.room {
            self.left.insert(lane);
            return false;
        }
        self.waiting.insert(lane)
    }
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
