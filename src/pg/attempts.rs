//! Send attempts: one row per send that was begun, closed with its outcome.

use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, Transaction};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Ended {
    pub key: String,
    pub attempt_no: i32,
    /// `accepted`, `rejected`, `not_sent` or `unknown`.
    pub outcome: &'static str,
    pub detail: Value,
}

/// Closes attempts. A known outcome replaces `unknown`; nothing replaces a known one.
pub async fn close(tx: &Transaction<'_>, ended: &[Ended]) -> Result<(), Error> {
    if ended.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = ended.iter().map(|e| e.key.as_str()).collect();
    let numbers: Vec<i32> = ended.iter().map(|e| e.attempt_no).collect();
    let outcomes: Vec<&str> = ended.iter().map(|e| e.outcome).collect();
    let details: Vec<Json<&Value>> = ended.iter().map(|e| Json(&e.detail)).collect();
    tx.execute(
        "UPDATE send_attempts a SET outcome = u.outcome, detail = u.detail, ended_at = clock_timestamp()
           FROM unnest($1::text[], $2::int[], $3::text[], $4::jsonb[]) AS u (key, no, outcome, detail)
          WHERE a.idempotency_key = u.key AND a.attempt_no = u.no
            AND (a.outcome IS NULL OR a.outcome = 'unknown')",
        &[&keys, &numbers, &outcomes, &details],
    )
    .await?;
    Ok(())
}
