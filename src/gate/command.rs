//! Owns what becomes of the commands of a batch: which are replays, what is decided of the others, and their rows. Pure.
//! Never touches an order: an accepted cancel is wanted, and dispatch carries it out (C-CMD).
//! Invariant: a command's key is decided once; what it says of an order is what the transaction holds under lock.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::book::Book;
use super::fold::Fold;
use super::refusal::{Reason, Refusal};
use crate::domain::command::replace::{self, Standing, Terms};
use crate::domain::command::rule::{Effect, Target, Verdict, decide};
use crate::domain::command::{CommandAction, CommandOutcome, OrderCommand};
use crate::domain::event::{EventId, OrderStatus, Subject as About};
use crate::domain::policy::Policies;
use crate::domain::text::{IdempotencyKey, StrategyName};
use crate::domain::trace_context::TraceContext;
use crate::kafka::record::Record;
use crate::pg::admission::LedgerRow;
use crate::pg::commands::{self, Cancel, CommandRow, Known, Order};
use crate::pg::outbox::OrderRow;

/// A command and where it came from.
#[derive(Debug, Clone)]
pub struct Command {
    /// What is asked.
    pub command: OrderCommand,
    /// What makes it this command and no other.
    pub digest: [u8; 32],
    /// The record, for a dead letter.
    pub record: Record,
}

impl Command {
    /// Its key, and the order it is about.
    pub fn about(&self) -> commands::About {
        commands::About {
            key: self.command.idempotency_key.to_string(),
            target_key: self.command.target_key.to_string(),
            account: self.command.account.to_string(),
            symbol: self.command.symbol.to_string(),
            replaces: self.command.action() == CommandAction::Replace,
        }
    }
}

/// What was decided about a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The event.
    pub event: CommandOutcome,
    /// Where it was asked for.
    pub trace: Option<TraceContext>,
}

/// What became of the commands of a batch.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Commanded {
    pub outcomes: Vec<Outcome>,
    /// Sorted by key.
    pub rows: Vec<CommandRow>,
    pub cancels: Vec<Cancel>,
    pub replays: usize,
    pub conflicts: Vec<Refusal>,
}

/// What commands are decided by besides the facts.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct By<'a> {
    pub policies: &'a Policies,
    pub quotes: &'a Book,
    pub now: Timestamp,
}

/// Decides commands in their order, after the batch's requests: `decided` are the rows of those.
pub fn commanded(
    commands: &[Command],
    known: Known,
    decided: &[LedgerRow],
    fold: &mut Fold,
    by: By<'_>,
) -> Commanded {
    let Known { commands: mut digests, orders, rows } = known;
    let now = by.now;
    let of_batch: HashMap<&str, &LedgerRow> = decided.iter().map(|r| (r.key.as_str(), r)).collect();
    let mut out = Commanded::default();
    let mut cancels: BTreeMap<String, Cancel> = BTreeMap::new();
    // Orders that have a replacement on its way since an earlier command of this batch.
    let mut taken: HashSet<IdempotencyKey> = HashSet::new();
    for command in commands {
        let key = command.command.idempotency_key.as_str();
        match digests.get(key) {
            Some(digest) if *digest == command.digest => out.replays += 1,
            Some(_) => out.conflicts.push(conflict(command)),
            None => {
                digests.insert(key.to_string(), command.digest.to_vec());
                let target = target(&command.command, &orders, &of_batch);
                let key = command.command.target_key.as_str();
                let order = rows.get(key);
                // What an earlier command of this batch wants counts.
                let (replacing, cancelled) =
                    (taken.contains(&command.command.target_key), cancels.contains_key(key));
                let replace =
                    || replaced(&command.command, order, (replacing, cancelled), fold, by);
                let verdict = decide(&command.command, target, now, replace);
                match &verdict.effect {
                    Effect::Cancel => {
                        let cancel = wanted(&command.command);
                        cancels.entry(cancel.order.clone()).or_insert(cancel);
                    }
                    Effect::Replace { reserved, .. } => {
                        taken.insert(command.command.target_key.clone());
                        if let Some(order) = order {
                            fold.reserve_on_top((&order.account, &order.trace_id), *reserved);
                        }
                    }
                    Effect::None | Effect::Tombstone => {}
                }
                let event = outcome(&command.command, target, &verdict, now);
                out.outcomes.push(Outcome { event, trace: command.record.trace() });
                out.rows.push(row(command, verdict, now));
            }
        }
    }
    // One order of claims for all workers: two that claim the same keys do not deadlock.
    out.rows.sort_by(|a, b| a.about.key.cmp(&b.about.key));
    out.cancels = cancels.into_values().collect();
    out
}

/// What is decided about a REPLACE of an order that has not ended.
fn replaced(
    command: &OrderCommand,
    order: Option<&OrderRow>,
    before: (bool, bool),
    fold: &Fold,
    By { policies, quotes, now }: By<'_>,
) -> Verdict {
    // One that is decided in this very batch has no row to be replaced yet.
    let Some(standing) = order.and_then(|order| standing(order, before)) else {
        return Verdict::refused("outcome_unknown", "the order is being decided right now");
    };
    let request = standing.request(standing.working_qty, standing.terms.limit_price, now);
    let facts = fold.facts(&request, &[], policies, quotes, now);
    replace::decide(command.terms(), &standing, &facts, policies, now)
}

fn standing(order: &OrderRow, (replacing, cancelled): (bool, bool)) -> Option<Standing> {
    Some(Standing {
        status: order.state,
        trace_id: order.trace_id.clone(),
        account: order.account.clone(),
        symbol: order.symbol.clone(),
        side: order.side,
        order_type: order.order_type,
        time_in_force: order.time_in_force,
        strategy: order.strategy.as_deref().map(StrategyName::new).transpose().ok()?,
        stop_price: order.stop_price,
        terms: Terms {
            qty: order.qty,
            limit_price: order.limit_price,
            opening_qty: order.opening_qty,
            opening_notional: order.opening_notional,
        },
        working_qty: order.working_qty,
        cancel: cancelled || order.cancel.is_some(),
        replacing: replacing || order.replace.is_some(),
    })
}

fn target(
    command: &OrderCommand,
    orders: &HashMap<String, Order>,
    of_batch: &HashMap<&str, &LedgerRow>,
) -> Target {
    let key = command.target_key.as_str();
    let (account, symbol, status) = match (orders.get(key), of_batch.get(key)) {
        (Some(order), _) => (order.account.as_str(), order.symbol.as_str(), order.status),
        (None, Some(row)) => {
            (row.account.as_str(), row.symbol.as_str(), OrderStatus::read(row.state))
        }
        (None, None) => return Target::Unknown,
    };
    if account != command.account.as_str() || symbol != command.symbol.as_str() {
        return Target::OtherLane;
    }
    status.map_or(Target::NotSent, Target::Order)
}

fn wanted(command: &OrderCommand) -> Cancel {
    let reason = command.reason.clone().unwrap_or_else(|| "its producer wants it cancelled".into());
    Cancel {
        order: command.target_key.to_string(),
        command: command.idempotency_key.to_string(),
        reason,
    }
}

fn outcome(
    command: &OrderCommand,
    target: Target,
    verdict: &Verdict,
    now: Timestamp,
) -> CommandOutcome {
    let (qty, limit_price) = command.terms();
    CommandOutcome {
        event_id: EventId::new(About::Key(&command.idempotency_key), "command", 0),
        idempotency_key: command.idempotency_key.clone(),
        target_key: command.target_key.clone(),
        trace_id: command.trace_id.clone(),
        account: command.account.clone(),
        symbol: command.symbol.clone(),
        action: command.action(),
        status: verdict.status,
        reason_code: verdict.code.map(String::from),
        reason: verdict.reason.clone(),
        order_status: match target {
            Target::Order(status) => Some(status.as_str().into()),
            _ => None,
        },
        qty,
        limit_price,
        requested_at: command.requested_at,
        at: now,
    }
}

fn row(command: &Command, verdict: Verdict, now: Timestamp) -> CommandRow {
    let Command { command: asked, digest, record } = command;
    let (qty, limit_price) = asked.terms();
    CommandRow {
        about: command.about(),
        digest: *digest,
        trace_id: asked.trace_id.to_string(),
        action: asked.action().as_str(),
        qty,
        limit_price,
        why: asked.reason.clone(),
        requested_at: asked.requested_at,
        valid_until: asked.valid_until,
        decided_at: now,
        status: verdict.status.as_str(),
        code: verdict.code,
        reason: verdict.reason,
        tombstone: verdict.effect == Effect::Tombstone,
        terms: match verdict.effect {
            Effect::Replace { terms, reserved } => Some((*terms, reserved)),
            _ => None,
        },
        topic_id: record.topic_id.to_string(),
        partition: record.partition,
        offset: record.offset,
        trace: record.trace(),
    }
}

fn conflict(command: &Command) -> Refusal {
    let key = &command.command.idempotency_key;
    Refusal {
        record: command.record.clone(),
        reason: Reason::IdempotencyConflict,
        why: format!("key {key} was decided before with another command; that one stands"),
        trace_id: Some(command.command.trace_id.clone()),
        idempotency_key: Some(key.clone()),
    }
}
