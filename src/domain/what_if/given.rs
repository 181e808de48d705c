//! Decisions as they are recorded: judged, written to the wire, and read back.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::domain::event::{Decision, EventId, Quote, Subject as About};
use crate::domain::judge::{Facts, Halt, judge};
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{Intake, OrderDraft, ProposalSetDraft};
use crate::domain::text::IdempotencyKey;
use crate::wire::{self, Subject};

/// What a producer wrote to ask for this.
pub fn asked(intake: &Intake) -> Value {
    let text = |t: &str| t.to_string();
    let written = match intake {
        Intake::Order(r) => serde_json::to_value(OrderDraft {
            schema_version: None,
            trace_id: r.trace_id.to_string(),
            account: r.account.to_string(),
            symbol: r.symbol.to_string(),
            side: r.side,
            qty: r.qty,
            order_type: r.order_type,
            limit_price: r.limit_price,
            stop_price: r.stop_price,
            time_in_force: r.time_in_force,
            requested_at: r.requested_at,
            valid_until: r.valid_until,
            decision_id: r.decision_id.clone(),
            reference_price: r.reference_price,
            stop_loss: r.stop_loss,
            take_profit: r.take_profit,
            strategy: r.strategy.as_deref().map(text),
            timeframe: r.timeframe.as_deref().map(text),
            quality: r.quality,
            meta: r.meta.clone(),
            idempotency_key: r.idempotency_key.as_deref().map(text),
        }),
        Intake::Proposals(p) => serde_json::to_value(ProposalSetDraft {
            schema_version: None,
            trace_id: p.trace_id.to_string(),
            account: p.account.to_string(),
            symbol: p.symbol.to_string(),
            timeframe: p.timeframe.as_deref().map(text),
            as_of: p.as_of,
            requested_at: p.requested_at,
            valid_until: p.valid_until,
            reference_price: p.reference_price,
            order_type: p.order_type,
            quality: p.quality,
            idempotency_key: p.idempotency_key.as_deref().map(text),
            meta: p.meta.clone(),
            proposals: p.proposals.clone(),
        }),
    };
    written.unwrap()
}

/// What topic `decisions` has, as JSON, once this was judged.
pub fn recorded(
    key: &str,
    intake: &Intake,
    facts: &Facts,
    policies: &Policies,
    now: Timestamp,
) -> Value {
    let judged = judge(intake, facts, policies, now);
    let key = IdempotencyKey::new(key).unwrap();
    let event_id = EventId::new(About::Key(&key), "decision", 0);
    let decision = Decision {
        decision_id: event_id.0.clone(),
        event_id,
        idempotency_key: key,
        trace_id: intake.trace_id().clone(),
        account: intake.account().clone(),
        symbol: intake.symbol().clone(),
        action: judged.action,
        requested_qty: judged.requested_qty,
        decided_qty: judged.decided_qty,
        steps: judged.steps,
        quality: judged.quality,
        score: judged.score,
        strategy_name: judged.strategy_name,
        top_candidates: judged.top_candidates,
        arm: judged.arm,
        reason: judged.reason,
        engine_version: "noctus/0.1.0".into(),
        policies: judged.policies,
        quote: judged.quote,
        price: judged.price,
        unit_value: judged.unit_value,
        opening_qty: Some(judged.opening_qty),
        opening_notional: Some(judged.opening_notional),
        order_type: intake.order_type(),
        time_in_force: intake.time_in_force(),
        requested_at: *intake.requested_at(),
        decided_at: now,
        request: asked(intake),
        facts: serde_json::to_value(facts).unwrap(),
    };
    let body = wire::decision::encode(&decision).unwrap();
    let read = wire::decision::decode(&body, Subject::Decision.schema()).unwrap();
    serde_json::to_value(read).unwrap()
}

/// A set of policies of these risk limits; the rest is the plan's.
pub fn risk(text: &str) -> Policies {
    let sources = Sources { risk: Some(Source { file: "risk", text }), ..Sources::default() };
    Policies::parse(sources, &utc_only).unwrap_or_else(|bad| panic!("{bad}"))
}

/// An order as a producer writes it, with what is given over it.
pub fn order(given: Value) -> Intake {
    let mut order = json!({"trace_id": "t-1", "symbol": "USDJPY", "side": "BUY", "qty": "100",
        "requested_at": "2026-11-23T10:00:00Z", "quality": {"missing_ratio": 0.0, "data_lag_min": 1.0}});
    let (Value::Object(all), Value::Object(given)) = (&mut order, given) else { panic!("objects") };
    all.extend(given);
    let draft: OrderDraft = serde_json::from_value(order).unwrap();
    Intake::Order(draft.check().unwrap())
}

/// Facts with this quote and nothing else.
pub fn quoted(bid: &str, ask: &str, at: Timestamp) -> Facts {
    let quote = Quote { bid: bid.parse().unwrap(), ask: ask.parse().unwrap(), at };
    Facts { quote: Some(quote), ..Facts::default() }
}

/// The risk limits that [`two_days`] were decided under, and tighter and looser ones to try on them.
pub const WAS: &str = "
default: { max_order_qty: 20000, max_position_notional: 4000000, max_consecutive_losses: 3,
           max_orders_per_minute: 40, trading_hours_utc: ['00:00-22:00'] }
overrides: { AUDJPY: { max_order_qty: 6000 } }
";
pub const IS: &str = "
default: { max_order_qty: 9000, max_position_notional: 2500000, max_consecutive_losses: 2, shrink_after_losses_pct: 40,
           max_orders_per_minute: 25, price_collar_pct: 1.5, trading_hours_utc: ['01:00-21:00'] }
overrides: { AUDJPY: { max_order_qty: 30000, max_position_notional: 6000000 }, GBPJPY: { forbidden_symbols: [GBPJPY] } }
";

/// A made-up, repeatable die.
struct Die(u64);

impl Die {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Two days of trading, so many orders of several symbols, as they were decided under these policies.
pub fn two_days(count: u64, policies: &Policies) -> Vec<Value> {
    let mut die = Die(7);
    let start: Timestamp = "2026-11-23T00:10:00Z".parse().unwrap();
    let pace_s = 47 * 60 * 60 / count.max(1);
    let symbols = [
        ("USDJPY", 151_200, "1"),
        ("EURJPY", 163_900, "1"),
        ("AUDJPY", 98_400, "1"),
        ("GBPJPY", 190_700, "1"),
        ("EURUSD", 1_084, "151.21"),
    ];
    let one = |nth: u64| {
        let (symbol, milli, rate) = symbols[[0, 0, 0, 1, 1, 2, 2, 3, 4][die.roll(9) as usize]];
        let second = nth * pace_s + die.roll(pace_s.max(1));
        let now = start + SignedDuration::from_secs(second as i64);
        let bid = Decimal::new(milli + die.roll(600) as i64 - 300, 3);
        let quote = Quote { bid, ask: bid + Decimal::new(15, 3), at: now };
        let is_buy = die.roll(5) < 3;
        let limit = bid * Decimal::new(9_700 + die.roll(400) as i64, 4);
        let late = die.roll(60) == 0;
        let requested_at = now - SignedDuration::from_secs(if late { 90_000 } else { 1 });
        let missing = [0.0, 0.01, 0.02, 0.12][die.roll(4) as usize];
        let lag = if die.roll(40) == 0 { 45.0 } else { 1.5 };
        let quality = json!({"missing_ratio": missing, "data_lag_min": lag});
        let mut given = json!({"symbol": symbol, "side": if is_buy { "BUY" } else { "SELL" },
            "trace_id": format!("run-{}", nth / 3), "qty": (500 * (1 + die.roll(60))).to_string(),
            "requested_at": requested_at, "quality": quality, "idempotency_key": format!("order-{nth:05}")});
        if die.roll(3) == 0 {
            given["order_type"] = json!("LIMIT");
            given["limit_price"] = json!(limit.round_dp(3).to_string());
        }
        let signed =
            |die: &mut Die, most: u64| Decimal::from(die.roll(2 * most) as i64 - most as i64);
        let facts = Facts {
            position: signed(&mut die, 24) * Decimal::from(500),
            working_buy: Decimal::from(die.roll(6) * 500),
            consecutive_losses: die.roll(5) as u32,
            daily_pnl: signed(&mut die, 90_000),
            orders_last_minute: die.roll(28) as u32,
            quote: (die.roll(30) > 0).then_some(quote),
            rate: Some(rate.parse().unwrap()),
            halt: (die.roll(50) == 0).then_some(Halt::ReduceOnly),
            ..Facts::default()
        };
        recorded(&format!("order-{nth:05}"), &order(given), &facts, policies, now)
    };
    (0..count).map(one).collect()
}
