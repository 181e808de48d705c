//! The obs_* tables made again beside those that are in use, in the schema [`SCHEMA`], and put in their place.
//!
//! What is exchanged are months: the partitions of the tables in use are dropped and those of the new ones attached, so that
//! tables, views, rights and comments stay what they are. The schema also has the positions up to which the topics were
//! read for it, moved with the rows: whoever is killed, at whatever moment, goes on from there. When the months are
//! exchanged the schema goes, in the same transaction.

use std::collections::{BTreeMap, HashSet};

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio_postgres::{Error, error::SqlState};

use super::PgTime;
use super::obs::{self, tables::Table};

/// Where the new tables are until they take their place.
pub const SCHEMA: &str = "noctus_rebuild";

/// Longest wait for those who read or write the tables; then everything is let go and tried again.
const LOCK_TIMEOUT: &str = "2s";
/// A process that is stopped while it holds the sinks up loses its session after this.
const IDLE_TIMEOUT: &str = "60s";

/// What is being rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The tables that are exchanged.
    pub tables: Vec<String>,
    /// Only months from this one on; all of them without it.
    pub since: Option<Timestamp>,
    /// The schema of the tables in use.
    pub live: String,
    /// When it was begun.
    pub begun_at: Timestamp,
}

impl Plan {
    fn is_of(&self, table: &Table) -> bool {
        self.tables.iter().any(|name| name == table.name)
    }
}

/// The session's right to rebuild; false: another one has it.
pub async fn only_me(client: &Client) -> Result<bool, Error> {
    let sql = "SELECT pg_try_advisory_lock(hashtextextended('noctus.sink_rebuild', 0))";
    client.query_one(sql, &[]).await?.try_get(0)
}

/// The rebuild that was begun and is not over, if there is one.
pub async fn begun(client: &Client) -> Result<Option<Plan>, Error> {
    let there = "SELECT to_regclass('noctus_rebuild.plan') IS NOT NULL";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let sql = "SELECT tables, since, live, begun_at FROM noctus_rebuild.plan";
    let row = client.query_one(sql, &[]).await?;
    Ok(Some(Plan {
        tables: row.try_get(0)?,
        since: row.try_get::<_, Option<PgTime>>(1)?.map(|t| t.0),
        live: row.try_get(2)?,
        begun_at: row.try_get::<_, PgTime>(3)?.0,
    }))
}

/// Empty tables like those in use, and what the sink's way of writing needs beside them.
const BEGIN: &str = r"DO $begin$
DECLARE
    live CONSTANT TEXT := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                             WHERE c.oid = 'obs_decisions'::regclass);
    months TEXT := pg_get_functiondef('obs_make_month(timestamptz)'::regprocedure);
    one RECORD;
BEGIN
    CREATE SCHEMA noctus_rebuild;
    FOR one IN SELECT relname, oid FROM pg_class
                WHERE relnamespace = quote_ident(live)::regnamespace AND relname LIKE 'obs\_%' AND relkind = 'p'
    LOOP
        EXECUTE format('CREATE TABLE noctus_rebuild.%I (LIKE %s INCLUDING ALL) PARTITION BY %s',
                       one.relname, one.oid::regclass, pg_get_partkeydef(one.oid));
    END LOOP;
    CREATE TABLE noctus_rebuild.input_positions (LIKE input_positions INCLUDING ALL);
    CREATE TABLE noctus_rebuild.sink_late_days (LIKE sink_late_days INCLUDING ALL);
    EXECUTE regexp_replace(months, 'FUNCTION [^(]*obs_make_month\(', 'FUNCTION noctus_rebuild.obs_make_month(');
    ALTER FUNCTION noctus_rebuild.obs_make_month(TIMESTAMPTZ) SET search_path = noctus_rebuild;
    CREATE TABLE noctus_rebuild.plan (tables TEXT[] NOT NULL, since TIMESTAMPTZ, live TEXT NOT NULL,
                                      begun_at TIMESTAMPTZ NOT NULL DEFAULT now());
    INSERT INTO noctus_rebuild.plan (tables, live) VALUES ('{}', live);
END
$begin$";

/// Begins: the new tables are there and empty, or nothing is.
pub async fn begin(
    client: &mut Client,
    tables: &[&str],
    since: Option<Timestamp>,
) -> Result<(), Error> {
    let tx = client.transaction().await?;
    tx.batch_execute(BEGIN).await?;
    let sql = "UPDATE noctus_rebuild.plan SET tables = $1, since = $2";
    tx.execute(sql, &[&tables, &since.map(PgTime)]).await?;
    tx.commit().await
}

/// Throws away what was made.
pub async fn abandon(client: &Client) -> Result<(), Error> {
    client.batch_execute("DROP SCHEMA IF EXISTS noctus_rebuild CASCADE").await
}

/// Whether a table in use has an event from this time or before.
pub async fn has_before(client: &Client, table: &Table, at: Timestamp) -> Result<bool, Error> {
    let Table { name, time, .. } = table;
    let sql = format!("SELECT EXISTS (SELECT FROM {name} WHERE {time} <= $1)");
    client.query_one(&sql, &[&PgTime(at)]).await?.try_get(0)
}

/// Topics (actual names) that a reader has read something of under another id: they were deleted and made again.
pub async fn made_again(
    client: &Client,
    reader: &str,
    topics: &[(String, String)],
) -> Result<Vec<String>, Error> {
    let (names, ids): (Vec<&str>, Vec<&str>) =
        topics.iter().map(|(name, id)| (name.as_str(), id.as_str())).unzip();
    let sql = "SELECT DISTINCT p.topic FROM input_positions p
                 JOIN unnest($2::text[], $3::text[]) AS t (topic, id) ON t.topic = p.topic AND t.id <> p.topic_id
                WHERE p.reader = $1 AND p.next_offset > 0 ORDER BY 1";
    let rows = client.query(sql, &[&reader, &names, &ids]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// One month of a table.
struct Month {
    name: String,
    /// `FOR VALUES FROM (…) TO (…)`.
    bounds: String,
    from: String,
    to: String,
}

const MONTHS: &str = r"SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), b.m[1], b.m[2]
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), $r$FROM \('([^']+)'\) TO \('([^']+)'\)$r$) AS b (m)
     WHERE i.inhparent = $1::text::regclass AND b.m[1]::timestamptz >= coalesce($2::timestamptz, '-infinity')
     ORDER BY 1";

async fn months(
    client: &impl super::GenericClient,
    schema: &str,
    table: &Table,
    since: Option<Timestamp>,
) -> Result<Vec<Month>, Error> {
    let parent = format!("\"{schema}\".{}", table.name);
    let rows = client.query(MONTHS, &[&parent, &since.map(PgTime)]).await?;
    let month = |row: &tokio_postgres::Row| {
        let (name, bounds) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Month { name, bounds, from: row.try_get(2)?, to: row.try_get(3)? })
    };
    rows.iter().map(month).collect()
}

/// Readies the new tables for their place, outside of any lock that matters: every month that the tables in use have is there,
/// what will be asked of it then is known beforehand, and the planner knows them.
pub async fn ready(client: &Client, plan: &Plan) -> Result<(), Error> {
    client.batch_execute("SET statement_timeout = 0").await?;
    for table in obs::tables::TABLES.iter().filter(|table| plan.is_of(table)) {
        for month in months(&***client, &plan.live, table, plan.since).await? {
            let sql = "SELECT noctus_rebuild.obs_make_month($1::text::timestamptz)";
            client.execute(sql, &[&month.from]).await?;
        }
        for Month { name, from, to, .. } in months(&***client, SCHEMA, table, plan.since).await? {
            let time = table.time;
            client
                .batch_execute(&format!(
                    "ALTER TABLE {SCHEMA}.{name} DROP CONSTRAINT IF EXISTS rebuilt;
                     ALTER TABLE {SCHEMA}.{name} ADD CONSTRAINT rebuilt
                       CHECK ({time} IS NOT NULL AND {time} >= '{from}' AND {time} < '{to}')"
                ))
                .await?;
        }
        client.batch_execute(&format!("ANALYZE {SCHEMA}.{}", table.name)).await?;
    }
    client.batch_execute("RESET statement_timeout").await
}

/// The exchange: while it lasts no sink commits.
pub struct Swap<'c> {
    tx: Transaction<'c>,
    plan: Plan,
}

/// What was noted beside the new rows holds for the tables in use from now on.
const NOTES: &str = r"DO $notes$
DECLARE
    live CONSTANT TEXT := (SELECT p.live FROM noctus_rebuild.plan p);
    one RECORD;
BEGIN
    FOR one IN SELECT relname FROM pg_class
                WHERE relnamespace = 'noctus_rebuild'::regnamespace AND relname LIKE 'sink\_%' AND relkind = 'r'
    LOOP
        EXECUTE format('INSERT INTO %I.%I SELECT DISTINCT * FROM noctus_rebuild.%I', live, one.relname, one.relname);
    END LOOP;
END
$notes$";

/// Whether it is only that somebody else was in the way.
pub fn is_busy(error: &Error) -> bool {
    let code = error.code();
    code.is_some_and(|c| {
        [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(c)
    })
}

impl<'c> Swap<'c> {
    /// Waits for the sinks' transactions and holds up what would follow them; up to where the sinks have read then.
    pub async fn begin(
        client: &'c mut Client,
        reader: &str,
        plan: &Plan,
    ) -> Result<(Self, BTreeMap<(String, i32), i64>), Error> {
        let tx = client.transaction().await?;
        tx.batch_execute(&format!(
            "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'"
        ))
        .await?;
        let sql = "SELECT topic_id, partition, next_offset FROM input_positions WHERE reader = $1
                    ORDER BY 1, 2 FOR UPDATE";
        let rows = tx.query(sql, &[&reader]).await?;
        let place =
            |row: &tokio_postgres::Row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
        let read = rows.iter().map(place).collect::<Result<_, Error>>()?;
        Ok((Self { tx, plan: plan.clone() }, read))
    }

    /// Exchanges the months; not committed yet.
    pub async fn exchange(&self) -> Result<(), Error> {
        let Self { tx, plan } = self;
        let chosen: Vec<&Table> =
            obs::tables::TABLES.iter().filter(|table| plan.is_of(table)).collect();
        let (orders, steps) = self.across(&chosen).await?;
        let names = chosen.iter().map(|t| format!("\"{}\".{}", plan.live, t.name));
        let names = names.collect::<Vec<_>>().join(", ");
        tx.batch_execute(&format!("LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")).await?;
        for table in chosen {
            let live = format!("\"{}\"", plan.live);
            for Month { name, .. } in months(&**tx, &plan.live, table, plan.since).await? {
                tx.batch_execute(&format!("DROP TABLE {live}.{name}")).await?;
            }
            for Month { name, bounds, .. } in months(&**tx, SCHEMA, table, plan.since).await? {
                let parent = table.name;
                tx.batch_execute(&format!(
                    "ALTER TABLE {SCHEMA}.{parent} DETACH PARTITION {SCHEMA}.{name};
                     ALTER TABLE {SCHEMA}.{name} SET SCHEMA {live};
                     ALTER TABLE {live}.{parent} ATTACH PARTITION {live}.{name} {bounds};
                     ALTER TABLE {live}.{name} DROP CONSTRAINT IF EXISTS rebuilt"
                ))
                .await?;
            }
        }
        tx.batch_execute(NOTES).await?;
        if !orders.is_empty() {
            obs::measure_again(tx, &orders, &steps).await?;
        }
        // Days that are over were counted from the rows that were there before.
        tx.batch_execute(&format!(
            "INSERT INTO \"{}\".sink_late_days (day) SELECT DISTINCT day FROM noctus_rebuild.sink_late_days;
             DROP SCHEMA noctus_rebuild CASCADE",
            plan.live
        ))
        .await
    }

    /// Orders that began before the first month that is exchanged, with their steps from before: what they cost was made of
    /// the rest of their steps alone.
    async fn across(
        &self,
        chosen: &[&Table],
    ) -> Result<(Vec<(String, String)>, HashSet<String>), Error> {
        let Self { tx, plan } = self;
        let is_measured = chosen.iter().any(|table| table.name == "obs_do_metrics");
        let (Some(since), true) = (plan.since, is_measured) else {
            return Ok((Vec::new(), HashSet::new()));
        };
        let sql = "SELECT m.idempotency_key, m.trace_id FROM noctus_rebuild.obs_do_metrics m
            WHERE NOT EXISTS (SELECT FROM noctus_rebuild.obs_exec_events e
                               WHERE e.event_id = m.event_id AND e.sent_at = m.first_at AND e.exec_seq = 1)
               OR NOT EXISTS (SELECT FROM noctus_rebuild.obs_decisions d
                               WHERE d.trace_id = m.trace_id AND d.decision ->> 'idempotency_key' = m.idempotency_key)";
        let rows = tx.query(sql, &[]).await?;
        let orders: Vec<(String, String)> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, Error>>()?;
        let keys: Vec<&str> = orders.iter().map(|(key, _)| key.as_str()).collect();
        let sql =
            "SELECT event_id FROM obs_exec_events WHERE idempotency_key = ANY($1) AND sent_at < $2";
        let rows = tx.query(sql, &[&keys, &PgTime(since)]).await?;
        let steps = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>()?;
        Ok((orders, steps))
    }

    /// From here on the new tables are those in use.
    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await
    }
}
