//! Nothing panics and nothing passes unjudged, whatever the numbers and clocks are.

use proptest::prelude::*;
use serde_json::json;

use super::NOW;
use super::given::{any_decimal, intake, near_or_far, odd_facts, policies};
use crate::domain::judge::*;
use crate::domain::laws::cases;
use crate::domain::money::fits_wire;
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::OrderType;

/// The request at another time, with a price that no wire would carry.
fn moved(
    intake: Intake,
    requested_at: Timestamp,
    until: Option<Timestamp>,
    price: Decimal,
) -> Intake {
    match intake {
        Intake::Order(mut order) => {
            (order.requested_at, order.valid_until) = (requested_at, until);
            if order.order_type == OrderType::Limit {
                order.limit_price = Some(price);
            }
            order.reference_price = Some(price);
            Intake::Order(order)
        }
        Intake::Proposals(mut set) => {
            (set.requested_at, set.valid_until) = (requested_at, until);
            set.reference_price = Some(price);
            Intake::Proposals(set)
        }
    }
}

/// What holds of any judgement at all.
fn is_sound(j: &Judgement, intake: &Intake, policies: &Policies) -> Result<(), TestCaseError> {
    prop_assert_eq!(j.action.sends(), j.decided_qty > Decimal::ZERO);
    prop_assert!(
        j.decided_qty >= Decimal::ZERO && j.decided_qty <= j.requested_qty.max(Decimal::ZERO)
    );
    prop_assert!(j.opening_qty >= Decimal::ZERO && j.opening_qty <= j.decided_qty);
    prop_assert!(fits_wire(j.decided_qty) && fits_wire(j.opening_notional));
    prop_assert_eq!(j.quality.is_none(), j.action == Action::Reject, "everything else is judged");
    prop_assert_eq!(&j.policies, &policies.digests);
    prop_assert!(!j.reason.is_empty() && !j.reason.contains('\n'));
    prop_assert!(j.top_candidates.len() <= 5);
    let cause = |name: &str| {
        j.steps.iter().any(|s| s.rule == name) || j.alerts.iter().any(|a| a.policy_name == name)
    };
    match intake {
        // Whatever became of the quantity is told.
        Intake::Order(order) => {
            prop_assert_eq!(j.side, order.side);
            prop_assert_eq!(j.requested_qty, order.qty);
            let told = !j.steps.is_empty() || !j.alerts.is_empty();
            prop_assert!(told || j.decided_qty == order.qty, "{:?}", j);
        }
        Intake::Proposals(_) => prop_assert!(
            j.action != Action::Flat
                || j.side == Side::Flat
                || !j.steps.is_empty()
                || cause("risk.gate_error")
                || j.requested_qty.is_zero()
        ),
    }
    let multiplier = j.quality.map_or(Decimal::ZERO, |q| q.multiplier);
    prop_assert!(multiplier >= Decimal::ZERO && multiplier <= Decimal::ONE);
    if multiplier.is_zero() {
        prop_assert!(j.opening_qty.is_zero(), "bad data opens nothing");
    }
    Ok(())
}

/// Limits at the ends of what a file can say.
fn odd_policies() -> impl Strategy<Value = Policies> {
    let limit = || {
        prop::option::of(any_decimal().prop_map(|d| if d.is_sign_negative() { -d } else { d }))
            .prop_map(|d| d.map(|d| d.to_string()))
    };
    (limit(), limit(), limit(), limit(), limit(), any::<u32>(), limit(), limit()).prop_map(
        |(position, order, trace, loss, slope, age, lag, size)| {
            let risk = json!({"default": {"max_position_notional": position, "max_order_qty": order,
                "max_trace_notional": trace, "max_daily_loss": loss, "max_quote_age_s": age,
                "max_consecutive_losses": 1, "shrink_after_losses_pct": "33.333333333333333333333333",
                "price_collar_pct": "0.0000000000000000000000000001"}})
            .to_string();
            let quality = json!({"slope": slope, "max_data_lag_min": lag, "exit_ratio": 1}).to_string();
            let size = size.filter(|size| size != "0").unwrap_or("1".into());
            let instruments = json!({"USDJPY": {"contract_size": size}}).to_string();
            fn source(text: &str) -> Option<Source<'_>> {
                Some(Source { file: "f", text })
            }
            let sources = Sources {
                risk: source(&risk),
                quality: source(&quality),
                instruments: source(&instruments),
                profiles: None,
            };
            Policies::parse(sources, &utc_only).unwrap_or_else(|bad| panic!("{bad}"))
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn f07_no_numbers_and_no_clocks_panic_or_pass_unjudged(
        intake in intake(), facts in odd_facts(), policies in prop_oneof![policies(), odd_policies()],
        requested_at in near_or_far(), until in prop::option::of(near_or_far()), now in near_or_far(),
        price in any_decimal(),
    ) {
        let intake = moved(intake, requested_at, until, price);
        let before = intake.clone();
        let j = judge(&intake, &facts, &policies, now);
        is_sound(&j, &intake, &policies)?;
        // Times and prices are compared by their text: NaN is not equal to itself.
        prop_assert_eq!(format!("{before:?}"), format!("{intake:?}"), "only the quantity changes, and not here");
        let again = judge(&intake, &facts, &policies, now);
        prop_assert_eq!(serde_json::to_vec(&j).unwrap(), serde_json::to_vec(&again).unwrap());
    }

    #[test]
    fn a_reject_moves_nothing_and_is_told_once(
        intake in intake(), facts in odd_facts(), policies in policies(), requested_at in near_or_far(),
    ) {
        let intake = moved(intake, requested_at, None, Decimal::ONE);
        let j = judge(&intake, &facts, &policies, NOW.parse().unwrap());
        if j.action == Action::Reject {
            prop_assert_eq!(j.next_quality_state, facts.quality_state);
            prop_assert_eq!(j.alerts.len(), 1);
            prop_assert!(j.top_candidates.is_empty() && j.score.is_none() && j.steps.is_empty());
            prop_assert!(j.opening_qty.is_zero() && j.opening_notional.is_zero());
        } else {
            prop_assert!(j.alerts.iter().all(|a| a.policy_name != "do.expired"));
        }
    }
}
