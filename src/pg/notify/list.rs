//! What `noctus notify list` and `deliveries` show.

use deadpool_postgres::Client;
use serde_json::Value;
use tokio_postgres::Error;

use crate::domain::notice::Condition;
use tokio_postgres::types::Json;

/// Conditions, the newest change first; with `all` those that are over, too.
pub async fn conditions(client: &Client, all: bool, limit: i64) -> Result<Vec<Condition>, Error> {
    let rows = client
        .query(
            "SELECT to_jsonb(c) FROM notify_conditions c
              WHERE state = 'OPEN' OR ($1 AND state = 'RESOLVED')
              ORDER BY state, changed_at DESC, fingerprint LIMIT $2",
            &[&all, &limit],
        )
        .await?;
    rows.iter().map(|row| Ok(row.try_get::<_, Json<Condition>>(0)?.0)).collect()
}

/// The last messages as they stand in the ledger, the newest first.
pub async fn messages(
    client: &Client,
    receiver: Option<&str>,
    limit: i64,
) -> Result<Vec<Value>, Error> {
    let rows = client
        .query(
            "SELECT to_jsonb(m) || jsonb_build_object('changes',
                    (SELECT count(*) FROM notify_changes u WHERE u.message_id = m.id))
               FROM notify_messages m WHERE $1::text IS NULL OR receiver = $1
              ORDER BY made_at DESC, id LIMIT $2",
            &[&receiver, &limit],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Changes that wait to be told, by receiver.
pub async fn untold(client: &Client) -> Result<Vec<(String, i64)>, Error> {
    let rows = client
        .query(
            "SELECT receiver, count(*) FROM notify_changes WHERE message_id IS NULL GROUP BY 1 ORDER BY 1",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
