//! Days that are over, counted once for `obs_latency_daily`, and again when rows of theirs come late.

use jiff::{Timestamp, civil::Date};
use tokio_postgres::{Client, Error, IsolationLevel};

use super::super::PgTime;

/// Rows that came late have come to rest when none came for so long.
const RESTED: &str = "5 seconds";
/// But they are not waited for longer than this.
const PATIENCE: &str = "10 minutes";

/// What a transaction of a count does; a day without traces has a row, too.
const COUNT: &str = "
    INSERT INTO latency_days AS l (day, p50_ms, p90_ms, p95_ms, p99_ms, max_ms, traces, executed)
    SELECT d::date, c.p50_ms, c.p90_ms, c.p95_ms, c.p99_ms, c.max_ms, coalesce(c.traces, 0), coalesce(c.executed, 0)
      FROM generate_series($1::text::date, $2::text::date, interval '1 day') AS d
      LEFT JOIN obs_latency_between($1::text::date, $2::text::date) c ON c.day = d::date
        ON CONFLICT (day) DO UPDATE
       SET p50_ms = excluded.p50_ms, p90_ms = excluded.p90_ms, p95_ms = excluded.p95_ms, p99_ms = excluded.p99_ms,
           max_ms = excluded.max_ms, traces = excluded.traces, executed = excluded.executed,
           counted_at = clock_timestamp()";

/// Days before it have lost rows to retention: what is known of them stays as it is.
const KEPT_SINCE: &str = "
    SELECT ((max(until) + interval '1 day') AT TIME ZONE 'UTC')::date FROM retired_months
     WHERE of_table IN ('obs_plan_runs','obs_infer_calls','obs_decisions','obs_exec_events')";

async fn date(client: &Client, sql: &str) -> Result<Option<Date>, Error> {
    let sql = format!("SELECT ({sql})::text");
    let text: Option<String> = client.query_one(&sql, &[]).await?.try_get(0)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The newest day that is counted.
pub async fn last_day(client: &Client) -> Result<Option<Date>, Error> {
    date(client, "SELECT max(day) FROM latency_days").await
}

/// The first day that rows may be of and that is whole; none while there is no partition.
pub async fn first_day(client: &Client) -> Result<Option<Date>, Error> {
    let sql = format!(
        "SELECT greatest(({KEPT_SINCE}), min((substring(pg_get_expr(c.relpartbound, c.oid) FROM $$FROM \\('([^']+)'$$)
                  ::timestamptz AT TIME ZONE 'UTC')::date))
           FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent IN ('obs_plan_runs'::regclass, 'obs_infer_calls'::regclass, 'obs_decisions'::regclass,
                                'obs_exec_events'::regclass)"
    );
    date(client, &sql).await
}

/// Counts these days, both included. Notes of late rows that it has seen are gone with it.
pub async fn count_days(client: &mut Client, first: Date, last: Date) -> Result<(), Error> {
    let tx =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let days = [first.to_string(), last.to_string()];
    tx.execute(
        "DELETE FROM sink_late_days WHERE day BETWEEN $1::text::date AND $2::text::date",
        &[&days[0], &days[1]],
    )
    .await?;
    tx.execute(COUNT, &[&days[0], &days[1]]).await?;
    tx.commit().await
}

/// Since when rows have come late whose days are not counted again yet; none, or not come to rest: nothing.
pub async fn late(client: &Client) -> Result<Option<Timestamp>, Error> {
    let sql = format!(
        "SELECT CASE WHEN max(noted_at) < clock_timestamp() - interval '{RESTED}'
                       OR min(noted_at) < clock_timestamp() - interval '{PATIENCE}' THEN min(noted_at) END
           FROM sink_late_days"
    );
    let since: Option<PgTime> = client.query_one(&sql, &[]).await?.try_get(0)?;
    Ok(since.map(|since| since.0))
}

/// Counts every day anew of which rows came late, one transaction a day; returns how many.
pub async fn count_late(client: &mut Client) -> Result<usize, Error> {
    let last = last_day(client).await?;
    let kept = date(client, KEPT_SINCE).await?;
    let rows =
        client.query("SELECT DISTINCT day::text FROM sink_late_days ORDER BY 1", &[]).await?;
    let mut counted = 0;
    for row in rows {
        let text: String = row.try_get(0)?;
        let Ok(day) = text.parse::<Date>() else { continue };
        // Days to come are counted when they are over; of days that lost rows the count stays as it is.
        let is_counted =
            last.is_some_and(|last| day <= last) && kept.is_none_or(|kept| day >= kept);
        if is_counted {
            count_days(client, day, day).await?;
            counted += 1;
        } else {
            client
                .execute("DELETE FROM sink_late_days WHERE day = $1::text::date", &[&text])
                .await?;
        }
    }
    Ok(counted)
}

/// Refreshes the view; readers go on reading.
pub async fn refresh(client: &Client) -> Result<(), Error> {
    client.batch_execute("REFRESH MATERIALIZED VIEW CONCURRENTLY obs_latency_daily").await
}
