//! The lease of whoever tells: one process at a time, by Postgres' clock.

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

/// Takes or renews the lease; the epoch under which it is ours, or none: another process has it. The epoch grows unless
/// it was ours all the time.
pub async fn take(client: &Client, owner: &str, lease_ms: u64) -> Result<Option<i64>, Error> {
    let statement = client
        .prepare_cached(
            "UPDATE notify_teller
                SET epoch = epoch + CASE WHEN owner = $1 AND lease_until > clock_timestamp() THEN 0 ELSE 1 END,
                    owner = $1, lease_until = clock_timestamp() + $2 * interval '1 millisecond'
              WHERE owner = $1 OR lease_until < clock_timestamp()
             RETURNING epoch",
        )
        .await?;
    let row = client.query_opt(&statement, &[&owner, &(lease_ms as f64)]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Whether the lease is ours under this epoch; if so, it stays so until the transaction ends.
pub async fn hold(tx: &Transaction<'_>, owner: &str, epoch: i64) -> Result<bool, Error> {
    let statement = tx
        .prepare_cached(
            "SELECT FROM notify_teller
              WHERE owner = $1 AND epoch = $2 AND lease_until > clock_timestamp() FOR SHARE",
        )
        .await?;
    Ok(tx.query_opt(&statement, &[&owner, &epoch]).await?.is_some())
}

/// Gives the lease back, so that another process goes on at once.
pub async fn give_back(client: &Client, owner: &str, epoch: i64) -> Result<(), Error> {
    client
        .execute(
            "UPDATE notify_teller SET lease_until = clock_timestamp() WHERE owner = $1 AND epoch = $2",
            &[&owner, &epoch],
        )
        .await?;
    Ok(())
}
