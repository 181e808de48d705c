//! What must hold when everything is at rest: nothing lost, nothing unknown, the tables as the broker and the events
//! have it.

use jiff::SignedDuration;
use rust_decimal::Decimal;

use super::World;
use super::audit::End;
use super::db::{Sendable, is_open};
use super::plan::{SECOND, Written};
use crate::dispatch::broker::protocol::BrokerStatus;
use crate::domain::event::OrderStatus;
use crate::domain::risk_state::{Lane, Order, Progress, Rebuild, RiskState, Terms};
use crate::domain::text::{Account, Symbol, TraceId};

/// What was on its way when the faults ended has arrived by then, microseconds.
const ARRIVED: u64 = 11 * SECOND;

impl World {
    /// Whether nothing moves any more.
    pub(super) fn is_at_rest(&self) -> bool {
        self.now >= self.plan.calm_us + ARRIVED
            && self.unread().is_none()
            && self.gates.iter().all(|gate| gate.is_idle())
            && self.senders.iter().all(|sender| sender.is_idle())
            && !self.db.orders().any(|o| self.moves_on(o))
            && !self.broker.works()
    }

    /// Whether an order must come to an end. What a broker that answers no questions has not told stays as it is.
    fn moves_on(&self, order: &Sendable) -> bool {
        is_open(order.row.state) && !self.is_untold(order)
    }

    /// Whether it works on in our books, and nobody may ask the broker: an event that was lost, or that came to a sender
    /// who did not have the lane, is not made up for. (Dispatch reads the stream again; here events are not kept.)
    fn is_untold(&self, order: &Sendable) -> bool {
        let works = matches!(order.row.state, OrderStatus::Accepted | OrderStatus::PartiallyFilled);
        works && !self.manners.capabilities.query_by_client_id
    }

    /// A partition that is not read to its end.
    fn unread(&self) -> Option<usize> {
        (0..self.input.len()).find(|p| {
            let next = self.db.inputs.get(&(*p as i32)).map_or(0, |row| row.next_offset);
            next != self.input[*p].len() as i64
        })
    }

    /// What keeps a world from resting.
    pub(super) fn unrest(&self) -> String {
        let open = self.db.orders().filter(|o| is_open(o.row.state));
        let open: Vec<String> = open
            .map(|o| format!("{} {} next {:?}", o.row.key, o.row.state.as_str(), o.next_query_at))
            .collect();
        let busy = |all: Vec<bool>| all.iter().filter(|idle| !**idle).count();
        format!(
            "unread {:?}, {} busy gates, {} busy senders, broker works {}, open {open:?}",
            self.unread(),
            busy(self.gates.iter().map(|g| g.is_idle()).collect()),
            busy(self.senders.iter().map(|s| s.is_idle()).collect()),
            self.broker.works(),
        )
    }

    /// Looks at everything once it has come to rest.
    pub(super) fn look_at_rest(&mut self) {
        let found = self
            .lost()
            .map(|seen| ("lost", seen))
            .or_else(|| self.other_than_the_brokers().map(|seen| ("as the broker has it", seen)))
            .or_else(|| self.not_rebuilt().map(|seen| ("risk state", seen)));
        if let Some((invariant, seen)) = found {
            self.violate(invariant, seen);
        }
        self.journal.note(self.now, format_args!("at rest: {} orders", self.db.rows.len()));
    }

    /// Every record has an end, and every key the row of one of its records (A2, A3).
    fn lost(&self) -> Option<String> {
        for (partition, log) in self.input.iter().enumerate() {
            for (offset, written) in log.iter().enumerate() {
                let place = (partition as i32, offset as i64);
                let ends = self.audit.ends.get(&place).map(Vec::as_slice).unwrap_or_default();
                let Written::Request(number) = written else {
                    if ends.is_empty() || ends.iter().any(|end| *end != End::Refused) {
                        return Some(format!("{place:?} cannot be read, and ended as {ends:?}"));
                    }
                    continue;
                };
                let request = &self.plan.requests[*number];
                let key = request.keys[0].as_str();
                let Some(row) = self.db.ids.get(key).and_then(|id| self.db.rows.get(id)) else {
                    return Some(format!("{place:?} asked for {key}, and no row was made"));
                };
                let same = row.digest == request.digest;
                let fits = |end: &End| match end {
                    End::Row => same && row.source == place,
                    End::Replay => same,
                    End::Conflict => !same,
                    End::Refused => false,
                };
                if ends.is_empty() || !ends.iter().all(fits) {
                    return Some(format!(
                        "{place:?} ({key}) ended as {ends:?}; same order: {same}"
                    ));
                }
            }
        }
        None
    }

    /// An order that has not ended as the broker has it (A2).
    fn other_than_the_brokers(&self) -> Option<String> {
        self.db.orders().find_map(|order| {
            let why = self.differs(order)?;
            let (key, state) = (&order.row.key, order.row.state.as_str());
            Some(format!("{key} is {state} with {} filled: {why}", order.executed_qty))
        })
    }

    fn differs(&self, order: &Sendable) -> Option<String> {
        use OrderStatus::{Cancelled, Expired, Filled, Parked, Rejected};
        let have: Vec<_> = self
            .broker
            .of(&order.row.key)
            .filter(|o| o.view.status != BrokerStatus::Rejected)
            .collect();
        let fills = have.iter().flat_map(|o| &o.view.fills);
        let filled: Decimal = fills.map(|fill| fill.qty).sum();
        // A fill after the end that no event told is found by the comparison of positions.
        let untold = have.iter().any(|o| o.is_late) && order.executed_qty < filled;
        match order.row.state {
            // What a person will find, and what only the comparison of positions can.
            Parked => None,
            _ if self.is_untold(order) => None,
            _ if order.executed_qty != filled && !untold => {
                Some(format!("the broker has filled {filled}"))
            }
            Filled if have.len() != 1 => Some(format!("the broker has {} orders", have.len())),
            Rejected if !have.is_empty() => Some("the broker has it".into()),
            Cancelled | Expired if have.iter().any(|o| o.view.status == BrokerStatus::Filled) => {
                Some("the broker has filled it".into())
            }
            Expired if have.is_empty() && !self.was_late(order) => {
                Some("its time had not come".into())
            }
            _ => None,
        }
    }

    fn was_late(&self, order: &Sendable) -> bool {
        // The clocks of gates and senders may be this far ahead.
        let ahead = SignedDuration::from_millis(500);
        order.row.send_by.is_some_and(|by| {
            let last = self.audit.steps.iter().rfind(|s| s.idempotency_key == order.row.key);
            last.is_some_and(|step| step.at + ahead >= by)
        })
    }

    /// The state made anew from the events is the one that is stored.
    fn not_rebuilt(&self) -> Option<String> {
        let mut rebuild = Rebuild::new(self.risk_state());
        for decision in &self.audit.decisions {
            rebuild.decided(decision.clone());
        }
        for step in &self.audit.steps {
            rebuild.stepped(step.clone());
        }
        let compared = rebuild.compared();
        (!compared.is_equal()).then(|| format!("{:?} {:?}", compared.differences, compared.gaps))
    }

    /// As `pg::risk_state` reads it.
    fn risk_state(&self) -> RiskState {
        const WRITTEN: &str = "a gate wrote it";
        let mut state = RiskState::default();
        for ((account, symbol), row) in &self.db.risk {
            let name = (Account::new(account).expect(WRITTEN), Symbol::new(symbol).expect(WRITTEN));
            let lane = Lane {
                position: row.position,
                avg_price: row.avg_price,
                working_buy: row.working_buy,
                working_sell: row.working_sell,
                realised_pnl: row.realised_pnl,
                consecutive_losses: u32::try_from(row.consecutive_losses).unwrap_or(0),
                lots: row.lots.clone(),
                moves: row.moves,
                recent_orders: row.recent_orders.clone(),
            };
            state.lanes.insert(name, lane);
        }
        for (account, day) in &self.db.accounts {
            state.accounts.insert(Account::new(account).expect(WRITTEN), *day);
        }
        for ((account, trace), notional) in &self.db.traces {
            let name = (Account::new(account).expect(WRITTEN), TraceId::new(trace).expect(WRITTEN));
            state.traces.insert(name, *notional);
        }
        for order in self.db.orders() {
            let row = &order.row;
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
            let progress = Progress {
                status: row.state,
                executed_qty: order.executed_qty,
                avg_price: order.avg_price,
                working_qty: row.working_qty,
                realised_pnl: row.realised_pnl,
            };
            let told = Order { terms, progress, exec_seq: row.exec_seq };
            state.orders.insert(row.key.clone(), Box::new(told));
        }
        state
    }
}
