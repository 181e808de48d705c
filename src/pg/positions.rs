//! Input positions, the fence (I3): who may move an input partition, and up to where it has been read.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

use crate::runtime::faults::is_planted;

/// A partition of an input topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Place {
    pub topic_id: Arc<str>,
    /// The topic's actual name.
    pub topic: Arc<str>,
    pub partition: i32,
}

/// A partition that is ours under this epoch, read up to `next_offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Taken {
    pub place: Place,
    pub epoch: i64,
    pub next_offset: i64,
}

/// One step of a partition under an epoch: from the offset expected to the next one to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Move {
    pub place: Place,
    pub epoch: i64,
    pub from: i64,
    pub to: i64,
}

/// The steps of a batch, taken record by record: each partition is moved over one record at a time, in offset order.
#[derive(Debug)]
pub struct Steps(BTreeMap<(Arc<str>, i32), Move>);

impl Steps {
    /// From where the batch begins.
    pub fn of(moves: &[Move]) -> Self {
        let key = |step: &Move| (step.place.topic_id.clone(), step.place.partition);
        Self(moves.iter().map(|step| (key(step), step.clone())).collect())
    }

    /// The step of its partition over this record; none if its partition is not of the batch.
    pub fn over(&self, topic_id: &Arc<str>, partition: i32, offset: i64) -> Option<Move> {
        let step = self.0.get(&(topic_id.clone(), partition))?;
        Some(Move { to: offset + 1, ..step.clone() })
    }

    /// The step is committed: the next one of its partition begins where it ended.
    pub fn done(&mut self, step: &Move) {
        let key = (step.place.topic_id.clone(), step.place.partition);
        if let Some(next) = self.0.get_mut(&key) {
            next.from = step.to;
        }
    }
}

/// Takes partitions: each gets its next epoch, and whoever had the one before is fenced off. Waits for a
/// transaction that is moving one of them.
pub async fn take(
    client: &mut Client,
    reader: &str,
    worker: &str,
    places: &[Place],
) -> Result<Vec<Taken>, Error> {
    let mut places = places.to_vec();
    places.sort();
    let ids: Vec<&str> = places.iter().map(|p| &*p.topic_id).collect();
    let topics: Vec<&str> = places.iter().map(|p| &*p.topic).collect();
    let partitions: Vec<i32> = places.iter().map(|p| p.partition).collect();
    let tx = client.transaction().await?;
    tx.execute(
        "INSERT INTO input_positions (reader, topic_id, topic, partition)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::int[]) ON CONFLICT DO NOTHING",
        &[&reader, &ids, &topics, &partitions],
    )
    .await?;
    let rows = tx
        .query(
            "WITH held AS MATERIALIZED (
               SELECT p.topic_id, p.partition FROM input_positions p
                 JOIN unnest($2::text[], $3::int[]) AS u (topic_id, partition)
                   ON p.topic_id = u.topic_id AND p.partition = u.partition
                WHERE p.reader = $1 ORDER BY 1, 2 FOR UPDATE OF p)
             UPDATE input_positions p
                SET epoch = p.epoch + 1, owner = $4, moved_at = clock_timestamp()
               FROM held WHERE p.reader = $1 AND p.topic_id = held.topic_id AND p.partition = held.partition
             RETURNING p.topic_id, p.partition, p.epoch, p.next_offset",
            &[&reader, &ids, &partitions, &worker],
        )
        .await?;
    tx.commit().await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        let (id, partition): (&str, i32) = (row.try_get(0)?, row.try_get(1)?);
        let place = places.iter().find(|p| &*p.topic_id == id && p.partition == partition);
        if let Some(place) = place {
            let (epoch, next_offset) = (row.try_get(2)?, row.try_get(3)?);
            taken.push(Taken { place: place.clone(), epoch, next_offset });
        }
    }
    Ok(taken)
}

/// Moves partitions within a transaction. Those that come back are another worker's by now, or were moved
/// already: unless there are none the transaction must not be committed.
pub async fn advance(
    tx: &Transaction<'_>,
    reader: &str,
    moves: &[Move],
) -> Result<Vec<Place>, Error> {
    let is_fenced = !is_planted("no-fence");
    let ids: Vec<&str> = moves.iter().map(|m| &*m.place.topic_id).collect();
    let partitions: Vec<i32> = moves.iter().map(|m| m.place.partition).collect();
    let epochs: Vec<i64> = moves.iter().map(|m| m.epoch).collect();
    let from: Vec<i64> = moves.iter().map(|m| m.from).collect();
    let to: Vec<i64> = moves.iter().map(|m| m.to).collect();
    let statement = tx
        .prepare_cached(
            "WITH held AS MATERIALIZED (
               SELECT p.topic_id, p.partition, u.next FROM input_positions p
                 JOIN unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
                   AS u (topic_id, partition, epoch, expected, next)
                   ON p.topic_id = u.topic_id AND p.partition = u.partition
                WHERE p.reader = $1 AND (p.epoch = u.epoch AND p.next_offset = u.expected OR NOT $7)
                ORDER BY 1, 2 FOR UPDATE OF p)
             UPDATE input_positions p SET next_offset = held.next, moved_at = clock_timestamp()
               FROM held WHERE p.reader = $1 AND p.topic_id = held.topic_id AND p.partition = held.partition
             RETURNING p.topic_id, p.partition",
        )
        .await?;
    let rows = tx
        .query(&statement, &[&reader, &ids, &partitions, &epochs, &from, &to, &is_fenced])
        .await?;
    let mut fenced: Vec<&Place> = moves.iter().map(|m| &m.place).collect();
    for row in &rows {
        let (id, partition): (&str, i32) = (row.try_get(0)?, row.try_get(1)?);
        fenced.retain(|place| &*place.topic_id != id || place.partition != partition);
    }
    Ok(fenced.into_iter().cloned().collect())
}

/// The owner of a partition between a rewind and the worker that takes it again.
const REWOUND: &str = "noctus rewind";

/// Up to where a reader has read the partitions of a topic that it knows.
pub async fn stored(
    client: &Client,
    reader: &str,
    topic_id: &str,
) -> Result<BTreeMap<i32, i64>, Error> {
    let rows = client
        .query(
            "SELECT partition, next_offset FROM input_positions WHERE reader = $1 AND topic_id = $2",
            &[&reader, &topic_id],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Moves partitions to these offsets under a new epoch, all or none: what a worker has in hand of them is fenced
/// off. Waits for transactions that are moving one of them.
pub async fn rewind(
    client: &mut Client,
    reader: &str,
    places: &[(Place, i64)],
) -> Result<(), Error> {
    let mut places = places.to_vec();
    places.sort();
    let tx = client.transaction().await?;
    for (place, to) in &places {
        tx.execute(
            "INSERT INTO input_positions AS p (reader, topic_id, topic, partition, epoch, next_offset, owner)
             VALUES ($1, $2, $3, $4, 1, $5, $6)
             ON CONFLICT (reader, topic_id, partition) DO UPDATE
                SET epoch = p.epoch + 1, next_offset = $5, owner = $6, moved_at = clock_timestamp()",
            &[&reader, &&*place.topic_id, &&*place.topic, &place.partition, to, &REWOUND],
        )
        .await?;
    }
    tx.commit().await
}

/// A reader's partitions that were rewound and that nobody has taken since: topic id and partition.
pub async fn rewound(client: &Client, reader: &str) -> Result<Vec<(String, i32)>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT topic_id, partition FROM input_positions WHERE reader = $1 AND owner = $2",
        )
        .await?;
    let rows = client.query(&statement, &[&reader, &REWOUND]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// A partition that had not been read before begins at this offset.
pub async fn begin(client: &Client, reader: &str, taken: &Taken, at: i64) -> Result<bool, Error> {
    let moved = client
        .execute(
            "UPDATE input_positions SET next_offset = $5
              WHERE reader = $1 AND topic_id = $2 AND partition = $3 AND epoch = $4",
            &[&reader, &&*taken.place.topic_id, &taken.place.partition, &taken.epoch, &at],
        )
        .await?;
    Ok(moved == 1)
}
