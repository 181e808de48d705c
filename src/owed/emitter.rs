//! Emission: produce what was committed, await every acknowledgement, settle. At most so many batches at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{DEAD_LETTERS, Owed};
use crate::kafka::producer::{Outgoing, Producer};
use crate::pg::{Pool, owed};
use crate::runtime::context::Context;
use crate::runtime::faults::{crash_point, in_flight};

/// Batches committed and not acknowledged at one time; whoever wants to commit more waits (F19).
const BATCHES_MAX: u32 = 16;

/// The right to commit a batch of events and have it emitted.
pub struct Room(OwnedSemaphorePermit);

/// Emits owed events; cheap to clone.
#[derive(Clone)]
pub struct Emitter(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) ctx: Context,
    pub(super) producer: Producer,
    room: Arc<Semaphore>,
}

impl Emitter {
    /// Makes an emitter and starts its sweep for orphans, which ends with `stop`.
    pub fn start(ctx: &Context, stop: CancellationToken) -> Result<Self, KafkaError> {
        let producer = Producer::new(&ctx.config)?;
        let room = Arc::new(Semaphore::new(BATCHES_MAX as usize));
        let emitter = Self(Arc::new(Inner { ctx: ctx.clone(), producer, room }));
        tokio::spawn(super::sweep::sweep(emitter.clone(), stop));
        Ok(emitter)
    }

    /// Waits until fewer batches than allowed are unacknowledged.
    pub async fn room(&self) -> Room {
        let room = self.0.room.clone().acquire_owned().await;
        Room(room.expect("the semaphore is never closed"))
    }

    /// The same without waiting: none while Kafka lags, and then a sweep emits what is committed.
    pub fn room_now(&self) -> Option<Room> {
        self.0.room.clone().try_acquire_owned().ok().map(Room)
    }

    /// Emits a committed batch in the background. If that fails, the row stays and a sweep finds it.
    pub fn emit(&self, room: Option<Room>, batch: Option<i64>, events: Vec<Owed>) {
        let (Some(room), Some(id)) = (room, batch) else { return };
        let inner = self.0.clone();
        tokio::spawn(async move {
            let _room = room.0;
            if let Err(error) = inner.produce(&events).await {
                tracing::warn!(%error, batch = id, "events stay owed and are emitted later");
                return;
            }
            if let Err(error) = settle(&inner.ctx.pool, id).await {
                tracing::warn!(
                    error,
                    batch = id,
                    "emitted events could not be settled; they repeat"
                );
            }
        });
    }

    /// Waits until nothing is on its way, at most for `limit`.
    pub async fn drain(&self, limit: Duration) {
        let all = self.0.room.acquire_many(BATCHES_MAX);
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("events are still owed; whoever sweeps next emits them");
        }
    }
}

impl Inner {
    pub(super) async fn produce(&self, events: &[Owed]) -> Result<(), KafkaError> {
        let out = |e: &Owed| Outgoing {
            topic: self.ctx.config.topic(e.topic),
            key: e.key.clone(),
            value: e.value.clone(),
            headers: e.headers.clone(),
            timestamp_ms: None,
            partition: None,
        };
        let records: Vec<Outgoing> = events.iter().map(out).collect();
        let letters = events.iter().any(|e| e.topic == DEAD_LETTERS);
        let point = if letters { "gate/dead-letter-unacked" } else { "emission/produced" };
        let began = Instant::now();
        in_flight(point, self.producer.produce(&records)).await?;
        self.ctx.metrics.owed_emit_seconds.observe(began.elapsed().as_secs_f64());
        crash_point("emission/acked");
        for event in events {
            self.ctx.metrics.owed_emitted.with_label_values(&[event.topic]).inc();
        }
        Ok(())
    }
}

async fn settle(pool: &Pool, id: i64) -> Result<(), String> {
    let client = pool.get().await.map_err(|e| e.to_string())?;
    owed::settle(&client, &[id]).await.map_err(|e| e.to_string())?;
    crash_point("emission/settled");
    Ok(())
}
