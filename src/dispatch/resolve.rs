//! Owns ending a PARKED order by what two people know of it (C-OUT-4).
//! Never sends anything, and never ends an order that has moved since it was proposed.
//! Invariant: state, reservation, position and events move through the same fold as a broker's answer.

use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::DispatchError;
use super::broker::handshake::shake_hands;
use super::broker::rest::Rest;
use super::events::Scribe;
use super::fold::{Finding, Manners, Outcome};
use super::settle::{Books, settle_in};
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::order::Event;
use crate::kafka::registry::Registry;
use crate::owed;
use crate::pg::Pool;
use crate::pg::outbox::{self, OrderRow};
use crate::pg::proposals::{self, Kind, NotApproved};
use crate::runtime::clock;
use crate::runtime::config::Config;

/// The code of steps that a person made.
const CODE: &str = "resolved_by_hand";

/// What became of the order, as people found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "kebab-case")]
pub enum Verdict {
    /// The broker never had it: CANCELLED. It is not sent again.
    NotSent,
    /// The broker refused it: REJECTED.
    Rejected,
    /// The broker filled this much of it and has nothing more of it working.
    Filled {
        /// Units.
        qty: Decimal,
        /// Their average price.
        px: Decimal,
    },
}

/// What is proposed: a verdict on an order in the state it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Resolution {
    pub key: String,
    pub exec_seq: i32,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Why an order is not ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ResolveError {
    #[error(transparent)]
    NotApproved(#[from] NotApproved),
    #[error("no order is known under key {0}")]
    NoOrder(String),
    #[error("{key} is {state}, not PARKED: dispatch finds out by itself what becomes of it", state = .state.as_str())]
    NotParked { key: String, state: OrderStatus },
    #[error("{0} has moved since this was proposed: look at it again, and propose anew")]
    Moved(String),
    #[error("{qty} cannot be filled of {key}: {left} are not filled yet")]
    TooMuch { key: String, qty: Decimal, left: Decimal },
    #[error("the proposal cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("that cannot happen to {key}: {why}")]
    Impossible { key: String, why: String },
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

impl From<tokio_postgres::Error> for ResolveError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Dispatch(error.into())
    }
}

/// An order that may be resolved so, as it is now.
pub async fn check(
    client: &impl crate::pg::GenericClient,
    key: &str,
    verdict: Verdict,
) -> Result<OrderRow, ResolveError> {
    let found = outbox::find(client, key).await.map_err(DispatchError::from)?;
    let row = found.ok_or_else(|| ResolveError::NoOrder(key.into()))?;
    if row.state != OrderStatus::Parked {
        return Err(ResolveError::NotParked { key: key.into(), state: row.state });
    }
    if let Verdict::Filled { qty, .. } = verdict {
        let left = unfilled(client, &row).await?;
        if qty > left {
            return Err(ResolveError::TooMuch { key: key.into(), qty, left });
        }
    }
    Ok(row)
}

async fn unfilled(
    client: &impl crate::pg::GenericClient,
    row: &OrderRow,
) -> Result<Decimal, ResolveError> {
    let fills = outbox::fills(client, &[row.key.as_str()]).await?;
    let filled = fills.iter().fold(Decimal::ZERO, |sum, (_, fill)| sum.saturating_add(fill.qty));
    Ok(row.qty.saturating_sub(filled).max(Decimal::ZERO))
}

/// Approves a proposal and does what it says, in one transaction; the order's new state.
pub async fn approve(
    config: &Config,
    pool: &Pool,
    number: i64,
    by: &str,
) -> Result<(Resolution, OrderStatus), ResolveError> {
    let registry = Arc::new(Registry::new(&config.registry).map_err(DispatchError::from)?);
    let broker = Rest::of(config).map_err(DispatchError::from)?;
    let known = shake_hands(&broker, &config.broker.environment).await;
    let capabilities = known.map_err(DispatchError::from)?.capabilities;
    // What people have found out is not asked about: a fill that they booked has another id at the broker.
    let manners = Manners { capabilities, settle_ms: config.broker.settle_ms, late_fill_ms: 0 };
    let scribe = Scribe::new(config, &registry).await?;
    let mut client = pool.get().await.map_err(DispatchError::from)?;
    let tx = client.transaction().await?;
    let proposal = proposals::approve(&tx, Kind::Resolve, number, by).await?;
    let resolution: Resolution = serde_json::from_value(proposal.subject)?;
    let key = resolution.key.clone();
    let row = check(&*tx, &key, resolution.verdict).await?;
    let left = unfilled(&*tx, &row).await?;
    let detail = json!({"code": CODE, "proposal": number, "by": proposal.by_whom, "approver": by});
    let outcome = outcome(row, resolution.verdict, number, left, detail);
    let books = Books { manners: &manners, scribe: &scribe };
    let (report, events) = settle_in(&tx, &books, &[outcome]).await?;
    // Under lock now: was it still what was proposed?
    let (before, after) = report.moved.first().ok_or_else(|| ResolveError::NoOrder(key.clone()))?;
    if before.state != OrderStatus::Parked || before.exec_seq != resolution.exec_seq {
        return Err(ResolveError::Moved(key));
    }
    if let Some(why) = after.quarantined.first() {
        return Err(ResolveError::Impossible { key, why: why.clone() });
    }
    let state = after.state;
    owed::insert(&tx, "noctus orders", &events).await?;
    tx.commit().await?;
    Ok((resolution, state))
}

fn outcome(
    row: OrderRow,
    verdict: Verdict,
    number: i64,
    left: Decimal,
    detail: serde_json::Value,
) -> Outcome {
    let at = clock::now();
    let code = || CODE.to_string();
    let (events, ends) = match verdict {
        Verdict::NotSent => (vec![Event::Cancel { code: code() }], "not_sent"),
        Verdict::Rejected => (vec![Event::Reject { code: code() }], "rejected"),
        Verdict::Filled { qty, px } => {
            let fill = Fill { fill_id: format!("by-hand-{number}"), px, qty, at };
            let mut events = vec![Event::Fill(fill)];
            // Nothing of the rest works at the broker: it ends here.
            if qty < left {
                events.push(Event::Cancel { code: code() });
            }
            (events, "accepted")
        }
    };
    Outcome {
        attempt_no: row.attempt_no,
        row,
        finding: Finding::Facts(events),
        ends: Some(ends),
        detail,
        response: None,
        cancel: None,
        rtt_ms: None,
        at,
        jitter: 0.0,
    }
}
