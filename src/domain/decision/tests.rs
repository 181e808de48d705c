//! The engine's rules beyond the sample cases: drops, halts of strategies, cohorts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::judge::{Facts, judge};
use crate::domain::policy::profiles::Cohort;
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, ProfilesPolicy, Source, Sources};
use crate::domain::request::{Intake, ProposalSetDraft};
use crate::domain::text::TraceId;

const NOW: &str = "2026-11-23T10:00:00Z";

fn set(proposals: Value) -> ProposalSet {
    let draft = json!({"trace_id": "t", "symbol": "GBPJPY", "requested_at": NOW,
        "quality": {"missing_ratio": 0.0, "data_lag_min": 0.0}, "proposals": proposals});
    serde_json::from_value::<ProposalSetDraft>(draft).unwrap().check().unwrap()
}

fn proposal(strategy: &str, intent: &str, qty: &str, confidence: f64) -> Value {
    json!({"strategy": strategy, "intent": intent, "qty_raw": qty, "confidence": confidence})
}

fn profile(combine: Combine) -> Profile {
    Profile { combine, rollout_percent: Decimal::ONE_HUNDRED, ..Profile::default() }
}

fn halts(of: &[(&str, Halt)]) -> BTreeMap<StrategyName, Halt> {
    of.iter().map(|(name, halt)| (StrategyName::new(name).unwrap(), *halt)).collect()
}

#[test]
fn every_dropped_proposal_is_named_with_its_reason() {
    let proposals = json!([
        proposal("Nobody", "LONG", "1", 0.9),
        proposal("bad|name\n", "LONG", "1", 0.9),
        proposal("Aurus", "FLAT", "1", 0.9),
        proposal("Levia", "LONG", "1", 0.39),
        proposal("Veritas", "LONG", "0.0000001", 0.9),
        proposal("Prometheus", "LONG", "1", 1.0000000000000002),
    ]);
    let choice = choose(&set(proposals), &profile(Combine::BestOne), &BTreeMap::new()).unwrap();
    assert_eq!(
        choice.reason,
        "engine=best_one FLAT: no side wins dropped: Nobody (unknown strategy), (invalid strategy name), \
         Aurus (FLAT), Levia (confidence 0.39 < 0.4), Veritas (qty_raw has more than 6 decimals), \
         Prometheus (confidence 1.0000000000000002 is outside 0 to 1)"
    );
    assert_eq!((choice.side, choice.qty), (Side::Flat, Decimal::ZERO));
}

#[test]
fn as_many_dropped_proposals_are_named_as_there_are() {
    let proposals: Vec<Value> =
        (0..64).map(|i| proposal(&format!("Nobody{i}"), "LONG", "1", 0.9)).collect();
    let choice =
        choose(&set(json!(proposals)), &profile(Combine::BestOne), &BTreeMap::new()).unwrap();
    assert_eq!(choice.reason.matches("(unknown strategy)").count(), 64);
}

#[test]
fn a_confidence_finer_than_any_decimal_is_cut_and_a_risk_score_raised() {
    use crate::domain::quality::{shortest, shortest_down};
    let last = Decimal::from_i128_with_scale(1, 28);
    for (number, down, up) in [
        (1.5e-28, last, last + last),
        (5e-324, Decimal::ZERO, last),
        (0.1, Decimal::new(1, 1), Decimal::new(1, 1)),
        (-0.0, Decimal::ZERO, Decimal::ZERO),
        (1e300, Decimal::MAX, Decimal::MAX),
    ] {
        assert_eq!((shortest_down(number), shortest(number)), (Some(down), Some(up)), "{number}");
    }
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -5e-324] {
        assert_eq!((shortest_down(number), shortest(number)), (None, None), "{number}");
    }
}

#[test]
fn confidence_and_risk_score_that_are_no_share_drop_a_proposal() {
    for (confidence, risk_score) in [
        (f64::NAN, 0.5),
        (-0.1, 0.5),
        (f64::INFINITY, 0.5),
        (0.9, f64::NAN),
        (0.9, 1.1),
        (0.9, -0.1),
    ] {
        let mut set = set(json!([proposal("Aurus", "LONG", "1", 0.9)]));
        set.proposals[0].confidence = confidence;
        set.proposals[0].risk_score = risk_score;
        let choice = choose(&set, &profile(Combine::WeightedSum), &BTreeMap::new()).unwrap();
        assert!(choice.top.is_empty(), "{confidence} {risk_score}");
    }
}

#[test]
fn a_halted_strategy_is_dropped_and_a_reduce_only_one_opens_nothing() {
    let proposals = || {
        json!([
            proposal("Aurus", "LONG", "100", 0.9),
            proposal("Levia", "LONG", "100", 0.8),
            proposal("Veritas", "SHORT", "1", 0.9)
        ])
    };
    let all = profile(Combine::WeightedSum);
    let choice = choose(&set(proposals()), &all, &halts(&[("Aurus", Halt::Halted)])).unwrap();
    assert_eq!(choice.strategy.unwrap().as_str(), "Levia");
    assert!(choice.reason.contains("Aurus (halted)"), "{}", choice.reason);
    let reduce = [("Levia", Halt::ReduceOnly)];
    let choice = choose(&set(proposals()), &all, &halts(&reduce)).unwrap();
    assert_eq!(choice.halt, Some(Halt::ReduceOnly), "it is part of the winning sum");
    let choice = choose(&set(proposals()), &all, &halts(&[("Veritas", Halt::ReduceOnly)])).unwrap();
    assert_eq!(choice.halt, None, "the losing side's halt is nobody's");
    let best = profile(Combine::BestOne);
    assert_eq!(choose(&set(proposals()), &best, &halts(&reduce)).unwrap().halt, None);
}

#[test]
fn the_winning_sides_own_sum_is_taken_and_weights_are_not_normalised() {
    let proposals =
        json!([proposal("Aurus", "LONG", "1000", 0.5), proposal("Levia", "SHORT", "100", 0.9)]);
    let choice = choose(&set(proposals), &profile(Combine::WeightedSum), &BTreeMap::new()).unwrap();
    assert_eq!((choice.side, choice.qty), (Side::Buy, 400.into()));
    assert_eq!(choice.strategy.unwrap().as_str(), "Aurus", "though Levia's score is higher");
    assert_eq!(choice.top[0].strategy, "Levia");
}

#[test]
fn a_quantity_that_does_not_fit_is_an_overflow_and_no_panic() {
    let huge = "79228162514264337593543950335";
    let proposals = json!([proposal("Veritas", "LONG", huge, 1.0)]);
    for combine in [Combine::BestOne, Combine::WeightedSum] {
        let got = choose(&set(proposals.clone()), &profile(combine), &BTreeMap::new());
        assert_eq!(got, Err(Overflow));
    }
}

fn cohort(percent: &str, version: u32) -> Cohort {
    let challenger = Profile::default();
    Cohort { percent: percent.parse().unwrap(), salt: "s".into(), version, challenger }
}

fn traces() -> impl Iterator<Item = TraceId> {
    (0..2_000).map(|i| TraceId::new(&format!("trace-{i}")).unwrap())
}

#[test]
fn a_cohort_draws_about_its_share_none_at_0_all_at_100_and_anew_by_version() {
    let count = |percent: &str, version| {
        let cohort = cohort(percent, version);
        traces().filter(|t| drawn(&cohort, t) == Arm::Challenger).count()
    };
    assert_eq!((count("0", 1), count("100", 1)), (0, 2_000));
    assert!((500..700).contains(&count("30", 1)), "{}", count("30", 1));
    let moved =
        traces().filter(|t| drawn(&cohort("30", 1), t) != drawn(&cohort("30", 2), t)).count();
    assert!(moved > 500, "{moved}");
}

proptest! {
    #![proptest_config(crate::domain::laws::cases())]

    #[test]
    fn a_double_is_its_shortest_decimal_however_it_is_found(
        any in prop_oneof![any::<f64>(), 0.0..1.0f64, 0.0..1e10f64, (0u64..10_000_000_000, 0i32..8)
            .prop_map(|(m, s)| m as f64 / 10_f64.powi(s))]
    ) {
        let number = any.abs();
        prop_assume!(number < 1e27);
        if let Ok(written) = Decimal::from_str_exact(&number.to_string()) {
            prop_assert_eq!(crate::domain::quality::shortest(number), Some(written));
            prop_assert_eq!(crate::domain::quality::shortest_down(number), Some(written));
        }
    }

    #[test]
    fn raising_the_share_never_moves_a_trace_out(a in 0u32..=1_000_000, b in 0u32..=1_000_000, trace in "[a-z0-9]{1,20}") {
        let (low, high) = (a.min(b), a.max(b));
        let trace = TraceId::new(&trace).unwrap();
        let arm = |n: u32| drawn(&cohort(&Decimal::new(n.into(), 4).to_string(), 1), &trace);
        prop_assert!(arm(low) == Arm::Champion || arm(high) == Arm::Challenger);
    }
}

#[test]
fn what_reduces_is_judged_by_the_arm_that_opened_the_oldest_lot() {
    let profiles = "default: {rollout_percent: 100, combine: best_one}\nweights: {Aurus: 1}\n\
        cohort: {percent: 0, salt: s, challenger: {default: {rollout_percent: 50}}}";
    let policies = |risk: &str| {
        let source = |text| Some(Source { file: "f", text });
        let sources =
            Sources { profiles: source(profiles), risk: source(risk), ..Sources::default() };
        Policies::parse(sources, &utc_only).unwrap()
    };
    let judged = |facts: Value| {
        let facts: Facts = serde_json::from_value(facts).unwrap();
        let intake = Intake::Proposals(set(json!([proposal("Aurus", "SHORT", "100", 0.9)])));
        let j = judge(&intake, &facts, &policies("{}"), NOW.parse().unwrap());
        (j.decided_qty, j.arm.unwrap())
    };
    let challenger = ("challenger", Decimal::from(50));
    for (position, opener, (arm, qty)) in [
        ("500", Some("challenger"), challenger),
        ("500", Some("champion"), ("champion", 100.into())),
        ("500", None, ("champion", 100.into())),
        ("-500", Some("challenger"), ("champion", 100.into())),
    ] {
        let got = judged(json!({"position": position, "oldest_lot_arm": opener}));
        assert_eq!(got, (qty, arm.to_string()), "{position} {opener:?}");
    }
    let plain = ProfilesPolicy::default();
    assert_eq!(plain.cohort, None);
}
