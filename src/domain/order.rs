//! Owns the states of one order and what may move it (C-FSM): one exhaustive table, `apply`.
//! Never reads a clock or a socket; an event that cannot be is a value ([`Illegal`]), never a panic.
//! Invariant: executed_qty only grows, each fill counts once, a final status stays but for its late fills.

pub mod page;

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::event::{Fill, OrderStatus, Severity};
use super::money::{WIRE_DECIMALS, fits_wire};
use super::request::TimeInForce;

/// Where one order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Units decided.
    pub qty: Decimal,
    /// How long it lives at the broker.
    pub time_in_force: TimeInForce,
    /// Its state.
    pub status: OrderStatus,
    /// The broker's own reference, once known.
    pub broker_ref: Option<String>,
    /// Every fill applied, by the broker's fill id.
    pub fills: BTreeMap<String, Fill>,
}

/// What happened to an order, or what is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An attempt row is being written: the order is about to be sent.
    Send,
    /// The attempt ended and provably no byte of it left this process.
    NotSent {
        /// Why, a stable code.
        code: String,
    },
    /// The broker has the order.
    Accept {
        /// The broker's reference.
        broker_ref: Option<String>,
    },
    /// The broker filled some of it.
    Fill(Fill),
    /// The broker (or we, before any send) refused it.
    Reject {
        /// Why, a stable code.
        code: String,
    },
    /// It was cancelled; what is not filled never will be.
    Cancel {
        /// Why, a stable code.
        code: String,
    },
    /// Other terms are in force: so many units in all, what is filled included.
    Replace {
        /// Units.
        qty: Decimal,
    },
    /// Its life ended.
    Expire {
        /// Why, a stable code.
        code: String,
    },
    /// Nobody knows what became of the attempt.
    LoseTrack {
        /// Why, a stable code.
        code: String,
    },
    /// It was asked about in vain: a person must find out.
    Park {
        /// Why, a stable code.
        code: String,
    },
}

impl Event {
    /// A short name for logs and for the quarantine; equal events have equal labels.
    pub fn label(&self) -> String {
        match self {
            Event::Send => "send".into(),
            Event::NotSent { .. } => "not_sent".into(),
            Event::Accept { .. } => "accept".into(),
            Event::Fill(f) => {
                format!("fill:{}:{}@{}", f.fill_id, f.qty.normalize(), f.px.normalize())
            }
            Event::Reject { .. } => "reject".into(),
            Event::Cancel { .. } => "cancel".into(),
            Event::Replace { qty } => format!("replace:{}", qty.normalize()),
            Event::Expire { .. } => "expire".into(),
            Event::LoseTrack { .. } => "lose_track".into(),
            Event::Park { .. } => "park".into(),
        }
    }
    /// Whether it can move a reservation or a position.
    pub fn moves_risk(&self) -> bool {
        matches!(
            self,
            Event::Fill(_)
                | Event::Reject { .. }
                | Event::Cancel { .. }
                | Event::Replace { .. }
                | Event::Expire { .. }
        )
    }
    fn code(&self) -> Option<&str> {
        match self {
            Event::NotSent { code }
            | Event::Reject { code }
            | Event::Cancel { code }
            | Event::Expire { code }
            | Event::LoseTrack { code }
            | Event::Park { code } => Some(code),
            Event::Replace { .. } => Some("replaced"),
            Event::Send | Event::Accept { .. } | Event::Fill(_) => None,
        }
    }
}

/// What the shell must carry out in the transaction that stores the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// This much moved from working to position (C-RISK-8).
    Book(Fill),
    /// What is still reserved for the order is let go, once.
    Release,
    /// What is still reserved is let go, and what the new terms ask for is reserved in its place.
    Reprice,
    /// A rule fired.
    Alert {
        /// Its stable name.
        policy_name: &'static str,
        /// How much it matters.
        severity: Severity,
        /// For a person.
        reason: String,
    },
    /// Nothing more may be sent for the order's symbol until a person looked.
    HaltSymbol,
}

/// One step: the new state, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The order after it.
    pub order: Order,
    /// What the shell must do.
    pub actions: Vec<Action>,
    /// Whether it is a step at all (an exec event); a repeat of what is known is none.
    pub moved: bool,
    /// The fill that made it.
    pub last_fill: Option<Fill>,
    /// The event's code, for the exec event.
    pub code: Option<String>,
}

/// An event that cannot happen to an order in this state: quarantined with an alert, the order stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot happen to an order that is {}: {why}", .status.as_str())]
pub struct Illegal {
    /// The state it met.
    pub status: OrderStatus,
    /// The event's label.
    pub event: String,
    /// Why not.
    pub why: &'static str,
}

impl Order {
    /// An order that was decided and never sent.
    pub fn new(qty: Decimal, time_in_force: TimeInForce) -> Self {
        let (status, fills) = (OrderStatus::New, BTreeMap::new());
        Self { qty, time_in_force, status, broker_ref: None, fills }
    }

    /// Units filled so far.
    pub fn executed_qty(&self) -> Decimal {
        self.fills.values().fold(Decimal::ZERO, |sum, f| sum.saturating_add(f.qty))
    }

    /// Units not filled; never below 0.
    pub fn unfilled(&self) -> Decimal {
        self.qty.saturating_sub(self.executed_qty()).max(Decimal::ZERO)
    }

    /// The fills' average price, weighted by quantity, 9 decimals.
    pub fn avg_price(&self) -> Option<Decimal> {
        average_price(self.fills.values().map(|f| (f.px, f.qty)))
    }

    /// The table of C-FSM: what the event makes of the order.
    pub fn apply(&self, event: &Event) -> Result<Step, Illegal> {
        use OrderStatus::*;
        let illegal = |why| Err(Illegal { status: self.status, event: event.label(), why });
        match (self.status, event) {
            // Sent once; sent again only when the caller knows that the broker dedupes (C-OUT-2).
            (New | Unknown, Event::Send) => Ok(self.to(Sent, event, vec![])),
            (_, Event::Send) => illegal("only a new order, or one of unknown outcome, is sent"),

            // UNKNOWN: the sender knows better than the one that took over from it.
            (Sent | Unknown, Event::NotSent { .. }) => Ok(self.to(New, event, vec![])),
            (_, Event::NotSent { .. }) => illegal("no attempt is open"),

            (Sent | Unknown | Parked, Event::Accept { broker_ref }) => {
                Ok(self.to(Accepted, event, vec![]).with_ref(broker_ref))
            }
            (
                Accepted | PartiallyFilled | Filled | Cancelled | Expired,
                Event::Accept { broker_ref },
            ) => Ok(self.same().with_ref(broker_ref)),
            (New | Rejected, Event::Accept { .. }) => illegal("the broker should not have it"),

            (New, Event::Fill(_)) => illegal("it was never sent"),
            (Rejected, Event::Fill(_)) => illegal("it was rejected"),
            (_, Event::Fill(fill)) => self.fill(fill, event),

            (Rejected, Event::Reject { .. }) => Ok(self.same()),
            (New | Sent | Accepted | Unknown | Parked, Event::Reject { .. }) => {
                Ok(self.to(Rejected, event, vec![Action::Release]))
            }
            (_, Event::Reject { .. }) => illegal("it was filled or has ended otherwise"),

            (Cancelled, Event::Cancel { .. }) => Ok(self.same()),
            (Filled | Rejected | Expired, Event::Cancel { .. }) => {
                illegal("it has ended otherwise")
            }
            (_, Event::Cancel { .. }) => Ok(self.end(Cancelled, event)),

            (New | Accepted | PartiallyFilled, Event::Replace { qty }) => self.replace(*qty, event),
            (_, Event::Replace { .. }) => illegal("it does not wait, nor work at the broker"),

            (Expired, Event::Expire { .. }) => Ok(self.same()),
            (Filled | Rejected | Cancelled, Event::Expire { .. }) => {
                illegal("it has ended otherwise")
            }
            (_, Event::Expire { .. }) => Ok(self.end(Expired, event)),

            (Sent, Event::LoseTrack { .. }) => Ok(self.to(Unknown, event, vec![])),
            (Unknown | Parked, Event::LoseTrack { .. }) => Ok(self.same()),
            (_, Event::LoseTrack { .. }) => illegal("its outcome is known"),

            (Sent | Unknown, Event::Park { .. }) => Ok(self.park(event)),
            (Parked, Event::Park { .. }) => Ok(self.same()),
            (_, Event::Park { .. }) => illegal("its outcome is known"),
        }
    }

    fn same(&self) -> Step {
        let order = self.clone();
        Step { order, actions: vec![], moved: false, last_fill: None, code: None }
    }

    fn to(&self, status: OrderStatus, event: &Event, actions: Vec<Action>) -> Step {
        let order = Order { status, ..self.clone() };
        let code = event.code().map(String::from);
        Step { order, actions, moved: true, last_fill: None, code }
    }

    /// Cancelled or expired: what is unfilled is let go. A FOK order that ends with fills was broken by the broker.
    fn end(&self, status: OrderStatus, event: &Event) -> Step {
        let mut actions = vec![Action::Release];
        if self.time_in_force == TimeInForce::Fok && !self.fills.is_empty() {
            actions.push(Action::Alert {
                policy_name: "do.fok_partial",
                severity: Severity::High,
                reason: format!(
                    "fill-or-kill, and {} of {} were filled",
                    self.executed_qty().normalize(),
                    self.qty.normalize()
                ),
            });
        }
        self.to(status, event, actions)
    }

    /// A replacement only shrinks, and leaves something to be filled.
    fn replace(&self, qty: Decimal, event: &Event) -> Result<Step, Illegal> {
        let illegal = |why| Err(Illegal { status: self.status, event: event.label(), why });
        if qty > self.qty {
            return illegal("it would grow");
        }
        if qty <= self.executed_qty() {
            return illegal("so much of it is filled");
        }
        let mut step = self.to(self.status, event, vec![Action::Reprice]);
        step.order.qty = qty;
        Ok(step)
    }

    fn park(&self, event: &Event) -> Step {
        let why = event.code().unwrap_or("unknown");
        let alert = Action::Alert {
            policy_name: "do.parked",
            severity: Severity::Critical,
            reason: format!(
                "what the broker did with it is unknown ({why}): a person must resolve it"
            ),
        };
        self.to(OrderStatus::Parked, event, vec![alert])
    }

    /// A fill counts once, by its id; before the ack and after the end too.
    fn fill(&self, fill: &Fill, event: &Event) -> Result<Step, Illegal> {
        use OrderStatus::*;
        let illegal = |why| Err(Illegal { status: self.status, event: event.label(), why });
        if let Some(known) = self.fills.get(&fill.fill_id) {
            return match known.qty == fill.qty && known.px == fill.px {
                true => Ok(self.same()),
                false => illegal("its fill id is known with another quantity or price"),
            };
        }
        if fill.qty <= Decimal::ZERO || fill.px <= Decimal::ZERO {
            return illegal("a fill has a quantity and a price above 0");
        }
        if !fits_wire(fill.qty) || !fits_wire(fill.px) {
            return illegal("a fill's numbers have at most 28 digits, 9 of them decimals");
        }
        let late = matches!(self.status, Cancelled | Expired);
        let mut order = self.clone();
        order.fills.insert(fill.fill_id.clone(), fill.clone());
        let executed = order.executed_qty();
        order.status = match self.status {
            ended @ (Cancelled | Expired) => ended,
            _ if executed >= self.qty => Filled,
            _ => PartiallyFilled,
        };
        let mut actions = vec![Action::Book(fill.clone())];
        if late {
            actions.push(Action::Alert {
                policy_name: "do.late_fill",
                severity: Severity::High,
                reason: format!("{} filled after the order was {}", fill.qty, self.status.as_str()),
            });
        }
        if executed > self.qty {
            actions.push(Action::Alert {
                policy_name: "do.over_fill",
                severity: Severity::Critical,
                reason: format!(
                    "{} filled of {} decided: the symbol is halted",
                    executed.normalize(),
                    self.qty.normalize()
                ),
            });
            actions.push(Action::HaltSymbol);
        }
        Ok(Step { order, actions, moved: true, last_fill: Some(fill.clone()), code: None })
    }
}

/// The average of prices weighted by their units, 9 decimals; none of nothing, and if it does not fit.
pub fn average_price(fills: impl Iterator<Item = (Decimal, Decimal)>) -> Option<Decimal> {
    let (mut worth, mut units) = (Decimal::ZERO, Decimal::ZERO);
    for (px, qty) in fills {
        worth = worth.checked_add(px.checked_mul(qty)?)?;
        units = units.saturating_add(qty);
    }
    Some(worth.checked_div(units)?.round_dp(WIRE_DECIMALS))
}

impl Step {
    fn with_ref(mut self, broker_ref: &Option<String>) -> Self {
        if broker_ref.is_some() {
            self.order.broker_ref.clone_from(broker_ref);
        }
        self
    }
}

#[cfg(test)]
mod tests;
