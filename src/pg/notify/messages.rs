//! The delivery ledger: messages made of changes, the intent before each call, the result after it.

use deadpool_postgres::{Client, Transaction};
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Error;
use tokio_postgres::types::Json;

use super::super::PgTime;
use crate::domain::notice::attempt::Waiting;
use crate::domain::notice::letter::{CHANGES_MAX, CRITICAL_MAX, Letter};
use crate::domain::notice::{Change, Kind};

/// Messages claimed at one time.
const CLAIM_MAX: i64 = 64;
/// For how long what is over is kept, days.
const KEPT_DAYS: i32 = 30;

/// A message whose attempt is committed and not made yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// What it says.
    pub letter: Letter,
    /// Which attempt this is.
    pub attempts: u32,
    /// It may be sent again when nobody knows whether it arrived.
    pub repeats: bool,
    /// An earlier attempt may have arrived.
    pub is_uncertain: bool,
    /// When it was made.
    pub made_at: Timestamp,
}

/// What was found in doubt by whoever took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The message.
    pub id: String,
    /// Who was to be told.
    pub receiver: String,
    /// It is sent again; else nobody will know.
    pub is_repeated: bool,
}

/// Attempts of tellers before this one, of which nobody knows how they ended: those that may be repeated are, under the
/// same id.
pub async fn settle_doubts(tx: &Transaction<'_>, epoch: i64) -> Result<Vec<Doubt>, Error> {
    let rows = tx
        .query(
            "UPDATE notify_messages
                SET state = CASE WHEN repeats THEN 'PENDING' ELSE 'UNKNOWN' END, is_uncertain = true,
                    next_at = clock_timestamp(), error = 'its sender ended before it knew',
                    ended_at = CASE WHEN repeats THEN NULL ELSE clock_timestamp() END
              WHERE state = 'SENDING' AND epoch < $1
             RETURNING id, receiver, repeats",
            &[&epoch],
        )
        .await?;
    let doubt = |row: &tokio_postgres::Row| {
        Ok(Doubt { id: row.try_get(0)?, receiver: row.try_get(1)?, is_repeated: row.try_get(2)? })
    };
    rows.iter().map(doubt).collect()
}

/// Whether a change waits for a message, and whether a message is due.
pub async fn anything(client: &Client) -> Result<(bool, bool), Error> {
    let statement = client
        .prepare_cached(
            "SELECT EXISTS (SELECT FROM notify_changes WHERE message_id IS NULL),
                    EXISTS (SELECT FROM notify_messages WHERE state = 'PENDING' AND next_at <= clock_timestamp())",
        )
        .await?;
    let row = client.query_one(&statement, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Receivers for whom something waits, and Postgres' time.
pub async fn waiting(tx: &Transaction<'_>) -> Result<(Timestamp, Vec<(String, Waiting)>), Error> {
    let statement = tx
        .prepare_cached(
            "SELECT u.receiver, u.critical_since, u.others_since,
                    (SELECT max(made_at) FROM notify_messages m WHERE m.receiver = u.receiver AND is_critical),
                    (SELECT max(made_at) FROM notify_messages m WHERE m.receiver = u.receiver AND NOT is_critical),
                    (SELECT count(*) FROM notify_messages m WHERE m.receiver = u.receiver AND is_critical
                        AND state IN ('PENDING','SENDING')),
                    (SELECT count(*) FROM notify_messages m WHERE m.receiver = u.receiver AND NOT is_critical
                        AND state IN ('PENDING','SENDING'))
               FROM (SELECT receiver, min(noted_at) FILTER (WHERE is_critical) AS critical_since,
                            min(noted_at) FILTER (WHERE NOT is_critical) AS others_since
                       FROM notify_changes WHERE message_id IS NULL GROUP BY receiver) u",
        )
        .await?;
    let rows = tx.query(&statement, &[]).await?;
    let now = super::now(tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let time = |at: usize| Ok::<_, Error>(row.try_get::<_, Option<PgTime>>(at)?.map(|t| t.0));
        let waiting = Waiting {
            critical_since: time(1)?,
            others_since: time(2)?,
            critical_made: time(3)?,
            others_made: time(4)?,
            critical_outstanding: row.try_get(5)?,
            others_outstanding: row.try_get(6)?,
        };
        all.push((row.try_get(0)?, waiting));
    }
    Ok((now, all))
}

/// The oldest changes that wait for a receiver: with `is_critical` those of conditions of which something CRITICAL is to
/// be told, else the others. Each with the counts as they are by now.
pub async fn untold(
    tx: &Transaction<'_>,
    receiver: &str,
    is_critical: bool,
) -> Result<Vec<Change>, Error> {
    let statement = tx
        .prepare_cached(
            "WITH critical AS MATERIALIZED (
               SELECT fingerprint FROM notify_changes WHERE receiver = $1 AND message_id IS NULL AND is_critical
                GROUP BY fingerprint ORDER BY min(noted_at), fingerprint LIMIT CASE WHEN $2 THEN $3::bigint END)
             SELECT u.change, c.opened_at, c.alerts, c.last_at
               FROM notify_changes u LEFT JOIN notify_conditions c USING (fingerprint)
              WHERE u.receiver = $1 AND u.message_id IS NULL
                AND (u.fingerprint IN (SELECT fingerprint FROM critical)) = $2
              ORDER BY u.noted_at, u.fingerprint, u.change_no LIMIT $4",
        )
        .await?;
    let (criticals, most) = (CRITICAL_MAX as i64, CHANGES_MAX as i64);
    let rows = tx.query(&statement, &[&receiver, &is_critical, &criticals, &most]).await?;
    let mut changes = Vec::with_capacity(rows.len());
    for row in &rows {
        let Json(mut change): Json<Change> = row.try_get(0)?;
        let opened: Option<PgTime> = row.try_get(1)?;
        // The same time that it has been open.
        if opened.is_some_and(|opened| opened.0 == change.opened_at)
            && change.kind != Kind::Resolved
        {
            change.alerts = row.try_get(2)?;
            change.last_at = row.try_get::<_, PgTime>(3)?.0;
        }
        changes.push(change);
    }
    Ok(changes)
}

/// Makes a message of these changes.
pub async fn make(
    tx: &Transaction<'_>,
    letter: &Letter,
    changes: &[Change],
    (is_critical, repeats): (bool, bool),
) -> Result<(), Error> {
    let statement = tx
        .prepare_cached(
            "INSERT INTO notify_messages (id, receiver, is_critical, repeats, body, state, next_at, made_at)
             VALUES ($1, $2, $3, $4, $5, 'PENDING', $6, $6)",
        )
        .await?;
    let at = PgTime(letter.at);
    let (id, receiver) = (&letter.id, &letter.receiver);
    tx.execute(&statement, &[id, receiver, &is_critical, &repeats, &Json(letter), &at]).await?;
    let fingerprints: Vec<&str> = changes.iter().map(|c| c.fingerprint.as_str()).collect();
    let numbers: Vec<i64> = changes.iter().map(|c| c.change_no).collect();
    let statement = tx
        .prepare_cached(
            "UPDATE notify_changes c SET message_id = $1 FROM unnest($3::text[], $4::bigint[]) AS u (fingerprint, change_no)
              WHERE c.receiver = $2 AND c.fingerprint = u.fingerprint AND c.change_no = u.change_no
                AND c.message_id IS NULL",
        )
        .await?;
    tx.execute(&statement, &[id, receiver, &fingerprints, &numbers]).await?;
    Ok(())
}

/// Notes the intent to send what is due; once this is committed, nobody else sends it.
pub async fn claim(tx: &Transaction<'_>, epoch: i64) -> Result<Vec<Claimed>, Error> {
    let statement = tx
        .prepare_cached(
            "UPDATE notify_messages m
                SET state = 'SENDING', attempts = attempts + 1, epoch = $1, tried_at = clock_timestamp()
              WHERE id IN (SELECT id FROM notify_messages
                            WHERE state = 'PENDING' AND next_at <= clock_timestamp()
                            ORDER BY is_critical DESC, next_at LIMIT $2 FOR UPDATE)
             RETURNING body, attempts, repeats, is_uncertain, made_at",
        )
        .await?;
    let rows = tx.query(&statement, &[&epoch, &CLAIM_MAX]).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let attempts: i32 = row.try_get(1)?;
        claimed.push(Claimed {
            letter: row.try_get::<_, Json<Letter>>(0)?.0,
            attempts: attempts.unsigned_abs(),
            repeats: row.try_get(2)?,
            is_uncertain: row.try_get(3)?,
            made_at: row.try_get::<_, PgTime>(4)?.0,
        });
    }
    Ok(claimed)
}

/// It has arrived, whoever else has it in doubt.
pub async fn delivered(tx: &Transaction<'_>, id: &str, status: u16) -> Result<(), Error> {
    tx.execute(
        "UPDATE notify_messages SET state = 'DELIVERED', ended_at = clock_timestamp(), status = $2, error = NULL
          WHERE id = $1 AND state IN ('SENDING','PENDING','UNKNOWN')",
        &[&id, &i32::from(status)],
    )
    .await?;
    Ok(())
}

/// It is tried again later.
pub async fn again(
    tx: &Transaction<'_>,
    (id, epoch): (&str, i64),
    pause: SignedDuration,
    error: &str,
    may_have_arrived: bool,
) -> Result<(), Error> {
    let pause_ms = pause.as_millis() as f64;
    tx.execute(
        "UPDATE notify_messages
            SET state = 'PENDING', next_at = clock_timestamp() + $3 * interval '1 millisecond', error = $4,
                is_uncertain = is_uncertain OR $5
          WHERE id = $1 AND epoch = $2 AND state = 'SENDING'",
        &[&id, &epoch, &pause_ms, &error, &may_have_arrived],
    )
    .await?;
    Ok(())
}

/// It is over and has not arrived, or nobody knows. Whether that is news.
pub async fn ended(
    tx: &Transaction<'_>,
    (id, epoch): (&str, i64),
    is_unknown: bool,
    error: &str,
) -> Result<bool, Error> {
    let state = if is_unknown { "UNKNOWN" } else { "FAILED" };
    let ended = tx
        .execute(
            "UPDATE notify_messages SET state = $3, ended_at = clock_timestamp(), error = $4
              WHERE id = $1 AND epoch = $2 AND state = 'SENDING'",
            &[&id, &epoch, &state, &error],
        )
        .await?;
    Ok(ended == 1)
}

/// A receiver wants no more, as long as the file is this one.
pub async fn gone(tx: &Transaction<'_>, receiver: &str, digest: &str) -> Result<bool, Error> {
    let news = tx
        .execute(
            "INSERT INTO notify_gone (receiver, digest) VALUES ($1, $2)
             ON CONFLICT (receiver) DO UPDATE SET digest = $2, gone_at = clock_timestamp()
              WHERE notify_gone.digest <> $2",
            &[&receiver, &digest],
        )
        .await?;
    Ok(news == 1)
}

/// Receivers that want no more under this file.
pub async fn gone_under(client: &Client, digest: &str) -> Result<Vec<String>, Error> {
    let statement =
        client.prepare_cached("SELECT receiver FROM notify_gone WHERE digest = $1").await?;
    let rows = client.query(&statement, &[&digest]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Forgets what has been over for long.
pub async fn forget(client: &Client) -> Result<(), Error> {
    client
        .execute(
            "DELETE FROM notify_messages WHERE state IN ('DELIVERED','FAILED','UNKNOWN')
                AND made_at < clock_timestamp() - $1 * interval '1 day'",
            &[&f64::from(KEPT_DAYS)],
        )
        .await?;
    client
        .execute(
            "DELETE FROM notify_conditions c WHERE state <> 'OPEN'
                AND changed_at < clock_timestamp() - $1 * interval '1 day'
                AND NOT EXISTS (SELECT FROM notify_changes u WHERE u.fingerprint = c.fingerprint
                                   AND u.message_id IS NULL)",
            &[&f64::from(KEPT_DAYS)],
        )
        .await?;
    Ok(())
}

/// What `/metrics` shows: open conditions by severity, messages on their way by receiver, seconds since the oldest change
/// that nobody was told of was noted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Gauges {
    pub open: Vec<(String, i64)>,
    pub outstanding: Vec<(String, i64)>,
    pub untold_s: i64,
}

/// Asks for it.
pub async fn gauges(client: &Client) -> Result<Gauges, Error> {
    let pairs = async |sql: &str| {
        let rows = client.query(sql, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, Error>>()
    };
    let open =
        pairs("SELECT severity, count(*) FROM notify_conditions WHERE state = 'OPEN' GROUP BY 1")
            .await?;
    let outstanding = pairs(
        "SELECT receiver, count(*) FROM notify_messages WHERE state IN ('PENDING','SENDING') GROUP BY 1",
    )
    .await?;
    let untold_s = client
        .query_one(
            "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(noted_at)), 0)::bigint
               FROM notify_changes WHERE message_id IS NULL",
            &[],
        )
        .await?
        .try_get(0)?;
    Ok(Gauges { open, outstanding, untold_s })
}
