//! Owns what one move of a lane changes: position, reservation, profit of the day, trace, losses in a row.
//! Never books by a rule of its own where the domain has one: positions, lots, shares and losses are its functions.
//! Invariant: a move that does not fit exact arithmetic changes nothing.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::orders::Told;
use super::{AccountDay, Lane, Terms};
use crate::domain::event::{Fill, OrderStatus, Replaced};
use crate::domain::lots;
use crate::domain::money::Overflow;
use crate::domain::position::{Position, losses_in_a_row, share};
use crate::domain::request::Side;

/// One step of an order that moves its lane.
pub(super) struct Move {
    pub status: OrderStatus,
    /// The fill to book; none: what is left of the reservation is let go.
    pub fill: Option<Fill>,
    /// Other terms: what is left of the reservation is let go, and theirs is taken.
    pub replaced: Option<(Decimal, Replaced)>,
    pub day: Date,
}

/// Everything that one move books in.
pub(super) struct Books<'a> {
    pub lane: &'a mut Lane,
    pub told: &'a mut Told,
    pub trace: &'a mut Decimal,
    pub account: &'a mut AccountDay,
    pub terms: &'a Terms,
}

impl Books<'_> {
    /// Books a move; an overflow leaves everything as it was.
    pub fn book(mut self, step: &Move) -> Result<(), Overflow> {
        let counted = if self.told.has_ended { self.told.realised } else { Decimal::ZERO };
        match (&step.fill, &step.replaced) {
            (Some(fill), _) => self.fill(fill, step.day)?,
            (None, Some((qty, replaced))) => self.replace(*qty, replaced),
            (None, None) => {
                let left = self.told.working;
                self.take_working(left);
                *self.trace -= self.share(left);
            }
        }
        self.told.waiting -= 1;
        self.told.has_ended = step.status.is_final();
        if self.told.has_ended {
            let before = self.lane.consecutive_losses;
            self.lane.consecutive_losses = losses_in_a_row(before, counted, self.told.realised);
        }
        Ok(())
    }

    fn fill(&mut self, fill: &Fill, day: Date) -> Result<(), Overflow> {
        let terms = self.terms;
        let before = Position { qty: self.lane.position, avg_price: self.lane.avg_price };
        let moved = before.book(terms.side, fill.qty, fill.px, terms.unit_value)?;
        let plus = |sum: Decimal| sum.checked_add(moved.realised).ok_or(Overflow);
        let (of_lane, of_order) = (plus(self.lane.realised_pnl)?, plus(self.told.realised)?);
        (self.lane.position, self.lane.avg_price) = (moved.position.qty, moved.position.avg_price);
        (self.lane.realised_pnl, self.told.realised) = (of_lane, of_order);
        let opened = fill.qty - moved.reduced;
        lots::fill(&mut self.lane.lots, moved.reduced, opened, terms.arm.as_deref());
        self.realise(moved.realised, day);
        let reserved = self.told.working.min(fill.qty);
        self.take_working(reserved);
        // What had been let go, or was never reserved, is taken again.
        let again = (fill.qty - reserved).min(self.in_force().0);
        if !again.is_zero() && self.told.has_ended {
            *self.trace += self.share(again);
        }
        Ok(())
    }

    fn replace(&mut self, qty: Decimal, replaced: &Replaced) {
        let left = self.told.working;
        *self.trace -= self.share(left);
        self.take_working(left - replaced.working_qty);
        self.told.in_force = Some((qty, replaced.opening_notional));
        *self.trace += self.share(replaced.working_qty);
    }

    /// Only the newest day of an account is kept, so the order in which lanes come does not matter.
    fn realise(&mut self, amount: Decimal, day: Date) {
        if amount.is_zero() || day < self.account.pnl_day {
            return;
        }
        if day > self.account.pnl_day {
            *self.account = AccountDay { pnl_day: day, daily_pnl: Decimal::ZERO };
        }
        self.account.daily_pnl = self.account.daily_pnl.saturating_add(amount);
    }

    fn take_working(&mut self, qty: Decimal) {
        self.told.working -= qty;
        *working(self.lane, self.terms.side) -= qty;
    }

    fn share(&self, part: Decimal) -> Decimal {
        let (qty, opening_notional) = self.in_force();
        share(opening_notional, part, qty)
    }

    /// The quantity in all and its opening notional: as decided, or as replaced last.
    fn in_force(&self) -> (Decimal, Decimal) {
        let decided = (self.terms.decided_qty, self.terms.opening_notional);
        self.told.in_force.unwrap_or(decided)
    }
}

/// What works in a direction.
pub(super) fn working(lane: &mut Lane, side: Side) -> &mut Decimal {
    match side {
        Side::Sell => &mut lane.working_sell,
        Side::Buy | Side::Flat => &mut lane.working_buy,
    }
}
