//! The laws of judging, for any request, facts and policies, huge numbers included.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::exact::Exact;
use crate::domain::policy::quality::QualityLimits;
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{OrderDraft, ProposalSetDraft, QualityInput};

const NOW: &str = "2026-11-23T10:00:00Z";

/// Units from dust to the largest that a wire can carry.
fn qty() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (1i64..50_000_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => Just(Decimal::new(1, 6)),
        1 => Just(Decimal::from(9_999_999_999_999_999_999_u64)),
    ]
}

fn price() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (1i64..2_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => Just(Decimal::new(1, 9)),
        1 => Just(Decimal::from(9_999_999_999_999_999_999_u64)),
    ]
}

fn signed() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        3 => Just(Decimal::ZERO),
        8 => (-50_000_000i64..50_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => prop_oneof![Just(Decimal::MAX), Just(Decimal::MIN)],
    ]
}

fn metric(most: f64) -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        1 => Just(None),
        8 => (0.0..most).prop_map(Some),
        4 => (0u32..100).prop_map(move |n| Some(f64::from(n) / 100.0 * most)),
        1 => prop_oneof![Just(f64::NAN), Just(-1.0), Just(1e300), Just(5e-324), Just(1e-30)].prop_map(Some),
    ]
}

fn memory() -> impl Strategy<Value = QualityMemory> {
    let lag = prop_oneof![Just(LagMemory::Ok), Just(LagMemory::Flat)];
    let missing =
        prop_oneof![Just(MissingMemory::Ok), Just(MissingMemory::Scale), Just(MissingMemory::Flat)];
    (lag, missing).prop_map(|(lag, missing)| QualityMemory { lag, missing })
}

fn order() -> impl Strategy<Value = Intake> {
    let kinds = prop_oneof![Just("MARKET"), Just("LIMIT"), Just("STOP"), Just("STOP_LIMIT")];
    (qty(), any::<bool>(), kinds, price(), price(), metric(60.0), metric(1.2)).prop_map(
        |(qty, buy, kind, limit, stop, lag, missing)| {
            let uses = |part: &str, price: Decimal| kind.contains(part).then(|| price.to_string());
            let draft = json!({"trace_id": "t", "symbol": "USDJPY", "qty": qty.to_string(),
                "side": if buy { "BUY" } else { "SELL" }, "requested_at": NOW, "order_type": kind,
                "limit_price": uses("LIMIT", limit), "stop_price": uses("STOP", stop),
                "reference_price": "150"});
            let mut draft: OrderDraft = serde_json::from_value(draft).unwrap();
            draft.quality = Some(QualityInput { missing_ratio: missing, data_lag_min: lag });
            Intake::Order(draft.check().unwrap())
        },
    )
}

fn proposals() -> impl Strategy<Value = Intake> {
    let names = prop_oneof![Just("Aurus"), Just("Levia"), Just("Veritas"), Just("No|body")];
    let share = prop_oneof![8 => 0.0..=1.0f64, 1 => Just(f64::NAN), 1 => Just(2.0)];
    let huge = prop_oneof![9 => qty(), 1 => Just(Decimal::MAX), 1 => Just(Decimal::new(1, 28))];
    let one = (names, any::<bool>(), huge, share.clone(), share);
    (prop::collection::vec(one, 1..9), metric(60.0), metric(1.2)).prop_map(|(all, lag, missing)| {
        let draft =
            json!({"trace_id": "t", "symbol": "USDJPY", "requested_at": NOW, "proposals": []});
        let mut draft: ProposalSetDraft = serde_json::from_value(draft).unwrap();
        draft.quality = Some(QualityInput { missing_ratio: missing, data_lag_min: lag });
        for (strategy, long, qty_raw, confidence, risk_score) in all {
            let intent = if long { "LONG" } else { "SHORT" };
            let made =
                json!({"strategy": strategy, "intent": intent, "qty_raw": "1", "confidence": 0});
            let mut made: crate::domain::request::Proposal = serde_json::from_value(made).unwrap();
            (made.qty_raw, made.confidence, made.risk_score) = (qty_raw, confidence, risk_score);
            draft.proposals.push(made);
        }
        Intake::Proposals(draft.check().unwrap())
    })
}

fn facts() -> impl Strategy<Value = Facts> {
    let halt = prop_oneof![8 => Just(None), 1 => Just(Some(Halt::Halted)), 1 => Just(Some(Halt::ReduceOnly))];
    let quote = prop_oneof![1 => Just(None), 4 => (price(), 0i64..3).prop_map(|(bid, spread)| {
        Some(Quote { bid, ask: bid.saturating_add(Decimal::new(spread, 3)), at: NOW.parse().unwrap() })
    })];
    let rate = prop_oneof![Just(None), Just(Some(Decimal::ONE)), price().prop_map(Some)];
    let work = (qty(), qty(), any::<bool>());
    (signed(), work, 0u32..6, signed(), qty(), memory(), quote, rate, halt).prop_map(
        |(position, (buy, sell, works), losses, pnl, trace, memory, quote, rate, halt)| Facts {
            position,
            working_buy: if works { buy } else { Decimal::ZERO },
            working_sell: if works { sell } else { Decimal::ZERO },
            consecutive_losses: losses,
            daily_pnl: pnl,
            trace_notional: if works { trace } else { Decimal::ZERO },
            quality_state: memory,
            quote,
            rate,
            halt,
            ..Facts::default()
        },
    )
}

fn policies() -> impl Strategy<Value = Policies> {
    let limit = || prop::option::of(prop_oneof![Just(0u64), Just(3), 1_000u64..10_000_000]);
    let pct = || prop::option::of(0u32..=100);
    let step = prop_oneof![Just("1"), Just("0.01"), Just("0.000001"), Just("0.3")];
    (limit(), limit(), limit(), pct(), pct(), any::<bool>(), step, 0u32..3, pct()).prop_map(
        |(position, order, trace, shrink, collar, naive, step, least, rollout)| {
            let risk =
                json!({"default": {"max_position_notional": position, "max_order_qty": order,
                "max_trace_notional": trace, "max_consecutive_losses": 3,
                "shrink_after_losses_pct": shrink, "price_collar_pct": collar,
                "notional_basis": if naive { "qty" } else { "price" }}})
                .to_string();
            let instruments =
                json!({"USDJPY": {"qty_step": step, "min_qty": least, "contract_size": "1.5"}})
                    .to_string();
            let profiles =
                json!({"default": {"rollout_percent": rollout, "min_confidence": 0}}).to_string();
            fn source(text: &str) -> Option<Source<'_>> {
                Some(Source { file: "f", text })
            }
            let sources = Sources {
                risk: source(&risk),
                instruments: source(&instruments),
                profiles: source(&profiles),
                quality: None,
            };
            Policies::parse(sources, &utc_only).unwrap_or_else(|bad| panic!("{bad}"))
        },
    )
}

fn intake() -> impl Strategy<Value = Intake> {
    prop_oneof![order(), proposals()]
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
    #![proptest_config(ProptestConfig::with_cases(600))]

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
        let stops = ["risk.halted", "risk.price_collar", "risk.max_order_qty", "risk.gate_error", "risk.below_min_qty", "risk.qty_step"];
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
    fn the_same_input_gives_the_same_bytes(
        intake in intake(), facts in facts(), policies in policies()
    ) {
        let bytes = || serde_json::to_vec(&judge(&intake, &facts, &policies, NOW.parse().unwrap())).unwrap();
        prop_assert_eq!(bytes(), bytes());
    }

    #[test]
    fn worse_data_never_raises_the_multiplier(
        memory in memory(), a in 0.0..60.0f64, b in 0.0..60.0f64, m in 0.0..1.0f64, n in 0.0..1.0f64
    ) {
        let of = |lag: f64, missing: f64| {
            let input = QualityInput { missing_ratio: Some(missing), data_lag_min: Some(lag) };
            quality::assess(Some(&input), memory, &QualityLimits::default()).unwrap().quality
        };
        let (better, worse) = (of(a.min(b), m.min(n)), of(a.max(b), m.max(n)));
        prop_assert!(worse.multiplier <= better.multiplier);
        prop_assert!(worse.verdict >= better.verdict);
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
        prop_assume!(better.alerts.iter().all(|a| a.policy_name != "risk.gate_error"));
        prop_assert!(worse.decided_qty <= better.decided_qty);
    }
}

fn limits_of(now: &str, requested_at: &str, kind: Value) -> Judgement {
    let mut draft = json!({"trace_id": "t", "symbol": "USDJPY", "side": "BUY", "qty": "1",
        "requested_at": requested_at, "quality": {"missing_ratio": 1.0, "data_lag_min": 99.0}});
    draft.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
    let draft: OrderDraft = serde_json::from_value(draft).unwrap();
    let intake = Intake::Order(draft.check().unwrap());
    judge(&intake, &Facts::default(), &Policies::default(), now.parse().unwrap())
}

#[test]
fn what_comes_too_late_or_too_early_is_a_reject_with_one_alert_and_no_quality() {
    let limit = || json!({"order_type": "LIMIT", "limit_price": "1"});
    let ioc = || json!({"order_type": "LIMIT", "limit_price": "1", "time_in_force": "FOK"});
    let until = |t: &str| json!({"valid_until": t, "order_type": "LIMIT", "limit_price": "1"});
    for (requested_at, kind, code) in [
        ("2026-11-23T09:55:00Z", json!({}), None),
        ("2026-11-23T09:54:59.999999Z", json!({}), Some("expired")),
        ("2026-11-23T09:54:59.999999Z", ioc(), Some("expired")),
        ("2026-11-23T09:54:59.999999Z", limit(), None),
        ("2026-11-22T10:00:00Z", limit(), None),
        ("2026-11-22T09:59:59.999999Z", limit(), Some("expired")),
        ("2026-11-23T10:00:05Z", json!({}), None),
        ("2026-11-23T10:00:05.000001Z", json!({}), Some("from_the_future")),
        (NOW, until("2026-11-23T10:00:00Z"), None),
        (NOW, until("2026-11-23T09:59:59.999999Z"), Some("expired")),
    ] {
        let j = limits_of(NOW, requested_at, kind);
        let Some(code) = code else {
            assert_ne!(j.action, Action::Reject, "{requested_at}");
            continue;
        };
        assert_eq!(j.action, Action::Reject, "{requested_at}");
        assert!(j.reason.starts_with(code), "{}", j.reason);
        assert_eq!(j.alerts.len(), 1);
        assert_eq!(
            (j.alerts[0].policy_name.as_str(), j.alerts[0].severity),
            ("do.expired", Severity::Low)
        );
        assert_eq!((j.quality, j.decided_qty, j.score), (None, Decimal::ZERO, None));
        assert_eq!(j.next_quality_state, QualityMemory::default());
    }
}

#[test]
fn flat_is_held_by_memory_with_a_low_alert_only_if_memory_alone_holds_it() {
    let of = |lag: f64, memory: &str| {
        let input = QualityInput { missing_ratio: Some(0.0), data_lag_min: Some(lag) };
        let memory = serde_json::from_str(memory).unwrap();
        let got = quality::assess(Some(&input), memory, &QualityLimits::default()).unwrap();
        let names: Vec<String> = got.fired.into_iter().map(|f| f.policy_name).collect();
        (got.quality.verdict, names, got.reason)
    };
    let (verdict, fired, reason) = of(25.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired), (QualityVerdict::Flat, vec!["PLAN.QUALITY.HELD".to_string()]));
    assert_eq!(reason, "quality=FLAT data_lag_min=25 > 24 (held)");
    let input = QualityInput { missing_ratio: Some(0.35), data_lag_min: Some(0.0) };
    let both = serde_json::from_str(r#"{"lag": "flat", "missing": "flat"}"#).unwrap();
    let got = quality::assess(Some(&input), both, &QualityLimits::default()).unwrap();
    assert!(
        got.fired.iter().any(|f| f.policy_name == "PLAN.QUALITY.HELD"
            && f.reason.contains("missing_ratio has not come")),
        "{:?}",
        got.fired
    );
    let (verdict, fired, _) = of(31.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired), (QualityVerdict::Flat, vec!["PLAN.QUALITY.DATA_LAG".to_string()]));
    let (verdict, fired, reason) = of(24.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired.len(), reason.as_str()), (QualityVerdict::Ok, 0, "quality=OK"));
}
