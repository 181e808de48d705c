//! Owns reading input topics in a consumer group, with Postgres as the truth of what has been read (I3).
//! Never commits a position by itself, and never starts at Kafka's group offset: that one is for lag tools.
//! Invariant: what is handed out for a partition is without gap from its stored position, under one epoch.

mod rebalance;
mod taking;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::rebalance::{Change, Rebalances, let_go};
use self::taking::{TakenUp, Taking, taken_up};
use super::admin::{AdminError, topics};
use super::client::client;
use super::record::{Record, Topic};
use crate::pg::positions::{self, Move, Place};
use crate::runtime::clock;
use crate::runtime::context::Context;
use crate::runtime::faults::crash_point;
use crate::runtime::metrics::Guarantee;
use crate::wire::Subject;

/// Longest question to Kafka about the ends of a partition.
const ASK: Duration = Duration::from_secs(10);
/// Pause between two looks for a rewind: a partition without new records meets no fence.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InputError {
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(
        "{topic}/{partition}: read up to {stored}, but Kafka only has {low} and later: records {stored} to {last} are lost to us. \
         Find out what they were, then `noctus rewind` to {low}",
        last = low - 1
    )]
    Lost { topic: String, partition: i32, stored: i64, low: i64 },
}

impl InputError {
    /// Whether waiting can help.
    pub fn is_passing(&self) -> bool {
        match self {
            InputError::Kafka(error) => !matches!(error, KafkaError::ClientConfig(..)),
            InputError::Pool(_) | InputError::Postgres(_) | InputError::Admin(_) => true,
            InputError::Lost { .. } => true,
        }
    }
}

/// A partition that is ours.
struct Owned {
    place: Place,
    epoch: i64,
    /// What Postgres holds: everything before it is done.
    next: i64,
}

/// A partition that is not read for a while.
struct Held {
    key: Key,
    from: i64,
    until: Instant,
}

type Key = (Arc<str>, i32);

/// A reader's share of its topics.
pub struct Input {
    ctx: Context,
    reader: &'static str,
    consumer: Arc<StreamConsumer<Rebalances>>,
    changes: mpsc::UnboundedReceiver<Change>,
    topics: Vec<Topic>,
    owned: HashMap<Key, Owned>,
    held: Vec<Held>,
    /// Read and not handed out yet, so that a cancelled fetch loses nothing.
    pending: Vec<Record>,
    /// Partitions assigned by the group and not taken in Postgres yet.
    untaken: Vec<Key>,
    taking: Option<JoinHandle<TakenUp>>,
    /// librdkafka waits for an assignment, were it of nothing.
    is_awaited: bool,
    is_paused: bool,
    looked: Instant,
    /// How far a broker's clock was ahead of ours when it wrote what was read since it was asked for.
    ahead: Duration,
}

impl Input {
    /// Joins the reader's group.
    pub async fn open(
        ctx: &Context,
        reader: &'static str,
        subjects: &[Subject],
    ) -> Result<Self, InputError> {
        let logical: Vec<&'static str> = subjects.iter().map(|s| s.topic()).collect();
        let topics = topics(&ctx.config, &logical).await?;
        let (tell, changes) = mpsc::unbounded_channel();
        let mut config = client(&ctx.config);
        config
            .set("group.id", ctx.config.group(reader))
            .set("session.timeout.ms", ctx.config.kafka.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (ctx.config.kafka.session_timeout_ms / 4).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("isolation.level", "read_committed")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.message.max.bytes", "4194304")
            .set("receive.message.max.bytes", "67108864")
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "10000")
            .set("statistics.interval.ms", "1000");
        let consumer: StreamConsumer<Rebalances> =
            config.create_with_context(Rebalances::new(tell, reader, ctx.metrics.lag.clone()))?;
        let names: Vec<&str> = topics.iter().map(|t| &*t.name).collect();
        consumer.subscribe(&names)?;
        Ok(Self {
            ctx: ctx.clone(),
            reader,
            consumer: Arc::new(consumer),
            changes,
            topics,
            owned: HashMap::new(),
            held: Vec::new(),
            pending: Vec::new(),
            untaken: Vec::new(),
            taking: None,
            is_awaited: false,
            is_paused: false,
            looked: Instant::now(),
            ahead: Duration::ZERO,
        })
    }

    /// Waits for records; at least one, at most `max`. Cancelling it loses nothing.
    pub async fn fetch(&mut self, max: usize) -> Result<Vec<Record>, InputError> {
        self.unpause()?;
        loop {
            self.look_for_rewinds().await?;
            self.settle_changes().await?;
            self.release_held()?;
            if !self.pending.is_empty() {
                return Ok(std::mem::take(&mut self.pending));
            }
            let look = self.looked + LOOK_EVERY;
            let wake = self.held.iter().map(|h| h.until).fold(look, Instant::min);
            let consumer = self.consumer.clone();
            let mut stream = consumer.stream();
            tokio::select! {
                biased;
                Some(change) = self.changes.recv() => self.note(change),
                taken = taken_up(&mut self.taking) => self.begin_reading(taken)?,
                () = tokio::time::sleep_until(wake) => {}
                message = stream.next() => {
                    let mut message = message;
                    while let Some(received) = message {
                        match received {
                            Ok(record) => self.keep(&record),
                            Err(error) => self.complain(error)?,
                        }
                        // A change must be seen before what was read after it.
                        if self.pending.len() >= max || !self.changes.is_empty() {
                            break;
                        }
                        message = stream.next().now_or_never().flatten();
                    }
                }
            }
        }
    }

    /// Stays in the group for a while without reading on: what is needed to go on is away.
    pub async fn tend(&mut self, pause: Duration) -> Result<(), InputError> {
        if !self.is_paused {
            self.consumer.pause(&self.consumer.assignment()?)?;
            self.is_paused = true;
        }
        let until = Instant::now() + pause;
        let consumer = self.consumer.clone();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => break,
                Some(change) = self.changes.recv() => self.note(change),
                message = consumer.recv() => match message {
                    Ok(record) => self.keep(&record),
                    Err(error) => self.complain(error)?,
                }
            }
        }
        self.gauge_paused();
        Ok(())
    }

    fn unpause(&mut self) -> Result<(), InputError> {
        if self.is_paused {
            self.consumer.resume(&self.consumer.assignment()?)?;
            self.is_paused = false;
            self.gauge_paused();
        }
        Ok(())
    }

    fn gauge_paused(&self) {
        let paused = if self.is_paused { self.owned.len() } else { self.held.len() };
        self.ctx.metrics.paused.with_label_values(&[self.reader]).set(paused as i64);
    }

    /// How far a broker's clock was ahead of ours when it wrote what was read since the last call.
    pub fn ahead(&mut self) -> Duration {
        std::mem::take(&mut self.ahead)
    }

    /// Whether the record's partition is still ours, under the epoch it was read by.
    pub fn owns(&self, record: &Record) -> bool {
        let owned = self.owned.get(&(record.topic.clone(), record.partition));
        owned.is_some_and(|o| o.epoch == record.epoch && record.offset >= o.next)
    }

    /// The steps that reading these records makes. All of them must be [owned](Self::owns).
    pub fn moves<'r>(&self, records: impl Iterator<Item = &'r Record>) -> Vec<Move> {
        let mut moves: BTreeMap<Place, Move> = BTreeMap::new();
        for record in records {
            let Some(owned) = self.owned.get(&(record.topic.clone(), record.partition)) else {
                continue;
            };
            let next = record.offset + 1;
            moves.entry(owned.place.clone()).and_modify(|m| m.to = m.to.max(next)).or_insert_with(
                || Move {
                    place: owned.place.clone(),
                    epoch: owned.epoch,
                    from: owned.next,
                    to: next,
                },
            );
        }
        moves.into_values().collect()
    }

    /// These steps are committed: tells Kafka's group offset, for lag tools.
    pub fn done(&mut self, moves: &[Move]) {
        let mut offsets = TopicPartitionList::new();
        for step in moves {
            let key = (step.place.topic.clone(), step.place.partition);
            let Some(owned) = self.owned.get_mut(&key) else { continue };
            if owned.epoch != step.epoch {
                continue;
            }
            if owned.next != step.from {
                let how = format!("{}/{}: {} to {}", key.0, key.1, step.from, step.to);
                self.ctx.metrics.broken(Guarantee::OneReaderPerPosition, how);
            }
            owned.next = step.to;
            let added = offsets.add_partition_offset(&key.0, key.1, Offset::Offset(step.to));
            if let Err(error) = added {
                tracing::debug!(%error, "a group offset was not told");
            }
            self.ctx.metrics.lag.done(self.reader, (&key.0, key.1), step.to);
        }
        if offsets.count() > 0
            && let Err(error) = self.consumer.commit(&offsets, CommitMode::Async)
        {
            tracing::debug!(%error, "group offsets were not told");
        }
    }

    /// Records that Kafka has of our partitions and that are not committed yet; none while no partition is ours, or
    /// Kafka has not told the end of one.
    pub fn behind(&self) -> Option<i64> {
        let behind = self.ctx.metrics.lag.behind(self.reader);
        behind.filter(|_| !self.owned.is_empty() && self.untaken.is_empty())
    }

    /// Takes the epoch of these partitions again and goes back to where Postgres is; those that are no longer
    /// ours are let go. For a batch that was dropped.
    pub async fn again(&mut self, moves: &[Move]) -> Result<(), InputError> {
        for step in moves {
            self.retake((step.place.topic.clone(), step.place.partition))?;
        }
        Ok(())
    }

    /// Forgets a partition that is ours, and takes it again at the next fetch.
    fn retake(&mut self, key: Key) -> Result<(), InputError> {
        if self.owned.remove(&key).is_none() {
            return Ok(());
        }
        self.drop_pending(&key);
        self.untaken.push(key.clone());
        // One that is held is not fetched.
        let held = self.held.len();
        self.held.retain(|h| h.key != key);
        if self.held.len() == held {
            self.stop_fetching(&key)?;
        }
        Ok(())
    }

    /// Partitions that an operator has moved are taken again, and read from where they are now.
    async fn look_for_rewinds(&mut self) -> Result<(), InputError> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        // Also when nothing is ours: the time of the next look must lie ahead, or nothing else gets a turn.
        self.looked = Instant::now();
        if self.owned.is_empty() {
            return Ok(());
        }
        let client = self.ctx.pool.get().await?;
        for (topic_id, partition) in positions::rewound(&client, self.reader).await? {
            let ours = |o: &Owned| *o.place.topic_id == *topic_id && o.place.partition == partition;
            let key = self.owned.iter().find(|(_, o)| ours(o)).map(|(key, _)| key.clone());
            if let Some(key) = key {
                tracing::info!(
                    reader = self.reader,
                    topic = &*key.0,
                    partition,
                    "rewound by an operator"
                );
                self.retake(key)?;
            }
        }
        Ok(())
    }

    /// Reads a partition again from this offset, after a pause: what the record there needs is away.
    /// Whoever calls drops what it has of the partition from there on.
    pub fn hold(&mut self, record: &Record, pause: Duration) -> Result<(), InputError> {
        let key = (record.topic.clone(), record.partition);
        if self.owned.contains_key(&key) && !self.held.iter().any(|h| h.key == key) {
            self.drop_pending(&key);
            self.stop_fetching(&key)?;
            self.held.push(Held { key, from: record.offset, until: Instant::now() + pause });
            self.gauge_paused();
        }
        Ok(())
    }

    fn release_held(&mut self) -> Result<(), InputError> {
        let now = Instant::now();
        let (over, still): (Vec<Held>, Vec<Held>) =
            std::mem::take(&mut self.held).into_iter().partition(|h| h.until <= now);
        self.held = still;
        for held in over {
            self.start_fetching(&held.key, held.from)?;
            self.gauge_paused();
        }
        Ok(())
    }

    fn keep(&mut self, message: &rdkafka::message::BorrowedMessage<'_>) {
        use rdkafka::Message as _;
        let Some(topic) = self.topics.iter().find(|t| *t.name == *message.topic()) else { return };
        let key = (topic.name.clone(), message.partition());
        // Of a partition that was given away in the meantime, or is held.
        let Some(owned) = self.owned.get(&key) else { return };
        if self.held.iter().any(|h| h.key == key) {
            return;
        }
        let mut record = Record::of(topic, message);
        record.epoch = owned.epoch;
        // Of a producer's own time nothing follows.
        if let (rdkafka::Timestamp::LogAppendTime(_), Some(at)) =
            (message.timestamp(), record.timestamp)
        {
            let ahead = at.duration_since(clock::now());
            self.ahead = self.ahead.max(ahead.try_into().unwrap_or_default());
        }
        let since = record.timestamp.unwrap_or_else(clock::now);
        self.ctx.metrics.lag.read(self.reader, (&key.0, key.1), record.offset, since);
        self.pending.push(record);
    }

    fn drop_pending(&mut self, key: &Key) {
        self.pending.retain(|r| (&r.topic, r.partition) != (&key.0, key.1));
    }

    fn start_fetching(&self, key: &Key, at: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&key.0, key.1, Offset::Offset(at))?;
        self.consumer.incremental_assign(&list)
    }

    fn stop_fetching(&self, key: &Key) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&key.0, key.1);
        let_go(&*self.consumer, &list)
    }

    /// An error that the consumer reports: most pass by themselves.
    fn complain(&mut self, error: KafkaError) -> Result<(), InputError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => Err(error.into()),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                tracing::warn!(reader = self.reader, %error, "a topic is not there");
                Ok(())
            }
            Some(RDKafkaErrorCode::AutoOffsetReset) => {
                tracing::error!(reader = self.reader, %error, "records we have not read are gone from Kafka");
                self.ctx.health.not_ready(self.reader, error.to_string());
                // Taking the partitions again tells which records are missing.
                let keys: Vec<Key> = self.owned.keys().cloned().collect();
                keys.into_iter().try_for_each(|key| self.retake(key))
            }
            _ => {
                tracing::debug!(reader = self.reader, %error, "Kafka complains");
                Ok(())
            }
        }
    }

    fn note(&mut self, change: Change) {
        match change {
            Change::Assigned(keys) => {
                self.is_awaited = true;
                self.untaken.extend(keys);
            }
            Change::Revoked(keys) => {
                if self.reader == "gate" {
                    crash_point("gate/in-revoke");
                }
                for key in &keys {
                    self.owned.remove(key);
                    self.untaken.retain(|k| k != key);
                    self.held.retain(|h| h.key != *key);
                    self.drop_pending(key);
                    // The callback has said so already; a partition that was being taken then was told of since.
                    self.ctx.metrics.lag.gone(self.reader, (&key.0, key.1));
                }
                tracing::info!(reader = self.reader, partitions = %told(&keys), "partitions given away");
            }
        }
    }

    /// Takes in Postgres what the group gave us, and starts to read it from there.
    async fn settle_changes(&mut self) -> Result<(), InputError> {
        while let Ok(change) = self.changes.try_recv() {
            self.note(change);
        }
        if self.taking.is_some() {
            return Ok(());
        }
        if self.untaken.is_empty() {
            if std::mem::take(&mut self.is_awaited) {
                self.consumer.incremental_assign(&TopicPartitionList::new())?;
            }
            return Ok(());
        }
        // A task of its own: whoever fetches may give up in between and must not begin anew each time.
        let taking = Taking {
            ctx: self.ctx.clone(),
            reader: self.reader,
            consumer: self.consumer.clone(),
            topics: self.topics.clone(),
            keys: self.untaken.clone(),
        };
        self.taking = Some(tokio::spawn(taking.run()));
        Ok(())
    }

    /// Starts to read what was taken, unless the group gave it to another worker in the meantime.
    fn begin_reading(&mut self, taken: TakenUp) -> Result<(), InputError> {
        let (topics, taken) = taken?;
        for (old, new) in self.topics.iter().zip(&topics) {
            if old.id != new.id {
                tracing::warn!(topic = &*new.name, "the topic was made anew: a new input");
            }
        }
        self.topics = topics;
        // No callback has run since the changes were noted: they are told only while the consumer is polled.
        while let Ok(change) = self.changes.try_recv() {
            self.note(change);
        }
        let mut list = TopicPartitionList::new();
        let mut begun = Vec::new();
        for (taken, next) in taken {
            let key = (taken.place.topic.clone(), taken.place.partition);
            let Some(at) = self.untaken.iter().position(|k| *k == key) else { continue };
            self.untaken.swap_remove(at);
            list.add_partition_offset(&key.0, key.1, Offset::Offset(next))?;
            self.ctx.metrics.lag.taken(self.reader, (&key.0, key.1), next);
            begun.push(key.clone());
            self.owned.insert(key, Owned { place: taken.place, epoch: taken.epoch, next });
        }
        self.consumer.incremental_assign(&list)?;
        self.is_awaited = false;
        tracing::info!(reader = self.reader, partitions = %told(&begun), "partitions taken");
        Ok(())
    }

    /// Tends, or just waits if even that cannot be done for now: something is away.
    pub async fn sit_out(&mut self, pause: Duration) -> Result<(), InputError> {
        match self.tend(pause).await {
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, reader = self.reader, "while waiting");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            tended => tended,
        }
    }

    /// Leaves the group, so that others take over at once.
    pub async fn leave(self) -> Result<(), tokio::task::JoinError> {
        for (topic, partition) in self.owned.keys() {
            self.ctx.metrics.lag.gone(self.reader, (topic, *partition));
        }
        // Leaving, and dropping the client, block their thread for a moment.
        tokio::task::spawn_blocking(move || self.consumer.unsubscribe()).await
    }
}

fn told(keys: &[Key]) -> String {
    let told: Vec<String> = keys.iter().map(|(topic, p)| format!("{topic}/{p}")).collect();
    told.join(" ")
}
