//! Messages to people about the rules that fired in a trace. A message is about a condition, a rule and what it is
//! about, and not about one trace: told here are those of the hour after the trace's own alerts.

use deadpool_postgres::Transaction;
use tokio_postgres::{Error, Row};

use super::{Alert, Hop, Notification, Order, PgTime, time, time_opt};

/// The kind of such a hop.
const NOTIFIED: &str = "NOTIFIED";

// The tables belong to a role that may not be in use, or not be there yet.
const IS_THERE: &str = "SELECT to_regclass('notify_changes') IS NOT NULL
    AND to_regclass('notify_conditions') IS NOT NULL AND to_regclass('notify_messages') IS NOT NULL";
const CHANGES: &str = "
    SELECT n.policy_name, n.subject, c.kind, c.severity, c.receiver, c.noted_at, m.state, m.ended_at, m.status
      FROM notify_conditions n
      JOIN notify_changes c ON c.fingerprint = n.fingerprint
      LEFT JOIN notify_messages m ON m.id = c.message_id
     WHERE n.policy_name = ANY($1)
       AND (n.account IS NULL OR n.account = ANY($2)) AND (n.symbol IS NULL OR n.symbol = ANY($3))
       AND c.noted_at BETWEEN $4 AND $5::timestamptz + interval '1 hour'
     ORDER BY c.noted_at, c.receiver LIMIT 20";

pub(super) async fn notifications(
    tx: &Transaction<'_>,
    alerts: &[Alert],
    orders: &[Order],
) -> Result<Vec<Notification>, Error> {
    let times = || alerts.iter().map(|alert| alert.created_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(Vec::new()) };
    if !tx.query_one(IS_THERE, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = alerts.iter().map(|alert| alert.policy_name.as_str()).collect();
    let ledgers = || orders.iter().filter_map(|order| order.ledger.as_ref());
    let accounts: Vec<&str> = ledgers().map(|ledger| ledger.account.as_str()).collect();
    let symbols: Vec<&str> = ledgers().map(|ledger| ledger.symbol.as_str()).collect();
    let rows =
        tx.query(CHANGES, &[&names, &accounts, &symbols, &PgTime(first), &PgTime(last)]).await?;
    let read = |row: &Row| {
        Ok(Notification {
            policy_name: row.try_get("policy_name")?,
            subject: row.try_get("subject")?,
            kind: row.try_get("kind")?,
            severity: row.try_get("severity")?,
            receiver: row.try_get("receiver")?,
            noted_at: time(row, "noted_at")?,
            state: row.try_get("state")?,
            ended_at: time_opt(row, "ended_at")?,
            status: row.try_get("status")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The hops with these among them.
pub(super) fn among(mut hops: Vec<Hop>, notifications: &[Notification]) -> Vec<Hop> {
    hops.extend(notifications.iter().map(|told| Hop {
        ts: told.noted_at,
        ingested_at: None,
        kind: NOTIFIED.into(),
        action: Some(format!("{} {}", told.policy_name, told.kind)),
        payload: serde_json::to_value(told).unwrap_or_default(),
    }));
    // Stable: rows of one time stay in the order of the view.
    hops.sort_by_key(|hop| hop.ts);
    hops
}
