//! Months that are given up: noted, detached while everybody goes on, dropped.

use jiff::Timestamp;
use tokio_postgres::{Client, Error};

use super::super::PgTime;
use super::TABLES;

/// Where a month is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A partition like any other.
    Attached,
    /// Being detached was interrupted: it has to be ended.
    Pending,
    /// A table of its own.
    Detached,
    /// Gone.
    Dropped,
}

/// A month of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Month {
    pub table: String,
    pub partition: String,
    /// Every row is older.
    pub until: Timestamp,
    pub state: State,
}

/// Every month of every table, the oldest first.
pub async fn months(client: &Client) -> Result<Vec<Month>, Error> {
    let sql = "SELECT t, c.relname::text, i.inhdetachpending, b.until
                 FROM unnest($1::text[]) WITH ORDINALITY AS t (t, nth)
                 JOIN pg_inherits i ON i.inhparent = t::regclass
                 JOIN pg_class c ON c.oid = i.inhrelid
                CROSS JOIN LATERAL (SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \\('([^']+)'$$)
                                             ::timestamptz AS until) AS b
                WHERE b.until IS NOT NULL
                ORDER BY b.until, nth";
    let tables = TABLES.map(|(table, _)| table).to_vec();
    let rows = client.query(sql, &[&tables]).await?;
    rows.iter()
        .map(|row| {
            let is_pending: bool = row.try_get(2)?;
            Ok(Month {
                table: row.try_get(0)?,
                partition: row.try_get(1)?,
                until: row.try_get::<_, PgTime>(3)?.0,
                state: if is_pending { State::Pending } else { State::Attached },
            })
        })
        .collect()
}

/// Months that were noted and are not dropped yet.
pub async fn retired(client: &Client) -> Result<Vec<Month>, Error> {
    let sql = "SELECT r.of_table, r.partition, r.until,
                      CASE WHEN c.oid IS NULL THEN 0 WHEN i.inhrelid IS NULL THEN 1 WHEN i.inhdetachpending THEN 2 ELSE 3 END
                 FROM retired_months r
                 LEFT JOIN pg_class c ON c.relname = r.partition AND c.relnamespace = current_schema()::regnamespace
                 LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
                WHERE r.dropped_at IS NULL ORDER BY r.until, r.partition";
    let rows = client.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let state = match row.try_get::<_, i32>(3)? {
                0 => State::Dropped,
                1 => State::Detached,
                2 => State::Pending,
                _ => State::Attached,
            };
            Ok(Month {
                table: row.try_get(0)?,
                partition: row.try_get(1)?,
                until: row.try_get::<_, PgTime>(2)?.0,
                state,
            })
        })
        .collect()
}

/// Notes that a month is given up. From here on it goes, whoever dies.
pub async fn note(client: &Client, month: &Month) -> Result<(), Error> {
    let sql = "INSERT INTO retired_months (partition, of_table, until) VALUES ($1, $2, $3)
               ON CONFLICT (partition) DO UPDATE
                  SET until = excluded.until, noted_at = clock_timestamp(), dropped_at = NULL";
    client.execute(sql, &[&month.partition, &month.table, &PgTime(month.until)]).await.map(drop)
}

/// Takes a note back: the month is kept after all.
pub async fn forget(client: &Client, month: &Month) -> Result<(), Error> {
    let sql = "DELETE FROM retired_months WHERE partition = $1 AND dropped_at IS NULL";
    client.execute(sql, &[&month.partition]).await.map(drop)
}

/// Detaches it while others read and write the table; ends what was interrupted.
pub async fn detach(client: &Client, month: &Month) -> Result<(), Error> {
    let how = match month.state {
        State::Attached => "CONCURRENTLY",
        State::Pending => "FINALIZE",
        State::Detached | State::Dropped => return Ok(()),
    };
    let (table, partition) = (quoted(&month.table), quoted(&month.partition));
    client.batch_execute(&format!("ALTER TABLE {table} DETACH PARTITION {partition} {how}")).await
}

/// Drops a month that is detached, and says so in its note.
pub async fn drop_detached(client: &mut Client, month: &Month) -> Result<(), Error> {
    let tx = client.transaction().await?;
    let noted = tx
        .execute(
            "UPDATE retired_months SET dropped_at = clock_timestamp()
              WHERE partition = $1 AND dropped_at IS NULL
                AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relname = $1 AND c.relispartition
                                   AND c.relnamespace = current_schema()::regnamespace)",
            &[&month.partition],
        )
        .await?;
    if noted == 1 {
        tx.batch_execute(&format!("DROP TABLE IF EXISTS {}", quoted(&month.partition))).await?;
    }
    tx.commit().await
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
