//! Which dead letters were sent again, by where they lie.

use std::collections::HashSet;

use deadpool_postgres::Transaction;
use tokio_postgres::{Client, Error};

/// The letters of a topic that were sent again: partition and offset.
pub async fn done(client: &Client, topic_id: &str) -> Result<HashSet<(i32, i64)>, Error> {
    let rows = client
        .query("SELECT partition, letter_offset FROM redrives WHERE topic_id = $1", &[&topic_id])
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Marks a letter within a transaction that ends once it was sent. False: it was sent before; whoever is
/// sending it right now is waited for.
pub async fn mark(
    tx: &Transaction<'_>,
    topic_id: &str,
    (partition, offset): (i32, i64),
    by_whom: &str,
) -> Result<bool, Error> {
    let marked = tx
        .execute(
            "INSERT INTO redrives (topic_id, partition, letter_offset, by_whom) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
            &[&topic_id, &partition, &offset, &by_whom],
        )
        .await?;
    Ok(marked == 1)
}
