//! Owns what a seed plans before its world begins: who works there, what is asked for, how the broker is, how often
//! what goes wrong. Never changes afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::json;

use super::chance::Chance;
use super::fault::Fault;
use crate::dispatch::broker::protocol::{Capabilities, ClientId};
use crate::domain::key::digest;
use crate::domain::policy::risk::utc_only;
use crate::domain::policy::{Policies, Source, Sources};
use crate::domain::request::{
    Intake, Intent, OrderRequest, OrderType, Proposal, ProposalSet, QualityInput, Side, TimeInForce,
};
use crate::domain::text::{Account, IdempotencyKey, StrategyName, Symbol, TraceId};
use crate::gate::intake::Request;
use crate::kafka::record::Record;

/// The symbols there are.
pub const SYMBOLS: [&str; 3] = ["USDJPY", "EURJPY", "GBPJPY"];
/// A second, in microseconds.
pub const SECOND: u64 = 1_000_000;
/// A millisecond, in microseconds.
pub const MS: u64 = 1_000;

/// What a record of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// This request.
    Request(usize),
    /// Nothing that can be read.
    Poison,
}

/// A world as it is planned.
#[allow(missing_docs)]
pub struct Plan {
    pub base: Timestamp,
    pub gates: usize,
    pub senders: usize,
    pub partitions: i32,
    pub capabilities: Capabilities,
    pub settle_ms: u64,
    pub lease_ms: u64,
    pub timeout_us: u64,
    pub in_flight_max: usize,
    pub policies: &'static Policies,
    pub requests: Vec<Request>,
    /// When what is written where, microseconds.
    pub writes: Vec<(u64, i32, Written)>,
    /// In a thousand, by kind of fault.
    pub rates: Vec<u64>,
    /// From here on nothing new goes wrong, microseconds.
    pub calm_us: u64,
}

static POLICIES: LazyLock<Vec<Policies>> = LazyLock::new(|| {
    let texts = [
        "default: {max_position_notional: 100000, max_order_qty: 400}",
        "default: {notional_basis: qty, max_position_notional: 900, max_orders_per_minute: 7, max_trace_notional: 600}",
        "default: {max_position_notional: 60000, max_trace_notional: 50000, max_daily_loss: 400, \
         max_consecutive_losses: 1, shrink_after_losses_pct: 50}",
    ];
    let policies = |text: &&'static str| {
        let risk = Some(Source { file: "risk_policy.yml", text });
        Policies::parse(Sources { risk, ..Sources::default() }, &utc_only).expect("good policies")
    };
    texts.iter().map(policies).collect()
});

impl Plan {
    /// The plan of a seed.
    pub fn new(chance: &mut Chance) -> Self {
        let rates = Fault::ALL
            .iter()
            .map(|(_, _, most)| if chance.permille(350) { chance.between(1, *most) } else { 0 })
            .collect();
        // Some worlds live over midnight.
        let base = chance.one_of(&[
            "2026-11-23T20:00:00Z",
            "2026-11-23T20:00:00Z",
            "2026-11-23T23:59:50Z",
        ]);
        let mut plan = Self {
            base: base.parse().expect("a time"),
            gates: chance.between(1, 3) as usize,
            senders: chance.between(1, 3) as usize,
            partitions: chance.between(1, 3) as i32,
            capabilities: capabilities(chance),
            settle_ms: chance.between(300, 1_500),
            lease_ms: chance.between(1_200, 3_000),
            timeout_us: chance.between(300, 1_200) * MS,
            in_flight_max: chance.between(1, 6) as usize,
            policies: &POLICIES[chance.index(POLICIES.len())],
            requests: Vec::new(),
            writes: Vec::new(),
            rates,
            calm_us: chance.between(8, 16) * SECOND,
        };
        plan.ask(chance);
        plan
    }

    /// A moment, on a clock that differs by `skew_us`.
    pub fn time(&self, at_us: u64, skew_us: i64) -> Timestamp {
        let since = i64::try_from(at_us).unwrap_or(i64::MAX).saturating_add(skew_us);
        self.base + SignedDuration::from_micros(since)
    }

    fn rate(&self, fault: Fault) -> u64 {
        self.rates[fault as usize]
    }

    /// Plans what is asked for, and where and how often it is written.
    fn ask(&mut self, chance: &mut Chance) {
        let (lanes, accounts) = (chance.between(1, 3) as usize, chance.between(1, 2));
        for nth in 0..chance.between(2, 12) {
            let at = chance.between(0, 6_000) * MS;
            let account = if accounts > 1 && chance.permille(300) { "second" } else { "main" };
            let lane = chance.index(lanes);
            let symbol = SYMBOLS[lane];
            let key = format!("order-{nth:04}");
            let number = self.request(chance, &key, (account, symbol), at);
            let home = (lane + usize::from(account == "second")) as i32 % self.partitions;
            self.writes.push((at, home, Written::Request(number)));
            if chance.permille(self.rate(Fault::ProducedAgain)) {
                let again = at + chance.between(0, 4_000) * MS;
                self.writes.push((again, home, Written::Request(number)));
            }
            if chance.permille(self.rate(Fault::ProducedElsewhere)) {
                let elsewhere = (home + 1) % self.partitions;
                let again = at + chance.between(0, 50) * MS;
                self.writes.push((again, elsewhere, Written::Request(number)));
            }
            if chance.permille(self.rate(Fault::Conflict)) {
                // Of another lane now and then: its locks do not keep the two apart.
                let other = (account, SYMBOLS[chance.index(SYMBOLS.len())]);
                let number = self.request(chance, &key, other, at);
                let at = at + chance.between(0, 200) * MS;
                let partition = chance.between(0, self.partitions as u64 - 1) as i32;
                self.writes.push((at, partition, Written::Request(number)));
            }
            if chance.permille(self.rate(Fault::Poison)) {
                self.writes.push((at + MS, home, Written::Poison));
            }
        }
    }

    fn request(&mut self, chance: &mut Chance, key: &str, lane: (&str, &str), at_us: u64) -> usize {
        let mut requested = self.time(at_us, 0);
        if chance.permille(self.rate(Fault::Stale)) {
            requested += SignedDuration::from_secs(chance.one_of(&[-400, -310, 8, 30]));
        } else {
            requested -= SignedDuration::from_millis(chance.between(0, 1_500) as i64);
        }
        let intake = match chance.permille(80) {
            true => Intake::Proposals(proposals(chance, key, lane, requested)),
            false => Intake::Order(order(chance, key, lane, requested)),
        };
        let request = Request {
            digest: digest(&intake),
            keys: vec![IdempotencyKey::new(key).expect("a key")],
            intake,
            written: json!({}),
            record: record(0, 0),
        };
        self.requests.push(request);
        self.requests.len() - 1
    }
}

/// A record of the input's only topic.
pub fn record(partition: i32, offset: i64) -> Record {
    static TOPIC: LazyLock<Arc<str>> = LazyLock::new(|| "order-requests".into());
    Record {
        topic: TOPIC.clone(),
        logical: "order-requests",
        topic_id: TOPIC.clone(),
        partition,
        offset,
        timestamp: None,
        key: None,
        value: None,
        headers: vec![],
        epoch: 0,
    }
}

fn order(
    chance: &mut Chance,
    key: &str,
    (account, symbol): (&str, &str),
    requested_at: Timestamp,
) -> OrderRequest {
    let side = match chance.between(0, 19) {
        0 => Side::Flat,
        1..=11 => Side::Buy,
        _ => Side::Sell,
    };
    let order_type = match chance.between(0, 9) {
        0..=5 => OrderType::Market,
        6..=8 => OrderType::Limit,
        _ => OrderType::Stop,
    };
    let time_in_force = match chance.between(0, 9) {
        0..=5 => TimeInForce::Gtc,
        6 => TimeInForce::Day,
        7 => TimeInForce::Fok,
        _ => TimeInForce::Ioc,
    };
    let price = |chance: &mut Chance| Decimal::new(chance.between(14_800, 15_200) as i64, 2);
    let short = order_type != OrderType::Market || chance.permille(300);
    let qty = Decimal::from(chance.between(1, 45) * 10);
    OrderRequest {
        trace_id: trace(chance, key),
        account: Account::new(account).expect("an account"),
        symbol: Symbol::new(symbol).expect("a symbol"),
        side,
        qty: if side == Side::Flat { Decimal::ZERO } else { qty },
        order_type,
        limit_price: order_type.uses_limit_price().then(|| price(chance)),
        stop_price: order_type.uses_stop_price().then(|| price(chance)),
        time_in_force,
        requested_at,
        valid_until: short
            .then(|| requested_at + SignedDuration::from_secs(chance.between(3, 40) as i64)),
        decision_id: None,
        reference_price: Some(Decimal::from(150)),
        stop_loss: None,
        take_profit: None,
        strategy: chance.permille(500).then(|| StrategyName::new("Aurus").expect("a name")),
        timeframe: None,
        quality: Some(measured(chance)),
        meta: BTreeMap::new(),
        idempotency_key: Some(IdempotencyKey::new(key).expect("a key")),
    }
}

fn measured(chance: &mut Chance) -> QualityInput {
    let missing = chance.one_of(&[0.0, 0.0, 0.0, 0.1, 0.5]);
    QualityInput { missing_ratio: Some(missing), data_lag_min: Some(1.0) }
}

fn trace(chance: &mut Chance, key: &str) -> TraceId {
    let shared = chance.permille(300);
    TraceId::new(if shared { "t-shared" } else { key }).expect("a trace")
}

fn proposals(
    chance: &mut Chance,
    key: &str,
    (account, symbol): (&str, &str),
    requested_at: Timestamp,
) -> ProposalSet {
    let one = |strategy: &str, chance: &mut Chance| Proposal {
        strategy: strategy.into(),
        intent: chance.one_of(&[Intent::Long, Intent::Long, Intent::Short, Intent::Flat]),
        qty_raw: Decimal::from(chance.between(1, 60) * 100),
        confidence: 0.9,
        risk_score: 0.2,
        price_hint: None,
        reasons: vec![],
    };
    ProposalSet {
        trace_id: trace(chance, key),
        account: Account::new(account).expect("an account"),
        symbol: Symbol::new(symbol).expect("a symbol"),
        timeframe: None,
        as_of: None,
        requested_at,
        valid_until: None,
        reference_price: Some(Decimal::from(150)),
        order_type: OrderType::Market,
        limit_price: None,
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        quality: Some(measured(chance)),
        idempotency_key: Some(IdempotencyKey::new(key).expect("a key")),
        meta: BTreeMap::new(),
        proposals: vec![one("Aurus", chance), one("Levia", chance)],
    }
}

/// What the broker says it is, and is: the classes of C-OUT-2.
fn capabilities(chance: &mut Chance) -> Capabilities {
    let (dedupes, horizon, queried) = match chance.between(0, 99) {
        0..=31 => (true, None, true),
        32..=49 => (true, Some(chance.between(3, 12)), true),
        50..=62 => (true, None, false),
        63..=86 => (false, None, true),
        _ => (false, None, false),
    };
    Capabilities {
        name: "simulated".into(),
        environment: "paper".into(),
        min_qty: Decimal::ONE,
        qty_step: Decimal::ONE,
        price_tick: chance.permille(500).then(|| Decimal::new(5, 2)),
        time_in_force: vec![TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Day],
        order_types: vec![OrderType::Market, OrderType::Limit, OrderType::Stop],
        client_id: ClientId { chars: "A-Za-z0-9_-".into(), max_length: 64 },
        dedupes_by_client_id: dedupes,
        dedupe_horizon_s: horizon,
        query_by_client_id: queried,
        visible_within_ms: chance.one_of(&[0, 0, 400, 1_500]),
        honours_accept_by: chance.permille(700),
        cancel: true,
        replace: false,
        events: chance.permille(600),
        positions: false,
        rate_limits: vec![],
    }
}
