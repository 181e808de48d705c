//! Lanes: who may send for an (account, symbol), by a lease with an epoch. Only the database's clock counts.

use tokio_postgres::{Client, Error, Transaction};

/// A lane as the tables name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct LaneKey {
    pub account: String,
    pub symbol: String,
}

/// A lane and the epoch under which it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeldLane {
    pub key: LaneKey,
    pub epoch: i64,
}

/// Lanes as three parameters: accounts, symbols, epochs.
pub(super) fn columns(lanes: &[HeldLane]) -> (Vec<&str>, Vec<&str>, Vec<i64>) {
    let accounts = lanes.iter().map(|l| l.key.account.as_str()).collect();
    let symbols = lanes.iter().map(|l| l.key.symbol.as_str()).collect();
    (accounts, symbols, lanes.iter().map(|l| l.epoch).collect())
}

/// A lane that has something to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work {
    /// Which.
    pub key: LaneKey,
    /// Something in it may be to be sent now; else its orders only rest, at the broker or until they are asked about.
    pub moves: bool,
}

/// The lanes that have orders for a sender to move or to ask about; what is PARKED is a person's. Hops through the partial
/// index, so a long backlog costs nothing.
pub async fn with_work(client: &Client) -> Result<Vec<Work>, Error> {
    const OPEN: &str = "state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN')";
    let sql = format!(
        "WITH RECURSIVE lane AS (
           (SELECT account, symbol FROM outbox_orders WHERE {OPEN}
             ORDER BY account, symbol LIMIT 1)
           UNION ALL
           SELECT n.account, n.symbol FROM lane l CROSS JOIN LATERAL
             (SELECT o.account, o.symbol FROM outbox_orders o
               WHERE {OPEN} AND (o.account, o.symbol) > (l.account, l.symbol)
               ORDER BY o.account, o.symbol LIMIT 1) n)
         SELECT account, symbol, bool_or(moves) FROM (
           SELECT account, symbol,
                  EXISTS (SELECT FROM outbox_orders o
                           WHERE o.account = lane.account AND o.symbol = lane.symbol
                             AND o.state IN ('NEW','SENT','UNKNOWN')
                             AND (o.state <> 'UNKNOWN' OR o.next_query_at IS NULL)) AS moves
             FROM lane
           UNION ALL
           SELECT account, symbol, false FROM outbox_orders
            WHERE state IN ('CANCELLED','EXPIRED') AND next_query_at IS NOT NULL) w
          GROUP BY 1, 2"
    );
    let rows = client.query(&sql, &[]).await?;
    let read = |r: &tokio_postgres::Row| {
        let key = LaneKey { account: r.try_get(0)?, symbol: r.try_get(1)? };
        Ok(Work { key, moves: r.try_get(2)? })
    };
    rows.iter().map(read).collect()
}

/// Takes those of the lanes that nobody holds (never held, or the lease has lapsed), at most `limit`.
/// Each gets its next epoch.
pub async fn take(
    client: &mut Client,
    worker: &str,
    lease_ms: u64,
    lanes: &[LaneKey],
    limit: usize,
) -> Result<Vec<HeldLane>, Error> {
    let accounts: Vec<&str> = lanes.iter().map(|l| l.account.as_str()).collect();
    let symbols: Vec<&str> = lanes.iter().map(|l| l.symbol.as_str()).collect();
    let tx = client.transaction().await?;
    tx.execute(
        "INSERT INTO dispatch_lanes (account, symbol)
         SELECT account, symbol FROM unnest($1::text[], $2::text[]) AS w (account, symbol)
          ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        &[&accounts, &symbols],
    )
    .await?;
    let rows = tx
        .query(
            "UPDATE dispatch_lanes l
                SET owner = $3, epoch = l.epoch + 1,
                    lease_until = clock_timestamp() + $4 * interval '1 millisecond'
               FROM (SELECT d.account, d.symbol
                       FROM dispatch_lanes d
                       JOIN unnest($1::text[], $2::text[]) AS w (account, symbol)
                         ON d.account = w.account AND d.symbol = w.symbol
                      WHERE d.lease_until < clock_timestamp()
                      ORDER BY 1, 2 LIMIT $5 FOR UPDATE OF d SKIP LOCKED) free
              WHERE l.account = free.account AND l.symbol = free.symbol
             RETURNING l.account, l.symbol, l.epoch",
            &[&accounts, &symbols, &worker, &(lease_ms as f64), &(limit as i64)],
        )
        .await?;
    tx.commit().await?;
    rows.iter().map(held).collect()
}

fn held(row: &tokio_postgres::Row) -> Result<HeldLane, Error> {
    let key = LaneKey { account: row.try_get(0)?, symbol: row.try_get(1)? };
    Ok(HeldLane { key, epoch: row.try_get(2)? })
}

/// Prolongs the leases; returns the lanes that are still ours (a lapsed lease that nobody took is).
pub async fn renew(
    client: &Client,
    worker: &str,
    lease_ms: u64,
    lanes: &[HeldLane],
) -> Result<Vec<HeldLane>, Error> {
    let (accounts, symbols, epochs) = columns(lanes);
    let rows = client
        .query(
            "UPDATE dispatch_lanes l
                SET lease_until = clock_timestamp() + $5 * interval '1 millisecond'
               FROM unnest($1::text[], $2::text[], $3::bigint[]) AS h (account, symbol, epoch)
              WHERE l.account = h.account AND l.symbol = h.symbol AND l.epoch = h.epoch
                AND l.owner = $4
             RETURNING l.account, l.symbol, l.epoch",
            &[&accounts, &symbols, &epochs, &worker, &(lease_ms as f64)],
        )
        .await?;
    rows.iter().map(held).collect()
}

/// Lets lanes go, so that another worker may take them at once.
pub async fn release(client: &Client, worker: &str, lanes: &[HeldLane]) -> Result<(), Error> {
    let (accounts, symbols, epochs) = columns(lanes);
    client
        .execute(
            "UPDATE dispatch_lanes l SET owner = '', lease_until = '-infinity'
               FROM unnest($1::text[], $2::text[], $3::bigint[]) AS h (account, symbol, epoch)
              WHERE l.account = h.account AND l.symbol = h.symbol AND l.epoch = h.epoch
                AND l.owner = $4",
            &[&accounts, &symbols, &epochs, &worker],
        )
        .await?;
    Ok(())
}

/// These lanes are another's now: from where on what the broker tells must be heard again, because of orders that are at the
/// broker or on their way. For a lane without one, what comes after `heard` is enough.
pub async fn begin_hearing(
    client: &Client,
    worker: &str,
    lanes: &[HeldLane],
    heard: i64,
) -> Result<Option<i64>, Error> {
    let (accounts, symbols, epochs) = columns(lanes);
    let row = client
        .query_one(
            "WITH ours AS (
               SELECT l.account, l.symbol, l.heard,
                      EXISTS (SELECT FROM outbox_orders o
                               WHERE o.account = l.account AND o.symbol = l.symbol
                                 AND o.state IN ('SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED')) AS is_open
                 FROM dispatch_lanes l
                 JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS h (account, symbol, epoch)
                   ON l.account = h.account AND l.symbol = h.symbol AND l.epoch = h.epoch
                WHERE l.owner = $4),
             fresh AS (
               UPDATE dispatch_lanes l SET heard = $5 FROM ours
                WHERE l.account = ours.account AND l.symbol = ours.symbol
                  AND (NOT ours.is_open OR ours.heard IS NULL))
             SELECT min(heard) FROM ours WHERE is_open",
            &[&accounts, &symbols, &epochs, &worker, &heard],
        )
        .await?;
    row.try_get(0)
}

/// In these lanes, as far as they are still ours, everything that the broker told up to `heard` has been acted on.
pub async fn note_heard(
    client: &Client,
    worker: &str,
    lanes: &[HeldLane],
    heard: i64,
) -> Result<(), Error> {
    let (accounts, symbols, epochs) = columns(lanes);
    client
        .execute(
            "UPDATE dispatch_lanes l SET heard = $5
               FROM unnest($1::text[], $2::text[], $3::bigint[]) AS h (account, symbol, epoch)
              WHERE l.account = h.account AND l.symbol = h.symbol AND l.epoch = h.epoch
                AND l.owner = $4 AND l.heard IS DISTINCT FROM $5",
            &[&accounts, &symbols, &epochs, &worker, &heard],
        )
        .await?;
    Ok(())
}

/// The furthest that any holder has heard.
pub async fn furthest_heard(client: &Client) -> Result<Option<i64>, Error> {
    client.query_one("SELECT max(heard) FROM dispatch_lanes", &[]).await?.try_get(0)
}

/// The fence of a claiming transaction: those of the lanes that are ours now, and stay so until it commits.
pub async fn hold(
    tx: &Transaction<'_>,
    worker: &str,
    lanes: &[HeldLane],
) -> Result<Vec<HeldLane>, Error> {
    let (accounts, symbols, epochs) = columns(lanes);
    let rows = tx
        .query(
            "SELECT l.account, l.symbol, l.epoch
               FROM dispatch_lanes l
               JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS h (account, symbol, epoch)
                 ON l.account = h.account AND l.symbol = h.symbol AND l.epoch = h.epoch
              WHERE l.owner = $4 AND l.lease_until > clock_timestamp()
              ORDER BY 1, 2 FOR SHARE OF l",
            &[&accounts, &symbols, &epochs, &worker],
        )
        .await?;
    rows.iter().map(held).collect()
}
