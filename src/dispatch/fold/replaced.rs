//! What a replacement changes of an order: its terms, what is reserved for it, and the end of the command that asked.
//! Never ends an order. Invariant: what is reserved moves once, in the step that puts the terms in force (C-CMD-6).

use super::Fold;
use crate::dispatch::broker::events;
use crate::dispatch::broker::protocol::OrderView;
use crate::dispatch::events::ReplaceEnded;
use crate::domain::event::Replaced;
use crate::domain::order::Event;
use crate::domain::text::IdempotencyKey;
use crate::pg::replaces::{AtBroker, InForce};

/// The broker's word for an order whose place another one took.
const REPLACED: &str = "replaced";

/// Whether an event says so.
pub fn is_replaced(event: &Event) -> bool {
    matches!(event, Event::Cancel { code } if code == REPLACED)
}

impl Fold<'_> {
    /// Whether a fact is one of our order's. Of an order whose place another one took since it was asked about only
    /// fills are; and while another may have taken it, that it is over as `replaced` says nothing.
    pub(super) fn is_of_ours(&self, event: &Event) -> bool {
        if self.is_of_another() {
            return matches!(event, Event::Fill(_));
        }
        let may_be = self.row.replace.as_ref().is_some_and(|replacement| replacement.asked > 0);
        !(may_be && is_replaced(event))
    }

    /// Whether the finding is about an order whose place another one has taken since.
    pub(super) fn is_of_another(&self) -> bool {
        self.outcome.row.at_broker != self.row.at_broker
    }

    /// Other terms are in force. What an older command wanted is over.
    pub(super) fn replaced(&mut self, command: &IdempotencyKey, view: Option<&OrderView>) {
        let Some(replacement) = self.row.replace.as_deref().filter(|r| r.key == *command) else {
            return;
        };
        let at_broker = view.map(|view| AtBroker {
            order_id: view.order.client_order_id.clone(),
            qty: view.order.qty,
        });
        let order_id = at_broker.as_ref().map(|at| at.order_id.clone());
        let in_force = InForce { terms: replacement.terms.clone(), at_broker, order_id };
        self.out.settled.in_force = Some(in_force);
        let seq = self.out.settled.exec_seq;
        self.apply(&Event::Replace { qty: replacement.terms.qty });
        if self.out.settled.exec_seq == seq {
            self.out.settled.in_force = None;
            return self.replace_ended(Some("too_late"));
        }
        self.replace_ended(None);
        for event in view.map(events).unwrap_or_default() {
            self.apply(&event);
        }
    }

    /// Notes once how the replacement on its way ended; what is reserved for it on top is free, or part of the terms.
    pub(super) fn replace_ended(&mut self, code: Option<&str>) {
        let Some(replacement) = self.row.replace.as_deref() else { return };
        if self.out.replace.is_some() {
            return;
        }
        self.out.trace_moved -= replacement.reserved;
        let (status, at) = (self.order.status, self.outcome.at);
        let reason = match code {
            None => format!("the terms are in force: {} in all", replacement.terms.qty.normalize()),
            Some(code) => format!("the order goes on as it was, or has ended ({code})"),
        };
        let code = code.map(String::from);
        self.out.replace = Some(ReplaceEnded { code, reason, status, at });
    }

    /// Lets go of what is still reserved, and takes what the new terms ask for the rest.
    pub(super) fn reprice(&mut self) -> Option<Replaced> {
        let terms = self.out.settled.in_force.as_ref()?.terms.clone();
        let (left, works) = (self.out.settled.working_qty, self.order.unfilled());
        self.out.trace_moved -= self.share(left);
        self.take_working(left - works);
        self.in_force = (terms.qty, terms.opening_notional);
        self.out.trace_moved += self.share(works);
        Some(Replaced {
            limit_price: terms.limit_price,
            working_qty: works,
            opening_qty: terms.opening_qty,
            opening_notional: terms.opening_notional,
        })
    }
}
