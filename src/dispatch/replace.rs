//! Replace: which orders the broker is to be asked to put other terms in force for, and what its answer means (C-CMD-6).
//! Never sends blindly what was sent before: first it is asked whether the order that takes the place is there.
//! Invariant: the replacement is in the database before the broker is asked, and is over only by a clear answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::broker::protocol::{Capabilities, OrderView, PlaceOrder, ReplaceOrder};
use super::broker::traced::within;
use super::broker::{Asked, Broker, Moved, cannot_take, events};
use super::fence::Lease;
use super::fold::{Finding, Outcome, is_replaced};
use super::halts::stops;
use super::lanes::Lanes;
use super::placing::place_order;
use super::send::{HALT_PATIENCE, of};
use super::{Dispatch, DispatchError};
use crate::domain::order::Event;
use crate::pg::outbox::{self, OrderRow};
use crate::pg::replaces::{self, AtBroker, InForce, Replacement};
use crate::runtime::clock::{Boot, boot};
use crate::runtime::metrics::Guarantee;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What this process is asking, and when it looked.
#[derive(Default)]
pub struct Replaces {
    asking: HashSet<String>,
    looked: Option<Boot>,
}

impl Replaces {
    /// At most `room` orders of these lanes whose replacement is due, with their lane's fence.
    pub async fn due(
        &mut self,
        dispatch: &Dispatch,
        lanes: &Lanes,
        room: usize,
    ) -> Result<Vec<(OrderRow, Arc<Lease>)>, DispatchError> {
        let held = lanes.all();
        let fresh = self.looked.is_some_and(|at| boot().since(at) < LOOK);
        if fresh || held.is_empty() || room == 0 {
            return Ok(vec![]);
        }
        let client = dispatch.ctx.pool.get().await?;
        let asking: Vec<&str> = self.asking.iter().map(String::as_str).collect();
        let due = replaces::due(&client, &held, &asking, room).await?;
        self.looked = Some(boot());
        let mut found = Vec::with_capacity(due.len());
        if due.is_empty() {
            return Ok(found);
        }
        let keys: Vec<&str> = due.iter().map(String::as_str).collect();
        for row in outbox::of_keys(&**client, &keys).await? {
            let Some(lease) = lanes.lease(&row.lane()) else { continue };
            if row.replace.is_some() {
                self.asking.insert(row.key.to_string());
                found.push((row, lease));
            }
        }
        Ok(found)
    }

    /// How many are being asked.
    pub fn flying(&self) -> usize {
        self.asking.len()
    }

    /// The broker has answered, or has not, and what it said is settled.
    pub fn landed(&mut self, key: &str) {
        self.asking.remove(key);
    }
}

/// The client order id of the order that takes the place: a function of both keys, in characters that every broker takes.
fn order_id(row: &OrderRow, replacement: &Replacement, max_length: usize) -> String {
    let both = format!("replace {} by {}", row.key, replacement.key);
    let mut id = hex::encode(Sha256::digest(both.as_bytes()));
    id.truncate(max_length.min(32));
    id
}

/// The order as it would be with the new terms, `left` of it not filled.
fn next(
    capabilities: &Capabilities,
    row: &OrderRow,
    replacement: &Replacement,
    left: Option<Decimal>,
) -> PlaceOrder {
    let max_length = capabilities.client_id.max_length;
    let at_broker =
        left.map(|qty| AtBroker { order_id: order_id(row, replacement, max_length), qty });
    let order_id = at_broker.as_ref().map(|at| at.order_id.clone());
    let mut next = row.clone();
    next.go_on(InForce { terms: replacement.terms.clone(), at_broker, order_id });
    place_order(&next, capabilities)
}

/// An order that is not sent yet goes on with its new terms, if the broker could take it so.
pub fn unsent(capabilities: &Capabilities, row: &OrderRow) -> Option<Finding> {
    let replacement = row.replace.as_deref()?;
    let command = replacement.key.clone();
    let order = next(capabilities, row, replacement, None);
    Some(match cannot_take(capabilities, &order) {
        Some(code) => Finding::NotReplaced { command, code: code.into(), shown: vec![] },
        None => Finding::Replaced { command, view: None },
    })
}

/// Asks the broker for one replacement. No finding unless its answer is clear: it is asked again.
pub async fn replace(dispatch: Arc<Dispatch>, lease: Arc<Lease>, row: OrderRow) -> Vec<Outcome> {
    let Some(replacement) = row.replace.clone() else { return vec![] };
    let finding = match known_to_be(&dispatch, &row, &replacement).await {
        Known::As(finding) => Some(finding),
        Known::Unclear => None,
        Known::NotYet => ask_for(&dispatch, &lease, &row, &replacement).await,
    };
    let Some((finding, view)) = finding else { return vec![] };
    vec![of(row, finding, None, Value::Null, view.as_deref(), None)]
}

type Found = (Finding, Option<Box<OrderView>>);

/// What is known of a replacement before the broker is asked for it (again).
enum Known {
    As(Found),
    /// The broker gave no clear answer, or what ends it is on its way.
    Unclear,
    NotYet,
}

fn fails(replacement: &Replacement, code: impl Into<String>, shown: Vec<Event>) -> Found {
    let (command, code) = (replacement.key.clone(), code.into());
    (Finding::NotReplaced { command, code, shown }, None)
}

async fn known_to_be(dispatch: &Dispatch, row: &OrderRow, replacement: &Replacement) -> Known {
    let known = dispatch.known();
    let left = replacement.terms.qty - row.executed();
    if replacement.asked <= 1 {
        // Nothing was sent yet: whatever is in the way ends it here.
        let (_, halts) = dispatch.halts.known();
        let code = if row.cancel.is_some() {
            Some("cancel_wanted")
        } else if !known.capabilities.replace {
            Some("broker_no_replace")
        } else if let Some(code) = stops(&halts, row) {
            Some(code)
        } else if left <= Decimal::ZERO {
            Some("too_much_filled")
        } else {
            cannot_take(
                &known.capabilities,
                &next(&known.capabilities, row, replacement, Some(left)),
            )
        };
        return code.map_or(Known::NotYet, |code| Known::As(fails(replacement, code, vec![])));
    }
    if known.capabilities.query_by_client_id {
        let left = Some(left.max(Decimal::ZERO));
        let order = next(&known.capabilities, row, replacement, left);
        match within(replacement.hop(), dispatch.broker.ask(&order)).await {
            Asked::Known(view) => return Known::As(taken(replacement, view)),
            Asked::Mismatch(view) if is_ours(&view, &order) => {
                return Known::As(taken(replacement, view));
            }
            Asked::Mismatch(_) => return Known::As(mismatch(dispatch, replacement)),
            Asked::NotFound => {}
            Asked::Failed(none) => {
                tracing::warn!(key = %row.key, code = none.code, "a replacement is not known of");
                return Known::Unclear;
            }
        }
    }
    if left <= Decimal::ZERO {
        // It was asked for while less was filled: it can never come to be.
        return Known::As(fails(replacement, "too_much_filled", vec![]));
    }
    // The cancel settles it: the broker says whether another order took the place.
    if row.cancel.is_some() { Known::Unclear } else { Known::NotYet }
}

/// The order that took the place, but for its quantity: reckoned from the fills of when it was asked for.
fn is_ours(view: &OrderView, wanted: &PlaceOrder) -> bool {
    PlaceOrder { qty: wanted.qty, ..view.order.clone() } == *wanted && view.replaces.is_some()
}

fn taken(replacement: &Replacement, view: Box<OrderView>) -> Found {
    let command = replacement.key.clone();
    (Finding::Replaced { command, view: Some(view.clone()) }, Some(view))
}

fn mismatch(dispatch: &Dispatch, replacement: &Replacement) -> Found {
    dispatch.ctx.metrics.broken(Guarantee::OrderAsDecided, &*replacement.key);
    fails(replacement, "broker_mismatch", vec![])
}

async fn ask_for(
    dispatch: &Dispatch,
    lease: &Lease,
    row: &OrderRow,
    replacement: &Replacement,
) -> Option<Found> {
    let order = dispatch.place_order(row);
    let left = replacement.terms.qty - row.executed();
    let wanted = next(&dispatch.known().capabilities, row, replacement, Some(left));
    let with = ReplaceOrder {
        client_order_id: wanted.client_order_id.clone(),
        qty: Some(wanted.qty),
        limit_price: wanted.limit_price,
        stop_price: None,
        if_filled: Some((order.qty - row.working_qty).normalize()),
    };
    let mut halts = dispatch.halts.clone();
    halts.fresh(HALT_PATIENCE).await;
    let mut pass = None;
    let may_write = || {
        pass = Some(halts.check(row)?);
        if lease.holds(boot()) { Ok(()) } else { Err("lease_over") }
    };
    let replacing = dispatch.broker.replace(&order, &with, Box::new(may_write));
    let moved = within(replacement.hop(), replacing).await;
    drop(pass);
    let key = &row.key;
    match moved {
        Moved::Known(view) => Some(taken(replacement, view)),
        Moved::Refused { code, original } => {
            let shown = original.filter(|view| view.order == order);
            let said = shown.as_deref().map(events).unwrap_or_default();
            tracing::warn!(%key, code, "the broker refuses to replace");
            if said.iter().any(is_replaced) {
                None // another order took the place already: it is asked about
            } else if code == "filled_meanwhile" {
                Some((Finding::Facts(said), shown))
            } else {
                Some(fails(replacement, code, said))
            }
        }
        Moved::Mismatch(_) => Some(mismatch(dispatch, replacement)),
        Moved::NotFound => Some(fails(replacement, "not_found", vec![])),
        Moved::NotSent { code } => {
            tracing::info!(%key, code, "a replacement was not sent");
            None
        }
        Moved::Unknown { code, detail, .. } => {
            tracing::warn!(%key, code, detail, "a replacement got no clear answer");
            None
        }
    }
}
