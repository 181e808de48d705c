//! Upkeep of the obs_* tables by one of the sinks: months ahead, the days and hours that are over, service levels,
//! retention. `run` is the whole loop; `noctus maintain` does the same tasks by hand.
//! Never blocks a sink or a reader: every lock is waited for briefly, every statement is limited, nothing is rewritten.
//! Invariant: one process leads. The lead is a lock of the session it works in: without the session there is neither.

pub mod calendar;
pub mod round;
pub mod slos;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::round::{Desk, Outcome, Task};
use self::slos::SloSource;
use super::write::WriteError;
use crate::domain::event::{Alert, Severity};
use crate::domain::news::{News, minute_of};
use crate::owed::{self, Emitter};
use crate::pg::upkeep::Session;
use crate::runtime::clock;
use crate::runtime::context::Context;

/// A task that has failed so often in a row is an alert, once.
const ALERT_AT: i32 = 3;
/// An alert tells so many characters of what is wrong.
const TOLD_MAX: usize = 2_000;

/// Leads when nobody else does, until `stop`.
pub async fn run(ctx: Context, emitter: Emitter, mut slos: SloSource, stop: CancellationToken) {
    let pause = Duration::from_millis(ctx.config.upkeep.look_every_ms);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            ended = lead(&ctx, &emitter, &mut slos) => match ended {
                Ok(()) => {}
                Err(error) => tracing::warn!(error = crate::pg::told(&error), "upkeep goes on with a new session"),
            }
        }
        ctx.metrics.upkeep_leads.set(0);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Works for as long as this session leads; returns at once if another one does.
async fn lead(
    ctx: &Context,
    emitter: &Emitter,
    slos: &mut SloSource,
) -> Result<(), tokio_postgres::Error> {
    let pause = Duration::from_millis(ctx.config.upkeep.look_every_ms);
    let mut session = Session::open(&ctx.config).await?;
    while !session.lead().await? {
        tokio::time::sleep(pause).await;
    }
    tracing::info!(worker = &*ctx.worker, "upkeep is led from here");
    ctx.metrics.upkeep_leads.set(1);
    let mut desk = Desk::new(ctx.config.clone(), ctx.worker.clone());
    loop {
        if slos.has_changed() {
            match slos.read() {
                Ok(()) => desk.slos_changed(),
                Err(why) => {
                    tracing::error!(
                        why,
                        "changed service levels are refused; the last good ones stay in force"
                    );
                    let details = json!({"file": slos.file(), "contents_sha256": slos.contents()});
                    tell(
                        ctx,
                        emitter,
                        ("sink.slo_refused", Severity::High),
                        &slos.contents(),
                        &why,
                        details,
                    )
                    .await;
                }
            }
        }
        // Somebody at it by hand: the next look finds what is left.
        if session.begin().await? {
            let outcomes = desk.round(&mut session, slos.slos()).await?;
            session.end().await?;
            for outcome in outcomes {
                count(ctx, emitter, outcome).await;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn count(ctx: &Context, emitter: &Emitter, outcome: Outcome) {
    let task = outcome.task.name();
    let m = &ctx.metrics;
    m.upkeep_seconds.observe(outcome.took.as_secs_f64());
    let Err(failed) = outcome.result else {
        m.upkeep_runs.with_label_values(&[task, "done"]).inc();
        return m.upkeep_last_success.with_label_values(&[task]).set(clock::now().as_second());
    };
    m.upkeep_runs.with_label_values(&[task, "failed"]).inc();
    tracing::warn!(
        task,
        failures = failed.in_a_row,
        error = failed.why,
        "a task of upkeep failed; it is tried again"
    );
    if failed.in_a_row == ALERT_AT {
        let details = json!({"task": task, "failures": failed.in_a_row});
        let why = format!("{task}: {}", failed.why);
        tell(ctx, emitter, ("sink.upkeep_failing", Severity::High), task, &why, details).await;
    }
}

/// Commits an alert and has it emitted; one that cannot be is logged.
async fn tell(
    ctx: &Context,
    emitter: &Emitter,
    (policy_name, severity): (&str, Severity),
    subject: &str,
    why: &str,
    details: serde_json::Value,
) {
    let reason = why.chars().take(TOLD_MAX).collect();
    let window_start = minute_of(clock::now());
    let policy_name = policy_name.to_string();
    let alert = News { policy_name, severity, subject, window_start, reason, details }.alert();
    ctx.metrics.alerts.with_label_values(&[alert.policy_name.as_str(), severity.as_str()]).inc();
    if let Err(error) = commit(ctx, emitter, &alert).await {
        tracing::error!(%error, ?alert, "an alert was not told");
    }
}

async fn commit(ctx: &Context, emitter: &Emitter, alert: &Alert) -> Result<(), WriteError> {
    let events = vec![owed::alert::<WriteError>(ctx, alert).await?];
    let row = owed::commit::<WriteError>(ctx, &events).await?;
    // Without room a sweep emits it.
    emitter.emit(emitter.room_now(), row, events);
    Ok(())
}

/// Every task once, by hand: waits for whoever is at it, up to so long. None: it did not end.
pub async fn by_hand(
    config: Arc<crate::runtime::config::Config>,
    worker: Arc<str>,
    slos: &SloSource,
    wait: Duration,
) -> Result<Option<Vec<Outcome>>, tokio_postgres::Error> {
    let mut session = Session::open(&config).await?;
    let until = tokio::time::Instant::now() + wait;
    while !session.begin().await? {
        if tokio::time::Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut desk = Desk::new(config, worker);
    let mut outcomes = Vec::new();
    for task in Task::ALL {
        outcomes.push(desk.carry_out(&mut session, task, slos.slos()).await?);
    }
    session.end().await?;
    Ok(Some(outcomes))
}
