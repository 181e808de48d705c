//! Choose: which of the orders that may be claimed are sent now, and what becomes of the others. Pure.
//! Never ends an order that may be at the broker. Invariant (C-OUT-4): behind one that stays of unknown outcome
//! nothing that opens goes.

use std::collections::HashSet;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::broker::cannot_take;
use super::broker::protocol::{Capabilities, PlaceOrder};
use super::events::StepSeen;
use super::fold::{Finding, may_resend};
use super::placing::place_order;
use super::{halts, replace};
use crate::domain::event::OrderStatus;
use crate::domain::order::Event;
use crate::pg::outbox::OrderRow;
use crate::pg::risk::HaltRow;
use crate::runtime::faults::is_planted;

/// What becomes of orders that may be claimed.
#[derive(Debug, Default)]
pub struct Chosen {
    /// To be sent, in the order of decisions.
    pub going: Vec<(OrderRow, PlaceOrder)>,
    /// Not sent now, and why.
    pub staying: Vec<(OrderRow, Finding)>,
}

/// Sorts out claimable rows, the oldest decision first. What has no way to the broker now, by `passes`, stays as it is.
pub fn choose(
    rows: Vec<OrderRow>,
    halts: &[HaltRow],
    capabilities: &Capabilities,
    mut passes: impl FnMut(&OrderRow) -> bool,
) -> Chosen {
    let mut chosen = Chosen::default();
    let mut unknown = HashSet::new();
    for row in rows {
        // Behind one that stays of unknown outcome opening orders wait (C-OUT-4).
        if !row.opening_qty.is_zero() && unknown.contains(&row.lane()) {
            continue;
        }
        let order = place_order(&row, capabilities);
        match instead(capabilities, halts, &row, &order) {
            Some(finding) => {
                if finding == Finding::AskAgain {
                    unknown.insert(row.lane());
                }
                chosen.staying.push((row, finding));
            }
            None if passes(&row) => chosen.going.push((row, order)),
            None => {}
        }
    }
    chosen
}

/// Why an order is not sent now, and what that makes of it.
fn instead(
    capabilities: &Capabilities,
    halts: &[HaltRow],
    row: &OrderRow,
    order: &PlaceOrder,
) -> Option<Finding> {
    let too_old = row.send_by.is_some_and(|by| row.read_at > by);
    let stopped = halts::stops(halts, row);
    // An order of unknown outcome cannot be ended here: a send of it may still be under way.
    if row.state == OrderStatus::Unknown {
        // Since it was decided to send it again the broker may have forgotten it.
        let forgotten = !may_resend(capabilities, row) && !is_planted("blind-resend");
        let unwanted = too_old || stopped.is_some() || row.cancel.is_some() || forgotten;
        return unwanted.then_some(Finding::AskAgain);
    }
    if !too_old && stopped.is_none() && row.cancel.is_none() && row.replace.is_some() {
        return replace::unsent(capabilities, row);
    }
    let event = if too_old {
        Event::Expire { code: "too_old".into() }
    } else if let Some(code) = stopped {
        Event::Cancel { code: code.into() }
    } else if let Some(code) = &row.cancel {
        Event::Cancel { code: code.clone() }
    } else {
        let code = cannot_take(capabilities, order)?;
        Event::Reject { code: code.into() }
    };
    Some(Finding::Unsent(event))
}

/// Makes a claimed row what the claim stored of it; the step that this is.
pub fn begin(row: &mut OrderRow, sent_at: Option<Timestamp>, at: Timestamp) -> StepSeen {
    // Whatever was sent before and is unknown may still arrive.
    row.unsure_before |= row.state == OrderStatus::Unknown;
    row.sent_at = sent_at;
    row.state = OrderStatus::Sent;
    row.exec_seq += 1;
    row.attempt_no += 1;
    StepSeen {
        exec_seq: row.exec_seq,
        status: row.state,
        last_fill: None,
        executed_qty: Decimal::ZERO,
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
    }
}
