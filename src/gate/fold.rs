//! Owns the facts of a batch while it is judged: each decision sees what the ones before it reserved. Pure.
//! Never reads a table. Invariant (I7): what comes out are the facts that were locked plus what was reserved.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::book::Book;
use crate::domain::decision::Arm;
use crate::domain::judge::{Facts, Halt, Judgement, LagMemory, MissingMemory, QualityMemory};
use crate::domain::policy::Policies;
use crate::domain::request::{Intake, Side};
use crate::domain::risk::{self, RATE_WINDOW, RECENT_KEPT};
use crate::domain::text::{IdempotencyKey, StrategyName, Symbol};
use crate::pg::admission::{Admission, LaneAfter, LedgerRow, MemoryAfter};
use crate::pg::facts::{Facts as Locked, LaneFacts};
use crate::pg::risk::HaltRow;

type Pair = (String, String);

/// The facts of a batch.
pub struct Fold {
    locked: Locked,
    moved_lanes: BTreeSet<Pair>,
    moved_traces: BTreeSet<Pair>,
    moved_memories: BTreeSet<(String, String, String)>,
    over_cap: Vec<String>,
}

/// Notionals are held with 9 decimals: what rounding alone may add to a sum is no breach.
const ROUNDING: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

fn lane_of(intake: &Intake) -> Pair {
    (intake.account().to_string(), intake.symbol().to_string())
}

fn memory_of(intake: &Intake) -> (String, String, String) {
    let timeframe = intake.timeframe().as_ref().map_or("-", |t| t.as_str());
    (intake.account().to_string(), intake.symbol().to_string(), timeframe.to_string())
}

fn trace_of(intake: &Intake) -> Pair {
    (intake.account().to_string(), intake.trace_id().to_string())
}

impl Fold {
    /// Begins with what was locked.
    pub fn new(locked: Locked) -> Self {
        Self {
            locked,
            moved_lanes: BTreeSet::new(),
            moved_traces: BTreeSet::new(),
            moved_memories: BTreeSet::new(),
            over_cap: Vec::new(),
        }
    }

    /// What is known about a request at this moment.
    pub fn facts(
        &self,
        intake: &Intake,
        keys: &[IdempotencyKey],
        policies: &Policies,
        quotes: &Book,
        now: Timestamp,
    ) -> Facts {
        let lane = self.locked.lanes.get(&lane_of(intake));
        let account = self.locked.accounts.get(intake.account().as_str());
        let quote = |symbol: &Symbol| quotes.newest(symbol, now);
        let (halt, strategy_halts) = halts(&self.locked.halts, intake);
        let recent = |l: &LaneFacts| {
            l.recent_orders.iter().filter(|t| now.duration_since(**t) <= RATE_WINDOW).count()
        };
        let (of_account, of_symbol) = lane_of(intake);
        let cancelled = |key: &IdempotencyKey| {
            let tombstone = (key.to_string(), of_account.clone(), of_symbol.clone());
            self.locked.tombstones.contains(&tombstone)
        };
        let daily_pnl =
            account.filter(|a| now.duration_since(a.pnl_day) < SignedDuration::from_hours(24));
        Facts {
            position: lane.map_or(Decimal::ZERO, |l| l.position),
            working_buy: lane.map_or(Decimal::ZERO, |l| l.working_buy),
            working_sell: lane.map_or(Decimal::ZERO, |l| l.working_sell),
            consecutive_losses: lane.map_or(0, |l| l.consecutive_losses),
            daily_pnl: daily_pnl.map_or(Decimal::ZERO, |a| a.daily_pnl),
            trace_notional: self.locked.traces.get(&trace_of(intake)).copied().unwrap_or_default(),
            orders_last_minute: lane.map_or(0, |l| u32::try_from(recent(l)).unwrap_or(u32::MAX)),
            quality_state: self.locked.quality.get(&memory_of(intake)).copied().unwrap_or_default(),
            quote: quote(intake.symbol()),
            rate: risk::rate(policies, intake.account(), intake.symbol(), now, quote),
            halt,
            strategy_halts,
            oldest_lot_arm: lane.and_then(|l| Arm::read(l.oldest_lot_arm.as_deref()?)),
            cancelled: !self.locked.tombstones.is_empty() && keys.iter().any(cancelled),
        }
    }

    /// Books what a judgement reserved.
    pub fn reserve(
        &mut self,
        intake: &Intake,
        judged: &Judgement,
        policies: &Policies,
        now: Timestamp,
    ) {
        let memory = memory_of(intake);
        if self.locked.quality.get(&memory).copied().unwrap_or_default()
            != judged.next_quality_state
        {
            self.locked.quality.insert(memory.clone(), judged.next_quality_state);
            self.moved_memories.insert(memory);
        }
        if !judged.action.sends() {
            return;
        }
        let key = lane_of(intake);
        if let Some(lane) = self.locked.lanes.get_mut(&key) {
            match judged.side {
                Side::Sell => lane.working_sell += judged.decided_qty,
                _ => lane.working_buy += judged.decided_qty,
            }
            let limit = policies.risk.for_symbol(intake.symbol()).max_orders_per_minute;
            let kept = limit.map_or(0, |most| most as usize).max(RECENT_KEPT);
            lane.recent_orders.push(now);
            lane.recent_orders.retain(|t| now.duration_since(*t) <= RATE_WINDOW);
            let over = lane.recent_orders.len().saturating_sub(kept);
            lane.recent_orders.drain(..over);
            self.moved_lanes.insert(key);
        }
        if !judged.opening_notional.is_zero() {
            let key = trace_of(intake);
            let sum = self.locked.traces.entry(key.clone()).or_default();
            *sum += judged.opening_notional;
            let cap = policies.risk.for_symbol(intake.symbol()).max_trace_notional;
            if let Some(cap) = cap
                && *sum > cap + ROUNDING
            {
                self.over_cap.push(format!("{} of {}: {sum} > {cap}", key.1, key.0));
            }
            self.moved_traces.insert(key);
        }
    }

    /// Traces that have more reserved than the rule allows, as sums after the judge, not as the judge reckoned.
    pub fn over_cap(&mut self) -> Vec<String> {
        std::mem::take(&mut self.over_cap)
    }

    /// Books what a replacement reserves on top, until it is over.
    pub fn reserve_on_top(&mut self, (account, trace): (&str, &str), reserved: Decimal) {
        if !reserved.is_zero() {
            let key = (account.to_string(), trace.to_string());
            *self.locked.traces.entry(key.clone()).or_default() += reserved;
            self.moved_traces.insert(key);
        }
    }

    /// The ledger's rows with the facts that moved.
    pub fn admission(self, rows: Vec<LedgerRow>) -> Admission {
        let lane = |key: &Pair| {
            let lane = self.locked.lanes.get(key)?;
            Some(LaneAfter {
                account: key.0.clone(),
                symbol: key.1.clone(),
                working_buy: lane.working_buy,
                working_sell: lane.working_sell,
                recent_orders: lane.recent_orders.clone(),
            })
        };
        let trace =
            |key: &Pair| Some((key.0.clone(), key.1.clone(), *self.locked.traces.get(key)?));
        let memory = |key: &(String, String, String)| {
            let QualityMemory { lag, missing } = *self.locked.quality.get(key)?;
            Some(MemoryAfter {
                account: key.0.clone(),
                symbol: key.1.clone(),
                timeframe: key.2.clone(),
                lag: match lag {
                    LagMemory::Ok => "ok",
                    LagMemory::Flat => "flat",
                },
                missing: match missing {
                    MissingMemory::Ok => "ok",
                    MissingMemory::Scale => "scale",
                    MissingMemory::Flat => "flat",
                },
            })
        };
        Admission {
            rows,
            lanes: self.moved_lanes.iter().filter_map(lane).collect(),
            traces: self.moved_traces.iter().filter_map(trace).collect(),
            memories: self.moved_memories.iter().filter_map(memory).collect(),
        }
    }
}

/// The strictest halt that covers a request, and the halts of single strategies within its account and symbol.
fn halts(rows: &[HaltRow], intake: &Intake) -> (Option<Halt>, BTreeMap<StrategyName, Halt>) {
    let covers = |scope: &Option<String>, of: &str| scope.as_deref().is_none_or(|s| s == of);
    let own = match intake {
        Intake::Order(order) => order.strategy.as_ref(),
        Intake::Proposals(_) => None,
    };
    let (mut halt, mut of_strategies) = (None, BTreeMap::new());
    for row in rows.iter().filter(|r| r.in_force) {
        let mode = match row.mode.as_str() {
            "halted" => Halt::Halted,
            "reduce_only" => Halt::ReduceOnly,
            _ => continue,
        };
        if !covers(&row.account, intake.account()) || !covers(&row.symbol, intake.symbol()) {
            continue;
        }
        match row.strategy.as_deref() {
            None => halt = halt.max(Some(mode)),
            Some(strategy) if own.is_some_and(|own| own.as_str() == strategy) => {
                halt = halt.max(Some(mode));
            }
            Some(strategy) => {
                if let Ok(name) = StrategyName::new(strategy) {
                    let worst = of_strategies.get(&name).copied().max(Some(mode));
                    of_strategies.insert(name, worst.unwrap_or(mode));
                }
            }
        }
    }
    if matches!(intake, Intake::Order(_)) {
        of_strategies.clear();
    }
    (halt, of_strategies)
}
