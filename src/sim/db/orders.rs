//! What dispatch's statements about orders do: `pg::outbox`, `pg::attempts`, `pg::risk`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::{Attempt, Db, Pair, Sendable, held};
use crate::dispatch::halts::stops;
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::risk_state::AccountDay;
use crate::pg::lanes::HeldLane;
use crate::pg::outbox::{NextQuestion, OrderRow, Settled};
use crate::pg::risk::{HaltRow, PositionRow};
use crate::runtime::faults::is_planted;

impl Db {
    /// `outbox::claimable`.
    pub fn claimable(
        &self,
        lanes: &[HeldLane],
        halts: &[HaltRow],
        (per_lane, limit): (usize, usize),
        now: Timestamp,
    ) -> Vec<OrderRow> {
        use OrderStatus::{New, Parked, Unknown};
        let mut found: Vec<&Sendable> = Vec::new();
        for lane in lanes {
            let holds = |o: &&Sendable| {
                o.row.state == Parked || o.row.state == Unknown && o.next_query_at.is_some()
            };
            let first = self.orders_of(&lane.key).find(holds).map(|o| o.row.id);
            let waits = |o: &&Sendable| {
                o.row.state == New || o.row.state == Unknown && o.next_query_at.is_none()
            };
            let ends = |o: &Sendable| {
                o.row.state == New
                    && (self.cancels.contains_key(o.row.key.as_str())
                        || stops(halts, &o.row).is_some())
            };
            let goes = |o: &&Sendable| {
                o.row.opening_qty.is_zero()
                    || first.is_none_or(|first| o.row.id < first)
                    || o.never_sent
                    || o.row.send_by.is_some_and(|by| by < now)
                    || ends(o)
            };
            found.extend(self.orders_of(&lane.key).filter(waits).filter(goes).take(per_lane));
        }
        found.sort_by_key(|o| o.row.id);
        found.truncate(limit);
        found.into_iter().map(|o| self.read(o, now)).collect()
    }

    /// `outbox::begin_attempts`: when the first send of each began. Nothing, if someone else moved one of them.
    pub fn begin_attempts(
        &mut self,
        worker: &str,
        orders: &[(&OrderRow, i64)],
        ids: &[&str],
        price_tick: Option<Decimal>,
        now: Timestamp,
    ) -> Vec<(String, Timestamp)> {
        use OrderStatus::{New, Unknown};
        let stays = |(read, _): &&(&OrderRow, i64)| {
            self.order(&read.key).is_some_and(|o| {
                o.row.exec_seq == read.exec_seq && matches!(o.row.state, New | Unknown)
            })
        };
        if orders.iter().filter(stays).count() != orders.len() {
            return vec![];
        }
        let mut begun = Vec::with_capacity(orders.len());
        for ((read, epoch), id) in orders.iter().zip(ids) {
            let key = read.key.to_string();
            let Some(order) = self.order_mut(&key) else { continue };
            order.row.state = OrderStatus::Sent;
            order.row.exec_seq += 1;
            order.row.attempt_no = read.attempt_no + 1;
            order.row.query_no = 0;
            order.row.sent_at = order.row.sent_at.or(Some(now));
            order.next_query_at = None;
            begun.push((key.clone(), order.row.sent_at.unwrap_or(now)));
            if !is_planted("no-attempt-row") {
                let attempt = Attempt {
                    worker: worker.into(),
                    epoch: *epoch,
                    client_order_id: (*id).into(),
                    price_tick,
                    outcome: None,
                };
                self.attempts.insert((key, read.attempt_no + 1), attempt);
            }
        }
        begun
    }

    fn of_lanes(&self, lanes: &[HeldLane]) -> impl Iterator<Item = &Sendable> {
        let of: Vec<_> = lanes.iter().map(|lane| lane.key.clone()).collect();
        self.orders().filter(move |o| of.contains(&o.row.lane()))
    }

    /// `outbox::stranded`.
    pub fn stranded(&self, lanes: &[HeldLane], now: Timestamp) -> Vec<OrderRow> {
        let ours =
            |lane: &&HeldLane| self.lanes.get(&lane.key).is_some_and(|l| l.epoch == lane.epoch);
        let lanes: Vec<HeldLane> = lanes.iter().filter(ours).cloned().collect();
        let sent = self.of_lanes(&lanes).filter(|o| o.row.state == OrderStatus::Sent);
        sent.map(|o| self.read(o, now)).collect()
    }

    /// `outbox::questions`.
    pub fn questions(&self, lanes: &[HeldLane], limit: usize, now: Timestamp) -> Vec<OrderRow> {
        use OrderStatus::{Accepted, Cancelled, Expired, PartiallyFilled, Unknown};
        let asked = |o: &&Sendable| {
            matches!(o.row.state, Unknown | Accepted | PartiallyFilled | Cancelled | Expired)
        };
        let mut due: Vec<(Timestamp, i64, &Sendable)> = self
            .of_lanes(lanes)
            .filter(asked)
            .filter_map(|o| Some((o.next_query_at?, o.row.id, o)))
            .filter(|(at, ..)| *at <= now)
            .collect();
        due.sort_by_key(|(at, id, _)| (*at, *id));
        due.truncate(limit);
        due.into_iter().map(|(.., o)| self.read(o, now)).collect()
    }

    /// `outbox::find`.
    pub fn find(&self, key: &str, now: Timestamp) -> Option<OrderRow> {
        self.order(key).map(|o| self.read(o, now))
    }

    /// `outbox::store`: how many were as expected; unless all were, nothing is stored.
    pub fn store(&mut self, orders: &[Settled], now: Timestamp) -> usize {
        let fits =
            |s: &&Settled| self.order(&s.key).is_some_and(|o| o.row.exec_seq == s.expected_seq);
        let as_expected = orders.iter().filter(fits).count();
        if as_expected != orders.len() {
            return as_expected;
        }
        for s in orders {
            let Some(order) = self.order_mut(&s.key) else { continue };
            order.row.state = s.state;
            order.row.exec_seq = s.exec_seq;
            order.row.query_no = s.query_no;
            order.row.broker_ref.clone_from(&s.broker_ref);
            order.row.working_qty = held(s.working_qty);
            order.row.realised_pnl = held(s.realised_pnl);
            order.row.quarantined.extend(s.quarantined.iter().cloned());
            order.executed_qty = held(s.executed_qty);
            order.avg_price = s.avg_price.map(held);
            match s.next_question {
                NextQuestion::Keep => {}
                NextQuestion::Never => order.next_query_at = None,
                NextQuestion::InMs(ms) => {
                    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
                    order.next_query_at = Some(now + SignedDuration::from_millis(ms));
                }
            }
            let fills = self.fills.entry(s.key.to_string()).or_default();
            for fill in &s.new_fills {
                let (px, qty) = (held(fill.px), held(fill.qty));
                fills.insert(fill.fill_id.clone(), Fill { px, qty, ..fill.clone() });
            }
        }
        as_expected
    }

    /// `attempts::close`.
    pub fn close_attempt(&mut self, key: &str, attempt_no: i32, outcome: &'static str) {
        if let Some(attempt) = self.attempts.get_mut(&(key.to_string(), attempt_no))
            && attempt.outcome.is_none_or(|known| known == "unknown")
        {
            attempt.outcome = Some(outcome);
        }
    }

    /// `risk::lock`, once its locks are held: the positions.
    pub fn risk_rows(
        &mut self,
        accounts: &[String],
        lanes: &[Pair],
        traces: &[Pair],
    ) -> BTreeMap<Pair, PositionRow> {
        for account in accounts {
            self.accounts.entry(account.clone()).or_default();
        }
        for trace in traces {
            self.traces.entry(trace.clone()).or_default();
        }
        let mut found = BTreeMap::new();
        for lane in lanes {
            let row = self.risk.entry(lane.clone()).or_default();
            let position = PositionRow {
                account: lane.0.clone(),
                symbol: lane.1.clone(),
                position: row.position,
                avg_price: row.avg_price,
                working_buy: row.working_buy,
                working_sell: row.working_sell,
                realised_pnl: row.realised_pnl,
                consecutive_losses: row.consecutive_losses,
                lots: row.lots.clone(),
                moves: row.moves,
            };
            found.insert(lane.clone(), position);
        }
        found
    }

    /// `risk::store_positions`.
    pub fn store_positions<'a>(&mut self, rows: impl Iterator<Item = &'a PositionRow>) {
        for p in rows {
            let Some(row) = self.risk.get_mut(&(p.account.clone(), p.symbol.clone())) else {
                continue;
            };
            row.position = held(p.position);
            row.avg_price = p.avg_price.map(held);
            (row.working_buy, row.working_sell) = (held(p.working_buy), held(p.working_sell));
            row.realised_pnl = held(p.realised_pnl);
            row.consecutive_losses = p.consecutive_losses;
            row.lots.clone_from(&p.lots);
            row.moves = p.moves;
        }
    }

    /// `risk::add_realised`.
    pub fn add_realised(&mut self, realised: &[(&str, Date, Decimal)]) {
        for (account, day, amount) in realised {
            let Some(stored) = self.accounts.get_mut(*account) else { continue };
            match day.cmp(&stored.pnl_day) {
                std::cmp::Ordering::Greater => {
                    *stored = AccountDay { pnl_day: *day, daily_pnl: *amount };
                }
                std::cmp::Ordering::Equal => stored.daily_pnl += amount,
                std::cmp::Ordering::Less => {}
            }
        }
    }

    /// `risk::move_traces`.
    pub fn move_traces(&mut self, moved: &BTreeMap<Pair, Decimal>) {
        for (trace, amount) in moved {
            if let Some(stored) = self.traces.get_mut(trace) {
                *stored = held((*stored + amount).max(Decimal::ZERO));
            }
        }
    }
}
