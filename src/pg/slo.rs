//! Service levels: what is promised goes in, what holds and what does not comes out; and the counts by hour.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use tokio_postgres::{Client, Error};

use super::PgTime;
use crate::domain::policy::slo::{Levels, Slos};

/// Puts these in force, unless they are; whether that changed anything.
pub async fn put(client: &mut Client, slos: &Slos) -> Result<bool, Error> {
    let digest = slos.digest();
    let tx = client.transaction().await?;
    let sql = "SELECT count(*) = $2 AND (SELECT count(*) FROM obs_slo WHERE in_force) = $2
                 FROM obs_slo WHERE in_force AND digest = $1";
    let wanted = i64::try_from(slos.objectives.len()).unwrap_or(i64::MAX);
    if tx.query_one(sql, &[&digest, &wanted]).await?.try_get(0)? {
        return Ok(false);
    }
    tx.execute("UPDATE obs_slo SET in_force = false WHERE in_force", &[]).await?;
    let statement = tx
        .prepare(
            "INSERT INTO obs_slo (digest, slo, indicator, percentile, \"window\", span, short_span, goal, is_floor, low,
                    medium, high, critical, min_samples, no_data, about, in_force)
             VALUES ($1, $2, $3, $4, $5, make_interval(secs => $6), make_interval(secs => $7), $8, $9, $10, $11, $12, $13,
                     $14, $15, $16, true)
             ON CONFLICT (digest, slo) DO UPDATE SET in_force = true",
        )
        .await?;
    for o in &slos.objectives {
        let Levels { low, medium, high, critical } = o.levels;
        tx.execute(
            &statement,
            &[
                &digest,
                &o.slo,
                &o.indicator.as_str(),
                &o.percentile,
                &o.shown_window(),
                &f64::from(o.window.seconds),
                &o.short.as_ref().map(|short| f64::from(short.seconds)),
                &o.goal,
                &o.is_floor,
                &low,
                &medium,
                &high,
                &critical,
                &i64::from(o.min_samples),
                &o.no_data.map(|severity| severity.as_str()),
                &o.about,
            ],
        )
        .await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// One service level, measured: a row of `obs_slo_status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Status {
    pub slo: String,
    pub window: String,
    pub state: String,
    pub observed: Option<Decimal>,
    pub threshold: Decimal,
    pub severity: Option<String>,
    pub samples: i64,
    pub min_samples: i64,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    pub worst_trace_id: Option<String>,
    pub indicator: String,
    pub is_floor: bool,
    pub about: String,
    pub digest: String,
}

/// Every service level in force, the worst first.
pub async fn status(client: &Client) -> Result<Vec<Status>, Error> {
    let sql = "SELECT slo, \"window\", state, observed, threshold, severity, samples, min_samples, first_at, last_at,
                      worst_trace_id, indicator, is_floor, about, digest
                 FROM obs_slo_status
                ORDER BY state = 'holds', array_position('{CRITICAL,HIGH,MEDIUM,LOW}'::text[], severity), slo";
    let rows = client.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let time = |at: usize| {
                Ok::<_, Error>(row.try_get::<_, Option<PgTime>>(at)?.map(|time| time.0))
            };
            Ok(Status {
                slo: row.try_get(0)?,
                window: row.try_get(1)?,
                state: row.try_get(2)?,
                observed: row.try_get::<_, Option<Decimal>>(3)?.map(|n| n.normalize()),
                threshold: row.try_get::<_, Decimal>(4)?.normalize(),
                severity: row.try_get(5)?,
                samples: row.try_get(6)?,
                min_samples: row.try_get(7)?,
                first_at: time(8)?,
                last_at: time(9)?,
                worst_trace_id: row.try_get(10)?,
                indicator: row.try_get(11)?,
                is_floor: row.try_get(12)?,
                about: row.try_get(13)?,
                digest: row.try_get(14)?,
            })
        })
        .collect()
}

/// Counts the hours of this time anew: all of them or none.
pub async fn count_hours(
    client: &mut Client,
    since: Timestamp,
    until: Timestamp,
) -> Result<(), Error> {
    let tx = client.transaction().await?;
    let range = [PgTime(since), PgTime(until)];
    tx.execute("DELETE FROM obs_slo_hours WHERE hour >= $1 AND hour < $2", &[&range[0], &range[1]])
        .await?;
    tx.execute(
        "INSERT INTO obs_slo_hours (hour, final, failed, first_failed_at, last_failed_at, last_failed_trace)
         SELECT hour, final, failed, first_failed_at, last_failed_at, last_failed_trace FROM obs_slo_count($1, $2)",
        &[&range[0], &range[1]],
    )
    .await?;
    tx.commit().await
}
