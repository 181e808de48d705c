//! Any request, facts and policies, from dust to the largest numbers that a wire or a file can carry.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::NOW;
use crate::domain::event::Quote;
use crate::domain::judge::*;
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{
    Intake, OrderDraft, OrderTerms, Proposal, ProposalSetDraft, QualityInput,
};
use crate::domain::text::StrategyName;

/// Units from dust to the largest that a wire can carry.
pub fn qty() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (1i64..50_000_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => Just(Decimal::new(1, 6)),
        1 => Just(Decimal::from(9_999_999_999_999_999_999_u64)),
    ]
}

pub fn price() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (1i64..2_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => Just(Decimal::new(1, 9)),
        1 => Just(Decimal::from(9_999_999_999_999_999_999_u64)),
    ]
}

/// Any number a decimal can hold.
pub fn any_decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        Just(Decimal::ZERO),
        Just(Decimal::MAX),
        Just(Decimal::MIN),
        Just(Decimal::from_i128_with_scale(1, 28)),
        (any::<i64>(), 0u32..=28).prop_map(|(m, s)| Decimal::new(m, s)),
    ]
}

fn signed() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        3 => Just(Decimal::ZERO),
        8 => (-50_000_000i64..50_000_000, 0u32..=6).prop_map(|(m, s)| Decimal::new(m, s)),
        1 => prop_oneof![Just(Decimal::MAX), Just(Decimal::MIN)],
    ]
}

/// A measurement, or none, or what is none.
pub fn metric(most: f64) -> impl Strategy<Value = Option<f64>> {
    let odd = prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-1.0),
        Just(-0.0),
        Just(1e300),
        Just(f64::MAX),
        Just(5e-324),
        Just(1e-30)
    ];
    prop_oneof![
        1 => Just(None),
        8 => (0.0..most).prop_map(Some),
        4 => (0u32..100).prop_map(move |n| Some(f64::from(n) / 100.0 * most)),
        1 => odd.prop_map(Some),
    ]
}

pub fn memory() -> impl Strategy<Value = QualityMemory> {
    let lag = prop_oneof![Just(LagMemory::Ok), Just(LagMemory::Flat)];
    let missing =
        prop_oneof![Just(MissingMemory::Ok), Just(MissingMemory::Scale), Just(MissingMemory::Flat)];
    (lag, missing).prop_map(|(lag, missing)| QualityMemory { lag, missing })
}

pub fn order() -> BoxedStrategy<Intake> {
    let kinds = prop_oneof![Just("MARKET"), Just("LIMIT"), Just("STOP"), Just("STOP_LIMIT")];
    let strategy = prop_oneof![2 => Just(None), 1 => Just(Some("Aurus"))];
    (qty(), any::<bool>(), kinds, price(), price(), metric(60.0), metric(1.2), strategy)
        .prop_map(|(qty, buy, kind, limit, stop, lag, missing, strategy)| {
            let uses = |part: &str, price: Decimal| kind.contains(part).then(|| price.to_string());
            let draft = json!({"trace_id": "t", "symbol": "USDJPY", "qty": qty.to_string(),
                "side": if buy { "BUY" } else { "SELL" }, "requested_at": NOW, "order_type": kind,
                "limit_price": uses("LIMIT", limit), "stop_price": uses("STOP", stop),
                "reference_price": "150", "strategy": strategy});
            let mut draft: OrderDraft = serde_json::from_value(draft).unwrap();
            draft.quality = Some(QualityInput { missing_ratio: missing, data_lag_min: lag });
            Intake::Order(draft.check().unwrap())
        })
        .boxed()
}

pub fn proposals() -> BoxedStrategy<Intake> {
    let names = prop_oneof![
        Just("Aurus"),
        Just("Levia"),
        Just("Veritas"),
        Just("No|body"),
        Just("戦略\u{202e}")
    ];
    let share =
        prop_oneof![8 => 0.0..=1.0f64, 1 => Just(f64::NAN), 1 => Just(2.0), 1 => Just(1e-300)];
    let huge = prop_oneof![9 => qty(), 1 => any_decimal()];
    let one = (names, 0u8..7, huge, share.clone(), share);
    (prop::collection::vec(one, 1..9), metric(60.0), metric(1.2)).prop_map(|(all, lag, missing)| {
        let draft =
            json!({"trace_id": "t", "symbol": "USDJPY", "requested_at": NOW, "proposals": []});
        let mut draft: ProposalSetDraft = serde_json::from_value(draft).unwrap();
        draft.quality = Some(QualityInput { missing_ratio: missing, data_lag_min: lag });
        for (strategy, intent, qty_raw, confidence, risk_score) in all {
            let intent =
                ["LONG", "LONG", "LONG", "SHORT", "SHORT", "SHORT", "FLAT"][usize::from(intent)];
            let made =
                json!({"strategy": strategy, "intent": intent, "qty_raw": "1", "confidence": 0});
            let mut made: Proposal = serde_json::from_value(made).unwrap();
            (made.qty_raw, made.confidence, made.risk_score) = (qty_raw, confidence, risk_score);
            draft.proposals.push(made);
        }
        Intake::Proposals(draft.check_with(OrderTerms::default()).unwrap())
    })
    .boxed()
}

pub fn intake() -> BoxedStrategy<Intake> {
    prop_oneof![order(), proposals()].boxed()
}

pub fn facts() -> BoxedStrategy<Facts> {
    let halt = || prop_oneof![8 => Just(None), 1 => Just(Some(Halt::Halted)), 1 => Just(Some(Halt::ReduceOnly))];
    let quote = prop_oneof![1 => Just(None), 4 => (price(), 0i64..3).prop_map(|(bid, spread)| {
        Some(Quote { bid, ask: bid.saturating_add(Decimal::new(spread, 3)), at: NOW.parse().unwrap() })
    })];
    let rate = prop_oneof![Just(None), Just(Some(Decimal::ONE)), price().prop_map(Some)];
    let work = (qty(), qty(), any::<bool>());
    let counts = (0u32..6, 0u32..6);
    (signed(), work, counts, signed(), qty(), memory(), quote, rate, (halt(), halt()))
        .prop_map(
            |(position, (buy, sell, works), counts, pnl, trace, memory, quote, rate, halts)| {
                Facts {
                    position,
                    working_buy: if works { buy } else { Decimal::ZERO },
                    working_sell: if works { sell } else { Decimal::ZERO },
                    consecutive_losses: counts.0,
                    orders_last_minute: counts.1,
                    daily_pnl: pnl,
                    trace_notional: if works { trace } else { Decimal::ZERO },
                    quality_state: memory,
                    quote,
                    rate,
                    halt: halts.0,
                    strategy_halts: halts
                        .1
                        .map(|halt| (StrategyName::new("Aurus").unwrap(), halt))
                        .into_iter()
                        .collect(),
                    ..Facts::default()
                }
            },
        )
        .boxed()
}

/// Facts that no database would give, with clocks anywhere.
pub fn odd_facts() -> BoxedStrategy<Facts> {
    let any = any_decimal;
    let quote = prop::option::of((any(), any(), near_or_far()).prop_map(|(bid, ask, at)| Quote {
        bid,
        ask,
        at,
    }));
    (facts(), any(), any(), any(), any(), any(), quote, prop::option::of(any()))
        .prop_map(
            |(
                facts,
                position,
                working_buy,
                working_sell,
                daily_pnl,
                trace_notional,
                quote,
                rate,
            )| {
                Facts {
                    position,
                    working_buy,
                    working_sell,
                    daily_pnl,
                    trace_notional,
                    quote,
                    rate,
                    ..facts
                }
            },
        )
        .boxed()
}

/// A moment around now, or at the ends of time.
pub fn near_or_far() -> impl Strategy<Value = Timestamp> {
    let now: Timestamp = NOW.parse().unwrap();
    prop_oneof![
        6 => (-400_000_000i64..400_000_000).prop_map(move |us| now + SignedDuration::from_micros(us)),
        2 => (-200_000i64..200_000).prop_map(move |s| now + SignedDuration::from_secs(s)),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
        1 => Just(Timestamp::UNIX_EPOCH),
    ]
}

/// The texts of a set of policies, before they are read.
#[derive(Debug, Clone)]
pub struct Texts {
    pub risk: Value,
    pub quality: Value,
    pub profiles: Value,
    pub instruments: Value,
}

impl Texts {
    pub fn policies(&self) -> Policies {
        let texts =
            [&self.risk, &self.quality, &self.profiles, &self.instruments].map(Value::to_string);
        let [risk, quality, profiles, instruments] = &texts;
        fn source(text: &str) -> Option<Source<'_>> {
            Some(Source { file: "f", text })
        }
        let sources = Sources {
            risk: source(risk),
            quality: source(quality),
            profiles: source(profiles),
            instruments: source(instruments),
        };
        Policies::parse(sources, &utc_only).unwrap_or_else(|bad| panic!("{bad}"))
    }
}

pub fn texts() -> BoxedStrategy<Texts> {
    let limit = || prop::option::of(prop_oneof![Just(0u64), Just(3), 1_000u64..10_000_000]);
    let pct = || prop::option::of(0u32..=100);
    let hours = prop_oneof![
        4 => Just(json!([])),
        2 => Just(json!(["00:00-22:00"])),
        1 => Just(json!(["22:00-06:00"])),
    ];
    let forbidden = prop_oneof![8 => Just(json!([])), 1 => Just(json!(["USDJPY"]))];
    let risk = (
        (limit(), limit(), limit(), limit()),
        (pct(), pct(), any::<bool>()),
        (0u32..5, prop::option::of(0u32..5)),
        (hours, forbidden),
    )
        .prop_map(
            |((position, order, trace, loss), (shrink, collar, naive), counts, lists)| {
                json!({"default": {"max_position_notional": position, "max_order_qty": order,
                "max_trace_notional": trace, "max_daily_loss": loss,
                "shrink_after_losses_pct": shrink, "price_collar_pct": collar,
                "max_consecutive_losses": counts.0, "max_orders_per_minute": counts.1,
                "trading_hours_utc": lists.0, "forbidden_symbols": lists.1,
                "notional_basis": if naive { "qty" } else { "price" }}})
            },
        );
    let share = || prop::option::of((0u32..=20).prop_map(|n| f64::from(n) / 20.0));
    let quality = (share(), share(), share(), share(), 0u32..8, 0u32..60, any::<bool>()).prop_map(
        |(missing, floor, flat, exit, slope, lag, ok)| {
            json!({"max_missing_ratio": missing, "floor": floor, "flat_missing_ratio": flat,
                "exit_ratio": exit, "slope": slope, "max_data_lag_min": lag,
                "on_unknown": if ok { "ok" } else { "flat" }})
        },
    );
    let quality = prop_oneof![Just(json!({})), quality];
    let step = prop_oneof![Just("1"), Just("0.01"), Just("0.000001"), Just("0.3")];
    let size = prop_oneof![Just("1"), Just("1.5"), Just("100000")];
    let instruments = (step, 0u32..3, size).prop_map(|(step, least, size)| {
        json!({"USDJPY": {"qty_step": step, "min_qty": least, "contract_size": size}})
    });
    let profiles = (pct(), any::<bool>()).prop_map(|(rollout, best)| {
        let combine = if best { "best_one" } else { "weighted_sum" };
        json!({"default": {"rollout_percent": rollout, "min_confidence": 0, "combine": combine}})
    });
    (risk, quality, profiles, instruments)
        .prop_map(|(risk, quality, profiles, instruments)| Texts {
            risk,
            quality,
            profiles,
            instruments,
        })
        .boxed()
}

pub fn policies() -> BoxedStrategy<Policies> {
    texts().prop_map(|texts| texts.policies()).boxed()
}
