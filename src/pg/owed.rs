//! Owed events: rows with the exact bytes of a batch's events, until Kafka has acknowledged them (I5).

use deadpool_postgres::{Client, Transaction};
use serde_json::{Value, json};
use tokio_postgres::Error;
use tokio_postgres::types::Json;

use crate::owed::Owed;

/// A batch of events that nobody has settled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Orphan {
    pub id: i64,
    pub owner: String,
    /// None: an event is for a topic that this build does not know.
    pub events: Option<Vec<Owed>>,
}

/// Commits events with what caused them, as one row; its id, or none for no events.
pub async fn insert(
    tx: &Transaction<'_>,
    owner: &str,
    events: &[Owed],
) -> Result<Option<i64>, Error> {
    if events.is_empty() {
        return Ok(None);
    }
    let topics: Vec<&str> = events.iter().map(|e| e.topic).collect();
    let keys: Vec<Option<&[u8]>> = events.iter().map(|e| e.key.as_deref()).collect();
    let payloads: Vec<Option<&[u8]>> = events.iter().map(|e| e.value.as_deref()).collect();
    let headers: Vec<Option<Json<Value>>> = events.iter().map(headers_out).collect();
    let statement = tx
        .prepare_cached(
            "INSERT INTO owed_events (owner, topics, keys, payloads, headers)
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
        )
        .await?;
    let row = tx.query_one(&statement, &[&owner, &topics, &keys, &payloads, &headers]).await?;
    row.try_get(0).map(Some)
}

fn headers_out(event: &Owed) -> Option<Json<Value>> {
    if event.headers.is_empty() {
        return None;
    }
    let pairs =
        event.headers.iter().map(|(name, value)| json!([name, value.as_ref().map(hex::encode)]));
    Some(Json(Value::Array(pairs.collect())))
}

fn headers_in(json: Option<Value>) -> Vec<(String, Option<Vec<u8>>)> {
    let Some(Value::Array(pairs)) = json else { return Vec::new() };
    let pair = |pair: &Value| {
        let value = pair.get(1)?.as_str().map(hex::decode).transpose().ok()?;
        Some((pair.get(0)?.as_str()?.to_string(), value))
    };
    pairs.iter().filter_map(pair).collect()
}

/// Kafka has acknowledged these batches.
pub async fn settle(client: &Client, ids: &[i64]) -> Result<(), Error> {
    let statement = client.prepare_cached("DELETE FROM owed_events WHERE id = ANY($1)").await?;
    client.execute(&statement, &[&ids]).await?;
    Ok(())
}

/// How many batches are owed, and the age of the oldest in seconds.
pub async fn backlog(client: &Client) -> Result<(i64, f64), Error> {
    let statement = client
        .prepare_cached(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
               FROM owed_events",
        )
        .await?;
    let row = client.query_one(&statement, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Batches older than `age_ms`, locked against other sweepers until the transaction ends; oldest first.
pub async fn orphans(tx: &Transaction<'_>, age_ms: u64, limit: i64) -> Result<Vec<Orphan>, Error> {
    // Waiting for Kafka must not look like an idle transaction.
    tx.batch_execute("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
    let rows = tx
        .query(
            "SELECT id, owner, topics, keys, payloads, headers FROM owed_events
              WHERE created_at < clock_timestamp() - $1 * interval '1 millisecond'
              ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED",
            &[&(age_ms as f64), &limit],
        )
        .await?;
    let mut orphans = Vec::with_capacity(rows.len());
    for row in &rows {
        let topics: Vec<&str> = row.try_get(2)?;
        let keys: Vec<Option<Vec<u8>>> = row.try_get(3)?;
        let values: Vec<Option<Vec<u8>>> = row.try_get(4)?;
        let headers: Vec<Option<Value>> = row.try_get(5)?;
        let parts = topics.into_iter().zip(keys).zip(values).zip(headers);
        let event = |(((topic, key), value), headers): (((&str, _), _), _)| {
            let topic = crate::owed::topic_named(topic)?;
            Some(Owed { topic, key, value, headers: headers_in(headers) })
        };
        let events = parts.map(event).collect();
        orphans.push(Orphan { id: row.try_get(0)?, owner: row.try_get(1)?, events });
    }
    Ok(orphans)
}

/// Removes orphans that were emitted, in the transaction that holds them.
pub async fn remove(tx: &Transaction<'_>, ids: &[i64]) -> Result<(), Error> {
    tx.execute("DELETE FROM owed_events WHERE id = ANY($1)", &[&ids]).await?;
    Ok(())
}
