//! Send: the claimed orders of one lane, one after the other, each awaited; and questions about single orders.
//! Never touches the database. Invariant (C-OUT-5): nothing of a lane is sent before what was decided earlier
//! has been answered, except what only reduces while an earlier outcome is unknown (C-OUT-4).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Dispatch;
use super::broker::protocol::{BrokerStatus, CallKind, OrderView, PlaceOrder};
use super::broker::traced::within;
use super::broker::{Asked, Broker, Moved, NoAnswer, Placed, events};
use super::claim::Claimed;
use super::door::word_of_placed;
use super::fence::{Lease, may_write};
use super::fold::{Finding, Outcome};
use super::pace::Rank;
use super::road::Road;
use super::safe::says_nothing;
use super::traced;
use crate::domain::event::OrderStatus;
use crate::domain::order::Event;
use crate::pg::outbox::OrderRow;
use crate::runtime::clock::{self, boot};
use crate::runtime::faults::{crash_point, in_flight};

/// How long a sender waits for fresh knowledge of halts before it gives the order back.
pub(super) const HALT_PATIENCE: Duration = Duration::from_secs(1);

/// Sends a lane's orders; every one of them gets an outcome.
pub async fn send_lane(
    dispatch: Arc<Dispatch>,
    lease: Arc<Lease>,
    batch: Vec<Claimed>,
) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut road = Road::default();
    for claimed in batch {
        let refused = road.refuses(&claimed.row, dispatch.stop.is_cancelled());
        let (placed, rtt_ms) = match refused {
            Some(code) => (Placed::NotSent { code }, None),
            None => send(&dispatch, &lease, &claimed).await,
        };
        road = road.after(&placed);
        outcomes.push(outcome(claimed.row, placed, rtt_ms));
    }
    outcomes
}

/// Waits until the broker may be sent this order; not longer than it is wanted, which the last look finds again.
async fn turn(dispatch: &Dispatch, claimed: &Claimed) -> Result<(), &'static str> {
    let rank = match claimed.row.opening_qty.is_zero() {
        true => Rank::First,
        false => Rank::Later,
    };
    let over = async {
        match claimed.alive_until {
            Some(end) => tokio::time::sleep(end.since(boot())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        turn = dispatch.broker.turn(CallKind::Order, rank) => turn,
        () = over => Err("too_old"),
        () = dispatch.halts.stopped(&claimed.row) => Err("halted"),
    }
}

async fn send(dispatch: &Dispatch, lease: &Lease, claimed: &Claimed) -> (Placed, Option<i64>) {
    let turn = turn(dispatch, claimed).await;
    let mut halts = dispatch.halts.clone();
    halts.fresh(HALT_PATIENCE).await;
    let (started, began) = (boot(), clock::now());
    // A halt is confirmed only when no write that did not know of it is under way.
    let mut known = None;
    let may_write = || {
        known = Some(may_write(lease, &halts, &claimed.row, claimed.alive_until)?);
        turn
    };
    let placing = dispatch.broker.place(&claimed.order, Box::new(may_write));
    let placed = within(claimed.row.hop(), placing).await;
    drop(known);
    crash_point("dispatch/answer-read");
    traced::sent(&claimed.row, began, &placed);
    let took = boot().since(started);
    let metrics = &dispatch.ctx.metrics;
    let (row, rtt_ms) = (&claimed.row, i64::try_from(took.as_millis()).ok());
    metrics.dispatch_outcomes.with_label_values(&[word_of_placed(&placed)]).inc();
    match &placed {
        Placed::NotSent { code } => {
            tracing::info!(key = %row.key, trace_id = %row.trace_id, code, "not sent");
            return (placed, None);
        }
        Placed::Unknown { code, detail, .. } => {
            tracing::warn!(key = %row.key, trace_id = %row.trace_id, code, detail, "outcome unknown");
        }
        Placed::Mismatch(view) => {
            let theirs = view.order_ref.as_str();
            tracing::error!(key = %row.key, trace_id = %row.trace_id, theirs, "not our order");
        }
        Placed::Known(_) => {
            let waited = clock::now().duration_since(row.decided_at).as_secs_f64();
            metrics.dispatch_accept_seconds.observe(waited.max(0.0));
        }
        Placed::Refused { .. } => {}
    }
    metrics.dispatch_sends.inc();
    (placed, rtt_ms)
}

/// What an answer to a send says of its order.
pub(crate) fn outcome(row: OrderRow, placed: Placed, rtt_ms: Option<i64>) -> Outcome {
    let (finding, ends, detail) = match placed {
        Placed::Known(view) => {
            let ends = ended(&view);
            let detail = json!({"order_ref": view.order_ref, "duplicate": view.duplicate});
            return of(row, Finding::Facts(events(&view)), Some(ends), detail, Some(&view), rtt_ms);
        }
        Placed::Refused { code } => {
            let detail = json!({"code": code});
            (Finding::Facts(vec![Event::Reject { code }]), "rejected", detail)
        }
        Placed::Mismatch(view) => {
            let detail = json!({"code": "mismatch", "order_ref": view.order_ref});
            return of(
                row,
                Finding::Mismatch(view.clone()),
                Some("unknown"),
                detail,
                Some(&view),
                rtt_ms,
            );
        }
        Placed::NotSent { code } => (Finding::NotSent { code }, "not_sent", json!({"code": code})),
        Placed::Unknown { code, detail, retry_after } => {
            let wait = retry_after.map_or(0, |w| u64::try_from(w.as_millis()).unwrap_or(0));
            let detail = json!({"code": code, "detail": detail});
            (Finding::Lost { code, retry_after_ms: wait }, "unknown", detail)
        }
    };
    of(row, finding, Some(ends), detail, None, rtt_ms)
}

pub(super) fn ended(view: &OrderView) -> &'static str {
    match view.status {
        BrokerStatus::Rejected => "rejected",
        _ => "accepted",
    }
}

pub(super) fn of(
    row: OrderRow,
    finding: Finding,
    ends: Option<&'static str>,
    detail: Value,
    view: Option<&OrderView>,
    rtt_ms: Option<i64>,
) -> Outcome {
    Outcome {
        attempt_no: row.attempt_no,
        row,
        finding,
        ends,
        detail,
        response: view.and_then(|v| serde_json::to_value(v).ok()),
        cancel: None,
        rtt_ms,
        at: clock::now(),
        jitter: rand::random_range(-1.0..=1.0),
    }
}

/// Asks the broker what became of one order.
pub async fn ask(dispatch: Arc<Dispatch>, row: OrderRow) -> Vec<Outcome> {
    if !dispatch.known().capabilities.query_by_client_id {
        return vec![unasked(row)];
    }
    let order = dispatch.place_order(&row);
    let asked = within(row.hop(), dispatch.broker.ask(&order)).await;
    crash_point("dispatch/reconcile-queried");
    match &asked {
        Asked::Failed(none) if says_nothing(none) => {}
        Asked::Failed(NoAnswer { code, detail, .. }) => {
            tracing::warn!(key = %row.key, trace_id = %row.trace_id, code, detail, "no answer");
        }
        Asked::Known(_) | Asked::Mismatch(_) | Asked::NotFound => {}
    }
    vec![answered(row, asked)]
}

/// What an answer to a question says of its order.
pub(crate) fn answered(row: OrderRow, asked: Asked) -> Outcome {
    match asked {
        Asked::Known(view) => {
            let detail = json!({"order_ref": view.order_ref, "found_by": "query"});
            let mut facts = events(&view);
            // How it ended is known; what counts is a fill that came late.
            if row.state.is_final() {
                facts.retain(|event| matches!(event, Event::Fill(_)));
            }
            of(row, Finding::Facts(facts), Some(ended(&view)), detail, Some(&view), None)
        }
        Asked::Mismatch(view) => {
            of(row, Finding::Mismatch(view.clone()), None, Value::Null, Some(&view), None)
        }
        Asked::NotFound => of(row, Finding::NotFound, None, Value::Null, None, None),
        // That counts for nothing.
        Asked::Failed(none) if says_nothing(&none) => {
            of(row, Finding::AskAgain, None, Value::Null, None, None)
        }
        Asked::Failed(NoAnswer { code, retry_after, .. }) => {
            let retry_after_ms =
                retry_after.map_or(0, |w| u64::try_from(w.as_millis()).unwrap_or(0));
            of(row, Finding::NoAnswer { code, retry_after_ms }, None, Value::Null, None, None)
        }
    }
}

/// What is found out by not asking a broker that answers no questions.
pub(crate) fn unasked(row: OrderRow) -> Outcome {
    of(row, Finding::CannotAsk, None, Value::Null, None, None)
}

/// Asks the broker to cancel one order; whether that left. No finding unless its answer is clear: it is asked again, and
/// about the order too.
pub async fn cancel(
    dispatch: Arc<Dispatch>,
    lease: Arc<Lease>,
    row: OrderRow,
    code: String,
) -> (Vec<Outcome>, bool) {
    let order = dispatch.place_order(&row);
    // Whatever is halted, and however old the order: a cancel opens nothing. Only the lane must be ours.
    let may_write = || if lease.holds(boot()) { Ok(()) } else { Err("lease_over") };
    let asking = within(row.hop(), dispatch.broker.cancel(&order, &code, Box::new(may_write)));
    let moved = in_flight("dispatch/cancel-in-flight", asking).await;
    crash_point("dispatch/cancel-answered");
    let key = &row.key;
    match &moved {
        Moved::Refused { code, .. } => tracing::warn!(%key, code, "the broker refuses to cancel"),
        Moved::NotSent { code } => tracing::info!(%key, code, "a cancel was not sent"),
        Moved::Unknown { code, detail, .. } => {
            tracing::warn!(%key, code, detail, "a cancel got no clear answer");
        }
        Moved::Known(_) | Moved::Mismatch(_) | Moved::NotFound => {}
    }
    let was_sent = !matches!(moved, Moved::NotSent { .. });
    (cancel_answered(row, &order, moved).into_iter().collect(), was_sent)
}

/// What an answer to a cancel says of its order; nothing if it is not clear.
pub(crate) fn cancel_answered(row: OrderRow, order: &PlaceOrder, moved: Moved) -> Option<Outcome> {
    // Its answer is the first that is heard of it.
    let is_unknown = matches!(row.state, OrderStatus::Unknown | OrderStatus::Parked);
    let settled = |finding, view: Option<&OrderView>, answer: Option<String>| {
        let outcome = of(row, finding, None, Value::Null, view, None);
        Some(Outcome { cancel: answer, ..outcome })
    };
    match moved {
        Moved::Known(view) if is_unknown => {
            let detail = json!({"order_ref": view.order_ref, "found_by": "cancel"});
            let outcome = settled(Finding::Facts(events(&view)), Some(&view), None);
            outcome.map(|outcome| Outcome { ends: Some(ended(&view)), detail, ..outcome })
        }
        Moved::Known(view) => settled(Finding::Facts(events(&view)), Some(&view), None),
        Moved::Refused { code, original } => {
            // Another order under our id says nothing of ours.
            let shown = original.as_deref().filter(|view| view.order == *order);
            let finding = Finding::CancelRefused {
                code: code.clone(),
                shown: shown.map(events).unwrap_or_default(),
            };
            settled(finding, shown, Some(format!("refused:{code}")))
        }
        Moved::Mismatch(view) => {
            settled(Finding::Mismatch(view.clone()), Some(&view), Some("mismatch".into()))
        }
        // What is on its way may still come.
        Moved::NotFound if is_unknown => None,
        Moved::NotFound => settled(Finding::NotFound, None, Some("not_found".into())),
        Moved::NotSent { .. } | Moved::Unknown { .. } => None,
    }
}

/// A finding that the broker told by itself.
pub fn told(row: OrderRow, finding: Finding, view: &OrderView) -> Outcome {
    let ends = match &finding {
        Finding::Facts(_) => Some(ended(view)),
        _ => None,
    };
    let detail = json!({"order_ref": view.order_ref, "found_by": "event"});
    of(row, finding, ends, detail, Some(view), None)
}

/// An attempt whose worker is gone: its outcome is unknown until the broker was asked (C-OUT-3).
pub fn taken_over(row: OrderRow) -> Outcome {
    let detail = json!({"code": "taken_over"});
    let finding = Finding::Lost { code: "taken_over", retry_after_ms: 0 };
    of(row, finding, Some("unknown"), detail, None, None)
}
