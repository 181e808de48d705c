//! The laws of judging, for any request, facts and policies, huge numbers included.

mod anything;
pub(in crate::domain) mod given;
pub(in crate::domain) mod tighter;

use proptest::prelude::*;

use self::given::{facts, intake, memory, metric, order, policies, texts};
use super::*;
use crate::domain::exact::Exact;
use crate::domain::laws::cases;
use crate::domain::policy::profiles::{Combine, Profile};
use crate::domain::policy::quality::QualityLimits;
use crate::domain::request::QualityInput;

const NOW: &str = "2026-11-23T10:00:00Z";

/// Whether the numbers fitted exact arithmetic.
pub(in crate::domain) fn could_judge(j: &Judgement) -> bool {
    j.alerts.iter().all(|alert| alert.policy_name != "risk.gate_error")
}

fn unit(
    j: &Judgement,
    facts: &Facts,
    policies: &Policies,
    intake: &Intake,
) -> Option<(Exact, Decimal)> {
    use crate::domain::policy::risk::NotionalBasis;
    let limits = policies.risk.for_symbol(intake.symbol());
    let cap = limits.max_position_notional?;
    let unit = match limits.notional_basis {
        NotionalBasis::Qty => Exact::ONE,
        NotionalBasis::Price => {
            let contract = policies.instruments.for_symbol(intake.symbol()).contract_size;
            let price = Exact::from(j.price?).times_up(contract.into()).ok()?;
            price.times_up(facts.rate?.into()).ok()?
        }
    };
    Some((unit, cap))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_quantity_never_grows_and_every_step_shrinks_the_one_before(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        prop_assert!(j.decided_qty <= j.requested_qty && j.decided_qty >= Decimal::ZERO);
        prop_assert!(j.opening_qty <= j.decided_qty && j.opening_qty >= Decimal::ZERO);
        let mut qty = j.requested_qty;
        for step in &j.steps {
            prop_assert_eq!(step.before, qty, "{:?}", &j.steps);
            prop_assert!(step.after < step.before);
            qty = step.after;
        }
        prop_assert_eq!(qty, if j.side == Side::Flat { qty } else { j.decided_qty });
        prop_assert_eq!(j.action.sends(), j.decided_qty > Decimal::ZERO);
        for fired in j.alerts.iter().filter(|a| a.policy_name.starts_with("risk.") && a.policy_name != "risk.gate_error") {
            prop_assert!(j.steps.iter().any(|s| s.rule == fired.policy_name), "{:?}", fired);
        }
        prop_assert!(!j.reason.contains('\n'));
    }

    #[test]
    fn f47_a_decided_quantity_is_a_multiple_of_the_step_and_not_below_the_minimum(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        let instrument = policies.instruments.for_symbol(intake.symbol());
        prop_assert_eq!(j.decided_qty.checked_rem(instrument.qty_step).unwrap(), Decimal::ZERO);
        prop_assert!(j.decided_qty.is_zero() || j.decided_qty >= instrument.min_qty);
    }

    #[test]
    fn the_cap_holds_after_every_opening_decision(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        if j.opening_qty > Decimal::ZERO && let Some((unit, cap)) = unit(&j, &facts, &policies, &intake) {
            let held = match j.side {
                Side::Buy => facts.position + facts.working_buy,
                _ => facts.working_sell - facts.position,
            };
            let reached = Exact::from(held.max(Decimal::ZERO)).plus(j.opening_qty.into()).unwrap();
            prop_assert!(reached.times_up(unit).unwrap() <= cap.into(), "{:?}", j);
        }
        if let Some(most) = policies.risk.limits.max_trace_notional && j.opening_qty > Decimal::ZERO {
            prop_assert!(facts.trace_notional + j.opening_notional <= most, "{:?}", j);
        }
    }

    #[test]
    fn only_the_rules_that_stop_all_touch_what_reduces(
        intake in order(), facts in facts(), policies in policies()
    ) {
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        let stops = ["risk.halted", "risk.forbidden_symbol", "risk.trading_window", "risk.rate", "risk.price_collar", "risk.max_order_qty", "risk.gate_error", "risk.below_min_qty", "risk.qty_step"];
        if !j.steps.iter().any(|s| stops.contains(&s.rule.as_str())) && !j.alerts.iter().any(|a| a.policy_name == "risk.gate_error") {
            let held = match j.side {
                Side::Buy => facts.position.saturating_add(facts.working_buy),
                _ => facts.working_sell.saturating_sub(facts.position),
            };
            let reducing = j.requested_qty.min((-held).max(Decimal::ZERO));
            prop_assert!(j.decided_qty >= reducing, "{:?}", j);
        }
    }

    #[test]
    fn what_a_share_leaves_is_rounded_down_by_less_than_a_step(
        intake in order(), facts in facts(), policies in policies()
    ) {
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        let limits = policies.risk.for_symbol(intake.symbol());
        let kept = Exact::from(Decimal::ONE_HUNDRED - limits.shrink_after_losses_pct).per_cent();
        let multiplier = Exact::from(j.quality.unwrap().multiplier);
        let held = match j.side {
            Side::Buy => facts.position.saturating_add(facts.working_buy),
            _ => facts.working_sell.saturating_sub(facts.position),
        };
        for step in &j.steps {
            let share = match step.rule.as_str() {
                "quality" => multiplier,
                "risk.consecutive_losses" => kept,
                _ => continue,
            };
            let reducing = Exact::from(step.before.min((-held).max(Decimal::ZERO)));
            let opening = Exact::from(step.before).minus(reducing).unwrap();
            let left = |qty: Decimal| Exact::from(qty).minus(reducing).unwrap();
            prop_assert!(left(step.after) <= opening.times_up(share).unwrap(), "{:?}", step);
            let next = left(step.after + Decimal::new(1, 6));
            prop_assert!(next > opening.times_down(share).unwrap(), "{:?}", step);
        }
    }

    #[test]
    fn a_rollout_is_rounded_down_to_6_decimals(
        qty in given::qty(), percent in 0u32..=10_000
    ) {
        let set = json!({"trace_id": "t", "symbol": "GBPJPY", "requested_at": NOW, "proposals": [
            {"strategy": "Veritas", "intent": "LONG", "qty_raw": qty, "confidence": 1}]});
        let set: crate::domain::request::ProposalSetDraft = serde_json::from_value(set).unwrap();
        let percent = Decimal::new(percent.into(), 2);
        let (combine, weights) = (Combine::BestOne, Profile::default().weights);
        let profile = Profile { rollout_percent: percent, combine, weights, ..Profile::default() };
        let choice = decision::choose(&set.check().unwrap(), &profile, &BTreeMap::new()).unwrap();
        let product = Exact::from(qty).times_down(percent.into()).unwrap().per_cent();
        prop_assert_eq!(choice.qty, product.cut(6).unwrap());
        prop_assert_eq!(choice.chosen_qty, qty.normalize());
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let bytes = || serde_json::to_vec(&judge(&intake, &facts, &policies, NOW.parse().unwrap())).unwrap();
        prop_assert_eq!(bytes(), bytes());
    }

    #[test]
    fn worse_data_never_raises_the_multiplier(
        memory in memory(), texts in texts(), a in 0.0..60.0f64, b in 0.0..60.0f64, m in 0.0..1.0f64, n in 0.0..1.0f64
    ) {
        let policies = texts.policies();
        for limits in [&policies.quality.limits, &QualityLimits::default()] {
            let of = |lag: f64, missing: f64| {
                let input = QualityInput { missing_ratio: Some(missing), data_lag_min: Some(lag) };
                quality::assess(Some(&input), memory, limits).unwrap()
            };
            let (better, worse) = (of(a.min(b), m.min(n)), of(a.max(b), m.max(n)));
            prop_assert!(worse.quality.multiplier <= better.quality.multiplier);
            prop_assert!(worse.quality.verdict >= better.quality.verdict);
            // Nor is what is remembered better after worse data.
            prop_assert!(worse.next.lag as u8 >= better.next.lag as u8);
            prop_assert!(worse.next.missing as u8 >= better.next.missing as u8);
        }
    }

    #[test]
    fn data_that_nobody_measured_is_never_better_than_what_is_known(
        memory in memory(), lag in metric(60.0), missing in metric(1.2), m in 0.0..1.0f64
    ) {
        let of = |missing_ratio, data_lag_min| {
            let input = QualityInput { missing_ratio, data_lag_min };
            quality::assess(Some(&input), memory, &QualityLimits::default()).unwrap()
        };
        let is_known = |n: Option<f64>, most: f64| n.is_some_and(|n| n.is_finite() && n >= 0.0 && n <= most);
        let got = of(missing, lag);
        let all_known = is_known(missing, 1.0) && is_known(lag, f64::MAX);
        prop_assert_eq!(got.fired.iter().any(|f| f.policy_name == "PLAN.QUALITY.UNKNOWN"), !all_known);
        if !all_known {
            prop_assert_eq!(got.quality.verdict, QualityVerdict::Flat);
            prop_assert!(got.quality.multiplier.is_zero());
        }
        prop_assert!(of(Some(m), None).quality.multiplier <= of(Some(m), Some(0.0)).quality.multiplier);
    }

    #[test]
    fn worse_data_never_raises_the_decided_quantity(
        order in order(), facts in facts(), policies in policies(), m in 0.0..1.0f64, n in 0.0..1.0f64
    ) {
        let with = |missing: f64| {
            let Intake::Order(mut order) = order.clone() else { unreachable!("an order was made") };
            order.quality = Some(QualityInput { missing_ratio: Some(missing), data_lag_min: Some(0.0) });
            judge(&Intake::Order(order), &facts, &policies, NOW.parse().unwrap())
        };
        let (worse, better) = (with(m.max(n)), with(m.min(n)));
        // A quantity that is too large for exact arithmetic is FLAT, and half of it may fit.
        prop_assume!(could_judge(&better));
        prop_assert!(worse.decided_qty <= better.decided_qty);
    }
}
