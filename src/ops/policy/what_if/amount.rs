//! Owns how numbers read: digits in groups of three, no more decimals than a person looks at. JSON has them in full.

use rust_decimal::{Decimal, RoundingStrategy};

use crate::domain::policy::instruments::Currency;
use crate::domain::what_if::{Notional, Report, Sum};

/// From here on decimals of money are not shown.
const WHOLE_FROM: u32 = 1_000;
/// Decimals of money below that.
const MONEY_DECIMALS: u32 = 2;

/// A count.
pub fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// Units: exact.
pub fn units(qty: Decimal) -> String {
    grouped(&qty.normalize().to_string())
}

/// Money: rounded.
pub fn money(amount: Decimal) -> String {
    let is_large = amount.abs() >= Decimal::from(WHOLE_FROM);
    let decimals = if is_large { 0 } else { MONEY_DECIMALS };
    let rounded = amount.round_dp_with_strategy(decimals, RoundingStrategy::MidpointAwayFromZero);
    grouped(&rounded.normalize().to_string())
}

/// Money with its sign, also if that is a plus.
pub fn change(amount: Decimal) -> String {
    match money(amount) {
        text if amount > Decimal::ZERO && text != "0" => format!("+{text}"),
        text => text,
    }
}

/// Money in each currency: `1 200 JPY, 30 USD`; `0` if there is none.
pub fn moneys(notional: &Notional) -> String {
    match notional.0.is_empty() {
        true => "0".into(),
        false => {
            let each =
                notional.0.iter().map(|(c, amount)| format!("{} {}", money(*amount), c.as_str()));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The currencies that a report speaks of.
pub fn currencies(report: &Report) -> Vec<Currency> {
    let sums = [&report.total.recorded, &report.total.new];
    let removed = report.rules.iter().flat_map(|r| [&r.recorded.removed, &r.new.removed]);
    let mut all: Vec<Currency> =
        sums.into_iter().chain(removed).flat_map(|sum| sum.notional.0.keys().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The amount of a sum, with its currency unless all are in that one; `(+2)`: and two orders without a price.
pub fn of(sum: &Sum, only: Option<Currency>) -> String {
    let text = match only {
        Some(currency) => money(sum.notional.of(currency)),
        None => moneys(&sum.notional),
    };
    match sum.unpriced {
        0 => text,
        n => format!("{text} (+{})", count(n)),
    }
}

/// How an amount changes, in each currency.
pub fn difference(recorded: &Sum, new: &Sum, only: Option<Currency>) -> String {
    let of = |currency| new.notional.of(currency).saturating_sub(recorded.notional.of(currency));
    if let Some(currency) = only {
        return change(of(currency));
    }
    let mut all: Vec<Currency> =
        recorded.notional.0.keys().chain(new.notional.0.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    let each = all.into_iter().map(|c| format!("{} {}", change(of(c)), c.as_str()));
    let told = each.collect::<Vec<_>>().join(", ");
    if told.is_empty() { "0".into() } else { told }
}

/// `12 %`, with a decimal where that says more.
pub fn percent(part: u64, of: u64) -> String {
    if of == 0 {
        return "–".into();
    }
    let tenths = (u128::from(part) * 1_000 + u128::from(of) / 2) / u128::from(of);
    match (tenths, part) {
        (0, 1..) => "< 0.1 %".into(),
        (1..100, _) => format!("{}.{} %", tenths / 10, tenths % 10),
        _ => format!("{} %", (tenths + 5) / 10),
    }
}

/// A narrow space that does not break between groups of three digits.
fn grouped(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("−", digits),
        None => ("", number),
    };
    let (whole, rest) = digits.split_once('.').map_or((digits, None), |(w, r)| (w, Some(r)));
    let mut text = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if let Some(rest) = rest {
        text.push('.');
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_money_is_rounded() {
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        let flat = |text: String| text.replace('\u{202f}', " ");
        assert_eq!(flat(count(1_234_567)), "1 234 567");
        assert_eq!(flat(units(number("-20000.500"))), "−20 000.5");
        assert_eq!(flat(money(number("149990.12345"))), "149 990");
        assert_eq!(flat(money(number("999.995"))), "1 000");
        assert_eq!(flat(money(number("12.345"))), "12.35");
        assert_eq!(change(number("0.001")), "0");
        assert_eq!(change(number("5")), "+5");
        assert_eq!(change(number("-5")), "−5");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(percent(1, 1_000_000), "< 0.1 %");
        assert_eq!(percent(1, 80), "1.3 %");
        assert_eq!(percent(1, 3), "33 %");
        assert_eq!(percent(80, 80), "100 %");
        assert_eq!(percent(0, 80), "0 %");
    }
}
