//! Owns exact decimal arithmetic: quantities, prices and what may be done to them.
//! Never uses a float for money, and never rounds in favour of an order.
//! Invariant: a quantity has at most 6 decimals, a price at most 9, both at most 28 digits.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// Decimals of a quantity (units, not lots).
pub const QTY_DECIMALS: u32 = 6;
/// Decimals of every number on the wire: Avro `decimal(28,9)`, Postgres `numeric(28,9)`.
pub const WIRE_DECIMALS: u32 = 9;
/// A number that does not fit exact arithmetic; the order it belongs to is `risk.gate_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is too large for exact arithmetic (28 digits)")]
pub struct Overflow;

/// Rounds a quantity down (towards zero) to 6 decimals.
pub fn floor_qty(qty: Decimal) -> Decimal {
    qty.round_dp_with_strategy(QTY_DECIMALS, RoundingStrategy::ToZero).normalize()
}

/// Whether the number has at most `decimals` decimals (trailing zeros do not count).
pub fn has_at_most(number: Decimal, decimals: u32) -> bool {
    number.normalize().scale() <= decimals
}

/// Whether the number fits `decimal(28,9)` exactly.
pub fn fits_wire(number: Decimal) -> bool {
    has_at_most(number, WIRE_DECIMALS) && number.abs() < wire_limit()
}

/// The number cut to the wire's 9 decimals, towards zero.
pub fn cut(number: Decimal) -> Decimal {
    number.round_dp_with_strategy(WIRE_DECIMALS, RoundingStrategy::ToZero)
}

/// The same, and the largest number of the wire if it is larger still: for numbers that only inform.
pub fn bounded(number: Decimal) -> Decimal {
    let most = wire_limit() - Decimal::new(1, WIRE_DECIMALS);
    cut(number).clamp(-most, most)
}

/// 10^19: the first magnitude that does not fit `decimal(28,9)`.
fn wire_limit() -> Decimal {
    Decimal::from_i128_with_scale(10_i128.pow(19), 0)
}

/// The text of a decimal with trailing zeros removed: `1.50` → `1.5`, `100` → `100`.
pub fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

/// The number that a text spells, exactly: digits, one point, one sign, an exponent as JSON has it. None if it
/// is no number or does not fit 28 digits; nothing is rounded.
pub fn read(text: &str) -> Option<Decimal> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    let number = if plain {
        Decimal::from_str_exact(text).ok()?
    } else {
        let (digits, exponent) = text.split_once(['e', 'E'])?;
        let digits = read(digits)?;
        let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.unsigned_abs() <= 28)?;
        let mut scaled = digits.normalize();
        match scaled.scale() as i32 - exponent {
            scale @ 0..=28 => scaled.set_scale(scale as u32).ok()?,
            negative if negative < 0 => {
                let power = Decimal::from_i128_with_scale(10_i128.pow(negative.unsigned_abs()), 0);
                scaled = scaled.checked_mul(power)?;
            }
            _ => return None,
        }
        scaled
    };
    Some(number.normalize())
}

/// Reads a decimal from JSON exactly: a text, or a number as it is shortest written. For `deserialize_with`.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Decimal, D::Error> {
    d.deserialize_any(Exactly)
}

/// The same for a number that may be absent or null.
pub fn deserialize_option<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Decimal>, D::Error> {
    struct Given(Decimal);
    impl<'de> serde::Deserialize<'de> for Given {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            deserialize(d).map(Given)
        }
    }
    let given: Option<Given> = serde::Deserialize::deserialize(d)?;
    Ok(given.map(|Given(number)| number))
}

struct Exactly;

impl Visitor<'_> for Exactly {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal of at most 28 digits")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Decimal, E> {
        read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Decimal, E> {
        Ok(number.into())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Decimal, E> {
        Ok(number.into())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Decimal, E> {
        read(&number.to_string()).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_a_text_is_read_exactly_or_not_at_all() {
        for (text, number) in
            [("1.50", "1.5"), ("-0.1", "-0.1"), ("1e3", "1000"), ("15E-1", "1.5"), ("100", "100")]
        {
            assert_eq!(read(text), Some(number.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "1_000",
            "0x1",
            "NaN",
            "inf",
            "1e400",
            "1e-29",
            "1 ",
            "e5",
            "1e",
            "1.00000000000000000000000000001",
            "79228162514264337593543950336",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
