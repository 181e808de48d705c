//! The law behind `noctus verify --risk`: whatever orders go through, in whatever pieces it is found out and settled, the
//! events that are told make the state that is stored, in any order, and at any moment on the way.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::dispatch::events::StepSeen;
use crate::dispatch::fold::Finding;
use crate::dispatch::fold::tests::manners;
use crate::dispatch::tests::order_row;
use crate::domain::command::replace::Terms as NewTerms;
use crate::domain::event::{Action, Decision, EventId, ExecEvent, PolicyDigests};
use crate::domain::order::Event;
use crate::domain::position::share;
use crate::domain::request::Side;
use crate::domain::risk_state::{
    AccountDay, Lack, Lane, Order, Progress, Rebuild, RiskState, Terms,
};
use crate::domain::text::{IdempotencyKey, Symbol, TraceId};
use crate::pg::replaces::Replacement;
use crate::wire::{self, Subject};

/// What happens.
#[derive(Debug, Clone)]
enum Deed {
    Decide(Wanted),
    /// The same, and it is sent at once.
    DecideAndSend(Wanted),
    /// Sends an order that may be sent.
    Send(usize),
    /// Settles findings of some orders in one transaction; `late_s` is how far their finder's clock is behind.
    Settle {
        findings: Vec<(usize, Finding)>,
        late_s: i64,
    },
    /// An order that waits or works goes on with a part of what is left, per cent, at so many tenths of its notional.
    Replace(usize, i64, i64),
    /// Time goes by, seconds.
    Pass(i64),
}

#[derive(Debug, Clone)]
struct Wanted {
    side: Side,
    lane: usize,
    trace: usize,
    qty: Decimal,
    /// Per cent of it that opens.
    opening: i64,
    unit_value: Decimal,
    arm: Option<&'static str>,
}

/// The tables, and everything that was told.
#[derive(Clone)]
struct World {
    now: Timestamp,
    rows: HashMap<String, OrderRow>,
    /// As the ledger's columns have it, whatever is replaced since.
    decided: HashMap<String, Terms>,
    keys: Vec<String>,
    reached: HashMap<String, (Decimal, Option<Decimal>)>,
    fills: HashMap<String, BTreeMap<String, Fill>>,
    positions: BTreeMap<(String, String), PositionRow>,
    recent: BTreeMap<(String, String), Vec<Timestamp>>,
    accounts: BTreeMap<String, AccountDay>,
    traces: BTreeMap<(String, String), Decimal>,
    decisions: Vec<Decision>,
    steps: Vec<ExecEvent>,
}

/// As the database gives a number back: with 9 decimals.
fn held(mut number: Decimal) -> Decimal {
    number.rescale(9);
    number
}

impl World {
    fn new() -> Self {
        Self {
            now: "2026-11-23T20:00:00Z".parse().expect("a time"),
            rows: HashMap::new(),
            decided: HashMap::new(),
            keys: vec![],
            reached: HashMap::new(),
            fills: HashMap::new(),
            positions: BTreeMap::new(),
            recent: BTreeMap::new(),
            accounts: BTreeMap::new(),
            traces: BTreeMap::new(),
            decisions: vec![],
            steps: vec![],
        }
    }

    fn happens(&mut self, deed: &Deed) {
        match deed {
            Deed::Decide(wanted) => self.decide(wanted),
            Deed::DecideAndSend(wanted) => {
                self.decide(wanted);
                self.send(self.keys.len() - 1);
            }
            Deed::Send(which) => self.send(*which),
            Deed::Settle { findings, late_s } => self.settle(findings, *late_s),
            Deed::Replace(which, part, tenths) => self.replace(*which, *part, *tenths),
            Deed::Pass(seconds) => self.now += SignedDuration::from_secs(*seconds),
        }
    }

    /// As the gate reserves.
    fn decide(&mut self, wanted: &Wanted) {
        let key = format!("order-{:05}", self.keys.len());
        let opening_qty = wanted.qty * Decimal::new(wanted.opening, 2);
        let opening_notional = held(opening_qty * Decimal::new(1_234_567, 4));
        let row = OrderRow {
            key: IdempotencyKey::new(&key).expect("a key"),
            trace_id: TraceId::new(&format!("t-{}", wanted.trace)).expect("a trace"),
            symbol: Symbol::new(["USDJPY", "EURJPY"][wanted.lane]).expect("a symbol"),
            side: wanted.side,
            qty: held(wanted.qty),
            working_qty: held(wanted.qty),
            opening_qty: held(opening_qty),
            opening_notional,
            unit_value: held(wanted.unit_value),
            arm: wanted.arm.map(String::from),
            decided_at: self.now,
            ..order_row(&key)
        };
        let name = (row.account.to_string(), row.symbol.to_string());
        let position = self.positions.entry(name.clone()).or_insert_with(|| PositionRow {
            account: name.0.clone(),
            symbol: name.1.clone(),
            position: Decimal::ZERO,
            avg_price: None,
            working_buy: Decimal::ZERO,
            working_sell: Decimal::ZERO,
            realised_pnl: Decimal::ZERO,
            consecutive_losses: 0,
            lots: vec![],
            moves: 0,
        });
        match row.side {
            Side::Sell => position.working_sell += row.qty,
            _ => position.working_buy += row.qty,
        }
        let recent = self.recent.entry(name.clone()).or_default();
        recent.push(self.now);
        recent.retain(|at| self.now.duration_since(*at) <= SignedDuration::from_secs(60));
        self.accounts.entry(name.0.clone()).or_default();
        let trace = (name.0, row.trace_id.to_string());
        *self.traces.entry(trace).or_default() += opening_notional;
        let body = wire::decision::encode(&decision(&row)).expect("it fits");
        let schema = Subject::Decision.schema();
        self.decisions.push(wire::decision::decode(&body, schema).expect("it was written"));
        let terms = Terms {
            lane: (row.account.clone(), row.symbol.clone()),
            trace_id: row.trace_id.clone(),
            side: row.side,
            decided_qty: row.qty,
            opening_qty: row.opening_qty,
            opening_notional: row.opening_notional,
            unit_value: row.unit_value,
            arm: row.arm.clone(),
        };
        self.decided.insert(key.clone(), terms);
        self.rows.insert(key.clone(), row);
        self.keys.push(key);
    }

    /// As the gate accepts a replacement, and dispatch finds it in force.
    fn replace(&mut self, which: usize, part: i64, tenths: i64) {
        let Some(key) = self.keys.get(which % self.keys.len().max(1)) else { return };
        let Some(row) = self.rows.get_mut(key) else { return };
        use OrderStatus::{Accepted, New, PartiallyFilled};
        let left = (row.working_qty * Decimal::new(part, 2)).round_dp(6);
        if !matches!(row.state, New | Accepted | PartiallyFilled) || left.is_zero() {
            return;
        }
        let qty = held(row.executed() + left);
        let notional = share(row.opening_notional, qty, row.qty) * Decimal::new(tenths, 1);
        let terms = NewTerms {
            qty,
            limit_price: None,
            opening_qty: row.opening_qty.min(qty),
            opening_notional: held(notional.round_dp(9)),
        };
        let before = share(row.opening_notional, row.working_qty, row.qty);
        let on_top = share(terms.opening_notional, left, qty) - before;
        let reserved = on_top.max(Decimal::ZERO);
        let command = IdempotencyKey::new(&format!("command-{key}")).expect("a key");
        row.replace = Some(Box::new(Replacement {
            key: command.clone(),
            trace_id: row.trace_id.clone(),
            requested_at: self.now,
            qty: Some(qty),
            limit_price: None,
            terms,
            reserved,
            asked: 1,
            traceparent: None,
            tracestate: None,
        }));
        let trace = (row.account.to_string(), row.trace_id.to_string());
        *self.traces.entry(trace).or_default() += reserved;
        self.settle(&[(which, Finding::Replaced { command, view: None })], 0);
    }

    /// As a claim does it.
    fn send(&mut self, which: usize) {
        let Some(key) = self.keys.get(which % self.keys.len().max(1)) else { return };
        let Some(row) = self.rows.get_mut(key) else { return };
        if !matches!(row.state, OrderStatus::New | OrderStatus::Unknown) {
            return;
        }
        (row.state, row.exec_seq) = (OrderStatus::Sent, row.exec_seq + 1);
        row.attempt_no += 1;
        let seen = StepSeen {
            exec_seq: row.exec_seq,
            status: row.state,
            last_fill: None,
            executed_qty: Decimal::ZERO,
            avg_price: None,
            broker_ref: None,
            code: None,
            sent_at: None,
            rtt_ms: None,
            at: self.now,
            lane_seq: None,
            qty: row.qty,
            replaced: None,
            order_id: None,
        };
        let row = row.clone();
        self.tell(&row, seen);
    }

    fn settle(&mut self, findings: &[(usize, Finding)], late_s: i64) {
        let at = self.now - SignedDuration::from_secs(late_s);
        let outcome = |(which, finding): &(usize, Finding)| {
            let key = self.keys.get(which % self.keys.len().max(1))?;
            let row = self.rows.get(key)?.clone();
            Some(Outcome {
                attempt_no: row.attempt_no,
                row,
                finding: finding.clone(),
                ends: None,
                detail: Value::Null,
                response: None,
                cancel: None,
                rtt_ms: None,
                at,
                jitter: 0.0,
            })
        };
        let outcomes: Vec<Outcome> = findings.iter().filter_map(outcome).collect();
        let manners = manners();
        let folded =
            fold_all(&outcomes, &mut self.rows, &mut self.fills, &mut self.positions, &manners);
        for (account, day, amount) in realised(&folded) {
            let stored = self.accounts.entry(account.to_string()).or_default();
            match day.cmp(&stored.pnl_day) {
                std::cmp::Ordering::Greater => {
                    *stored = AccountDay { pnl_day: day, daily_pnl: amount };
                }
                std::cmp::Ordering::Equal => stored.daily_pnl += amount,
                std::cmp::Ordering::Less => {}
            }
        }
        let mut moved: BTreeMap<(String, String), Decimal> = BTreeMap::new();
        for (row, done) in &folded {
            *moved.entry((row.account.to_string(), row.trace_id.to_string())).or_default() +=
                done.trace_moved;
            let reached = (done.settled.executed_qty, done.settled.avg_price);
            self.reached.insert(row.key.to_string(), reached);
        }
        for (trace, amount) in moved {
            let stored = self.traces.entry(trace).or_default();
            *stored = (*stored + amount).max(Decimal::ZERO);
        }
        for (row, done) in folded {
            done.steps.into_iter().for_each(|seen| self.tell(&row, seen));
        }
        self.as_the_database_gives_it_back();
    }

    fn as_the_database_gives_it_back(&mut self) {
        for row in self.rows.values_mut() {
            row.working_qty = held(row.working_qty);
            row.realised_pnl = held(row.realised_pnl);
        }
        for fill in self.fills.values_mut().flat_map(|fills| fills.values_mut()) {
            (fill.px, fill.qty) = (held(fill.px), held(fill.qty));
        }
        for row in self.positions.values_mut() {
            row.position = held(row.position);
            row.avg_price = row.avg_price.map(held);
            row.realised_pnl = held(row.realised_pnl);
        }
    }

    /// Through the wire, as everybody reads it.
    fn tell(&mut self, row: &OrderRow, seen: StepSeen) {
        let scribe =
            Scribe { broker: "paper".into(), exec_schema: 1, alert_schema: 2, outcome_schema: 3 };
        let owed = scribe.step(row, "an order", seen).expect("it fits");
        let (_, body) = wire::split(owed.value.as_deref().expect("a value")).expect("framed");
        let schema = Subject::ExecEvent.schema();
        self.steps.push(wire::exec_event::decode(body, schema).expect("it was written"));
    }

    /// What `pg::risk_state` would read.
    fn stored(&self) -> RiskState {
        let mut state = RiskState::default();
        for ((account, symbol), row) in &self.positions {
            let name = (
                crate::domain::text::Account::new(account).expect("an account"),
                Symbol::new(symbol).expect("a symbol"),
            );
            let lane = Lane {
                position: row.position,
                avg_price: row.avg_price,
                working_buy: row.working_buy,
                working_sell: row.working_sell,
                realised_pnl: row.realised_pnl,
                consecutive_losses: u32::try_from(row.consecutive_losses).expect("not below 0"),
                lots: row.lots.clone(),
                moves: row.moves,
                recent_orders: self.recent[&(account.clone(), symbol.clone())].clone(),
            };
            state.lanes.insert(name, lane);
        }
        for (account, day) in &self.accounts {
            let account = crate::domain::text::Account::new(account).expect("an account");
            state.accounts.insert(account, *day);
        }
        for ((account, trace), notional) in &self.traces {
            let account = crate::domain::text::Account::new(account).expect("an account");
            let trace = TraceId::new(trace).expect("a trace");
            state.traces.insert((account, trace), *notional);
        }
        for (key, row) in &self.rows {
            let terms = self.decided[key].clone();
            let (executed_qty, avg_price) = self.reached.get(key).copied().unwrap_or_default();
            let progress = Progress {
                status: row.state,
                executed_qty,
                avg_price,
                working_qty: row.working_qty,
                realised_pnl: row.realised_pnl,
            };
            let order = Order { terms, progress, exec_seq: row.exec_seq };
            state.orders.insert(row.key.clone(), Box::new(order));
        }
        state
    }
}

fn decision(row: &OrderRow) -> Decision {
    Decision {
        event_id: EventId("0".repeat(32)),
        decision_id: "d".into(),
        idempotency_key: row.key.clone(),
        trace_id: row.trace_id.clone(),
        account: row.account.clone(),
        symbol: row.symbol.clone(),
        action: if row.side == Side::Sell { Action::Sell } else { Action::Buy },
        requested_qty: row.qty,
        decided_qty: row.qty,
        steps: vec![],
        quality: None,
        score: None,
        strategy_name: None,
        top_candidates: vec![],
        arm: row.arm.clone(),
        reason: String::new(),
        engine_version: String::new(),
        policies: PolicyDigests::default(),
        quote: None,
        price: None,
        unit_value: Some(row.unit_value),
        order_type: row.order_type,
        time_in_force: row.time_in_force,
        requested_at: row.requested_at,
        decided_at: row.decided_at,
        request: json!({}),
        facts: json!({}),
        opening_qty: Some(row.opening_qty),
        opening_notional: Some(row.opening_notional),
    }
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let arm = select(vec![None, Some("champion"), Some("challenger")]);
    let side = select(vec![Side::Buy, Side::Sell]);
    (side, 0..2_usize, 0..3_usize, 1..4_000_i64, 0..=100_i64, 1..3_000_000_000_i64, arm).prop_map(
        |(side, lane, trace, qty, opening, value, arm)| Wanted {
            side,
            lane,
            trace,
            qty: Decimal::new(qty, 2),
            opening,
            unit_value: Decimal::new(value, 9),
            arm,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let fill = (0..200_u32, 1..3_000_i64, 9_000_000..11_000_000_i64).prop_map(|(id, qty, px)| {
        let at = Timestamp::UNIX_EPOCH;
        let (qty, px) = (Decimal::new(qty, 2), Decimal::new(px, 5));
        Event::Fill(Fill { fill_id: format!("f-{id}"), px, qty, at })
    });
    let code = || "code".to_string();
    prop_oneof![
        6 => fill,
        2 => Just(Event::Accept { broker_ref: None }),
        1 => Just(Event::Reject { code: code() }),
        1 => Just(Event::Cancel { code: code() }),
        1 => Just(Event::Expire { code: code() }),
    ]
}

fn finding() -> impl Strategy<Value = Finding> {
    prop_oneof![
        8 => proptest::collection::vec(event(), 1..5).prop_map(Finding::Facts),
        1 => Just(Finding::NotSent { code: "away" }),
        1 => Just(Finding::Lost { code: "timeout", retry_after_ms: 0 }),
        1 => Just(Finding::NotFound),
        1 => Just(Finding::NoAnswer { code: "timeout", retry_after_ms: 0 }),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let settle = (
        proptest::collection::vec((0..30_usize, finding()), 1..5),
        select(vec![0, 0, 0, 5, 86_400]),
    );
    prop_oneof![
        1 => wanted().prop_map(Deed::Decide),
        2 => wanted().prop_map(Deed::DecideAndSend),
        1 => (0..30_usize).prop_map(Deed::Send),
        6 => settle.prop_map(|(findings, late_s)| Deed::Settle { findings, late_s }),
        2 => (0..30_usize, 1..=100_i64, 1..30_i64).prop_map(|(w, p, t)| Deed::Replace(w, p, t)),
        1 => (0..30_000_i64).prop_map(Deed::Pass),
    ]
}

/// A decision or a step.
#[derive(Clone)]
enum Told {
    Decision(Box<Decision>),
    Step(Box<ExecEvent>),
}

/// Everything that was told, in an order that `seed` makes, every fourth twice.
fn shuffled(world: &World, seed: u64) -> Vec<Told> {
    let decisions = world.decisions.iter().cloned().map(|d| Told::Decision(Box::new(d)));
    let steps = world.steps.iter().cloned().map(|s| Told::Step(Box::new(s)));
    let all: Vec<Told> = decisions.chain(steps).collect();
    let again = all.iter().step_by(4).cloned();
    let mut told: Vec<(u64, Told)> = (0_u64..)
        .zip(all.iter().cloned().chain(again))
        .map(|(number, told)| {
            let mut hasher = DefaultHasher::new();
            (seed, number).hash(&mut hasher);
            (hasher.finish(), told)
        })
        .collect();
    told.sort_by_key(|(place, _)| *place);
    told.into_iter().map(|(_, told)| told).collect()
}

fn rebuild(stored: RiskState, told: Vec<Told>) -> Rebuild {
    let mut rebuild = Rebuild::new(stored);
    for one in told {
        match one {
            Told::Decision(decision) => rebuild.decided(*decision),
            Told::Step(step) => rebuild.stepped(*step),
        }
    }
    rebuild
}

/// Fewer than of a law about one decision: each is a story of many deeds.
fn stories() -> ProptestConfig {
    let cases = crate::domain::laws::cases();
    ProptestConfig { cases: cases.cases.div_ceil(8), ..cases }
}

proptest! {
    #![proptest_config(stories())]

    #[test]
    fn the_events_make_the_state_that_is_stored_at_any_moment(
        deeds in proptest::collection::vec(deed(), 1..60), stop in any::<proptest::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let stop = stop.index(deeds.len());
        let (mut world, mut before) = (World::new(), RiskState::default());
        for (number, deed) in deeds.iter().enumerate() {
            world.happens(deed);
            if number == stop {
                before = world.stored();
            }
        }
        for stored in [world.stored(), before] {
            let rebuild = rebuild(stored, shuffled(&world, seed));
            prop_assert_eq!(rebuild.left(), 0);
            let found = rebuild.compared();
            prop_assert!(found.is_equal(), "{found:#?}");
        }
    }

    #[test]
    fn without_one_event_that_event_is_named_and_no_difference_is_claimed(
        deeds in proptest::collection::vec(deed(), 1..60), lost in any::<proptest::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let mut world = World::new();
        deeds.iter().for_each(|deed| world.happens(deed));
        let all = world.decisions.len() + world.steps.len();
        prop_assume!(all > 0);
        let lost = lost.index(all);
        let (key, lack) = match lost.checked_sub(world.decisions.len()) {
            None => (world.decisions.remove(lost).idempotency_key, Lack::Decision),
            Some(at) => {
                let step = world.steps.remove(at);
                let seq = step.exec_seq.into();
                (step.idempotency_key, Lack::Events { from: seq, to: seq })
            }
        };
        let found = rebuild(world.stored(), shuffled(&world, seed)).compared();
        prop_assert!(found.differences.is_empty(), "{found:#?}");
        prop_assert_eq!(found.gaps.len(), 1);
        prop_assert_eq!((found.gaps[0].idempotency_key.clone(), found.gaps[0].lack), (Some(key), lack));
    }
}
