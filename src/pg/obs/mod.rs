//! The obs_* tables as the sink writes them: months made beforehand, one upsert per table and batch, orders measured.
//! Never changes a row of an event: the first one stays, a repeat is counted. Never runs a query per row.
//! Invariant (I4, I8): the same events in any order, split and repeated in any way, leave the same rows.

mod insert;
mod late;
mod metrics;
pub mod tables;
mod varied;

pub(super) use self::metrics::{ALL_STEPS, step};

use std::collections::HashSet;

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio_postgres::Error;

use super::PgTime;
use crate::sink::project::measure::Touched;
use crate::sink::project::rows::{Month, Rows};

/// The months whose partitions are known to be there.
#[derive(Debug, Default)]
pub struct Months(HashSet<Month>);

impl Months {
    /// Makes the partitions that these rows need and that are not known yet. Not in the rows' transaction:
    /// making one takes locks that others wait for.
    pub async fn make(&mut self, client: &Client, rows: &Rows<'_>) -> Result<(), Error> {
        let mut missing: Vec<(Month, Timestamp)> = rows
            .times()
            .map(|at| (Month::of(at), at))
            .filter(|(m, _)| !self.0.contains(m))
            .collect();
        missing.sort_unstable();
        missing.dedup_by_key(|(month, _)| *month);
        for (month, at) in missing {
            let statement = client.prepare_cached("SELECT obs_make_month($1)").await?;
            client.execute(&statement, &[&PgTime(at)]).await?;
            self.0.insert(month);
        }
        Ok(())
    }

    /// Knows nothing any more: a month may have been dropped since.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// What became of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The table.
    pub table: &'static str,
    /// Rows that were not there before.
    pub new: u64,
    /// Events that were there already, or came more than once in the batch.
    pub repeats: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// One for each table that the batch had rows for.
    pub tables: Vec<Counted>,
    /// The event ids of new steps.
    new_steps: HashSet<String>,
    /// The orders to measure.
    touched: Vec<Touched>,
}

/// Writes the rows of a batch; their months must be there. [`measure`] has to follow in the same transaction.
pub async fn write(tx: &Transaction<'_>, rows: &Rows<'_>) -> Result<Written, Error> {
    // Sent one behind the other, answered in the same order: one round trip.
    let (plan_runs, infer_calls, decisions, exec_events, alerts, commands, ()) = tokio::try_join!(
        insert::plan_runs(tx, &rows.plan_runs),
        insert::infer_calls(tx, &rows.infer_calls),
        insert::decisions(tx, &rows.decisions),
        insert::exec_events(tx, &rows.exec_events),
        insert::alerts(tx, &rows.alerts),
        insert::command_outcomes(tx, &rows.command_outcomes),
        late::note(tx, rows.times()),
    )?;
    let mut written = Written::default();
    let mut count = |table, given: usize, new: u64| {
        if given > 0 {
            written.tables.push(Counted { table, new, repeats: given as u64 - new });
        }
    };
    count("obs_plan_runs", rows.plan_runs.len(), plan_runs);
    count("obs_infer_calls", rows.infer_calls.len(), infer_calls);
    count("obs_decisions", rows.decisions.len(), decisions.len() as u64);
    count("obs_exec_events", rows.exec_events.len(), exec_events.len() as u64);
    count("obs_alerts", rows.alerts.len(), alerts);
    count("obs_command_outcomes", rows.command_outcomes.len(), commands);
    let steps = rows.exec_events.iter().filter(|r| exec_events.contains(&r.event_id));
    let decided = rows.decisions.iter().filter(|r| decisions.contains(&r.event_id));
    let touched = steps
        .map(|r| Touched::by_step(r))
        .chain(decided.filter_map(|r| Touched::by_decision(r)))
        .collect();
    written.touched = Touched::each_once(touched);
    written.new_steps = exec_events;
    Ok(written)
}

/// Events of this batch that were there already and say something else now, by table. What they say is compared only in
/// tables in which something was there already; that a decision or a step is there under another time, in any case.
pub async fn varied(
    tx: &Transaction<'_>,
    rows: &Rows<'_>,
    written: &Written,
) -> Result<Vec<(&'static str, u64)>, Error> {
    let decisions = rows.decisions.iter().map(|r| (r.event_id.as_str(), r.made_at));
    let steps = rows.exec_events.iter().map(|r| (r.event_id.as_str(), r.sent_at));
    let (decisions, steps) = tokio::try_join!(
        varied::moved(tx, "obs_decisions", "made_at", decisions),
        varied::moved(tx, "obs_exec_events", "sent_at", steps),
    )?;
    let mut varied = Vec::new();
    for counted in &written.tables {
        let moved = match counted.table {
            "obs_decisions" => decisions,
            "obs_exec_events" => steps,
            _ => 0,
        };
        let differ = match counted.table {
            _ if counted.repeats == 0 => 0,
            "obs_plan_runs" => varied::count(tx, counted.table, &rows.plan_runs).await?,
            "obs_infer_calls" => varied::count(tx, counted.table, &rows.infer_calls).await?,
            "obs_decisions" => varied::count(tx, counted.table, &rows.decisions).await?,
            "obs_exec_events" => varied::count(tx, counted.table, &rows.exec_events).await?,
            "obs_alerts" => varied::count(tx, counted.table, &rows.alerts).await?,
            _ => varied::count(tx, counted.table, &rows.command_outcomes).await?,
        };
        if moved.max(differ) > 0 {
            varied.push((counted.table, moved.max(differ)));
        }
    }
    Ok(varied)
}

/// Makes the `obs_do_metrics` rows of the touched orders anew; returns how many changed. The last thing before the
/// commit: until then no other sink measures, for of a step and a decision that are committed at the same time each
/// transaction would see only its own.
pub async fn measure(tx: &Transaction<'_>, written: &Written) -> Result<u64, Error> {
    metrics::measure(tx, &written.touched, &written.new_steps).await
}

/// Makes the rows of these orders anew (key and trace), whose steps with these event ids were not known when their rows were
/// made.
pub(super) async fn measure_again(
    tx: &Transaction<'_>,
    orders: &[(String, String)],
    new_steps: &HashSet<String>,
) -> Result<u64, Error> {
    let touched = orders.iter().map(|(key, trace)| Touched {
        idempotency_key: key.clone(),
        trace_id: trace.clone(),
        since: None,
    });
    metrics::measure(tx, &touched.collect::<Vec<_>>(), new_steps).await
}
