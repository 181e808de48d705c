//! What terms an order may be given, and what is reserved for them.

use jiff::Timestamp;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::replace::{Standing, Terms, decide};
use super::rule::{Effect, Verdict};
use crate::domain::catalogue::{Kind, find};
use crate::domain::event::{OrderStatus, Quote};
use crate::domain::judge::{Facts, Halt};
use crate::domain::policy::Policies;
use crate::domain::policy::risk::{RiskPolicy, utc_only};
use crate::domain::position::share;
use crate::domain::request::{OrderType, Side, TimeInForce};
use crate::domain::text::{Account, Symbol, TraceId};

fn d(text: &str) -> Decimal {
    text.parse().expect("a number")
}

fn now() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().expect("a time")
}

/// BUY 100 at 1.5, all of it opening, 40 filled: 60 work.
fn standing() -> Standing {
    Standing {
        status: OrderStatus::PartiallyFilled,
        trace_id: TraceId::new("t-1").expect("a trace"),
        account: Account::new("main").expect("an account"),
        symbol: Symbol::new("EURUSD").expect("a symbol"),
        side: Side::Buy,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        strategy: None,
        stop_price: None,
        terms: Terms {
            qty: d("100"),
            limit_price: Some(d("1.5")),
            opening_qty: d("100"),
            opening_notional: d("150"),
        },
        working_qty: d("60"),
        cancel: false,
        replacing: false,
    }
}

fn facts() -> Facts {
    Facts {
        position: d("40"),
        working_buy: d("60"),
        trace_notional: d("150"),
        quote: Some(Quote { bid: d("1.4"), ask: d("1.41"), at: now() }),
        ..Facts::default()
    }
}

fn policies(text: &str) -> Policies {
    let risk = RiskPolicy::parse("risk.yml", text, &utc_only).expect("a policy");
    Policies { risk, ..Policies::default() }
}

fn open() -> Policies {
    policies("default: { max_position_notional: 1000, max_order_qty: 1000 }")
}

fn asked(qty: Option<&str>, price: Option<&str>, standing: &Standing, facts: &Facts) -> Verdict {
    decide((qty.map(d), price.map(d)), standing, facts, &open(), now())
}

fn terms(verdict: &Verdict) -> (Terms, Decimal) {
    match &verdict.effect {
        Effect::Replace { terms, reserved } => ((**terms).clone(), *reserved),
        other => panic!("{other:?}: {}", verdict.reason),
    }
}

#[test]
fn a_smaller_quantity_needs_no_judge_and_reserves_nothing_more() {
    let (terms, reserved) = terms(&asked(Some("70"), None, &standing(), &facts()));
    assert_eq!((terms.qty, terms.limit_price), (d("70"), Some(d("1.5"))));
    assert_eq!((terms.opening_qty, terms.opening_notional), (d("70"), d("105")));
    assert_eq!(reserved, Decimal::ZERO);
}

#[test]
fn a_higher_price_is_judged_with_what_is_known_now_and_its_difference_is_reserved() {
    let (terms, reserved) = terms(&asked(None, Some("2"), &standing(), &facts()));
    // 60 at 2 instead of 1.5: 30 more; told for all of it, as if it had been so from the start.
    assert_eq!((terms.opening_notional, reserved), (d("200"), d("30")));
    let (cheaper, reserved) = self::terms(&asked(Some("80"), Some("1.45"), &standing(), &facts()));
    assert_eq!((cheaper.qty, reserved), (d("80"), Decimal::ZERO));
    // (40 + 60) × 2 = 200 is the limit; beyond it nothing is clamped: it is refused.
    let tight = policies("default: { max_position_notional: 200 }");
    let of = |price: &str| decide((None, Some(d(price))), &standing(), &facts(), &tight, now());
    assert_eq!(of("2").code, None);
    let over = of("2.01");
    assert_eq!(over.code, Some("over_a_limit"));
    assert!(over.reason.contains("risk.max_position_notional"), "{}", over.reason);
    let trace = policies("default: { max_trace_notional: 180, max_position_notional: 100000 }");
    let of = |price: &str| decide((None, Some(d(price))), &standing(), &facts(), &trace, now());
    // The trace holds 150, of them 90 for this order's rest: 60 + 60 × price ≤ 180.
    assert_eq!((of("2").code, of("2.01").code), (None, Some("over_a_limit")));
}

#[test]
fn what_is_no_replacement_is_refused_with_its_code() {
    let code = |change: &dyn Fn(&mut Standing, &mut Facts),
                qty: Option<&str>,
                price: Option<&str>| {
        let (mut standing, mut facts) = (standing(), facts());
        change(&mut standing, &mut facts);
        let verdict = asked(qty, price, &standing, &facts);
        let code = verdict.code.unwrap_or("-");
        assert!(code == "-" || find(Kind::Command, code).is_some_and(|e| e.code == code), "{code}");
        code
    };
    let plain = |_: &mut Standing, _: &mut Facts| ();
    assert_eq!(code(&plain, Some("101"), None), "would_grow");
    assert_eq!(code(&plain, Some("40"), None), "too_much_filled");
    assert_eq!(code(&plain, Some("100"), Some("1.5")), "nothing_changes");
    assert_eq!(code(&|s, _| s.order_type = OrderType::Market, None, Some("1")), "no_limit_price");
    assert_eq!(code(&|s, _| s.cancel = true, Some("70"), None), "cancel_wanted");
    assert_eq!(code(&|s, _| s.replacing = true, Some("70"), None), "replace_pending");
    for status in [OrderStatus::Sent, OrderStatus::Unknown, OrderStatus::Parked] {
        assert_eq!(code(&|s, _| s.status = status, Some("70"), None), "outcome_unknown");
    }
    assert_eq!(code(&|_, f| f.halt = Some(Halt::Halted), Some("70"), None), "halted");
    assert_eq!(code(&|_, f| f.halt = Some(Halt::ReduceOnly), Some("70"), None), "reduce_only");
    let reduces = |s: &mut Standing, f: &mut Facts| {
        (s.terms.opening_qty, s.terms.opening_notional) = (Decimal::ZERO, Decimal::ZERO);
        (f.position, f.halt) = (d("-1000"), Some(Halt::ReduceOnly));
    };
    assert_eq!(code(&reduces, Some("70"), None), "-", "it only reduces");
    assert_eq!(code(&reduces, None, Some("1.6")), "-");
}

proptest! {
    #[test]
    fn whatever_is_asked_nothing_grows_and_the_dearer_of_both_terms_is_reserved(
        qty in proptest::option::of(1..200_i64), cents in proptest::option::of(1..400_i64),
        filled in 0..100_i64, opening in 0..=100_i64, cap in 1..1_000_i64,
    ) {
        let mut standing = standing();
        standing.working_qty = d("100") - Decimal::from(filled);
        standing.terms.opening_qty = opening.into();
        standing.terms.opening_notional = Decimal::from(opening) * d("1.5");
        let position = Decimal::from(filled);
        let facts = Facts { position, working_buy: standing.working_qty, ..facts() };
        let policies = policies(&format!("default: {{ max_position_notional: {cap} }}"));
        let price = cents.map(|cents| Decimal::new(cents, 2));
        let verdict = decide((qty.map(Decimal::from), price), &standing, &facts, &policies, now());
        let Effect::Replace { terms, reserved } = verdict.effect else { return Ok(()) };
        prop_assert!(terms.qty <= standing.terms.qty && terms.qty > position);
        prop_assert!(terms.opening_qty <= terms.qty && reserved >= Decimal::ZERO);
        let left = terms.qty - position;
        let old = share(standing.terms.opening_notional, standing.working_qty, standing.terms.qty);
        prop_assert!(old + reserved >= share(terms.opening_notional, left, terms.qty));
        // Another price passes only where the whole position at that price is within the cap.
        if terms.limit_price != standing.terms.limit_price {
            let dearest = terms.limit_price.unwrap_or_default().max(d("1.41"));
            prop_assert!((position + left) * dearest <= Decimal::from(cap), "{terms:?}");
        }
    }
}
