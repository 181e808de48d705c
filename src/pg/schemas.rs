//! What the schema registry said first of its ids.

use tokio_postgres::{Client, Error};

/// Whether the id is known with this digest; one that is not known is, from now on.
pub async fn is_as_seen(client: &Client, id: u32, sha256: &[u8; 32]) -> Result<bool, Error> {
    let (id, sha256) = (i64::from(id), sha256.as_slice());
    client
        .execute(
            "INSERT INTO registry_schemas (id, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&id, &sha256],
        )
        .await?;
    client
        .query_one(
            "SELECT EXISTS (SELECT FROM registry_schemas WHERE id = $1 AND sha256 = $2)",
            &[&id, &sha256],
        )
        .await?
        .try_get(0)
}
