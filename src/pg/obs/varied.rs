//! Whether events that come again say what they said first (I4). Never changes a row.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Error;
use tokio_postgres::types::Json;

use super::PgTime;

/// How many of these events are in the table at another time than this, too.
pub(super) async fn moved<'r>(
    tx: &Transaction<'_>,
    table: &'static str,
    time: &'static str,
    events: impl Iterator<Item = (&'r str, Timestamp)>,
) -> Result<u64, Error> {
    let (ids, times): (Vec<&str>, Vec<PgTime>) = events.map(|(id, at)| (id, PgTime(at))).unzip();
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = format!(
        "SELECT count(DISTINCT t.event_id) FROM unnest($1::text[], $2::timestamptz[]) AS given (event_id, at)
           JOIN {table} AS t ON t.event_id = given.event_id WHERE t.{time} <> given.at"
    );
    let statement = tx.prepare_cached(&sql).await?;
    let number: i64 = tx.query_one(&statement, &[&ids, &times]).await?.try_get(0)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

/// How many of these rows are in the table under their event id with other contents: laid over the row that is
/// there, they would change it. Columns that an event does not fill are left out of it.
pub(super) async fn count<R: Serialize + std::fmt::Debug + Sync>(
    tx: &Transaction<'_>,
    table: &'static str,
    rows: &[&R],
) -> Result<u64, Error> {
    let sql = format!(
        "SELECT count(*) FROM unnest($1::jsonb[]) AS given (event)
           JOIN {table} AS t ON t.event_id = given.event ->> 'event_id'
          WHERE jsonb_populate_record(t, given.event) IS DISTINCT FROM t"
    );
    let given: Vec<Json<&R>> = rows.iter().map(|row| Json(*row)).collect();
    let statement = tx.prepare_cached(&sql).await?;
    let number: i64 = tx.query_one(&statement, &[&given]).await?.try_get(0)?;
    Ok(u64::try_from(number).unwrap_or_default())
}
