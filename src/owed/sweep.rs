//! The sweep: batches that nobody settled, because their worker died or Kafka was away, are emitted by whoever
//! finds them first.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Emitter;
use crate::pg::owed;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause between two counts of what is owed.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Batches emitted in one transaction.
const AT_ONCE: i64 = 20;

/// Looks until `stop`.
pub(super) async fn sweep(emitter: Emitter, stop: CancellationToken) {
    let mut counted: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if counted.is_none_or(|at| at.elapsed() > COUNT_EVERY) {
            counted = Some(Instant::now());
            if let Err(error) = count(&emitter).await {
                tracing::debug!(%error, "what is owed was not counted");
            }
        }
        loop {
            match once(&emitter).await {
                Ok(0) => break,
                Ok(_) if stop.is_cancelled() => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "owed events wait");
                    break;
                }
            }
        }
    }
}

/// How much is owed, by whomever.
async fn count(emitter: &Emitter) -> Result<(), SweepError> {
    let ctx = &emitter.0.ctx;
    let (batches, oldest_s) = owed::backlog(&ctx.pool.get().await?).await?;
    ctx.metrics.owed_batches.set(batches);
    ctx.metrics.owed_oldest.set(oldest_s);
    Ok(())
}

/// Why a sweep did not end; the next one tries again.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
}

/// How many batches were emitted.
async fn once(emitter: &Emitter) -> Result<usize, SweepError> {
    let inner = &emitter.0;
    let age_ms = inner.ctx.config.kafka.orphan_after_ms;
    let mut client = inner.ctx.pool.get().await?;
    let tx = client.transaction().await?;
    let mut ids = Vec::new();
    for orphan in owed::orphans(&tx, age_ms, AT_ONCE).await? {
        let Some(events) = &orphan.events else {
            tracing::error!(
                batch = orphan.id,
                owner = orphan.owner,
                "owed events that this build does not know"
            );
            continue;
        };
        inner.produce(events).await?;
        inner.ctx.metrics.owed_orphans.inc();
        ids.push(orphan.id);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    owed::remove(&tx, &ids).await?;
    tx.commit().await?;
    tracing::info!(batches = ids.len(), "events were owed and are emitted");
    Ok(ids.len())
}
