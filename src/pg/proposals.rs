//! What one person proposes and another one approves. Whoever proposed never approves (the table refuses it too).

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Error, Row};

use super::PgTime;

/// What is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To lift a halt.
    Resume,
    /// To end a PARKED order.
    Resolve,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Resume => "resume",
            Kind::Resolve => "resolve",
        }
    }
}

/// One proposal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Proposal {
    pub number: i64,
    pub kind: String,
    pub subject: Value,
    pub reason: String,
    pub by_whom: String,
    pub at: Timestamp,
}

/// Why a proposal cannot be approved.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotApproved {
    #[error(
        "there is no proposal {0} of this kind: `noctus halts` and `noctus orders list` show them"
    )]
    NoSuch(i64),
    #[error("proposal {0} was approved before")]
    Before(i64),
    #[error(
        "proposal {number} is by {by_whom}: another person must approve it (--as says who you are)"
    )]
    Own { number: i64, by_whom: String },
    #[error("Postgres: {}", super::told(.0))]
    Postgres(#[from] Error),
}

const COLUMNS: &str = "number, kind, subject, reason, by_whom, at";

fn proposal(row: &Row) -> Result<Proposal, Error> {
    Ok(Proposal {
        number: row.try_get(0)?,
        kind: row.try_get(1)?,
        subject: row.try_get(2)?,
        reason: row.try_get(3)?,
        by_whom: row.try_get(4)?,
        at: row.try_get::<_, PgTime>(5)?.0,
    })
}

/// Writes a proposal; its number.
pub async fn propose(
    client: &Client,
    kind: Kind,
    subject: &Value,
    reason: &str,
    by_whom: &str,
) -> Result<i64, Error> {
    let row = client
        .query_one(
            "INSERT INTO proposals (kind, subject, reason, by_whom) VALUES ($1, $2, $3, $4)
             RETURNING number",
            &[&kind.as_str(), &Json(subject), &reason, &by_whom],
        )
        .await?;
    row.try_get(0)
}

/// A proposal that is not approved yet, as it stands.
pub async fn find(client: &Client, kind: Kind, number: i64) -> Result<Option<Proposal>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proposals WHERE number = $1 AND kind = $2 AND approved_by IS NULL"
    );
    let row = client.query_opt(&sql, &[&number, &kind.as_str()]).await?;
    row.as_ref().map(proposal).transpose()
}

/// Approves a proposal within the transaction that does what it says.
pub async fn approve(
    tx: &Transaction<'_>,
    kind: Kind,
    number: i64,
    by: &str,
) -> Result<Proposal, NotApproved> {
    let sql = format!(
        "SELECT {COLUMNS}, approved_by IS NOT NULL FROM proposals
          WHERE number = $1 AND kind = $2 FOR UPDATE"
    );
    let row = tx.query_opt(&sql, &[&number, &kind.as_str()]).await?;
    let row = row.ok_or(NotApproved::NoSuch(number))?;
    let proposal = proposal(&row)?;
    if row.try_get(6)? {
        return Err(NotApproved::Before(number));
    }
    if proposal.by_whom.eq_ignore_ascii_case(by) {
        return Err(NotApproved::Own { number, by_whom: proposal.by_whom });
    }
    tx.execute(
        "UPDATE proposals SET approved_by = $2, approved_at = clock_timestamp() WHERE number = $1",
        &[&number, &by],
    )
    .await?;
    Ok(proposal)
}

/// Proposals that wait for a second person, oldest first.
pub async fn open(client: &Client, kind: Kind) -> Result<Vec<Proposal>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proposals WHERE kind = $1 AND approved_by IS NULL ORDER BY number"
    );
    client.query(&sql, &[&kind.as_str()]).await?.iter().map(proposal).collect()
}
