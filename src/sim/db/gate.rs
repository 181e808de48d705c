//! What a gate's statements do: `pg::positions`, `pg::facts`, `pg::admission`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::{Db, InputPosition, Lock, Sendable, Stored, held};
use crate::domain::event::OrderStatus;
use crate::domain::judge::{LagMemory, MissingMemory, QualityMemory};
use crate::domain::request::{OrderType, Side, TimeInForce};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};
use crate::pg::admission::{Admission, LedgerRow, MemoryAfter};
use crate::pg::facts::{AccountFacts, Facts, LaneFacts, Wanted};
use crate::pg::outbox::OrderRow;
use crate::pg::positions::Move;
use crate::runtime::faults::is_planted;

impl Db {
    /// `positions::take` of one partition: its next epoch, and where to read on.
    pub fn take_input(&mut self, worker: &str, partition: i32) -> (i64, i64) {
        let position = self.inputs.entry(partition).or_default();
        position.epoch += 1;
        position.owner = worker.into();
        (position.epoch, position.next_offset)
    }

    /// `positions::rewind`.
    pub fn rewind(&mut self, partition: i32, to: i64) {
        let position = self.inputs.entry(partition).or_default();
        let (epoch, owner) = (position.epoch + 1, "noctus rewind".into());
        *position = InputPosition { epoch, next_offset: to, owner };
    }

    /// Partitions of a batch that are another worker's by now, or were moved already.
    pub fn fenced(&self, moves: &[Move]) -> Vec<i32> {
        let is_fenced = !is_planted("no-fence");
        let is_lost = |m: &&Move| match self.inputs.get(&m.place.partition) {
            Some(p) => is_fenced && (p.epoch != m.epoch || p.next_offset != m.from),
            None => true,
        };
        moves.iter().filter(is_lost).map(|m| m.place.partition).collect()
    }

    /// `positions::advance`: what is fenced off. Unless that is nothing, nothing moves.
    pub fn advance(&mut self, moves: &[Move]) -> Vec<i32> {
        let fenced = self.fenced(moves);
        if fenced.is_empty() {
            for m in moves {
                self.inputs.entry(m.place.partition).or_default().next_offset = m.to;
            }
        }
        fenced
    }

    /// What `facts::lock` locks for a batch.
    pub fn locks_of(&self, wanted: &Wanted) -> Vec<(Lock, bool)> {
        // A row that is not there cannot be locked: it is made first, unless that mistake is planted.
        let makes = !is_planted("lock-missing-rows");
        let accounts = wanted.accounts.iter().map(|a| (Lock::Account(a.clone()), true));
        let lanes = wanted.lanes.iter().filter(|l| makes || self.risk.contains_key(*l));
        let traces = wanted.traces.iter().filter(|t| makes || self.traces.contains_key(*t));
        accounts
            .chain(lanes.map(|l| (Lock::Lane(l.clone()), false)))
            .chain(traces.map(|t| (Lock::Trace(t.clone()), false)))
            .collect()
    }

    /// `facts::lock`, once its locks are held.
    pub fn facts(&mut self, wanted: &Wanted) -> Facts {
        if !is_planted("lock-missing-rows") {
            for lane in &wanted.lanes {
                self.risk.entry(lane.clone()).or_default();
            }
            for trace in &wanted.traces {
                self.traces.entry(trace.clone()).or_default();
            }
        }
        for account in &wanted.accounts {
            self.accounts.entry(account.clone()).or_default();
        }
        let account = |name: &String| {
            let day = self.accounts.get(name)?;
            let pnl_day = TimeZone::UTC.to_timestamp(day.pnl_day.at(0, 0, 0, 0)).ok()?;
            Some((name.clone(), AccountFacts { pnl_day, daily_pnl: day.daily_pnl }))
        };
        let lane = |name: &super::Pair| {
            let row = self.risk.get(name)?;
            let facts = LaneFacts {
                position: row.position,
                working_buy: row.working_buy,
                working_sell: row.working_sell,
                consecutive_losses: u32::try_from(row.consecutive_losses).unwrap_or(0),
                oldest_lot_arm: row.lots.first().and_then(|lot| lot.arm.clone()),
                recent_orders: row.recent_orders.clone(),
            };
            Some((name.clone(), facts))
        };
        let of_lanes = |key: &(String, String, String)| {
            wanted.lanes.iter().any(|(account, symbol)| *account == key.0 && *symbol == key.1)
        };
        let known = |key: &String| {
            let stored = self.rows.get(self.ids.get(key)?)?;
            Some((key.clone(), stored.digest.to_vec()))
        };
        Facts {
            accounts: wanted.accounts.iter().filter_map(account).collect(),
            lanes: wanted.lanes.iter().filter_map(lane).collect(),
            traces: wanted
                .traces
                .iter()
                .filter_map(|t| Some((t.clone(), *self.traces.get(t)?)))
                .collect(),
            quality: self
                .quality
                .iter()
                .filter(|(key, _)| of_lanes(key))
                .map(|(key, memory)| (key.clone(), *memory))
                .collect(),
            halts: self.halt_rows(),
            tombstones: Default::default(),
            known: wanted.keys.iter().filter_map(known).collect(),
        }
    }

    /// `admission::write`: false, and nothing is written, if a key is there already.
    pub fn admit(&mut self, admission: &Admission) -> bool {
        if admission.rows.iter().any(|row| self.ids.contains_key(&row.key)) {
            return false;
        }
        let mut rows: Vec<&LedgerRow> = admission.rows.iter().collect();
        rows.sort_by_key(|row| row.nth);
        for row in rows {
            self.last_id += 1;
            let stored = stored(self.last_id, row);
            self.ids.insert(row.key.clone(), self.last_id);
            self.rows.insert(self.last_id, stored);
        }
        self.reserve(admission);
        for memory in &admission.memories {
            let (key, memory) = remembered(memory);
            self.quality.insert(key, memory);
        }
        true
    }

    /// `admission::reserve`: what working orders and traces hold after a batch.
    pub fn reserve(&mut self, admission: &Admission) {
        for lane in &admission.lanes {
            let row = self.risk.entry((lane.account.clone(), lane.symbol.clone())).or_default();
            (row.working_buy, row.working_sell) = (held(lane.working_buy), held(lane.working_sell));
            row.recent_orders.clone_from(&lane.recent_orders);
        }
        for (account, trace, notional) in &admission.traces {
            self.traces.insert((account.clone(), trace.clone()), held(*notional));
        }
    }
}

fn stored(id: i64, row: &LedgerRow) -> Stored {
    let order = (row.state == "NEW").then(|| Box::new(sendable(id, row)));
    let source = (row.partition, row.offset);
    Stored { id, key: row.key.clone(), digest: row.digest, source, order }
}

fn sendable(id: i64, row: &LedgerRow) -> Sendable {
    const WRITTEN: &str = "the gate writes what it has read";
    let price = |p: Option<Decimal>| p.map(held);
    let send_by = match (row.dispatch_by, row.valid_until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let order = OrderRow {
        id,
        key: IdempotencyKey::new(&row.key).expect(WRITTEN),
        trace_id: TraceId::new(&row.trace_id).expect(WRITTEN),
        account: Account::new(&row.account).expect(WRITTEN),
        symbol: Symbol::new(&row.symbol).expect(WRITTEN),
        side: if row.action == "SELL" { Side::Sell } else { Side::Buy },
        qty: held(row.decided_qty),
        order_type: order_type(row.order_type),
        limit_price: price(row.limit_price),
        stop_price: price(row.stop_price),
        stop_loss: price(row.stop_loss),
        take_profit: price(row.take_profit),
        reference_price: price(row.reference_price.or(row.risk_price)),
        time_in_force: time_in_force(row.time_in_force),
        strategy: row.strategy.clone(),
        requested_at: row.requested_at,
        decided_at: row.decided_at,
        send_by,
        sent_at: None,
        state: OrderStatus::New,
        exec_seq: 0,
        attempt_no: 0,
        query_no: 0,
        broker_ref: None,
        quarantined: vec![],
        opening_qty: held(row.opening_qty),
        opening_notional: held(row.opening_notional),
        working_qty: held(row.working_qty),
        realised_pnl: held(Decimal::ZERO),
        unit_value: held(row.unit_value),
        arm: row.arm.clone(),
        read_at: Timestamp::UNIX_EPOCH,
        sent_as: None,
        cancel: None,
        unsure_before: false,
        replace: None,
        at_broker: None,
        trace: row.trace.clone(),
    };
    Sendable {
        row: order,
        never_sent: row.dispatch_by.is_none(),
        next_query_at: None,
        executed_qty: held(Decimal::ZERO),
        avg_price: None,
    }
}

fn order_type(word: &str) -> OrderType {
    use OrderType::*;
    let all = [Market, Limit, Stop, StopLimit];
    all.into_iter().find(|t| t.as_str() == word).unwrap_or_default()
}

fn time_in_force(word: &str) -> TimeInForce {
    use TimeInForce::*;
    let all = [Gtc, Ioc, Fok, Day];
    all.into_iter().find(|t| t.as_str() == word).unwrap_or_default()
}

fn remembered(after: &MemoryAfter) -> ((String, String, String), QualityMemory) {
    let lag = if after.lag == "flat" { LagMemory::Flat } else { LagMemory::Ok };
    let missing = match after.missing {
        "flat" => MissingMemory::Flat,
        "scale" => MissingMemory::Scale,
        _ => MissingMemory::Ok,
    };
    let key = (after.account.clone(), after.symbol.clone(), after.timeframe.clone());
    (key, QualityMemory { lag, missing })
}
