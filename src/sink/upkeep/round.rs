//! Owns the tasks of upkeep: which are due, how each is carried out, and what is noted of it (`obs_upkeep`).
//! Never drops a month whose days are not counted. Invariant: a task may die anywhere and is done again from its start.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use tokio_postgres::Client;
use tokio_postgres::Error;

use super::calendar::{self, Keep, day_of, hour_of, hours_before, last_daily, last_over, start_of};
use crate::domain::policy::slo::Slos;
use crate::pg::upkeep::{self, Month, Progress, Session, State};
use crate::pg::{slo, told};
use crate::runtime::config::Config;
use crate::runtime::faults::crash_point;

/// Days counted in one statement: what is counted stays counted if a later one takes too long.
const CHUNK_DAYS: i64 = 7;
/// Hours counted anew every hour, and once a day.
const HOURS_ANEW: i64 = 72;
const HOURS_ALL: i64 = 31 * 24 + 1;
/// Longest pause before a task that failed is tried again.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Tables that days are counted from.
const COUNTED_FROM: [&str; 4] =
    ["obs_plan_runs", "obs_infer_calls", "obs_decisions", "obs_exec_events"];

/// What upkeep does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Task {
    Months,
    SloLoad,
    SloHours,
    LateDays,
    LatencyDays,
    LatencyDaily,
    Summaries,
    Retention,
}

impl Task {
    /// In the order in which they are carried out: a day is counted before its rows may go.
    pub const ALL: [Task; 8] = [
        Task::Months,
        Task::SloLoad,
        Task::SloHours,
        Task::LateDays,
        Task::LatencyDays,
        Task::LatencyDaily,
        Task::Summaries,
        Task::Retention,
    ];

    /// Its name in `obs_upkeep` and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Task::Months => "months",
            Task::SloLoad => "slo_load",
            Task::SloHours => "slo_hours",
            Task::LateDays => "late_days",
            Task::LatencyDays => "latency_days",
            Task::LatencyDaily => "latency_daily",
            Task::Summaries => "summaries",
            Task::Retention => "retention",
        }
    }
}

/// Why a task failed, and how often in a row it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Failed {
    pub why: String,
    pub in_a_row: i32,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Outcome {
    pub task: Task,
    pub took: Duration,
    pub result: Result<(), Failed>,
}

/// What one who works knows besides what is in the tables.
pub struct Desk {
    config: Arc<Config>,
    worker: Arc<str>,
    /// The last month that is known to be there.
    months_to: Option<Timestamp>,
    are_slos_put: bool,
    /// Whether what somebody else has left half done was looked for.
    is_resumed: bool,
    /// Not before this moment again.
    resting: HashMap<Task, Instant>,
}

impl Desk {
    /// One who has just begun.
    pub fn new(config: Arc<Config>, worker: Arc<str>) -> Self {
        Self {
            config,
            worker,
            months_to: None,
            are_slos_put: false,
            is_resumed: false,
            resting: HashMap::new(),
        }
    }

    /// The service levels are others now.
    pub fn slos_changed(&mut self) {
        self.are_slos_put = false;
    }

    /// Carries out what is due. An error is the end of the session.
    pub async fn round(
        &mut self,
        session: &mut Session,
        slos: &Slos,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        for task in Task::ALL {
            if self.resting.get(&task).is_some_and(|until| *until > Instant::now()) {
                continue;
            }
            let now = session.now().await?;
            if self.is_due(session.client(), task, now).await? {
                outcomes.push(self.carry_out(session, task, slos).await?);
            }
        }
        Ok(outcomes)
    }

    async fn is_due(&self, client: &Client, task: Task, now: Timestamp) -> Result<bool, Error> {
        let progress = upkeep::progress(client, task.name()).await?;
        let before = |moment: Timestamp| progress.finished_at.is_none_or(|done| done < moment);
        let daily = before(last_daily(&self.config.upkeep, now));
        Ok(match task {
            Task::Months => self.months_to != self.months(now).last().copied(),
            Task::SloLoad => !self.are_slos_put,
            Task::SloHours => progress.reached.is_none_or(|to| to < hours_to(now)),
            Task::LateDays => upkeep::late(client).await?.is_some(),
            Task::LatencyDays => daily,
            Task::LatencyDaily => {
                let late = upkeep::progress(client, Task::LateDays.name()).await?;
                daily || late.finished_at.is_some_and(before)
            }
            Task::Summaries => before(hours_before(now, 1)),
            Task::Retention => daily || !self.is_resumed,
        })
    }

    /// Carries out a task, due or not, and notes it. An error is the end of the session.
    pub async fn carry_out(
        &mut self,
        session: &mut Session,
        task: Task,
        slos: &Slos,
    ) -> Result<Outcome, Error> {
        let begun = Instant::now();
        let now = session.now().await?;
        let client = session.client();
        upkeep::started(client, task.name(), &self.worker).await?;
        let done = match task {
            Task::Months => self.make_months(client, now).await,
            Task::SloLoad => self.put_slos(client, slos, now).await,
            Task::SloHours => count_hours(client, now).await,
            Task::LateDays => upkeep::count_late(client).await.map(|_| now),
            Task::LatencyDays => self.count_days(client, now).await,
            Task::LatencyDaily => refresh(client, now).await,
            Task::Summaries => {
                let months = [hours_before(now, 24 * 28), now];
                upkeep::summarise(client, &months).await.map(|()| now)
            }
            Task::Retention => self.retire(client, now).await,
        };
        let took = begun.elapsed();
        let error = match done {
            Ok(reached) => {
                upkeep::finished(client, task.name(), took, reached).await?;
                self.resting.remove(&task);
                return Ok(Outcome { task, took, result: Ok(()) });
            }
            Err(error) if session.is_closed() => return Err(error),
            Err(error) => error,
        };
        let why = told(&error);
        let in_a_row = upkeep::failed(session.client(), task.name(), &why).await?;
        let pause = Duration::from_millis(self.config.upkeep.look_every_ms);
        let pause = pause.saturating_mul(1 << in_a_row.clamp(0, 16)).min(RETRY_MAX);
        self.resting.insert(task, Instant::now() + pause);
        Ok(Outcome { task, took, result: Err(Failed { why, in_a_row }) })
    }

    fn months(&self, now: Timestamp) -> Vec<Timestamp> {
        calendar::months(now, self.config.upkeep.months_ahead)
    }

    async fn make_months(&mut self, client: &Client, now: Timestamp) -> Result<Timestamp, Error> {
        let months = self.months(now);
        for month in &months {
            if !upkeep::has_month(client, *month).await? {
                upkeep::make_month(client, *month).await?;
            }
        }
        self.months_to = months.last().copied();
        Ok(self.months_to.unwrap_or(now))
    }

    async fn put_slos(
        &mut self,
        client: &mut Client,
        slos: &Slos,
        now: Timestamp,
    ) -> Result<Timestamp, Error> {
        if slo::put(client, slos).await? {
            tracing::info!(
                digest = slos.digest(),
                objectives = slos.objectives.len(),
                "service levels are in force"
            );
        }
        self.are_slos_put = true;
        Ok(now)
    }

    /// Counts the days that are over and were not counted.
    async fn count_days(&self, client: &mut Client, now: Timestamp) -> Result<Timestamp, Error> {
        let last = last_over(last_daily(&self.config.upkeep, now));
        let mut next = match upkeep::last_day(client).await? {
            Some(counted) => after(counted, 1),
            None => upkeep::first_day(client).await?.unwrap_or(last),
        };
        while next <= last {
            let end = after(next, CHUNK_DAYS - 1).min(last);
            upkeep::count_days(client, next, end).await?;
            next = after(end, 1);
        }
        Ok(start_of(next))
    }

    /// Drops the months that are too old.
    async fn retire(&mut self, client: &mut Client, now: Timestamp) -> Result<Timestamp, Error> {
        for month in upkeep::retired(client).await? {
            match month.state {
                // It is to be kept after all.
                State::Attached if !self.is_too_old(&month, now) => {
                    upkeep::forget(client, &month).await?
                }
                _ => retire_one(client, &month).await?,
            }
        }
        self.is_resumed = true;
        for month in self.too_old(client, now).await? {
            upkeep::note(client, &month).await?;
            crash_point("sink/upkeep-noted");
            retire_one(client, &month).await?;
            tracing::info!(partition = month.partition, until = %month.until, "a month was dropped: it is older than what is kept");
        }
        Ok(now)
    }

    /// The months that may be dropped now.
    pub async fn too_old(&self, client: &Client, now: Timestamp) -> Result<Vec<Month>, Error> {
        let counted = upkeep::last_day(client).await?;
        let months = upkeep::months(client).await?.into_iter();
        let may_go = |month: &Month| {
            let is_counted = !COUNTED_FROM.contains(&month.table.as_str())
                || counted.is_some_and(|day| day >= day_of(month.until));
            month.state == State::Attached && is_counted && self.is_too_old(month, now)
        };
        Ok(months.filter(may_go).collect())
    }

    fn is_too_old(&self, month: &Month, now: Timestamp) -> bool {
        let keep = self.config.upkeep.retention.get(&month.table).and_then(|text| Keep::read(text));
        keep.is_some_and(|keep| month.until <= keep.limit(now))
    }
}

/// Detaches and drops a month that was noted, from wherever it was left.
async fn retire_one(client: &mut Client, month: &Month) -> Result<(), Error> {
    upkeep::detach(client, month).await?;
    crash_point("sink/upkeep-detached");
    upkeep::drop_detached(client, month).await
}

async fn refresh(client: &Client, now: Timestamp) -> Result<Timestamp, Error> {
    upkeep::refresh(client).await?;
    crash_point("sink/upkeep-refreshed");
    Ok(now)
}

/// Hours are counted up to here: the newest ones still change often.
fn hours_to(now: Timestamp) -> Timestamp {
    hours_before(hour_of(now), 1)
}

/// Counts the hours of three days anew, and once a day all of them: an order may end days after it was sent.
async fn count_hours(client: &mut Client, now: Timestamp) -> Result<Timestamp, Error> {
    let Progress { finished_at, reached, .. } =
        upkeep::progress(client, Task::SloHours.name()).await?;
    let until = hours_to(now);
    let is_todays = finished_at.is_some_and(|done| day_of(done) == day_of(now));
    let since = match reached {
        Some(reached) if is_todays => reached.min(hours_before(until, HOURS_ANEW)),
        _ => hours_before(until, HOURS_ALL),
    };
    slo::count_hours(client, since, until).await?;
    Ok(until)
}

fn after(day: Date, days: i64) -> Date {
    day.checked_add(days.days()).unwrap_or(Date::MAX)
}
