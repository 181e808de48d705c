//! Owns the geometry of the page's charts, in units of their own that the page stretches.
//! Never draws what is not a number: nothing of nothing is 0.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::super::amount::{count, money};
use super::super::table::effect_word;
use crate::domain::policy::instruments::Currency;
use crate::domain::what_if::{Bucket, Effect, Effects, Every, Report};

/// Width of a bar in its own units; pages stretch it.
const BAR: f64 = 1_000.0;
/// Height of a chart over time in its own units.
const HIGH: f64 = 100.0;
/// Width of one stretch of time there.
const STEP: f64 = 10.0;

/// In a chart's own units.
pub struct Rect {
    pub class: &'static str,
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
    pub title: String,
}

/// The charts over time.
pub struct Time {
    pub every: &'static str,
    pub width: String,
    pub orders: Vec<Rect>,
    pub most_orders: String,
    pub money: Option<MoneyOverTime>,
    pub first: String,
    pub last: String,
}

/// Money over time, recorded beside new.
pub struct MoneyOverTime {
    pub currency: String,
    pub rects: Vec<Rect>,
    pub most: String,
}

/// The class of an effect: its colour.
pub fn class(effect: Effect) -> &'static str {
    match effect {
        Effect::Same => "same",
        Effect::Blocked => "blocked",
        Effect::Smaller => "smaller",
        Effect::Turned => "turned",
        Effect::Larger => "larger",
        Effect::LetThrough => "let-through",
    }
}

/// A length on paper.
fn length(value: f64) -> String {
    format!("{value:.2}")
}

impl Rect {
    fn new(
        class: &'static str,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        title: String,
    ) -> Self {
        let [x, y, width, height] = [x, y, width, height].map(length);
        Self { class, x, y, width, height, title }
    }

    /// A bar that takes this part of the width.
    pub fn bar(class: &'static str, part: f64, title: String) -> Self {
        Self::new(class, (0.0, 0.0), (BAR * part, 10.0), title)
    }
}

/// How much of the whole; 0 of nothing.
pub fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { (of / whole).clamp(0.0, 1.0) } else { 0.0 }
}

/// For drawing only.
pub fn float(amount: Decimal) -> f64 {
    amount.to_f64().unwrap_or(0.0)
}

/// The effects of a group side by side, `whole` orders being the whole bar.
pub fn stacked(orders: &Effects, whole: u64) -> Vec<(Effect, Rect)> {
    let mut x = 0.0;
    let mut all = Vec::new();
    for effect in Effect::ALL {
        let n = orders.of(effect);
        if n > 0 {
            let width = BAR * part(n as f64, whole as f64);
            let title = format!("{}: {}", effect_word(effect), count(n));
            all.push((effect, Rect::new(class(effect), (x, 0.0), (width, 10.0), title)));
            x += width;
        }
    }
    all
}

/// The charts over time; none without orders. Money is drawn if all of it is in one currency.
pub fn time(report: &Report, only: Option<Currency>) -> Option<Time> {
    let (first, last) = (report.buckets.first()?, report.buckets.last()?);
    let length_s = report.bucket.hours() * 60 * 60;
    let place = |b: &Bucket| (b.from.as_second() - first.from.as_second()) / length_s;
    let (every, form) = match report.bucket {
        Every::Hour => ("hour", "%F %H:00"),
        Every::Day => ("day", "%F"),
    };
    let most = report.buckets.iter().map(|b| b.group.orders.all()).max().unwrap_or(0);
    let mut orders = Vec::new();
    for bucket in &report.buckets {
        let (x, mut y) = (place(bucket) as f64 * STEP, HIGH);
        for effect in Effect::ALL {
            let n = bucket.group.orders.of(effect);
            let high = HIGH * part(n as f64, most as f64);
            if n > 0 {
                y -= high;
                let at = bucket.from.strftime(form);
                let title = format!("{at}: {} {}", count(n), effect_word(effect));
                orders.push(Rect::new(class(effect), (x + 1.0, y), (STEP - 2.0, high), title));
            }
        }
    }
    Some(Time {
        every,
        width: length((place(last) + 1) as f64 * STEP),
        orders,
        most_orders: count(most),
        money: only.map(|currency| money_over_time(&report.buckets, place, form, currency)),
        first: first.from.strftime(form).to_string(),
        last: last.from.strftime(form).to_string(),
    })
}

fn money_over_time(
    buckets: &[Bucket],
    place: impl Fn(&Bucket) -> i64,
    form: &'static str,
    currency: Currency,
) -> MoneyOverTime {
    let of = |b: &Bucket| [&b.group.recorded, &b.group.new].map(|sum| sum.notional.of(currency));
    let most = buckets.iter().flat_map(of).max().unwrap_or_default();
    let mut rects = Vec::new();
    for bucket in buckets {
        let x = place(bucket) as f64 * STEP;
        let at = bucket.from.strftime(form).to_string();
        let [was, is] = of(bucket);
        for (class, name, amount, x) in
            [("was", "recorded", was, x + 1.0), ("is", "new", is, x + STEP / 2.0)]
        {
            let high = HIGH * part(float(amount), float(most));
            let title = format!("{at}, {name}: {} {}", money(amount), currency.as_str());
            rects.push(Rect::new(class, (x, HIGH - high), (STEP / 2.0 - 1.0, high), title));
        }
    }
    MoneyOverTime { currency: currency.as_str().to_string(), rects, most: money(most) }
}
