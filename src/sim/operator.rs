//! People: they halt, wait for the acknowledgement, resume, and cancel orders by hand.

use super::Event;
use super::World;
use super::db::Ack;
use super::fault::Fault;
use super::plan::{MS, SYMBOLS};
use crate::pg::halts::Scope;

/// What people do next.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// Look whether a halt is acknowledged.
    Waits(i64),
    /// Resume the scope of a halt.
    Resumes(i64),
}

/// What people have in hand.
#[derive(Debug, Default)]
pub struct Operator {
    /// Halts that were acknowledged.
    pub acknowledged: Vec<i64>,
}

impl World {
    /// People do something, now and then.
    pub(super) fn operator_may(&mut self) {
        let now = self.time();
        if self.strikes(Fault::Halt) {
            let symbol =
                self.chance.permille(600).then(|| SYMBOLS[self.chance.index(2)].to_string());
            let strategy = self.chance.permille(150).then(|| "Aurus".to_string());
            let mode = if self.chance.permille(750) { "halted" } else { "reduce_only" };
            let scope = Scope { account: None, symbol, strategy };
            let number = self.db.declare(mode, &scope, now);
            self.journal.note(self.now, format_args!("people: {mode} {number} {scope:?}"));
            for sender in 0..self.senders.len() {
                self.sender_will_read_halts(sender);
            }
            self.after(20 * MS, Event::Operates(Deed::Waits(number)));
        }
        if self.strikes(Fault::CancelByHand) && !self.db.rows.is_empty() {
            let keys: Vec<String> = self.db.orders().map(|o| o.row.key.to_string()).collect();
            if !keys.is_empty() {
                let key = &keys[self.chance.index(keys.len())];
                self.journal.note(self.now, format_args!("people: cancel {key}"));
                self.db.want_cancel(key, "cancelled_by_hand", now);
            }
        }
    }

    pub(super) fn operates(&mut self, deed: Deed) {
        let now = self.time();
        match deed {
            Deed::Waits(number) => match self.db.ack(number, now) {
                Ack::Waits => self.after(20 * MS, Event::Operates(Deed::Waits(number))),
                Ack::Given => {
                    self.journal
                        .note(self.now, format_args!("people: halt {number} is acknowledged"));
                    self.operator.acknowledged.push(number);
                    let wait = self.chance.between(50, 3_000) * MS;
                    self.after(wait, Event::Operates(Deed::Resumes(number)));
                }
            },
            Deed::Resumes(number) => {
                // After the calm everything is resumed, so that what may go goes.
                if !self.is_calm && !self.strikes(Fault::Resume) {
                    return self.after(500 * MS, Event::Operates(Deed::Resumes(number)));
                }
                let Some(halt) = self.db.halts.get(number as usize - 1) else { return };
                let scope = Scope {
                    account: halt.account.clone(),
                    symbol: halt.symbol.clone(),
                    strategy: halt.strategy.clone(),
                };
                self.db.declare("resumed", &scope, now);
                self.journal.note(self.now, format_args!("people: resume {number}"));
                for sender in 0..self.senders.len() {
                    self.sender_will_read_halts(sender);
                }
            }
        }
    }
}
