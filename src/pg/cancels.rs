//! Cancels that are wanted: one intent per order, kept until the broker's answer is clear (C-OUT-6).

use rust_decimal::Decimal;
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Error, GenericClient, Transaction};

use super::lanes::{HeldLane, columns};
use super::listen::OUTBOX_CHANNEL;
use super::risk::{HaltRow, covered};

/// First pause after the broker was asked, milliseconds; it doubles.
pub(super) const PAUSE_MS: f64 = 250.0;
/// The longest.
pub(super) const PAUSE_MAX_MS: f64 = 30_000.0;

/// Wants an order of a person cancelled; again, if the broker refused before.
pub async fn want(
    tx: &Transaction<'_>,
    key: &str,
    code: &str,
    reason: &str,
    by_whom: &str,
) -> Result<(), Error> {
    tx.execute(
        "INSERT INTO order_cancels AS c (idempotency_key, code, reason, by_whom) VALUES ($1, $2, $3, $4)
         ON CONFLICT (idempotency_key) DO UPDATE
            SET code = $2, reason = $3, by_whom = $4, halt_number = NULL, at = clock_timestamp(),
                next_ask_at = clock_timestamp(), asked = 0, answer = NULL",
        &[&key, &code, &reason, &by_whom],
    )
    .await?;
    tx.batch_execute(&format!("NOTIFY {OUTBOX_CHANNEL}")).await
}

/// Wants every order of these lanes cancelled that is in one of these states and that a halt covers; how many are new.
pub async fn want_halted(
    client: &Client,
    lanes: &[HeldLane],
    halts: &[HaltRow],
    states: &[&str],
) -> Result<u64, Error> {
    let halts: Vec<&HaltRow> = halts.iter().filter(|halt| halt.mode == "halted").collect();
    if halts.is_empty() || lanes.is_empty() {
        return Ok(0);
    }
    let (accounts, symbols, _) = columns(lanes);
    let sql = format!(
        "INSERT INTO order_cancels (idempotency_key, code, reason, by_whom, halt_number)
         SELECT o.idempotency_key, 'halted', coalesce(max(h.reason), 'halted'), coalesce(max(h.by_whom), '-'), c.number
           FROM outbox_orders o
           JOIN unnest($1::text[], $2::text[]) AS l (account, symbol)
             ON o.account = l.account AND o.symbol = l.symbol
          CROSS JOIN LATERAL (SELECT max(c.number) AS number FROM {}) c
           LEFT JOIN halts h ON h.number = c.number
          WHERE o.state = ANY ($4) AND c.number IS NOT NULL
            AND NOT EXISTS (SELECT FROM order_cancels k WHERE k.idempotency_key = o.idempotency_key)
          GROUP BY o.idempotency_key, c.number
         ON CONFLICT DO NOTHING",
        covered("o", "$3")
    );
    client.execute(&sql, &[&accounts, &symbols, &Json(&halts), &states]).await
}

/// The orders of these lanes, in one of these states, that the broker is to be asked to cancel now, with the code it is told. The next question
/// is put off before this one is asked: whoever dies here does not ask in a hurry after a restart.
pub async fn due(
    client: &Client,
    lanes: &[HeldLane],
    states: &[&str],
    asking: &[&str],
    limit: usize,
) -> Result<Vec<(String, String)>, Error> {
    if lanes.is_empty() || limit == 0 {
        return Ok(vec![]);
    }
    let (accounts, symbols, _) = columns(lanes);
    let rows = client
        .query(
            "UPDATE order_cancels c
                SET asked = c.asked + 1,
                    next_ask_at = clock_timestamp()
                        + least($5, $6 * 2 ^ least(c.asked, 20)) * interval '1 millisecond'
              WHERE c.idempotency_key IN (
                    SELECT k.idempotency_key
                      FROM order_cancels k
                      JOIN outbox_orders o ON o.idempotency_key = k.idempotency_key
                      JOIN unnest($1::text[], $2::text[]) AS l (account, symbol)
                        ON o.account = l.account AND o.symbol = l.symbol
                     WHERE k.next_ask_at <= clock_timestamp() AND k.idempotency_key <> ALL ($3)
                       AND o.state = ANY ($7)
                     ORDER BY k.next_ask_at LIMIT $4)
             RETURNING c.idempotency_key, c.code",
            &[&accounts, &symbols, &asking, &(limit as i64), &PAUSE_MAX_MS, &PAUSE_MS, &states],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// These lanes have another holder: what is wanted cancelled in them is asked for at once, however often it was before.
pub async fn hurry(client: &Client, lanes: &[HeldLane]) -> Result<(), Error> {
    let (accounts, symbols, _) = columns(lanes);
    client
        .execute(
            "UPDATE order_cancels c SET next_ask_at = clock_timestamp()
               FROM outbox_orders o
               JOIN unnest($1::text[], $2::text[]) AS l (account, symbol)
                 ON o.account = l.account AND o.symbol = l.symbol
              WHERE c.next_ask_at > clock_timestamp() AND o.idempotency_key = c.idempotency_key",
            &[&accounts, &symbols],
        )
        .await?;
    Ok(())
}

/// The broker was not asked after all: that makes no pause longer.
pub async fn unasked(client: &Client, keys: &[&str]) -> Result<(), Error> {
    client
        .execute(
            "UPDATE order_cancels
                SET asked = greatest(asked - 1, 0),
                    next_ask_at = least(next_ask_at, clock_timestamp() + $2 * interval '1 millisecond')
              WHERE idempotency_key = ANY ($1) AND next_ask_at IS NOT NULL",
            &[&keys, &PAUSE_MS],
        )
        .await?;
    Ok(())
}

/// These are over: with what, for each.
pub async fn answered(tx: &Transaction<'_>, answers: &[(&str, &str)]) -> Result<(), Error> {
    if answers.is_empty() {
        return Ok(());
    }
    let (keys, words): (Vec<&str>, Vec<&str>) = answers.iter().copied().unzip();
    tx.execute(
        "UPDATE order_cancels c SET next_ask_at = NULL, answer = u.answer
           FROM unnest($1::text[], $2::text[]) AS u (key, answer)
          WHERE c.idempotency_key = u.key",
        &[&keys, &words],
    )
    .await?;
    Ok(())
}

/// How far a cancel has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Progress {
    pub state: String,
    pub executed_qty: Decimal,
    /// How often the broker was asked.
    pub asked: i32,
    /// What ended it.
    pub answer: Option<String>,
}

/// How far the cancel of this order has come.
pub async fn progress(client: &impl GenericClient, key: &str) -> Result<Option<Progress>, Error> {
    let row = client
        .query_opt(
            "SELECT o.state, o.executed_qty, c.asked, c.answer
               FROM outbox_orders o JOIN order_cancels c ON c.idempotency_key = o.idempotency_key
              WHERE o.idempotency_key = $1",
            &[&key],
        )
        .await?;
    let read = |row: tokio_postgres::Row| {
        Ok(Progress {
            state: row.try_get(0)?,
            executed_qty: row.try_get(1)?,
            asked: row.try_get(2)?,
            answer: row.try_get(3)?,
        })
    };
    row.map(read).transpose()
}
