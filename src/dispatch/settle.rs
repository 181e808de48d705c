//! Settle: findings of many orders in one transaction: locks in V1's order, fold, store, owe the events.
//! Never decides: `fold` does. Invariant: findings that were settled already change nothing (I6).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::events::Scribe;
use super::fold::{Folded, Manners, Outcome, fold};
use super::placing::order_id;
use super::{Dispatch, DispatchError};
use crate::domain::event::{Fill, OrderStatus, Severity};
use crate::owed::{self, Owed};
use crate::pg::attempts::{self, Ended};
use crate::pg::cancels;
use crate::pg::outbox::{self, OrderRow, Settled};
use crate::pg::replaces;
use crate::pg::risk::{self, PositionRow};
use crate::runtime::faults::{crash_point, in_flight};
use crate::runtime::metrics::Guarantee;

/// What was stored, for metrics.
pub struct Report {
    /// The orders as they are now, with the states they came from.
    pub moved: Vec<(OrderRow, Settled)>,
    /// Rules that fired.
    pub alerts: Vec<(&'static str, Severity)>,
}

/// What settling needs to know besides the rows.
pub struct Books<'a> {
    /// How the broker behaves.
    pub manners: &'a Manners,
    /// Who writes the events.
    pub scribe: &'a Scribe,
}

/// Settles a set of findings. An error leaves everything as it was; the same findings may be settled again.
pub async fn settle(dispatch: &Dispatch, outcomes: &[Outcome]) -> Result<Report, DispatchError> {
    let room = dispatch.emitter.room_now();
    let metrics = &dispatch.ctx.metrics;
    let mut client = dispatch.ctx.pool.get().await?;
    let began = Instant::now();
    let tx = client.transaction().await?;
    let books = Books { manners: &dispatch.manners(), scribe: &dispatch.scribe };
    let (report, events) = settle_in(&tx, &books, outcomes).await.inspect_err(|error| {
        if let DispatchError::Moved = error {
            metrics.broken(Guarantee::OrderMovesOnce, error);
        }
    })?;
    let batch = owed::insert(&tx, &dispatch.ctx.worker, &events).await?;
    if outcomes.iter().any(|o| o.row.state == OrderStatus::Unknown) {
        crash_point("dispatch/reconcile-decided");
    }
    crash_point("dispatch/settled");
    in_flight("dispatch/commit-in-flight", tx.commit()).await?;
    crash_point("dispatch/after-commit");
    let took = began.elapsed().as_secs_f64();
    metrics.transaction_seconds.with_label_values(&["settle"]).observe(took);
    metrics.batch_records.with_label_values(&["settle"]).observe(outcomes.len() as f64);
    dispatch.emitter.emit(room, batch, events);
    Ok(report)
}

/// Settles findings within a transaction, which must then own the events that are returned.
pub async fn settle_in(
    tx: &deadpool_postgres::Transaction<'_>,
    books: &Books<'_>,
    outcomes: &[Outcome],
) -> Result<(Report, Vec<Owed>), DispatchError> {
    let mut positions = lock_risk(tx, outcomes).await?;
    let keys: Vec<&str> =
        outcomes.iter().map(|o| o.row.key.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let rows = outbox::lock(tx, &keys).await?;
    let mut rows: HashMap<String, OrderRow> =
        rows.into_iter().map(|row| (row.key.to_string(), row)).collect();
    let mut fills: HashMap<String, BTreeMap<String, Fill>> = HashMap::new();
    for (key, fill) in outbox::fills(&**tx, &keys).await? {
        fills.entry(key).or_default().insert(fill.fill_id.clone(), fill);
    }
    let folded = fold_all(outcomes, &mut rows, &mut fills, &mut positions, books.manners);
    let events = store(tx, books, outcomes, &folded, &positions).await?;
    let alerts = folded.iter().flat_map(|(_, done)| &done.alerts);
    let alerts = alerts.map(|alert| (alert.policy_name, alert.severity)).collect();
    let moved = folded.into_iter().map(|(row, done)| (row, done.settled)).collect();
    Ok((Report { moved, alerts }, events))
}

/// The risk rows that findings can move; none are locked when none can.
async fn lock_risk(
    tx: &deadpool_postgres::Transaction<'_>,
    outcomes: &[Outcome],
) -> Result<BTreeMap<(String, String), PositionRow>, DispatchError> {
    let moving: Vec<&OrderRow> =
        outcomes.iter().filter(|o| o.finding.moves_risk()).map(|o| &o.row).collect();
    if moving.is_empty() {
        return Ok(BTreeMap::new());
    }
    let accounts: BTreeSet<&str> = moving.iter().map(|r| r.account.as_str()).collect();
    let of: BTreeSet<(&str, &str)> =
        moving.iter().map(|r| (r.account.as_str(), r.symbol.as_str())).collect();
    let traces: BTreeSet<(&str, &str)> =
        moving.iter().map(|r| (r.account.as_str(), r.trace_id.as_str())).collect();
    let list = |set: BTreeSet<(_, _)>| set.into_iter().collect::<Vec<_>>();
    let accounts: Vec<&str> = accounts.into_iter().collect();
    let rows = risk::lock(tx, &accounts, &list(of), &list(traces)).await?;
    Ok(rows.into_iter().map(|p| ((p.account.clone(), p.symbol.clone()), p)).collect())
}

/// Folds every finding, in order; two of one order see each other.
pub(crate) fn fold_all(
    outcomes: &[Outcome],
    rows: &mut HashMap<String, OrderRow>,
    fills: &mut HashMap<String, BTreeMap<String, Fill>>,
    positions: &mut BTreeMap<(String, String), PositionRow>,
    manners: &Manners,
) -> Vec<(OrderRow, Folded)> {
    let mut folded = Vec::new();
    for outcome in outcomes {
        let key = outcome.row.key.as_str();
        let Some(row) = rows.get_mut(key) else { continue };
        let lane = (row.account.to_string(), row.symbol.to_string());
        let known = fills.entry(key.to_string()).or_default();
        let position = match outcome.finding.moves_risk() {
            true => positions.get_mut(&lane),
            false => None,
        };
        let done = fold(row, known.clone(), outcome, position, manners);
        let before = row.clone();
        let s = &done.settled;
        (row.state, row.exec_seq, row.query_no) = (s.state, s.exec_seq, s.query_no);
        (row.working_qty, row.realised_pnl) = (s.working_qty, s.realised_pnl);
        row.broker_ref.clone_from(&s.broker_ref);
        row.quarantined.extend(s.quarantined.iter().cloned());
        if done.replace.is_some() {
            row.replace = None;
        }
        if let Some(in_force) = &s.in_force {
            row.go_on(in_force.clone());
        }
        known.extend(s.new_fills.iter().map(|f| (f.fill_id.clone(), f.clone())));
        folded.push((before, done));
    }
    folded
}

/// Stores everything; the events that are owed for it.
async fn store(
    tx: &deadpool_postgres::Transaction<'_>,
    books: &Books<'_>,
    outcomes: &[Outcome],
    folded: &[(OrderRow, Folded)],
    positions: &BTreeMap<(String, String), PositionRow>,
) -> Result<Vec<Owed>, DispatchError> {
    if !positions.is_empty() {
        let rows: Vec<PositionRow> = positions.values().cloned().collect();
        risk::store_positions(tx, &rows).await?;
        let mut traces: BTreeMap<(&str, &str), Decimal> = BTreeMap::new();
        for (row, done) in folded {
            *traces.entry((&row.account, &row.trace_id)).or_default() += done.trace_moved;
        }
        traces.retain(|_, amount| !amount.is_zero());
        risk::add_realised(tx, &realised(folded)).await?;
        let traces: Vec<_> = traces.into_iter().map(|((a, t), m)| (a, t, m)).collect();
        risk::move_traces(tx, &traces).await?;
    }
    // Rounds: an order settled twice here is stored twice, each time from the exec_seq before.
    let mut left: Vec<&Settled> = folded.iter().map(|(_, done)| &done.settled).collect();
    while !left.is_empty() {
        let mut seen = BTreeSet::new();
        let (now, later): (Vec<&Settled>, Vec<&Settled>) =
            left.into_iter().partition(|s| seen.insert(s.key.to_string()));
        let now: Vec<Settled> = now.into_iter().cloned().collect();
        let stored = outbox::store(tx, &now).await?;
        if stored != now.len() as u64 {
            return Err(DispatchError::Moved);
        }
        left = later;
    }
    let in_force = folded
        .iter()
        .filter_map(|(row, done)| Some((row.key.as_str(), done.settled.in_force.as_ref()?)));
    replaces::store(tx, &in_force.collect::<Vec<_>>()).await?;
    replaces::end(tx, &folded.iter().filter_map(over).collect::<Vec<_>>()).await?;
    let ended: Vec<Ended> = outcomes
        .iter()
        .filter_map(|o| {
            let outcome = o.ends?;
            let (key, attempt_no) = (o.row.key.to_string(), o.attempt_no);
            Some(Ended { key, attempt_no, outcome, detail: o.detail.clone() })
        })
        .collect();
    attempts::close(tx, &ended).await?;
    // The last word wins: an order that has ended needs no cancel, whatever the broker said of that.
    let refused = outcomes.iter().filter_map(|o| Some((o.row.key.as_str(), o.cancel.as_deref()?)));
    cancels::answered(tx, &refused.collect::<Vec<_>>()).await?;
    let over =
        folded.iter().filter(|(row, done)| row.cancel.is_some() && done.settled.state.is_final());
    let over: Vec<_> =
        over.map(|(row, done)| (row.key.as_str(), done.settled.state.as_str())).collect();
    cancels::answered(tx, &over).await?;
    let mut owed = Vec::new();
    for (row, done) in folded {
        let order_id = order_id(row, &books.manners.capabilities.client_id);
        for step in &done.steps {
            owed.push(books.scribe.step(row, &order_id, step.clone())?);
        }
        if let (Some(replacement), Some(ended)) = (&row.replace, &done.replace) {
            owed.push(books.scribe.outcome(row, replacement, ended)?);
        }
        for alert in &done.alerts {
            owed.push(books.scribe.alert(row, alert)?);
        }
        if let Some(reason) = &done.halt {
            risk::halt_symbol(tx, &row.account, &row.symbol, reason).await?;
        }
    }
    Ok(owed)
}

/// The end of the order's replacement, as its command's row has it.
fn over((row, done): &(OrderRow, Folded)) -> Option<replaces::Ended> {
    let (replacement, ended) = (row.replace.as_ref()?, done.replace.as_ref()?);
    Some(replaces::Ended {
        command: replacement.key.to_string(),
        status: if ended.code.is_none() { "DONE" } else { "FAILED" },
        code: ended.code.clone(),
        reason: ended.reason.clone(),
    })
}

/// What each account realised on its newest day of those in hand; an earlier day is over.
pub(crate) fn realised(folded: &[(OrderRow, Folded)]) -> Vec<(&str, Date, Decimal)> {
    let mut days: BTreeMap<&str, (Date, Decimal)> = BTreeMap::new();
    for (row, done) in folded {
        let Some((day, amount)) = done.realised else { continue };
        let sum = days.entry(&row.account).or_insert((day, Decimal::ZERO));
        if day > sum.0 {
            *sum = (day, Decimal::ZERO);
        }
        if day == sum.0 {
            sum.1 += amount;
        }
    }
    days.into_iter().map(|(account, (day, amount))| (account, day, amount)).collect()
}

/// Counts what was settled.
pub fn count(dispatch: &Dispatch, report: &Report) {
    let metrics = &dispatch.ctx.metrics;
    for (policy_name, severity) in &report.alerts {
        metrics.alerts.with_label_values(&[policy_name, severity.as_str()]).inc();
        match *policy_name {
            "do.over_fill" => metrics.broken(Guarantee::NoOverFill, "an order is over-filled"),
            "do.broker_mismatch" => metrics.broken(Guarantee::OrderAsDecided, "not our order"),
            _ => {}
        }
    }
    for (before, now) in &report.moved {
        if now.exec_seq == before.exec_seq {
            continue;
        }
        metrics.dispatch_events.with_label_values(&[now.state.as_str()]).inc();
        if now.state == OrderStatus::Expired && before.attempt_no == 0 {
            metrics.dispatch_expired.inc();
        }
    }
}

#[cfg(test)]
mod rebuilt;
