//! Heed: what the broker told by itself becomes findings, settled like any answer.
//! Never acts on an order that is being sent: its own answer comes first, and the event waits for it.
//! Invariant: an event that says nothing new leads to no transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::broker::events;
use super::broker::protocol::OrderView;
use super::fold::{Finding, Outcome, is_replaced};
use super::follow::Told;
use super::send::told;
use super::{Dispatch, DispatchError};
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::order::{Event, Order};
use crate::pg::broker::{self, Heard as Known};
use crate::pg::lanes::LaneKey;
use crate::pg::outbox::{self, OrderRow};

/// Orders whose events wait to be looked at; with so many no more is read.
const WAITING_MAX: usize = 10_000;
/// Events of one order.
const VIEWS_MAX: usize = 32;

/// What was heard of one order, in the order in which it happened.
struct Heard {
    views: Vec<OrderView>,
    /// The place in the stream before the first of them.
    from: u64,
}

/// Events that were heard and not acted on yet, by client order id.
#[derive(Default)]
pub struct Ear {
    waiting: HashMap<String, Heard>,
    /// Everything up to here was heard.
    upto: Option<u64>,
}

impl Ear {
    /// One that has heard everything up to a place.
    pub fn at(place: Option<u64>) -> Self {
        Self { waiting: HashMap::new(), upto: place }
    }

    /// Whether more may be heard.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Keeps what was heard.
    pub fn hear(&mut self, told: Told) {
        // What was on its way when the place was put back does not close the gap.
        if self.upto.is_none_or(|upto| told.from <= upto) {
            self.upto = self.upto.max(Some(told.upto));
        }
        for view in told.views {
            let heard = self.waiting.entry(view.order.client_order_id.clone());
            let heard = heard.or_insert_with(|| Heard { views: Vec::new(), from: told.from });
            heard.from = heard.from.min(told.from);
            // Each tells all fills so far: of too many the newest will do.
            if heard.views.len() >= VIEWS_MAX {
                heard.views.clear();
            }
            heard.views.push(view);
        }
    }

    /// Everything up to here was heard and, once what was found is settled, acted on.
    pub fn place(&self) -> Option<u64> {
        self.waiting.values().map(|heard| heard.from).chain(self.upto).min()
    }

    /// What came after this place is to be heard again; false: nothing has been heard after it.
    pub fn forget(&mut self, place: u64) -> bool {
        let later = self.upto.is_none_or(|upto| place < upto);
        self.upto = self.upto.min(Some(place)).or(Some(place));
        later
    }

    /// Findings about orders of these lanes, and about ended orders of any.
    pub async fn heed(
        &mut self,
        dispatch: &Dispatch,
        lanes: &HashSet<LaneKey>,
    ) -> Result<Vec<Outcome>, DispatchError> {
        if self.waiting.is_empty() {
            return Ok(vec![]);
        }
        let client = dispatch.ctx.pool.get().await?;
        let ids: Vec<&str> = self.waiting.keys().map(String::as_str).collect();
        let heard = broker::heard_of(&client, &ids).await?;
        let is_sent = |h: &Known| h.state == OrderStatus::Sent.as_str();
        let ours = |h: &Known| {
            lanes.contains(&LaneKey { account: h.account.clone(), symbol: h.symbol.clone() })
        };
        let staying: HashSet<&str> = heard
            .iter()
            .filter(|h| is_sent(h) && ours(h))
            .map(|h| h.client_order_id.as_str())
            .collect();
        let mut views = HashMap::new();
        for h in heard.iter().filter(|h| !is_sent(h)) {
            let Some(heard) = self.waiting.get(&h.client_order_id) else { continue };
            let ended = OrderStatus::read(&h.state).is_some_and(OrderStatus::is_final);
            if if ended { has_more_fills(&heard.views, h.fills) } else { ours(h) } {
                let of_order: &mut Vec<OrderView> = views.entry(h.key.clone()).or_default();
                of_order.extend(heard.views.iter().cloned());
            }
        }
        self.waiting.retain(|id, _| staying.contains(id.as_str()));
        news(dispatch, &client, views).await
    }
}

pub(crate) fn has_more_fills(views: &[OrderView], known: i64) -> bool {
    let fills = views.iter().flat_map(|view| &view.fills);
    let told: HashSet<&str> = fills.map(|fill| fill.fill_id.as_str()).collect();
    told.len() as i64 > known
}

/// What of this is new to the orders as they are.
async fn news(
    dispatch: &Dispatch,
    client: &tokio_postgres::Client,
    views: HashMap<String, Vec<OrderView>>,
) -> Result<Vec<Outcome>, DispatchError> {
    if views.is_empty() {
        return Ok(vec![]);
    }
    let keys: Vec<&str> = views.keys().map(String::as_str).collect();
    let mut fills: HashMap<String, BTreeMap<String, Fill>> = HashMap::new();
    for (key, fill) in outbox::fills(client, &keys).await? {
        fills.entry(key).or_default().insert(fill.fill_id.clone(), fill);
    }
    let mut outcomes = Vec::new();
    for row in outbox::of_keys(client, &keys).await? {
        let Some(views) = views.get(row.key.as_str()) else { continue };
        let ours = dispatch.place_order(&row);
        // Of an order whose place another one took only fills matter: it has ended, and ours has not.
        let is_now = |view: &&OrderView| view.order.client_order_id == ours.client_order_id;
        let replaced = row.at_broker.is_some();
        let (now, before): (Vec<&OrderView>, Vec<&OrderView>) =
            views.iter().partition(|view| !replaced || is_now(view));
        let Some(last) = now.last().or(before.last()).copied() else { continue };
        if !now.is_empty() && ours != last.order {
            outcomes.push(told(row, Finding::Mismatch(Box::new(last.clone())), last));
            continue;
        }
        let late = before.into_iter().flat_map(events).filter(|e| matches!(e, Event::Fill(_)));
        let said = late.chain(now.into_iter().flat_map(events));
        // See `fold`: what took its place is asked about.
        let said: Vec<Event> =
            said.filter(|event| row.replace.is_none() || !is_replaced(event)).collect();
        if moves(&row, fills.remove(row.key.as_str()).unwrap_or_default(), &said) {
            outcomes.push(told(row, Finding::Facts(said), last));
        }
    }
    Ok(outcomes)
}

/// Whether anything that was said is not known of the order yet.
pub(crate) fn moves(row: &OrderRow, fills: BTreeMap<String, Fill>, said: &[Event]) -> bool {
    let mut order = Order {
        qty: row.qty,
        time_in_force: row.time_in_force,
        status: row.state,
        broker_ref: row.broker_ref.clone(),
        fills,
    };
    for event in said {
        match order.apply(event) {
            Ok(step) if step.moved => return true,
            Ok(step) => order = step.order,
            Err(_) if row.quarantined.contains(&event.label()) => {}
            Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::order_view;
    use super::*;

    fn told(from: u64, upto: u64, ids: &[&str]) -> Told {
        Told { views: ids.iter().map(|id| order_view(id)).collect(), from, upto }
    }

    #[test]
    fn the_place_is_before_what_waits_and_moves_on_when_nothing_does() {
        let mut ear = Ear::at(Some(7));
        assert_eq!(ear.place(), Some(7));
        ear.hear(told(7, 9, &["a"]));
        ear.hear(told(9, 12, &["a", "b"]));
        assert_eq!(ear.place(), Some(7));
        ear.waiting.remove("a");
        assert_eq!(ear.place(), Some(9));
        ear.waiting.clear();
        assert_eq!(ear.place(), Some(12));
    }

    #[test]
    fn a_place_that_was_put_back_moves_on_only_with_what_follows_it() {
        let mut ear = Ear::at(Some(20));
        assert!(ear.forget(11), "there is something to hear again");
        assert!(!ear.forget(11) && !ear.forget(15), "it is heard again already");
        // On its way when the place was put back.
        ear.hear(told(20, 22, &["late"]));
        ear.waiting.clear();
        assert_eq!(ear.place(), Some(11));
        ear.hear(told(11, 16, &[]));
        ear.hear(told(16, 23, &[]));
        assert_eq!(ear.place(), Some(23));
    }
}
