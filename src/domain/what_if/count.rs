//! Owns the sums of a what-if: quantities, money by currency, and what a rule took away.
//! Never adds money of two currencies, and never counts an order without a price as 0. What exceeds the largest
//! decimal stays there.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;

use super::Effect;
use crate::domain::money::cut;
use crate::domain::policy::instruments::Currency;

/// What one unit is worth in its account's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worth {
    pub currency: Currency,
    /// None: it has no price.
    pub unit: Option<Decimal>,
}

impl Worth {
    /// So many units in money, cut to the wire's decimals; none without a price, or if it does not fit 28 digits.
    pub fn of(self, qty: Decimal) -> Option<Decimal> {
        qty.checked_mul(self.unit?).map(|notional| cut(notional).normalize())
    }
}

/// Money, by currency.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Notional(pub BTreeMap<Currency, Decimal>);

impl Notional {
    fn add(&mut self, currency: Currency, amount: Decimal) {
        let sum = self.0.entry(currency).or_default();
        *sum = sum.saturating_add(amount).normalize();
    }

    /// The amount in a currency; 0 if there is none.
    pub fn of(&self, currency: Currency) -> Decimal {
        self.0.get(&currency).copied().unwrap_or_default()
    }
}

/// Quantities and what they are worth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// Units, of all symbols together.
    pub units: Decimal,
    /// What those with a price are worth.
    pub notional: Notional,
    /// How many had no price: they are in `units` and not in `notional`.
    pub unpriced: u64,
}

impl Sum {
    pub(super) fn add(&mut self, qty: Decimal, worth: Worth) {
        if qty.is_zero() {
            return;
        }
        self.units = self.units.saturating_add(qty).normalize();
        match worth.of(qty) {
            Some(notional) => self.notional.add(worth.currency, notional),
            None => self.unpriced += 1,
        }
    }

    fn plus(&mut self, more: &Self) {
        self.units = self.units.saturating_add(more.units).normalize();
        self.unpriced += more.unpriced;
        for (currency, amount) in &more.notional.0 {
            self.notional.add(*currency, *amount);
        }
    }
}

/// How many orders of each effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Effects {
    pub same: u64,
    pub blocked: u64,
    pub smaller: u64,
    pub turned: u64,
    pub larger: u64,
    pub let_through: u64,
}

impl Effects {
    /// How many of one.
    pub fn of(&self, effect: Effect) -> u64 {
        match effect {
            Effect::Same => self.same,
            Effect::Blocked => self.blocked,
            Effect::Smaller => self.smaller,
            Effect::Turned => self.turned,
            Effect::Larger => self.larger,
            Effect::LetThrough => self.let_through,
        }
    }

    /// Those that are not the same.
    pub fn changed(&self) -> u64 {
        self.all() - self.same
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        Effect::ALL.into_iter().map(|effect| self.of(effect)).sum()
    }

    pub(super) fn count(&mut self, effect: Effect) {
        *match effect {
            Effect::Same => &mut self.same,
            Effect::Blocked => &mut self.blocked,
            Effect::Smaller => &mut self.smaller,
            Effect::Turned => &mut self.turned,
            Effect::Larger => &mut self.larger,
            Effect::LetThrough => &mut self.let_through,
        } += 1;
    }

    fn plus(&mut self, more: Self) {
        self.same += more.same;
        self.blocked += more.blocked;
        self.smaller += more.smaller;
        self.turned += more.turned;
        self.larger += more.larger;
        self.let_through += more.let_through;
    }
}

/// Orders that were judged again: of all, of a symbol, of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Group {
    /// How many, by what becomes of them.
    pub orders: Effects,
    /// What was decided, as it was recorded.
    pub recorded: Sum,
    /// What would have been decided.
    pub new: Sum,
}

impl Group {
    pub(super) fn plus(&mut self, more: &Self) {
        self.orders.plus(more.orders);
        self.recorded.plus(&more.recorded);
        self.new.plus(&more.new);
    }
}

/// What a rule did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Acted {
    /// Orders whose quantity it changed.
    pub orders: u64,
    /// Those of them of which it left nothing.
    pub stopped: u64,
    /// What it took away.
    pub removed: Sum,
}

impl Acted {
    pub(super) fn add(&mut self, removed: Decimal, is_stopped: bool, worth: Worth) {
        self.orders += 1;
        self.stopped += u64::from(is_stopped);
        self.removed.add(removed, worth);
    }
}
