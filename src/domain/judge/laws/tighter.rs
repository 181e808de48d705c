//! Tightening a limit never gets an order more: the law behind what `noctus policy diff` says.
//! A quantity that does not fit exact arithmetic is FLAT whatever the limits, so half of it may pass where it
//! does not; the law is about orders that the looser policy could judge.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::given::{Texts, facts, intake, order, texts};
use super::{NOW, could_judge};
use crate::domain::judge::*;
use crate::domain::laws::cases;
use crate::domain::policy::diff::Direction;

/// A change of one key, and how hard.
pub type Turn = (usize, u64);

const KEYS: [&str; 21] = [
    "max_position_notional",
    "max_order_qty",
    "max_trace_notional",
    "max_daily_loss",
    "price_collar_pct",
    "max_orders_per_minute",
    "max_consecutive_losses",
    "shrink_after_losses_pct",
    "forbidden_symbols",
    "trading_hours_utc",
    "max_data_lag_min",
    "max_missing_ratio",
    "floor",
    "flat_missing_ratio",
    "exit_ratio",
    "slope",
    "on_unknown",
    "rollout_percent",
    "min_qty",
    "qty_step",
    "contract_size",
];

fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// A number that is smaller or equal, `before` unless given.
fn less(slot: &mut Value, before: Option<&str>, turn: u64) {
    let old = number(slot).or_else(|| before.map(|b| b.parse().unwrap()));
    *slot = match old {
        Some(old) => json!((old * Decimal::from(turn % 101) / Decimal::ONE_HUNDRED).to_string()),
        None => json!(turn % 2_000),
    };
}

/// A number that is larger or equal.
fn more(slot: &mut Value, before: &str, turn: u64) {
    let old = number(slot).unwrap_or_else(|| before.parse().unwrap());
    *slot = json!((old + Decimal::from(turn % 5) / Decimal::TEN).to_string());
}

pub fn tighten(texts: &mut Texts, (key, turn): Turn) {
    let key = KEYS[key];
    let risk = &mut texts.risk["default"];
    match key {
        "max_position_notional" | "max_order_qty" | "max_trace_notional" | "max_daily_loss" => {
            less(&mut risk[key], None, turn);
        }
        "price_collar_pct" => less(&mut risk[key], Some("100"), turn),
        "max_orders_per_minute" => {
            let old = risk[key].as_u64().unwrap_or(9);
            risk[key] = json!(turn % (old + 1));
        }
        "max_consecutive_losses" => {
            let old = risk[key].as_u64().filter(|n| *n > 0).unwrap_or(9);
            risk[key] = json!(1 + turn % old);
        }
        "shrink_after_losses_pct" => {
            let old = risk[key].as_u64().unwrap_or(50);
            risk[key] = json!(old + turn % (101 - old));
        }
        "forbidden_symbols" => risk[key] = json!(["EURUSD", "USDJPY"]),
        "trading_hours_utc" => {
            let open = |at: &str| match risk["trading_hours_utc"][0].as_str() {
                None => true,
                Some("00:00-22:00") => at == "00:00-12:00",
                _ => false,
            };
            let all = ["00:00-12:00", "09:00-10:00", "10:00-24:00"];
            let one = all[(turn % 3) as usize];
            if open(one) || (turn % 3 == 1 && risk[key][0] != json!("22:00-06:00")) {
                risk[key] = json!([one]);
            }
        }
        "max_data_lag_min" => less(&mut texts.quality[key], Some("30"), turn),
        "max_missing_ratio" => less(&mut texts.quality[key], Some("0.05"), turn),
        "floor" => less(&mut texts.quality[key], Some("0.3"), turn),
        "flat_missing_ratio" => less(&mut texts.quality[key], Some("0.4"), turn),
        "exit_ratio" => less(&mut texts.quality[key], Some("0.8"), turn),
        "slope" => more(&mut texts.quality[key], "2", turn),
        "on_unknown" => texts.quality[key] = json!("flat"),
        "rollout_percent" => less(&mut texts.profiles["default"][key], Some("30"), turn),
        "min_qty" => more(&mut texts.instruments["USDJPY"][key], "0", turn),
        "contract_size" => more(&mut texts.instruments["USDJPY"][key], "1", turn),
        _ => {
            let step = number(&texts.instruments["USDJPY"]["qty_step"]).unwrap();
            let coarser = step * Decimal::from(1 + turn % 7);
            texts.instruments["USDJPY"]["qty_step"] = json!(coarser.to_string());
        }
    }
}

pub fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec((0..KEYS.len(), any::<u64>()), 1..4)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn tightening_any_limit_never_raises_the_quantity_and_is_told_as_tightening(
        intake in intake(), facts in facts(), texts in texts(), turns in turns()
    ) {
        let looser = texts.policies();
        let mut texts = texts;
        turns.iter().for_each(|turn| tighten(&mut texts, *turn));
        let tighter = texts.policies();
        let changes = [
            looser.risk.diff(&tighter.risk), looser.quality.diff(&tighter.quality),
            looser.profiles.diff(&tighter.profiles), looser.instruments.diff(&tighter.instruments),
        ].concat();
        for change in &changes {
            prop_assert_eq!(change.direction, Direction::Tightens, "{:?}", change);
        }
        let now = NOW.parse().unwrap();
        let (more, less) = (judge(&intake, &facts, &looser, now), judge(&intake, &facts, &tighter, now));
        prop_assume!(could_judge(&more));
        prop_assert!(less.decided_qty <= more.decided_qty, "{:?}\n{}\n{}", changes, more.reason, less.reason);
        if changes.is_empty() {
            prop_assert_eq!(less.decided_qty, more.decided_qty);
        }
    }

    #[test]
    fn a_halt_never_raises_the_quantity(order in order(), facts in facts(), texts in texts()) {
        let (policies, now) = (texts.policies(), NOW.parse().unwrap());
        let with = |halt| judge(&order, &Facts { halt, ..facts.clone() }, &policies, now);
        let (none, reduce, halted) = (with(None), with(Some(Halt::ReduceOnly)), with(Some(Halt::Halted)));
        prop_assume!(could_judge(&none));
        prop_assert!(reduce.decided_qty <= none.decided_qty);
        prop_assert_eq!(halted.decided_qty, Decimal::ZERO);
        prop_assert!(reduce.opening_qty.is_zero());
    }
}
