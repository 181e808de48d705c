//! Owns the page of the states of an order, `docs/order-states.md`: what [`Order::apply`] does, tried out.
//! Never says anything that was not tried. Invariant: every state meets every event.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{Action, Event, Order};
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::request::TimeInForce;

/// Units of the order that is tried.
const QTY: i64 = 100;

const PICTURE: &str = "![The states of an order](img/order-states.svg)";

const LEAD: &str = "\
What moves an order, and where to. The states are those of `outbox_orders.state` and of the exec events; the table is
`Order::apply` in `src/domain/order.rs`, tried out for every state and every event.";

const AFTER: &str = "\
NEW is decided and not sent. UNKNOWN: nobody knows what became of the attempt, and the broker is asked. PARKED: it was asked in
vain, and a person must find out. FILLED, REJECTED, CANCELLED and EXPIRED are final; but for a late fill nothing moves
them any more. An event that is told again changes nothing and is no step.";

const LEGEND: &str = "\
| in a cell | means |
|---|---|
| a state | where the order is then; one exec event |
| · | known already: nothing happens, no exec event |
| ✗ | cannot be: set aside with an alert (`do.illegal_event`), the order stays as it is |
| book | the fill moves from the reservation to the position |
| release | what is still reserved is let go |
| reprice | what is still reserved is let go, and what the new terms ask for is reserved |
| alert | a rule fires: `do.late_fill`, `do.over_fill`, `do.parked` |
| halt | the symbol is halted until a person has looked |";

/// The whole page.
pub fn page() -> String {
    let mut page = format!("# The states of an order\n\n{PICTURE}\n\n{LEAD}\n\n");
    page.push_str("<!-- generated: noctus docs order-states -->\n\n");
    page.push_str(&format!("{AFTER}\n\n## Every move\n\n```mermaid\n{}```\n\n", diagram()));
    page.push_str(&format!("## Every state and every event\n\n{}\n{LEGEND}\n", table()));
    page
}

/// An order of 100 as it is in a state, with the fills that the state needs.
fn order_in(status: OrderStatus) -> Order {
    let filled = match status {
        OrderStatus::PartiallyFilled => QTY / 2,
        OrderStatus::Filled => QTY,
        _ => 0,
    };
    let mut order = Order { status, ..Order::new(QTY.into(), TimeInForce::Gtc) };
    if filled > 0 {
        order.fills.insert("known".into(), fill("known", filled));
    }
    order
}

fn fill(id: &str, qty: i64) -> Fill {
    let (qty, px) = (Decimal::from(qty), Decimal::ONE_HUNDRED);
    Fill { fill_id: id.into(), px, qty, at: Timestamp::UNIX_EPOCH }
}

/// Every event, with a name and for an order with so much left.
fn events(left: i64) -> Vec<(&'static str, Event)> {
    let code = || "code".to_string();
    vec![
        ("send", Event::Send),
        ("not sent", Event::NotSent { code: code() }),
        ("accepted", Event::Accept { broker_ref: None }),
        ("filled in part", Event::Fill(fill("part", (left / 2).max(1)))),
        ("filled", Event::Fill(fill("rest", left.max(1)))),
        ("filled too much", Event::Fill(fill("over", left + 1))),
        ("rejected", Event::Reject { code: code() }),
        ("cancelled", Event::Cancel { code: code() }),
        ("expired", Event::Expire { code: code() }),
        ("replaced", Event::Replace { qty: Decimal::from(QTY - left / 4) }),
        ("lost track", Event::LoseTrack { code: code() }),
        ("asked in vain", Event::Park { code: code() }),
    ]
}

fn left(status: OrderStatus) -> i64 {
    match status {
        OrderStatus::PartiallyFilled => QTY - QTY / 2,
        OrderStatus::Filled => 0,
        _ => QTY,
    }
}

fn action(action: &Action) -> &'static str {
    match action {
        Action::Book(_) => "book",
        Action::Release => "release",
        Action::Reprice => "reprice",
        Action::Alert { .. } => "alert",
        Action::HaltSymbol => "halt",
    }
}

fn cell(order: &Order, event: &Event) -> String {
    match order.apply(event) {
        Err(_) => "✗".into(),
        Ok(step) if !step.moved => "·".into(),
        Ok(step) => {
            let mut words = vec![step.order.status.as_str()];
            words.extend(step.actions.iter().map(action));
            words.join(", ")
        }
    }
}

fn table() -> String {
    let names: Vec<&str> = events(QTY).into_iter().map(|(name, _)| name).collect();
    let mut table = format!("| | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for status in OrderStatus::ALL {
        let order = order_in(status);
        let cells: Vec<String> =
            events(left(status)).iter().map(|(_, event)| cell(&order, event)).collect();
        table.push_str(&format!("| **{}** | {} |\n", status.as_str(), cells.join(" | ")));
    }
    table
}

/// Every move from one state to another, as a state diagram.
fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> NEW: decided\n");
    for status in OrderStatus::ALL {
        let order = order_in(status);
        let mut moves: BTreeMap<usize, (&'static str, Vec<&'static str>)> = BTreeMap::new();
        for (name, event) in events(left(status)) {
            let Ok(step) = order.apply(&event) else { continue };
            let to = step.order.status;
            // Filled too much is filled, with an alert: the table has it.
            if to != status && name != "filled too much" {
                let place = OrderStatus::ALL.iter().position(|s| *s == to).unwrap_or(0);
                moves.entry(place).or_insert((to.as_str(), vec![])).1.push(name);
            }
        }
        for (to, names) in moves.into_values() {
            text.push_str(&format!("    {} --> {to}: {}\n", status.as_str(), names.join(", ")));
        }
        if status.is_final() {
            text.push_str(&format!("    {} --> [*]\n", status.as_str()));
        }
    }
    text
}
