//! Upkeep of the obs_* tables: the session that leads, how far each task has come, and the tasks themselves.
//! Never deletes anything of the ledger, and no month that was not noted before.
//! Invariant: whoever works holds the lock of the work on the very session it works in; with the session both are gone.

mod latency;
mod retention;

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

pub use self::latency::{count_days, count_late, first_day, last_day, late, refresh};
pub use self::retention::{Month, State, detach, drop_detached, forget, months, note, retired};
use super::PgTime;
use crate::runtime::config::Config;

/// The tables that are partitioned by month, and the column that they are partitioned by.
pub const TABLES: [(&str, &str); 7] = [
    ("obs_plan_runs", "started_at"),
    ("obs_infer_calls", "called_at"),
    ("obs_decisions", "made_at"),
    ("obs_exec_events", "sent_at"),
    ("obs_alerts", "created_at"),
    ("obs_do_metrics", "first_at"),
    ("obs_command_outcomes", "decided_at"),
];

/// A session that says nothing for so many looks, and for so long, is ended by the server: a stopped process does not lead
/// for ever.
const SILENT_LOOKS: u64 = 12;
const SILENT_LEAST_MS: u64 = 2_000;
/// For sorting a day's traces in memory.
const WORK_MEM: &str = "64MB";

/// A session of its own, for one who works by schedule or by hand.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let connecting = super::pool::configured(&config.database, "noctus upkeep", "")?;
        let (client, connection) = connecting.connect(NoTls).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upkeep's connection ended badly");
            }
        });
        let session = Self { client, driver };
        let upkeep = &config.upkeep;
        let silent_ms = (SILENT_LOOKS * upkeep.look_every_ms).max(SILENT_LEAST_MS);
        let settings = format!(
            "SET statement_timeout = '{}s'; SET lock_timeout = '{}ms'; SET idle_session_timeout = '{silent_ms}ms';
             SET work_mem = '{WORK_MEM}'",
            upkeep.statement_timeout_s, upkeep.lock_timeout_ms
        );
        session.client.batch_execute(&settings).await?;
        Ok(session)
    }

    /// The connection.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether it is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Takes the lead if nobody has it; it is kept as long as the session.
    pub async fn lead(&self) -> Result<bool, Error> {
        self.try_lock("noctus.upkeep.lead").await
    }

    /// Takes the work on if nobody else is at it: the one who leads, or somebody by hand.
    pub async fn begin(&self) -> Result<bool, Error> {
        self.try_lock("noctus.upkeep.work").await
    }

    /// Lets the work go again.
    pub async fn end(&self) -> Result<(), Error> {
        let sql = "SELECT pg_advisory_unlock(hashtextextended('noctus.upkeep.work', 0))";
        self.client.execute(sql, &[]).await.map(drop)
    }

    async fn try_lock(&self, name: &str) -> Result<bool, Error> {
        let sql = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
        self.client.query_one(sql, &[&name]).await?.try_get(0)
    }

    /// What the database's clock says.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        super::time::now(&self.client).await
    }
}

/// How far a task has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Progress {
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// How often in a row it has failed.
    pub failures: i32,
    pub error: Option<String>,
    /// See the column.
    pub reached: Option<Timestamp>,
}

/// What is known of a task; nothing of one that never ran.
pub async fn progress(client: &Client, task: &str) -> Result<Progress, Error> {
    let sql =
        "SELECT started_at, finished_at, failures, error, reached FROM obs_upkeep WHERE task = $1";
    let Some(row) = client.query_opt(sql, &[&task]).await? else { return Ok(Progress::default()) };
    let time = |at: usize| Ok::<_, Error>(row.try_get::<_, Option<PgTime>>(at)?.map(|t| t.0));
    Ok(Progress {
        started_at: time(0)?,
        finished_at: time(1)?,
        failures: row.try_get(2)?,
        error: row.try_get(3)?,
        reached: time(4)?,
    })
}

/// A task begins.
pub async fn started(client: &Client, task: &str, by_whom: &str) -> Result<(), Error> {
    let sql = "INSERT INTO obs_upkeep (task, started_at, by_whom) VALUES ($1, clock_timestamp(), $2)
               ON CONFLICT (task) DO UPDATE SET started_at = excluded.started_at, by_whom = excluded.by_whom";
    client.execute(sql, &[&task, &by_whom]).await.map(drop)
}

/// It has ended well, and come to here.
pub async fn finished(
    client: &Client,
    task: &str,
    took: Duration,
    reached: Timestamp,
) -> Result<(), Error> {
    let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    let sql = "UPDATE obs_upkeep SET finished_at = clock_timestamp(), took_ms = $2, reached = $3, failures = 0,
                      error = NULL
                WHERE task = $1";
    client.execute(sql, &[&task, &took_ms, &PgTime(reached)]).await.map(drop)
}

/// It has failed; returns how often in a row.
pub async fn failed(client: &Client, task: &str, error: &str) -> Result<i32, Error> {
    let sql = "UPDATE obs_upkeep SET failures = failures + 1, error = $2 WHERE task = $1 RETURNING failures";
    client.query_one(sql, &[&task, &error]).await?.try_get(0)
}

/// Makes the partitions of the month that a time is in; whether any was missing.
pub async fn make_month(client: &Client, at: Timestamp) -> Result<bool, Error> {
    client.query_one("SELECT obs_make_month($1)", &[&PgTime(at)]).await?.try_get(0)
}

/// Whether the month of every table is there, by the partitions' bounds.
pub async fn has_month(client: &Client, at: Timestamp) -> Result<bool, Error> {
    let sql = "SELECT count(*) = cardinality($1::text[])
                 FROM unnest($1::text[]) AS t
                 JOIN pg_inherits i ON i.inhparent = t::regclass
                 JOIN pg_class c ON c.oid = i.inhrelid
                  AND c.relname = t || to_char($2::timestamptz AT TIME ZONE 'UTC', '\"_\"YYYY\"_\"MM')";
    client
        .query_one(sql, &[&TABLES.map(|(table, _)| table).to_vec(), &PgTime(at)])
        .await?
        .try_get(0)
}

/// Summarises the newest pages of the indexes by time, which are looked through page by page until then.
pub async fn summarise(client: &Client, months: &[Timestamp]) -> Result<(), Error> {
    let sql = "SELECT brin_summarize_new_values(x.oid)
                 FROM pg_class x
                 JOIN pg_am a ON a.oid = x.relam AND a.amname = 'brin'
                 JOIN pg_index n ON n.indexrelid = x.oid
                 JOIN pg_class c ON c.oid = n.indrelid AND c.relkind = 'r'
                 JOIN pg_inherits i ON i.inhrelid = c.oid
                 JOIN unnest($1::text[]) AS t ON i.inhparent = t::regclass
                WHERE EXISTS (SELECT FROM unnest($2::timestamptz[]) AS m
                               WHERE c.relname = t || to_char(m AT TIME ZONE 'UTC', '\"_\"YYYY\"_\"MM'))";
    let months: Vec<PgTime> = months.iter().copied().map(PgTime).collect();
    client.query(sql, &[&TABLES.map(|(table, _)| table).to_vec(), &months]).await.map(drop)
}
