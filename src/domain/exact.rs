//! Owns products, sums and comparisons that may not lose a digit (C-QUAL-6): 38 digits and any scale.
//! Never rounds silently: where a product does not fit, its name says in which direction it is rounded.
//! Invariant: a whole part that does not fit is [`Overflow`], and the order it belongs to is FLAT.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::money::Overflow;

/// `mantissa · 10^-scale`.
#[derive(Debug, Clone, Copy)]
pub struct Exact {
    mantissa: i128,
    scale: u32,
}

/// 10^0 to 10^38: every power of ten that fits.
const TENS: [i128; 39] = {
    let mut tens = [1; 39];
    let mut power = 1;
    while power < tens.len() {
        tens[power] = 10 * tens[power - 1];
        power += 1;
    }
    tens
};

/// 10^power, if it fits.
fn ten(power: u32) -> Option<i128> {
    TENS.get(power as usize).copied()
}

impl From<Decimal> for Exact {
    fn from(number: Decimal) -> Self {
        let (mantissa, mut scale) = (number.mantissa(), number.scale());
        // Most numbers are short, and short division is what this costs.
        let Ok(mut short) = i64::try_from(mantissa) else {
            let number = number.normalize();
            return Self { mantissa: number.mantissa(), scale: number.scale() };
        };
        if short == 0 {
            return Self::ZERO;
        }
        while scale > 0 && short % 10 == 0 {
            (short, scale) = (short / 10, scale - 1);
        }
        Self { mantissa: short.into(), scale }
    }
}

/// Which way a digit that does not fit is dropped.
#[derive(Clone, Copy, PartialEq)]
enum Dropped {
    Down,
    Up,
}

impl Exact {
    /// 0.
    pub const ZERO: Exact = Exact { mantissa: 0, scale: 0 };
    /// 1.
    pub const ONE: Exact = Exact { mantissa: 1, scale: 0 };

    /// Whether it is above 0.
    pub fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    /// The product of two numbers that are not negative; digits beyond 38 are dropped downwards.
    pub fn times_down(self, other: Exact) -> Result<Exact, Overflow> {
        self.times(other, Dropped::Down)
    }

    /// The product of two numbers that are not negative; digits beyond 38 are dropped upwards.
    pub fn times_up(self, other: Exact) -> Result<Exact, Overflow> {
        self.times(other, Dropped::Up)
    }

    fn times(mut self, mut other: Exact, dropped: Dropped) -> Result<Exact, Overflow> {
        loop {
            if let Some(mantissa) = self.mantissa.checked_mul(other.mantissa) {
                return Ok(Self { mantissa, scale: self.scale + other.scale });
            }
            let longer = if self.scale >= other.scale { &mut self } else { &mut other };
            *longer = longer.without_last_digit(dropped).ok_or(Overflow)?;
        }
    }

    fn without_last_digit(self, dropped: Dropped) -> Option<Exact> {
        let scale = self.scale.checked_sub(1)?;
        let more = i128::from(dropped == Dropped::Up && self.mantissa % 10 > 0);
        Some(Self { mantissa: self.mantissa / 10 + more, scale })
    }

    /// Per cent of it.
    pub fn per_cent(self) -> Exact {
        Self { scale: self.scale + 2, ..self }
    }

    /// Both at one scale, if that fits.
    fn aligned(self, other: Exact) -> Option<(i128, i128, u32)> {
        if self.scale == other.scale {
            return Some((self.mantissa, other.mantissa, self.scale));
        }
        let scale = self.scale.max(other.scale);
        let at = |n: Exact| n.mantissa.checked_mul(ten(scale - n.scale)?);
        Some((at(self)?, at(other)?, scale))
    }

    /// The sum.
    pub fn plus(self, other: Exact) -> Result<Exact, Overflow> {
        let (a, b, scale) = self.aligned(other).ok_or(Overflow)?;
        Ok(Self { mantissa: a.checked_add(b).ok_or(Overflow)?, scale })
    }

    /// The sum of two numbers that are not negative; digits beyond 38 are dropped downwards.
    pub fn plus_down(self, other: Exact) -> Result<Exact, Overflow> {
        self.sum(other, Dropped::Down)
    }

    /// The same, with digits beyond 38 dropped upwards.
    pub fn plus_up(self, other: Exact) -> Result<Exact, Overflow> {
        self.sum(other, Dropped::Up)
    }

    fn sum(mut self, mut other: Exact, dropped: Dropped) -> Result<Exact, Overflow> {
        loop {
            if let Ok(sum) = self.plus(other) {
                return Ok(sum);
            }
            let longer = if self.scale >= other.scale { &mut self } else { &mut other };
            *longer = longer.without_last_digit(dropped).ok_or(Overflow)?;
        }
    }

    /// The difference.
    pub fn minus(self, other: Exact) -> Result<Exact, Overflow> {
        self.plus(Exact { mantissa: -other.mantissa, ..other })
    }

    /// How many multiples of 10^-`decimals` of `unit` (above 0) go into it, rounded down; 0 if it is negative.
    pub fn over_down(self, mut unit: Exact, decimals: u32) -> Result<Decimal, Overflow> {
        if self.mantissa <= 0 {
            return Ok(Decimal::ZERO);
        }
        loop {
            let up = decimals + unit.scale;
            let quotient = if up >= self.scale {
                ten(up - self.scale)
                    .and_then(|power| self.mantissa.checked_mul(power))
                    .map(|dividend| dividend / unit.mantissa)
            } else {
                let cut = ten(self.scale - up).map_or(0, |power| self.mantissa / power);
                Some(cut / unit.mantissa)
            };
            if let Some(quotient) = quotient {
                return Decimal::try_from_i128_with_scale(quotient, decimals)
                    .map(|q| q.normalize())
                    .map_err(|_| Overflow);
            }
            // A longer unit can only shrink what goes into it.
            unit = unit.without_last_digit(Dropped::Up).ok_or(Overflow)?;
        }
    }

    /// Cut to `decimals` decimals, towards zero.
    pub fn cut(self, decimals: u32) -> Result<Decimal, Overflow> {
        self.at_most(decimals, Dropped::Down)
    }

    /// The same or a little more, with `decimals` decimals at most; it is not negative.
    pub fn raised(self, decimals: u32) -> Result<Decimal, Overflow> {
        self.at_most(decimals, Dropped::Up)
    }

    fn at_most(self, decimals: u32, dropped: Dropped) -> Result<Decimal, Overflow> {
        let mut n = self;
        if n.scale > decimals {
            let (whole, rest) = match ten(n.scale - decimals) {
                Some(power) => (n.mantissa / power, n.mantissa % power),
                None => (0, n.mantissa),
            };
            let more = i128::from(dropped == Dropped::Up && rest > 0);
            n = Self { mantissa: whole + more, scale: decimals };
        }
        loop {
            match Decimal::try_from_i128_with_scale(n.mantissa, n.scale) {
                Ok(decimal) if n.scale == 0 => return Ok(decimal),
                Ok(decimal) => return Ok(decimal.normalize()),
                Err(_) => n = n.without_last_digit(dropped).ok_or(Overflow)?,
            }
        }
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Exact {}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        // 0 has no size that could be scaled up.
        if signs != Ordering::Equal || self.mantissa == 0 {
            return signs;
        }
        match self.aligned(*other) {
            Some((a, b, _)) => a.cmp(&b),
            // What does not fit when it is scaled up is further from 0 than what does.
            None if self.scale < other.scale => self.mantissa.cmp(&0),
            None => 0.cmp(&other.mantissa),
        }
    }
}

#[cfg(test)]
mod tests;
