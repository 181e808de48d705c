//! Taking partitions in Postgres: each gets its next epoch, and where reading starts is found out.

use std::sync::Arc;

use rdkafka::consumer::StreamConsumer;
use rdkafka::error::KafkaError;
use tokio::task::JoinHandle;

use super::rebalance::Rebalances;
use super::{ASK, InputError, Key};
use crate::kafka::admin::topics;
use crate::kafka::offsets::watermarks;
use crate::kafka::record::Topic;
use crate::pg::positions::{self, Place, Taken};
use crate::runtime::context::Context;

/// The topics as they are now, and each partition with the offset at which reading starts.
pub type TakenUp = Result<(Vec<Topic>, Vec<(Taken, i64)>), InputError>;

/// Takes partitions in Postgres and finds out where reading starts.
pub struct Taking {
    pub ctx: Context,
    pub reader: &'static str,
    pub consumer: Arc<StreamConsumer<Rebalances>>,
    pub topics: Vec<Topic>,
    pub keys: Vec<Key>,
}

impl Taking {
    /// Takes them.
    pub async fn run(mut self) -> TakenUp {
        let logical: Vec<&'static str> = self.topics.iter().map(|t| t.logical).collect();
        self.topics = topics(&self.ctx.config, &logical).await?;
        let places = self.keys.iter().filter_map(|key| {
            let topic = self.topics.iter().find(|t| t.name == key.0)?;
            Some(Place { topic_id: topic.id.clone(), topic: key.0.clone(), partition: key.1 })
        });
        let places: Vec<Place> = places.collect();
        let mut client = self.ctx.pool.get().await?;
        let worker = self.ctx.worker.clone();
        let taken = positions::take(&mut client, self.reader, &worker, &places).await?;
        let mut starts = Vec::with_capacity(taken.len());
        for one in taken {
            let next = self.start_of(&client, &one).await?;
            starts.push((one, next));
        }
        Ok((self.topics, starts))
    }

    /// Where reading starts: what Postgres holds, or the first record there is if nothing was read yet.
    async fn start_of(
        &self,
        client: &deadpool_postgres::Client,
        taken: &Taken,
    ) -> Result<i64, InputError> {
        let (consumer, place) = (self.consumer.clone(), taken.place.clone());
        let ask = move || watermarks(&*consumer, &place.topic, place.partition, ASK);
        let (low, _) =
            tokio::task::spawn_blocking(ask).await.map_err(|_| KafkaError::Canceled)??;
        let stored = taken.next_offset;
        if stored >= low {
            return Ok(stored);
        }
        if stored == 0 && taken.epoch == 1 {
            positions::begin(client, self.reader, taken, low).await?;
            return Ok(low);
        }
        let (topic, partition) = (taken.place.topic.to_string(), taken.place.partition);
        Err(InputError::Lost { topic, partition, stored, low })
    }
}

/// What is being taken, once it is.
pub async fn taken_up(taking: &mut Option<JoinHandle<TakenUp>>) -> TakenUp {
    let Some(task) = taking else { return std::future::pending().await };
    let taken = task.await.unwrap_or_else(|_| Err(KafkaError::Canceled.into()));
    *taking = None;
    taken
}
