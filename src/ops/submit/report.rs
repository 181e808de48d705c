//! What `noctus submit` prints: a table for people, or JSON lines.

use serde_json::{Value, json};

use super::prepare::Prepared;
use super::wait::{Outcomes, Progress, progress};
use crate::domain::money::plain;
use crate::kafka::producer::Delivered;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    No,
    Yes,
    Perhaps,
}

/// One row per order, in the order of the input.
pub struct Report<'a> {
    orders: &'a [Prepared],
    rows: Vec<Value>,
    json: bool,
    waited: bool,
    sent: Sent,
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    /// What is known before anything is sent.
    pub fn new(orders: &'a [Prepared], json: bool) -> Self {
        let mut notes = Vec::new();
        let row = |order: &Prepared| {
            let r = &order.request;
            json!({
                "line": order.place, "key": order.key, "derived": order.derived,
                "trace_id": r.trace_id, "account": r.account, "symbol": r.symbol, "side": r.side,
                "qty": plain(r.qty), "order_type": r.order_type, "requested_at": r.requested_at,
                "filled_in": order.filled_in,
            })
        };
        let filled: Vec<&Prepared> = orders.iter().filter(|o| !o.filled_in.is_empty()).collect();
        if let Some(first) = filled.first() {
            let fields = first.filled_in.join(" and ");
            let whose = match filled.len() {
                1 => first.place.clone(),
                n => format!("{} and {} more", first.place, n - 1),
            };
            let hint = "to send it again, give the order the key above as idempotency_key";
            notes.push(format!("{fields} filled in for {whose}: {hint}"));
        }
        let rows = orders.iter().map(row).collect();
        Self { orders, rows, json, waited: false, sent: Sent::No, notes }
    }

    /// Where each order was written.
    pub fn delivered(&mut self, delivered: &[Delivered]) {
        self.sent = Sent::Yes;
        for (row, place) in self.rows.iter_mut().zip(delivered) {
            row["partition"] = place.partition.into();
            row["offset"] = place.offset.into();
        }
    }

    /// The producer failed: nobody knows which orders were written.
    pub fn uncertain(&mut self) {
        self.sent = Sent::Perhaps;
    }

    /// What became of each order; whether all were decided and are at the broker or done.
    pub fn outcomes(&mut self, outcomes: &Outcomes) -> bool {
        self.waited = true;
        let mut all = true;
        for (order, row) in self.orders.iter().zip(&mut self.rows) {
            let outcome = outcomes.get(order.key.as_str());
            let conflict = outcome.is_some_and(|o| o.digest != order.digest);
            all &= progress(outcome) >= Progress::Working && !conflict;
            let Some(outcome) = outcome else {
                let hint = "not decided in time: is a gate running? If it was refused, dead-letters says why";
                self.notes.push(format!("{}: {hint}", order.place));
                continue;
            };
            if conflict {
                let hint = "the key was decided before with another order; that one stands, this one is a conflict";
                self.notes.push(format!("{}: {hint}", order.place));
            }
            row["action"] = outcome.action.as_str().into();
            row["decided_qty"] = plain(outcome.decided_qty).into();
            row["executed_qty"] = plain(outcome.executed_qty).into();
            row["state"] = outcome.state.as_str().into();
            row["avg_price"] = json!(outcome.avg_price.map(plain));
            row["reason"] = json!(outcome.reason);
            row["conflict"] = conflict.into();
        }
        all
    }

    /// Prints everything to standard output, notes to standard error if the output is JSON.
    pub fn print(&self) {
        if self.json {
            self.rows.iter().for_each(|row| println!("{row}"));
            self.notes.iter().for_each(|note| eprintln!("note: {note}"));
            return;
        }
        println!("{}", self.table());
        self.notes.iter().for_each(|note| println!("note: {note}"));
        match (self.sent, self.rows.len()) {
            (Sent::Yes, n) => println!("{n} order request(s) sent"),
            (Sent::No, n) => println!("{n} order request(s) valid, nothing sent"),
            (Sent::Perhaps, n) => println!(
                "{n} order request(s), some of them perhaps sent: send them again with these keys, it is safe"
            ),
        }
    }

    fn table(&self) -> comfy_table::Table {
        let mut columns = vec!["line", "key", "trace_id", "symbol", "side", "qty"];
        if self.sent == Sent::Yes {
            columns.extend(["partition", "offset"]);
        }
        if self.waited {
            columns.extend(["action", "decided_qty", "state", "avg_price", "reason"]);
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(columns.iter().map(|column| column.replace('_', " ")));
        for row in &self.rows {
            table.add_row(columns.iter().map(|column| match &row[*column] {
                Value::Null => "-".to_string(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }));
        }
        table
    }
}
