//! Notes the days that rows came late for: upkeep counts such a day anew.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Error;

use super::PgTime;

/// A day is counted from the rows of the day before, its own and the day after: each row is noted for three. The newest
/// two days are counted by nobody yet. No row is waited for here, and in the ordinary course none is written.
const NOTE: &str = "
    INSERT INTO sink_late_days (day)
    SELECT DISTINCT (t AT TIME ZONE 'UTC')::date + n
      FROM unnest($1::timestamptz[]) AS t CROSS JOIN generate_series(-1, 1) AS n
     WHERE (t AT TIME ZONE 'UTC')::date + n < (now() AT TIME ZONE 'UTC')::date - 1";

/// Notes them in the transaction of the rows; one time of each day is enough.
pub(super) async fn note(
    tx: &Transaction<'_>,
    times: impl Iterator<Item = Timestamp>,
) -> Result<(), Error> {
    let mut days: Vec<Timestamp> = times.collect();
    days.sort_unstable();
    days.dedup_by_key(|at| at.as_second().div_euclid(86_400));
    let days: Vec<PgTime> = days.into_iter().map(PgTime).collect();
    if days.is_empty() {
        return Ok(());
    }
    let statement = tx.prepare_cached(NOTE).await?;
    tx.execute(&statement, &[&days]).await.map(drop)
}
