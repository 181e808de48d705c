//! Owns who opened a position: lots in the order in which they were opened, each with the arm of its decision
//! (C-DEC-8). Never knows a price. Invariant: the lots add up to what is open.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Lots kept apart; beyond it the newest are taken together, and only the oldest one's arm is ever asked for.
const LOTS_MAX: usize = 256;

/// Units that were opened by one arm, or by orders that no experiment drew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// `champion`, `challenger`, or none.
    pub arm: Option<String>,
    /// Units, > 0.
    pub qty: Decimal,
}

/// A fill closed so many units, oldest first, and opened so many.
pub fn fill(lots: &mut Vec<Lot>, closed: Decimal, opened: Decimal, arm: Option<&str>) {
    let mut left = closed;
    lots.retain_mut(|lot| {
        let taken = left.min(lot.qty);
        left -= taken;
        lot.qty -= taken;
        !lot.qty.is_zero()
    });
    if opened <= Decimal::ZERO {
        return;
    }
    match lots.last_mut() {
        Some(last) if last.arm.as_deref() == arm => last.qty += opened,
        _ => lots.push(Lot { arm: arm.map(str::to_string), qty: opened }),
    }
    if lots.len() > LOTS_MAX
        && let Some(newest) = lots.pop()
        && let Some(last) = lots.last_mut()
    {
        last.qty += newest.qty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lots: &[Lot]) -> String {
        let one = |l: &Lot| format!("{}{}", l.arm.as_deref().unwrap_or("-"), l.qty);
        lots.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_oldest_units_are_closed_first_and_what_goes_beyond_opens_anew() {
        let mut lots = Vec::new();
        let steps = [
            ((0, 10), Some("a"), "a10"),
            ((0, 5), Some("a"), "a15"),
            ((0, 5), None, "a15 -5"),
            ((12, 0), Some("b"), "a3 -5"),
            ((3, 0), None, "-5"),
            ((5, 7), Some("b"), "b7"),
            ((7, 0), None, ""),
        ];
        for ((closed, opened), arm, after) in steps {
            fill(&mut lots, Decimal::from(closed), Decimal::from(opened), arm);
            assert_eq!(told(&lots), after);
        }
    }

    #[test]
    fn lots_without_end_are_taken_together_and_still_add_up() {
        let mut lots = Vec::new();
        for n in 0..1_000 {
            let arm = if n % 2 == 0 { "a" } else { "b" };
            fill(&mut lots, Decimal::ZERO, Decimal::ONE, Some(arm));
        }
        assert_eq!(lots.len(), LOTS_MAX);
        assert_eq!(lots.iter().map(|l| l.qty).sum::<Decimal>(), Decimal::from(1_000));
        assert_eq!(lots[0].arm.as_deref(), Some("a"));
    }
}
