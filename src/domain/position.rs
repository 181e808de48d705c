//! Owns how fills move a position: average price, realised profit, losses in a row, what stays reserved.
//! Never knows a broker or a table. Money comes out in the quote currency × the given value per unit.
//! Invariant (C-RISK-8): what is moved plus what is released plus what still works is what was decided.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::money::{Overflow, WIRE_DECIMALS};
use super::request::Side;

/// A net position: long > 0, short < 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Units.
    pub qty: Decimal,
    /// What the open units cost on average; none when flat.
    pub avg_price: Option<Decimal>,
}

/// What one fill did to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The position after it.
    pub position: Position,
    /// Units by which it closed what was open.
    pub reduced: Decimal,
    /// Realised profit, loss < 0.
    pub realised: Decimal,
}

impl Position {
    /// Books `qty` units at `px`. Units that close are realised against the average price; what goes
    /// beyond 0 opens anew at `px`. `value` is contract size × rate to the account's currency.
    pub fn book(
        self,
        side: Side,
        qty: Decimal,
        px: Decimal,
        value: Decimal,
    ) -> Result<Moved, Overflow> {
        let signed = match side {
            Side::Buy => qty,
            Side::Sell => -qty,
            Side::Flat => Decimal::ZERO,
        };
        let after = self.qty.checked_add(signed).ok_or(Overflow)?;
        let closes = self.qty.is_sign_positive() != signed.is_sign_positive();
        let reduced = if closes { self.qty.abs().min(signed.abs()) } else { Decimal::ZERO };
        let cost = self.avg_price.unwrap_or(px);
        let gain = if self.qty.is_sign_positive() { px - cost } else { cost - px };
        let realised = gain
            .checked_mul(reduced)
            .and_then(|g| g.checked_mul(value))
            .ok_or(Overflow)?
            .round_dp(WIRE_DECIMALS);
        let avg_price = if after.is_zero() {
            None
        } else if reduced.is_zero() {
            Some(average(self.qty.abs(), cost, signed.abs(), px)?)
        } else if after.is_sign_positive() == self.qty.is_sign_positive() {
            Some(cost)
        } else {
            Some(px)
        };
        Ok(Moved { position: Position { qty: after, avg_price }, reduced, realised })
    }
}

fn average(held: Decimal, cost: Decimal, more: Decimal, px: Decimal) -> Result<Decimal, Overflow> {
    let worth = |qty: Decimal, price: Decimal| qty.checked_mul(price).ok_or(Overflow);
    let sum = worth(held, cost)?.checked_add(worth(more, px)?).ok_or(Overflow)?;
    let qty = held.checked_add(more).ok_or(Overflow)?;
    Ok(sum.checked_div(qty).ok_or(Overflow)?.round_dp(WIRE_DECIMALS))
}

/// Losses in a row after an order of the (account, symbol) ended, or got a late fill, with this much
/// realised in all (C-RISK-9). `counted` is what it had realised when it was last counted (0 = never).
pub fn losses_in_a_row(before: u32, counted: Decimal, realised: Decimal) -> u32 {
    let sign = |d: Decimal| d.cmp(&Decimal::ZERO);
    match (sign(realised), sign(counted)) {
        (now, then) if now == then => before,
        (std::cmp::Ordering::Less, _) => before.saturating_add(1),
        (std::cmp::Ordering::Greater, _) => 0,
        (std::cmp::Ordering::Equal, _) => before,
    }
}

/// The day for which an account's realised profit counts, by the time of the step that realised it.
pub fn utc_day(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

/// The part of a stored opening notional that goes with `part` of the `decided` units, rounded down
/// (never more is let go than was taken); all of it when `part` is all.
pub fn share(stored: Decimal, part: Decimal, decided: Decimal) -> Decimal {
    if part >= decided {
        return stored;
    }
    let Some(ratio) = part.checked_div(decided) else { return Decimal::ZERO };
    match stored.checked_mul(part).and_then(|p| p.checked_div(decided)) {
        Some(exact) => exact,
        None => stored.saturating_mul(ratio),
    }
    .round_dp_with_strategy(WIRE_DECIMALS, rust_decimal::RoundingStrategy::ToZero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().expect("a number")
    }

    fn at(qty: &str, avg: Option<&str>) -> Position {
        Position { qty: d(qty), avg_price: avg.map(d) }
    }

    #[test]
    fn fills_move_position_average_price_and_realised_profit() {
        // before, side, qty, px → after, realised
        let cases = [
            (at("0", None), Side::Buy, "100", "10", at("100", Some("10")), "0"),
            (at("100", Some("10")), Side::Buy, "100", "20", at("200", Some("15")), "0"),
            (at("200", Some("15")), Side::Sell, "50", "16", at("150", Some("15")), "50"),
            (at("150", Some("15")), Side::Sell, "150", "14", at("0", None), "-150"),
            (at("150", Some("15")), Side::Sell, "200", "14", at("-50", Some("14")), "-150"),
            (at("-50", Some("14")), Side::Sell, "50", "10", at("-100", Some("12")), "0"),
            (at("-100", Some("12")), Side::Buy, "40", "11", at("-60", Some("12")), "40"),
            (at("-60", Some("12")), Side::Buy, "100", "13", at("40", Some("13")), "-60"),
        ];
        for (before, side, qty, px, after, realised) in cases {
            let moved = before.book(side, d(qty), d(px), Decimal::ONE).expect("small numbers");
            assert_eq!(
                (moved.position, moved.realised),
                (after, d(realised)),
                "{before:?} {side:?}"
            );
        }
    }

    #[test]
    fn losses_count_per_order_and_a_gain_ends_the_row() {
        for (before, counted, realised, after) in [
            (0, "0", "-1", 1),
            (3, "0", "-0.000001", 4),
            (3, "0", "5", 0),
            (3, "0", "0", 3),
            (3, "-1", "-2", 3), // a late fill of an order that was counted
            (3, "-1", "2", 0),
            (0, "2", "-1", 1),
        ] {
            assert_eq!(losses_in_a_row(before, d(counted), d(realised)), after);
        }
    }

    #[test]
    fn a_share_is_exact_for_all_and_rounds_down_for_a_part() {
        assert_eq!(share(d("100"), d("3"), d("3")), d("100"));
        assert_eq!(share(d("100"), d("1"), d("3")), d("33.333333333"));
        assert_eq!(share(d("100"), d("0"), d("3")), d("0"));
        assert_eq!(share(d("100"), d("0"), d("0")), d("100"));
    }

    proptest! {
        #[test]
        fn the_position_is_the_sum_of_the_fills(fills in proptest::collection::vec(
            (any::<bool>(), 1i64..1_000_000, 1i64..1_000_000), 0..40))
        {
            let mut position = Position::default();
            let mut sum = Decimal::ZERO;
            for (buys, qty, px) in fills {
                let (qty, px) = (Decimal::new(qty, 3), Decimal::new(px, 4));
                let side = if buys { Side::Buy } else { Side::Sell };
                sum += if buys { qty } else { -qty };
                position = position.book(side, qty, px, Decimal::ONE).expect("small").position;
                prop_assert_eq!(position.qty, sum);
                prop_assert_eq!(position.avg_price.is_none(), sum.is_zero());
            }
        }

        #[test]
        fn shares_never_let_go_of_more_than_was_taken(
            stored in 0i64..1_000_000_000, a in 0i64..1000, b in 0i64..1000)
        {
            let decided = Decimal::from(a + b);
            let stored = Decimal::new(stored, 2);
            let sum = share(stored, a.into(), decided) + share(stored, b.into(), decided);
            prop_assert!(a == 0 || b == 0 || sum <= stored);
        }
    }
}
