//! Owns exact decimal arithmetic: quantities, prices and what may be done to them.
//! Never uses a float for money, and never rounds in favour of an order.
//! Invariant: a quantity has at most 6 decimals, a price at most 9, both at most 28 digits.

use rust_decimal::{Decimal, RoundingStrategy};

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

/// 10^19: the first magnitude that does not fit `decimal(28,9)`.
fn wire_limit() -> Decimal {
    Decimal::from_i128_with_scale(10_i128.pow(19), 0)
}

/// The text of a decimal with trailing zeros removed: `1.50` → `1.5`, `100` → `100`.
pub fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}
