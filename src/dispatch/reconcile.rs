//! Reconcile: our position of each (account, symbol) beside the broker's (C-OUT-9).
//! Never corrects anything: a difference that stays is an alert, and only what reduces may be sent until a person
//! has lifted that. Invariant: a lane is compared only while nothing in it is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::json;

use super::broker::Broker;
use super::events::Notice;
use super::hourly;
use super::{Dispatch, DispatchError};
use crate::domain::event::Severity;
use crate::owed;
use crate::pg::broker::{self, Check, Held};
use crate::pg::halts::{self, Halt, Scope};
use crate::runtime::clock::{Boot, boot, now};

/// Which round this is, among those that one process holds at a time.
const ROUND: &str = "positions";
/// A round is another's after this long without a look, milliseconds.
pub const HOLD_MS: u64 = 30_000;
/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A difference is one when it has stayed for so long: what is on its way has then arrived.
const STAYS: Duration = Duration::from_secs(2);
/// The same where an order works at the broker: a fill may not have been heard of yet.
const STAYS_WORKING: Duration = Duration::from_secs(8);
/// Lanes that are never at rest are left to the next round.
const ROUND_MAX: Duration = Duration::from_secs(300);

type Lane = (String, String);

/// Two looks at a lane: ours and theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    ours: Decimal,
    theirs: Decimal,
    working: bool,
}

/// What a round knows so far.
#[derive(Default)]
struct Round {
    /// Lanes that differ, since when, and how.
    differing: BTreeMap<Lane, (Look, Boot)>,
    /// Lanes that are done.
    done: BTreeSet<Lane>,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every lane that came to rest has been compared.
    Done,
    /// Another process compares, or has done so not long ago.
    Elsewhere,
}

/// One round: looks until every lane has been compared at rest. Not if one was done less than `rested` ago.
pub async fn round(dispatch: &Dispatch, rested: Duration) -> Result<Ended, DispatchError> {
    let worker = &dispatch.ctx.worker;
    let rested_ms = u64::try_from(rested.as_millis()).unwrap_or(u64::MAX);
    let client = dispatch.ctx.pool.get().await?;
    if !broker::take_round(&client, ROUND, worker, (HOLD_MS, rested_ms)).await? {
        return Ok(Ended::Elsewhere);
    }
    drop(client);
    let looked = looks(dispatch).await;
    let client = dispatch.ctx.pool.get().await?;
    broker::end_round(&client, ROUND, worker, matches!(looked, Ok(Ended::Done))).await?;
    looked
}

async fn looks(dispatch: &Dispatch) -> Result<Ended, DispatchError> {
    let started = boot();
    let mut round = Round::default();
    loop {
        let waiting = look(dispatch, &mut round).await?;
        if waiting == 0 || dispatch.stop.is_cancelled() {
            return Ok(Ended::Done);
        }
        if boot().since(started) > ROUND_MAX {
            tracing::warn!(lanes = waiting, "positions that are never at rest were not compared");
            return Ok(Ended::Done);
        }
        tokio::select! {
            () = dispatch.stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let client = dispatch.ctx.pool.get().await?;
        if !broker::hold_round(&client, ROUND, &dispatch.ctx.worker, HOLD_MS).await? {
            return Ok(Ended::Elsewhere);
        }
    }
}

/// One look at every lane that is not done; how many are left.
async fn look(dispatch: &Dispatch, round: &mut Round) -> Result<usize, DispatchError> {
    let client = dispatch.ctx.pool.get().await?;
    let (accounts, before) = broker::held(&client).await?;
    drop(client);
    let mut theirs: BTreeMap<Lane, Decimal> = BTreeMap::new();
    for account in &accounts {
        let told = dispatch.broker.positions(account).await.map_err(DispatchError::Positions)?;
        for position in told.positions {
            theirs.insert((account.clone(), position.symbol), position.qty);
        }
    }
    let client = dispatch.ctx.pool.get().await?;
    let (_, after) = broker::held(&client).await?;
    drop(client);
    let (settled, waiting) = round.compare(&before, &after, &theirs, boot());
    if !settled.is_empty() {
        settle(dispatch, &settled).await?;
        round.done.extend(settled.into_iter().map(|(lane, _)| lane));
    }
    Ok(waiting)
}

impl Round {
    /// Lanes whose comparison stands now, and how many are still waited for. `before` and `after` are ours
    /// around the moment of `theirs`: a lane that moved in between says nothing.
    fn compare(
        &mut self,
        before: &[Held],
        after: &[Held],
        theirs: &BTreeMap<Lane, Decimal>,
        now: Boot,
    ) -> (Vec<(Lane, Look)>, usize) {
        let lane = |held: &Held| (held.account.clone(), held.symbol.clone());
        let earlier: BTreeMap<Lane, &Held> = before.iter().map(|held| (lane(held), held)).collect();
        let later: BTreeMap<Lane, &Held> = after.iter().map(|held| (lane(held), held)).collect();
        let all: BTreeSet<Lane> = later.keys().chain(theirs.keys()).cloned().collect();
        let (mut stands, mut waiting) = (Vec::new(), 0);
        for lane in all {
            if self.done.contains(&lane) {
                continue;
            }
            let (was, is) = (earlier.get(&lane), later.get(&lane));
            let moved = was != is || is.is_some_and(|held| held.unclear);
            let look = Look {
                ours: is.map_or(Decimal::ZERO, |held| held.position),
                theirs: theirs.get(&lane).copied().unwrap_or_default(),
                working: is.is_some_and(|held| held.working),
            };
            if moved {
                self.differing.remove(&lane);
                waiting += 1;
            } else if look.ours == look.theirs || self.stays(&lane, &look, now) {
                self.differing.remove(&lane);
                stands.push((lane, look));
            } else {
                waiting += 1;
            }
        }
        (stands, waiting)
    }

    /// Whether this difference has been the same for long enough.
    fn stays(&mut self, lane: &Lane, look: &Look, now: Boot) -> bool {
        let since = match self.differing.get(lane) {
            Some((known, since)) if known == look => *since,
            _ => {
                self.differing.insert(lane.clone(), (look.clone(), now));
                now
            }
        };
        now.since(since) >= if look.working { STAYS_WORKING } else { STAYS }
    }
}

/// What a comparison that stands asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Agrees,
    /// A difference that somebody has been told of, and has acknowledged or not yet.
    Known,
    New,
}

fn verdict(look: &Look, known: Option<&Check>, newest: Option<&Halt>) -> Verdict {
    if look.ours == look.theirs {
        return Verdict::Agrees;
    }
    let difference = look.theirs.checked_sub(look.ours);
    let told = known.filter(|check| check.halt_number.is_some());
    let same = told.is_some_and(|check| check.theirs.checked_sub(check.ours) == difference);
    // A halt of the scope that nobody lifted still says so; one that was lifted acknowledged this difference.
    match newest {
        Some(_) if same => Verdict::Known,
        _ => Verdict::New,
    }
}

/// Notes comparisons; tells of new differences and stops what opens, in one transaction.
async fn settle(dispatch: &Dispatch, settled: &[(Lane, Look)]) -> Result<(), DispatchError> {
    let mut client = dispatch.ctx.pool.get().await?;
    let tx = client.transaction().await?;
    halts::lock(&tx).await?;
    broker::lock_check(&tx).await?;
    let known: BTreeMap<Lane, Check> = broker::checks(&*tx)
        .await?
        .into_iter()
        .map(|check| ((check.account.clone(), check.symbol.clone()), check))
        .collect();
    let (mut events, mut notices) = (Vec::new(), Vec::new());
    for (lane, look) in settled {
        let (account, symbol) = lane;
        let scope =
            Scope { account: Some(account.clone()), symbol: Some(symbol.clone()), strategy: None };
        let newest = halts::newest(&*tx, &scope).await?;
        let check = known.get(lane);
        let verdict = verdict(look, check, newest.as_ref());
        let mut halt_number = check.and_then(|check| check.halt_number);
        let word = match verdict {
            Verdict::Agrees => {
                halt_number = None;
                "agrees"
            }
            Verdict::Known => "differs",
            Verdict::New => {
                let (number, notice) = stop(&tx, lane, look, &scope, newest.as_ref()).await?;
                halt_number = Some(number);
                events.push(dispatch.scribe.notice(&notice, now())?);
                notices.push(notice);
                "differs"
            }
        };
        dispatch.ctx.metrics.position_checks.with_label_values(&[word]).inc();
        let both = (look.ours, look.theirs);
        broker::note_check(&*tx, (account, symbol), both, halt_number).await?;
    }
    let room = dispatch.emitter.room_now();
    let batch = owed::insert(&tx, &dispatch.ctx.worker, &events).await?;
    tx.commit().await?;
    notices.iter().for_each(|notice| hourly::count(&dispatch.ctx, notice));
    dispatch.emitter.emit(room, batch, events);
    Ok(())
}

/// Only what reduces may be sent from now on; a stricter halt in force stays.
async fn stop(
    tx: &deadpool_postgres::Transaction<'_>,
    lane: &Lane,
    look: &Look,
    scope: &Scope,
    newest: Option<&Halt>,
) -> Result<(i64, Notice), DispatchError> {
    let (account, symbol) = lane;
    let (ours, theirs) = (look.ours.normalize(), look.theirs.normalize());
    let reason =
        format!("the position of {account} in {symbol} is {ours}, the broker's is {theirs}");
    tracing::error!(account, symbol, %ours, %theirs, "a position differs from the broker's");
    let number = match newest {
        Some(halt) if halt.mode == "halted" => halt.number,
        _ => halts::declare(tx, "reduce_only", scope, &reason, ("noctus dispatch", None)).await?,
    };
    let notice = Notice {
        policy_name: "do.position_mismatch",
        severity: Severity::Critical,
        subject: format!("{account}|{symbol}|{ours}|{theirs}"),
        reason,
        details: json!({
            "account": account, "symbol": symbol,
            "ours": ours.to_string(), "theirs": theirs.to_string(), "halt": number,
        }),
    };
    Ok((number, notice))
}

#[cfg(test)]
mod tests;
