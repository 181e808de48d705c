//! Claim: in one transaction the orders that may be sent become SENT, with their attempt rows and events.
//! Never sends, and never claims in a lane that is not ours at commit. Invariant (C-OUT-3): the attempt
//! row is committed before the socket is written.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

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
use crate::runtime::metrics::Guarantee;

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
    let began = Instant::now();
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
    let mut passage = Passage::new(dispatch, held_here);
    let chosen = choose(rows, &halts, &known.capabilities, |row| passage.takes(row));
    let Chosen { going, staying } = chosen;
    claim.findings.extend(staying.into_iter().map(|(row, finding)| local(row, finding)));
    if going.is_empty() {
        return Ok(claim);
    }
    let attempts: Vec<(&OrderRow, i64)> =
        going.iter().map(|(row, _)| (row, epochs[&row.lane()])).collect();
    let ids: Vec<&str> = going.iter().map(|(_, order)| order.client_order_id.as_str()).collect();
    let under = (ids.as_slice(), known.digest.as_str());
    let metrics = &dispatch.ctx.metrics;
    let begun = outbox::begin_attempts(&tx, &dispatch.ctx.worker, &attempts, under).await;
    let begun = begun.inspect_err(|error| {
        if error.is_there_already() {
            metrics.broken(Guarantee::OneAttemptPerSend, error);
        }
    })?;
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
    metrics.dispatch_events.with_label_values(&["SENT"]).inc_by(owed.len() as u64);
    metrics
        .transaction_seconds
        .with_label_values(&["claim"])
        .observe(began.elapsed().as_secs_f64());
    metrics.batch_records.with_label_values(&["claim"]).observe(owed.len() as f64);
    dispatch.emitter.emit(room, batch, owed);
    Ok(claim)
}

/// One in so many flights may be an order that opens and waits for its turn: the others are for what matters more.
const WAITING_PART: usize = 4;

/// Which orders have a way to the broker; what has none stays NEW, where a halt or its age still ends it at once.
struct Passage {
    /// Nothing is sent at all.
    shut: bool,
    /// Lanes that may still begin to wait with an order that opens.
    room: usize,
    waiting: HashSet<LaneKey>,
    /// Behind an order that was left nothing of its lane goes (C-OUT-5).
    left: HashSet<LaneKey>,
}

impl Passage {
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
