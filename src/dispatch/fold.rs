//! Owns what a finding about an order changes: its row, its position, its reservation, and who is told.
//! Pure: rows in, rows and events out; `settle` locks, loads and stores.
//! Invariants (C-RISK-8): a reservation leaves `working` once, into the position or back; and what a step moves is a
//! function of the steps before it, not of which were found together, so that it can be made again from the events.

mod replaced;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;

pub use self::replaced::is_replaced;
use super::broker::protocol::{Capabilities, OrderView};
use super::events::{AlertSeen, ReplaceEnded, StepSeen};
use crate::domain::event::{Fill, OrderStatus, Severity};
use crate::domain::lots;
use crate::domain::money::fits_wire;
use crate::domain::order::{Action, Event, Order, Step};
use crate::domain::position::{Position, losses_in_a_row, share, utc_day};
use crate::domain::request::Side;
use crate::domain::text::IdempotencyKey;
use crate::pg::outbox::{NextQuestion, OrderRow, Settled};
use crate::pg::replaces::Replacement;
use crate::pg::risk::PositionRow;
use crate::runtime::faults::is_planted;

/// Questions about an UNKNOWN order that go unanswered before it is PARKED (C-OUT-3).
const QUESTIONS_MAX: i32 = 6;
/// Pause between two questions about a working order, milliseconds.
const WORKING_POLL_MS: u64 = 1_000;
/// The same at a broker that tells events: questions are the net under them.
const WORKING_NET_MS: u64 = 5_000;
/// A send takes at most this long to the broker, seconds: by so much a resend must come before the broker forgets.
const ON_ITS_WAY_S: i64 = 2;
/// The broker's clock and the database's may differ by this much, seconds.
const SKEW_S: i64 = 2;

/// What was found out about an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// Facts, in the order in which they apply.
    Facts(Vec<Event>),
    /// It is not sent, and ends here; of an order that someone has sent meanwhile it says nothing.
    Unsent(Event),
    /// The broker refused to cancel it, for good; what it showed of the order comes first.
    CancelRefused { code: String, shown: Vec<Event> },
    /// The replacement of this command is in force: at the broker as the order shown, else here, unsent.
    Replaced { command: IdempotencyKey, view: Option<Box<OrderView>> },
    /// The replacement of this command will never be; what the broker showed of the order comes first.
    NotReplaced { command: IdempotencyKey, code: String, shown: Vec<Event> },
    /// The attempt ended and no byte left.
    NotSent { code: &'static str },
    /// Nobody knows how the attempt ended.
    Lost { code: &'static str, retry_after_ms: u64 },
    /// The broker has another order under our client order id.
    Mismatch(Box<OrderView>),
    /// The broker was asked and has no such order.
    NotFound,
    /// The broker was asked and gave no clear answer.
    NoAnswer { code: &'static str, retry_after_ms: u64 },
    /// This broker answers no questions.
    CannotAsk,
    /// It was to be sent again, or asked about, and neither was done.
    AskAgain,
}

impl Finding {
    /// Whether settling it can move a reservation or a position.
    pub fn moves_risk(&self) -> bool {
        match self {
            Finding::Facts(events) | Finding::CancelRefused { shown: events, .. } => {
                events.iter().any(Event::moves_risk)
            }
            Finding::Unsent(_) | Finding::Replaced { .. } | Finding::NotReplaced { .. } => true,
            // Not found may mean expired.
            Finding::NotFound => true,
            _ => false,
        }
    }
}

/// A finding and the attempt it is about.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Outcome {
    /// The row as it was when the finding was made; settling reads it anew.
    pub row: OrderRow,
    pub attempt_no: i32,
    pub finding: Finding,
    /// The attempt's outcome, if this ends one: `accepted`, `rejected`, `not_sent`, `unknown`.
    pub ends: Option<&'static str>,
    pub detail: Value,
    pub response: Option<Value>,
    /// The broker's clear answer to a cancel, if there was one: it is not asked again.
    pub cancel: Option<String>,
    pub rtt_ms: Option<i64>,
    pub at: Timestamp,
    /// −1..=1, for the spread of questions.
    pub jitter: f64,
}

/// What folding needs to know of the broker.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Manners {
    pub capabilities: Capabilities,
    pub settle_ms: u64,
    /// An order that was cancelled or has expired is asked about for so long.
    pub late_fill_ms: u64,
}

impl Manners {
    /// First question about an UNKNOWN order: not before the broker can show it (F54).
    fn first_question_ms(&self) -> u64 {
        self.settle_ms.max(self.capabilities.visible_within_ms)
    }

    fn working_ms(&self) -> u64 {
        if self.capabilities.events { WORKING_NET_MS } else { WORKING_POLL_MS }
    }

    /// The n-th pause: doubled, spread by ±10 %.
    fn question_ms(&self, query_no: i32, jitter: f64) -> u64 {
        let doubled = self.first_question_ms() << query_no.clamp(0, QUESTIONS_MAX);
        (doubled as f64 * (1.0 + 0.1 * jitter.clamp(-1.0, 1.0))) as u64
    }

    /// The pause before the question after so many since the end: doubled, the last one at the end of the time.
    fn late_pause_ms(&self, asked: i32) -> Option<u64> {
        let after = |questions: i32| WORKING_POLL_MS * ((1_u64 << questions.clamp(0, 32)) - 1);
        let left = self.late_fill_ms.checked_sub(after(asked)).filter(|left| *left > 0)?;
        Some(left.min(after(asked + 1) - after(asked)))
    }

    /// Whether a second send of the same order makes no second order (C-OUT-2).
    fn may_resend(&self, row: &OrderRow) -> bool {
        may_resend(&self.capabilities, row)
    }
}

/// Whether a second send of the same order makes no second order (C-OUT-2).
pub(crate) fn may_resend(capabilities: &Capabilities, row: &OrderRow) -> bool {
    capabilities.dedupes_by_client_id
        && resend_until(capabilities, row).is_none_or(|until| row.read_at < until)
}

/// Until when an order may be sent again, if the broker does not know it for ever: what is sent last must still arrive
/// in time.
pub(crate) fn resend_until(capabilities: &Capabilities, row: &OrderRow) -> Option<Timestamp> {
    let seconds = i64::try_from(capabilities.dedupe_horizon_s?).unwrap_or(i64::MAX);
    row.sent_at?.checked_add(SignedDuration::from_secs(seconds.saturating_sub(ON_ITS_WAY_S))).ok()
}

/// An order with everything that moves with it, under lock.
#[derive(Debug)]
pub struct Folded {
    /// What is to be stored.
    pub settled: Settled,
    /// Exec events, in order.
    pub steps: Vec<StepSeen>,
    /// Rules that fired.
    pub alerts: Vec<AlertSeen>,
    /// Realised in this settling, and the UTC day of its steps; none if no fill realised anything.
    pub realised: Option<(Date, Decimal)>,
    /// By how much the trace's opening notional moves.
    pub trace_moved: Decimal,
    /// Halt the symbol, and why.
    pub halt: Option<String>,
    /// How the order's replacement ended, if it did.
    pub replace: Option<ReplaceEnded>,
}

/// The state of one fold.
struct Fold<'a> {
    row: &'a OrderRow,
    outcome: &'a Outcome,
    order: Order,
    position: Option<&'a mut PositionRow>,
    /// The quantity in all and its opening notional: what a share is a share of.
    in_force: (Decimal, Decimal),
    out: Folded,
}

/// Applies a finding to the row as it is now. `position` is there when the finding can move risk.
pub fn fold(
    row: &OrderRow,
    fills: BTreeMap<String, Fill>,
    outcome: &Outcome,
    position: Option<&mut PositionRow>,
    manners: &Manners,
) -> Folded {
    let order = Order {
        qty: row.qty,
        time_in_force: row.time_in_force,
        status: row.state,
        broker_ref: row.broker_ref.clone(),
        fills,
    };
    let settled = Settled {
        key: row.key.clone(),
        expected_seq: row.exec_seq,
        exec_seq: row.exec_seq,
        state: row.state,
        executed_qty: order.executed_qty(),
        avg_price: order.avg_price(),
        broker_ref: row.broker_ref.clone(),
        working_qty: row.working_qty,
        realised_pnl: row.realised_pnl,
        next_question: NextQuestion::Keep,
        query_no: row.query_no,
        response: outcome.response.clone(),
        in_force: None,
        quarantined: vec![],
        new_fills: vec![],
    };
    let out = Folded {
        settled,
        steps: vec![],
        alerts: vec![],
        realised: None,
        trace_moved: Decimal::ZERO,
        halt: None,
        replace: None,
    };
    let in_force = (row.qty, row.opening_notional);
    let mut fold = Fold { row, outcome, order, position, in_force, out };
    let next = fold.find(manners);
    // An order that has ended is replaced no more.
    if fold.order.status.is_final() {
        fold.replace_ended(Some("too_late"));
    }
    fold.out.settled.next_question = next;
    fold.out
}

impl Fold<'_> {
    /// What the finding means in the state the order is in; returns when the broker is asked next.
    fn find(&mut self, manners: &Manners) -> NextQuestion {
        use OrderStatus::*;
        let newest = self.outcome.attempt_no == self.row.attempt_no;
        let waits = matches!(self.order.status, Accepted | PartiallyFilled);
        match &self.outcome.finding {
            Finding::Facts(events) => {
                for event in events {
                    if self.is_of_ours(event) {
                        self.apply(event);
                    }
                }
            }
            Finding::Replaced { command, view } => self.replaced(command, view.as_deref()),
            Finding::NotReplaced { command, code, shown } => {
                shown.iter().for_each(|event| self.apply(event));
                let is_its = |r: &&Replacement| r.key == *command;
                if self.row.replace.as_deref().filter(is_its).is_some() {
                    self.replace_ended(Some(code));
                }
            }
            Finding::Unsent(event) if self.order.status == New => self.apply(event),
            Finding::Unsent(_) => return NextQuestion::Keep,
            Finding::CancelRefused { code, shown } => {
                shown.iter().for_each(|event| self.apply(event));
                if !self.order.status.is_final() {
                    self.cancel_refused(code);
                }
            }
            // What an older attempt, or a question from before the newest one, does not show says nothing.
            Finding::NotSent { .. }
            | Finding::Lost { .. }
            | Finding::NotFound
            | Finding::CannotAsk
            | Finding::NoAnswer { .. }
                if !newest =>
            {
                return NextQuestion::Keep;
            }
            // An attempt before it may have arrived: that this one did not leave does not make the order new.
            Finding::NotSent { code } if self.row.unsure_before => {
                if self.order.status == Sent {
                    self.apply(&Event::LoseTrack { code: code.to_string() });
                    return NextQuestion::Never;
                }
                return NextQuestion::Keep;
            }
            Finding::NotSent { code } => {
                if matches!(self.order.status, Sent | Unknown) {
                    self.apply(&Event::NotSent { code: code.to_string() });
                }
            }
            Finding::Lost { code, retry_after_ms } => {
                if self.order.status == Sent {
                    self.apply(&Event::LoseTrack { code: code.to_string() });
                    if is_planted("blind-resend") {
                        return NextQuestion::Never;
                    }
                    self.out.settled.query_no = 0;
                    return NextQuestion::InMs(manners.question_ms(0, 0.0).max(*retry_after_ms));
                }
                return NextQuestion::Keep;
            }
            Finding::Mismatch(view) => self.mismatch(view),
            Finding::NotFound if self.is_of_another() => return NextQuestion::Keep,
            Finding::NotFound if self.order.status == Unknown => return self.not_found(manners),
            Finding::NotFound if waits => {
                self.quarantine("vanished", "the broker no longer knows an order it had accepted");
            }
            // Sent again while that makes no second order and it lives, else for a person (C-OUT-2).
            Finding::CannotAsk if self.order.status == Unknown => {
                let lives = self.row.send_by.is_none_or(|by| by >= self.row.read_at);
                if lives && manners.may_resend(self.row) {
                    return NextQuestion::Never;
                }
                self.apply(&Event::Park { code: "cannot_ask".into() });
            }
            Finding::NoAnswer { code, retry_after_ms } if self.order.status == Unknown => {
                self.out.settled.query_no += 1;
                if self.out.settled.query_no >= QUESTIONS_MAX {
                    self.apply(&Event::Park { code: format!("asked_in_vain:{code}") });
                } else {
                    let pause = manners.question_ms(self.out.settled.query_no, self.outcome.jitter);
                    return NextQuestion::InMs(pause.max(*retry_after_ms));
                }
            }
            Finding::AskAgain if self.order.status == Unknown => {
                return NextQuestion::InMs(manners.question_ms(0, self.outcome.jitter));
            }
            Finding::NotFound
            | Finding::CannotAsk
            | Finding::NoAnswer { .. }
            | Finding::AskAgain => {}
        }
        match self.order.status {
            Accepted | PartiallyFilled => NextQuestion::InMs(manners.working_ms()),
            Cancelled | Expired => self.after_the_end(manners),
            New | Filled | Rejected | Parked => NextQuestion::Never,
            Sent | Unknown => NextQuestion::Keep,
        }
    }

    /// UNKNOWN, and the broker does not have it: sent again, over, or parked (C-OUT-2, F54).
    fn not_found(&mut self, manners: &Manners) -> NextQuestion {
        let park = |fold: &mut Self, code: &str| {
            fold.apply(&Event::Park { code: code.into() });
            NextQuestion::Never
        };
        let Some(by) = self.row.send_by.filter(|by| *by < self.row.read_at) else {
            return match manners.may_resend(self.row) {
                true => NextQuestion::Never, // UNKNOWN without a question: claimed again
                false => park(self, "not_found"),
            };
        };
        if !manners.capabilities.honours_accept_by {
            return park(self, "not_found");
        }
        // An attempt still under way is refused by the broker after accept_by; once it would show, it is not there.
        let visible = Duration::from_millis(manners.capabilities.visible_within_ms);
        let sure = SignedDuration::try_from(visible).unwrap_or(SignedDuration::MAX)
            + SignedDuration::from_secs(SKEW_S);
        // When it was asked counts, not when the answer is settled: in between it may have arrived.
        if self.outcome.row.read_at.duration_since(by) <= sure {
            let over = self.row.read_at.duration_since(by);
            let wait = u64::try_from((sure - over).as_millis()).unwrap_or(0);
            return NextQuestion::InMs(wait + 1);
        }
        self.apply(&Event::Expire { code: "too_old".into() });
        NextQuestion::Never
    }

    /// Fills may come late, and nobody may tell of them: it is asked about for a while.
    fn after_the_end(&mut self, manners: &Manners) -> NextQuestion {
        if self.row.attempt_no == 0 || !manners.capabilities.query_by_client_id {
            return NextQuestion::Never;
        }
        let asked = match self.row.state.is_final() {
            false => 0,
            true if self.outcome.finding == Finding::AskAgain => self.row.query_no,
            true => self.row.query_no.saturating_add(1),
        };
        self.out.settled.query_no = asked;
        match manners.late_pause_ms(asked) {
            Some(pause) => NextQuestion::InMs(pause),
            None => NextQuestion::Never,
        }
    }

    fn mismatch(&mut self, view: &OrderView) {
        let label = format!("mismatch:{}", view.order_ref);
        if self.row.quarantined.contains(&label) {
            return;
        }
        self.out.settled.quarantined.push(label);
        self.alert(
            "do.broker_mismatch",
            "",
            Severity::Critical,
            format!("under our client order id the broker has another order, {}", view.order_ref),
        );
        if matches!(self.order.status, OrderStatus::Sent | OrderStatus::Unknown) {
            self.apply(&Event::Park { code: "broker_mismatch".into() });
        }
    }

    /// It goes on working, against our will: told once per code.
    fn cancel_refused(&mut self, code: &str) {
        let label = format!("cancel_refused:{code}");
        if self.row.quarantined.contains(&label) {
            return;
        }
        let reason = format!("the broker refuses to cancel it ({code}): it goes on working there");
        self.alert("do.cancel_refused", &label, Severity::High, reason);
        self.out.settled.quarantined.push(label);
    }

    fn alert(
        &mut self,
        policy_name: &'static str,
        which: &str,
        severity: Severity,
        reason: String,
    ) {
        self.out.alerts.push(AlertSeen {
            exec_seq: self.out.settled.exec_seq,
            policy_name,
            which: which.into(),
            severity,
            reason,
            at: self.outcome.at,
        });
    }

    /// Something that cannot be is set aside with one alert; the order stays as it is.
    fn quarantine(&mut self, label: &str, why: &str) {
        let known = |labels: &[String]| labels.iter().any(|l| l == label);
        if known(&self.row.quarantined) || known(&self.out.settled.quarantined) {
            return;
        }
        self.out.settled.quarantined.push(label.into());
        self.alert("do.illegal_event", label, Severity::High, why.into());
    }

    fn apply(&mut self, event: &Event) {
        let step = match self.order.apply(event) {
            Ok(step) => step,
            Err(illegal) => return self.quarantine(&event.label(), &illegal.to_string()),
        };
        if !step.moved {
            self.order = step.order;
            self.out.settled.broker_ref.clone_from(&self.order.broker_ref);
            return;
        }
        // What had been realised when it was counted last (C-RISK-9); a late fill may change its sign.
        let counted = match self.order.status.is_final() {
            true => self.out.settled.realised_pnl,
            false => Decimal::ZERO,
        };
        let booked = step.actions.iter().find_map(|action| match action {
            Action::Book(fill) => Some(self.book(fill)),
            _ => None,
        });
        if booked == Some(false) {
            return self.quarantine(&event.label(), "its numbers do not fit exact arithmetic");
        }
        self.step(step);
        self.count_losses(counted);
    }

    fn step(&mut self, step: Step) {
        let moves =
            |action: &Action| matches!(action, Action::Book(_) | Action::Release | Action::Reprice);
        let lane_seq = step.actions.iter().any(moves).then(|| self.next_move()).flatten();
        self.order = step.order;
        let replaced = match step.actions.contains(&Action::Reprice) {
            true => self.reprice(),
            false => None,
        };
        let in_force = self.out.settled.in_force.as_ref();
        let order_id = in_force.and_then(|in_force| in_force.order_id.clone());
        let settled = &mut self.out.settled;
        settled.exec_seq += 1;
        settled.state = self.order.status;
        settled.executed_qty = self.order.executed_qty();
        settled.avg_price = self.order.avg_price();
        settled.broker_ref.clone_from(&self.order.broker_ref);
        settled.new_fills.extend(step.last_fill.clone());
        let seen = StepSeen {
            exec_seq: settled.exec_seq,
            status: settled.state,
            last_fill: step.last_fill,
            executed_qty: settled.executed_qty,
            avg_price: settled.avg_price,
            broker_ref: settled.broker_ref.clone(),
            code: step.code,
            sent_at: self.row.sent_at,
            rtt_ms: self.outcome.rtt_ms,
            at: self.outcome.at,
            lane_seq,
            qty: self.order.qty,
            replaced,
            order_id,
        };
        self.out.steps.push(seen);
        for action in step.actions {
            match action {
                Action::Book(_) | Action::Reprice => {}
                Action::Release => self.release(),
                Action::Alert { policy_name, severity, reason } => {
                    self.alert(policy_name, "", severity, reason);
                }
                Action::HaltSymbol => {
                    self.out.halt = Some(format!("over-fill of {}", self.row.key));
                }
            }
        }
    }

    /// The number of a step that moves the lane; no other has it, since the lane's row is locked.
    fn next_move(&mut self) -> Option<i64> {
        let position = self.position.as_deref_mut()?;
        position.moves += 1;
        Some(position.moves)
    }

    fn working(&mut self) -> Option<&mut Decimal> {
        let position = self.position.as_deref_mut()?;
        Some(match self.row.side {
            Side::Sell => &mut position.working_sell,
            Side::Buy | Side::Flat => &mut position.working_buy,
        })
    }

    /// Takes `qty` out of what works, here and in the position's sum.
    fn take_working(&mut self, qty: Decimal) {
        self.out.settled.working_qty -= qty;
        if let Some(working) = self.working() {
            *working = (*working - qty).max(Decimal::ZERO);
        }
    }

    /// Moves a fill from working to the position; what had been released is taken again. False: it does not fit.
    fn book(&mut self, fill: &Fill) -> bool {
        let Some(position) = self.position.as_deref_mut() else { return false };
        let before = Position { qty: position.position, avg_price: position.avg_price };
        let Ok(moved) = before.book(self.row.side, fill.qty, fill.px, self.row.unit_value) else {
            return false;
        };
        let Some(realised) = position.realised_pnl.checked_add(moved.realised) else {
            return false;
        };
        if ![moved.position.qty, realised].into_iter().all(fits_wire) {
            return false;
        }
        position.position = moved.position.qty;
        position.avg_price = moved.position.avg_price;
        position.realised_pnl = realised;
        let opened = fill.qty - moved.reduced;
        lots::fill(&mut position.lots, moved.reduced, opened, self.row.arm.as_deref());
        self.out.settled.realised_pnl += moved.realised;
        if !moved.realised.is_zero() {
            let before = self.out.realised.map_or(Decimal::ZERO, |(_, amount)| amount);
            self.out.realised = Some((utc_day(self.outcome.at), before + moved.realised));
        }
        let reserved = self.out.settled.working_qty.min(fill.qty);
        self.take_working(reserved);
        let again = (fill.qty - reserved).min(self.in_force.0);
        if !again.is_zero() && self.order.status.is_final() {
            self.out.trace_moved += self.share(again);
        }
        true
    }

    /// Lets go of what is still reserved, once: afterwards nothing works.
    fn release(&mut self) {
        let left = self.out.settled.working_qty;
        self.take_working(left);
        self.out.trace_moved -= self.share(left);
    }

    fn share(&self, part: Decimal) -> Decimal {
        let (qty, opening_notional) = self.in_force;
        share(opening_notional, part, qty)
    }

    /// An order counts towards losses in a row when it is over, and again when a late fill comes (C-RISK-9).
    fn count_losses(&mut self, counted: Decimal) {
        if !self.order.status.is_final() {
            return;
        }
        let realised = self.out.settled.realised_pnl;
        if let Some(position) = self.position.as_deref_mut() {
            let before = u32::try_from(position.consecutive_losses).unwrap_or(0);
            let after = losses_in_a_row(before, counted, realised);
            position.consecutive_losses = i32::try_from(after).unwrap_or(i32::MAX);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
