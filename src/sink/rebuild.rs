//! Owns reading the topics from their beginning into tables of their own, the way the sink writes (`noctus sink rebuild`).
//! Never joins the sink's group, makes no dead letter, and touches no table that is in use.
//! Invariant: the position of a partition is moved in the transaction of its rows, so that whoever is killed goes on from
//! there, and two that rebuild at once fence each other off.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::intake::{Read, Reader};
use super::project::rows::{Row, Rows};
use super::write::{Item, READER, WriteError};
use crate::kafka::admin::AdminError;
use crate::kafka::offsets;
use crate::kafka::record::{Record, Topic};
use crate::kafka::registry::Registry;
use crate::kafka::scan::scan;
use crate::pg::obs::{self, Months};
use crate::pg::positions::{self, Move, Place, Steps, Taken};
use crate::pg::{self, Pool, PoolClient};
use crate::runtime::config::Config;
use crate::runtime::faults::{crash_point, in_flight};

/// Records in one transaction.
const BATCH_MAX: usize = 2_000;
/// Batches that are read and projected while another one is written.
const AHEAD_MAX: usize = 2;

/// Why the tables are not made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RebuildError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("no connection to Postgres: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("another process has taken the rebuild over")]
    TakenOver,
    #[error("partitions were added meanwhile: the same command goes on with them")]
    Grown,
    #[error("reading ended badly: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records that were read in this process.
    pub records: u64,
    /// Rows that were new.
    pub rows: u64,
    /// Records that are no row, as the sink has found too.
    pub refused: u64,
}

/// Topics that are being read for new tables.
pub struct Rebuild {
    config: Config,
    pool: Pool,
    topics: Vec<Topic>,
    /// Only rows from this time on.
    since: Option<Timestamp>,
    taken: BTreeMap<(String, i32), Taken>,
    months: Months,
    /// What was done.
    pub progress: Progress,
}

impl Rebuild {
    /// Takes the partitions of these topics, in the schema that the pool's sessions work in.
    pub async fn open(
        config: &Config,
        pool: Pool,
        topics: Vec<Topic>,
        since: Option<Timestamp>,
    ) -> Result<Self, RebuildError> {
        let mut places = Vec::new();
        for topic in &topics {
            for partition in offsets::ends(config, &topic.name).await?.into_keys() {
                let (topic_id, topic) = (topic.id.clone(), topic.name.clone());
                places.push(Place { topic_id, topic, partition });
            }
        }
        let worker = format!("rebuild-{}", std::process::id());
        let taken = positions::take(&mut pool.get().await?, READER, &worker, &places).await?;
        let by_place = |t: Taken| ((t.place.topic_id.to_string(), t.place.partition), t);
        Ok(Self {
            config: config.clone(),
            pool,
            topics,
            since,
            taken: taken.into_iter().map(by_place).collect(),
            months: Months::default(),
            progress: Progress::default(),
        })
    }

    /// Reads on to the ends that the topics have now; how many records those were.
    pub async fn catch_up(
        &mut self,
        registry: &Registry,
        tell: impl Fn(&Progress, u64),
    ) -> Result<u64, RebuildError> {
        let mut ahead = Vec::new();
        for topic in self.topics.clone() {
            let ends = offsets::ends(&self.config, &topic.name).await?;
            let stretch = |(partition, ends): (i32, offsets::Ends)| {
                let next = self.taken.get(&(topic.id.to_string(), partition))?.next_offset;
                let from = next.max(ends.low);
                Some((partition, from..ends.high.max(from)))
            };
            let stretch: BTreeMap<i32, Range<i64>> = ends.into_iter().filter_map(stretch).collect();
            ahead.push((topic, stretch));
        }
        let length = |part: &Range<i64>| (part.end - part.start) as u64;
        let of_topic =
            |(_, parts): &(Topic, BTreeMap<_, Range<i64>>)| parts.values().map(length).sum::<u64>();
        let all: u64 = ahead.iter().map(of_topic).sum();
        let until = self.progress.records + all;
        for (topic, stretch) in ahead {
            self.topic(registry, topic, stretch, |progress| tell(progress, until)).await?;
        }
        Ok(all)
    }

    async fn topic(
        &mut self,
        registry: &Registry,
        topic: Topic,
        stretch: BTreeMap<i32, Range<i64>>,
        tell: impl Fn(&Progress),
    ) -> Result<(), RebuildError> {
        let records = scan(&self.config, topic.clone(), stretch.clone());
        let (give, mut batches) = mpsc::channel(AHEAD_MAX);
        let patience = self.config.registry.unknown_schema_ms;
        // Read and projected while the batch before is being written.
        let reading = project_all(records, registry, patience, give);
        let writing = async {
            while let Some(items) = batches.recv().await {
                self.write(&items).await?;
                crash_point("sink/rebuild-copied");
                tell(&self.progress);
            }
            Ok::<_, RebuildError>(())
        };
        let (read, written) = tokio::join!(reading, writing);
        written?;
        read?;
        // Up to the ends, also where the last offsets hold no records.
        for (partition, part) in stretch {
            if let Some(taken) = self.taken.get_mut(&(topic.id.to_string(), partition)) {
                let from = taken.next_offset;
                if part.end > from {
                    self.skip(&topic, partition, part.end).await?;
                }
            }
        }
        Ok(())
    }

    /// Moves over offsets that hold no record.
    async fn skip(&mut self, topic: &Topic, partition: i32, to: i64) -> Result<(), RebuildError> {
        let key = (topic.id.to_string(), partition);
        let Some(taken) = self.taken.get(&key) else { return Ok(()) };
        let Taken { place, epoch, next_offset } = taken.clone();
        self.commit(&[], &[Move { place, epoch, from: next_offset, to }]).await
    }

    fn moves(&self, items: &[Item]) -> Vec<Move> {
        let mut moves: BTreeMap<(String, i32), Move> = BTreeMap::new();
        for Item { record, .. } in items {
            let key = (record.topic_id.to_string(), record.partition);
            let Some(taken) = self.taken.get(&key) else { continue };
            let to = record.offset + 1;
            let Taken { place, epoch, next_offset } = taken;
            let step = moves.entry(key).or_insert_with(|| Move {
                place: place.clone(),
                epoch: *epoch,
                from: *next_offset,
                to,
            });
            step.to = step.to.max(to);
        }
        moves.into_values().collect()
    }

    /// A batch; one that Postgres refuses for its content record by record, without what it refuses, as the sink does.
    async fn write(&mut self, items: &[Item]) -> Result<(), RebuildError> {
        let moves = self.moves(items);
        let rows: Vec<&Row> = self.rows(items);
        match self.commit(&rows, &moves).await {
            Err(RebuildError::Write(error)) if error.is_of_a_record() => {
                self.one_by_one(items, &moves).await?;
            }
            result => result?,
        }
        self.progress.records += items.len() as u64;
        self.progress.refused += items.iter().filter(|item| item.is.is_err()).count() as u64;
        Ok(())
    }

    fn rows<'i>(&self, items: &'i [Item]) -> Vec<&'i Row> {
        let is_due = |row: &&Row| self.since.is_none_or(|since| row.at() >= since);
        items.iter().filter_map(|item| item.is.as_ref().ok()).filter(is_due).collect()
    }

    async fn one_by_one(&mut self, items: &[Item], moves: &[Move]) -> Result<(), RebuildError> {
        let mut steps = Steps::of(moves);
        for item in items {
            let record = &item.record;
            let Some(step) = steps.over(&record.topic_id, record.partition, record.offset) else {
                continue;
            };
            let rows = self.rows(std::slice::from_ref(item));
            match self.commit(&rows, std::slice::from_ref(&step)).await {
                Err(RebuildError::Write(error)) if error.is_of_a_record() => {
                    self.progress.refused += 1;
                    self.commit(&[], std::slice::from_ref(&step)).await?;
                }
                result => result?,
            }
            steps.done(&step);
        }
        Ok(())
    }

    /// Rows and the steps over their records, as the sink commits them.
    async fn commit(&mut self, rows: &[&Row], moves: &[Move]) -> Result<(), RebuildError> {
        let rows = Rows::of(rows.iter().copied());
        let mut client: PoolClient = self.pool.get().await?;
        let new = self.transaction(&mut client, &rows, moves).await.map_err(|error| {
            let code = error.code().filter(|code| pg::is_of_data(code)).is_some();
            if code { RebuildError::Write(error.into()) } else { error.into() }
        })?;
        self.progress.rows += new.ok_or(RebuildError::TakenOver)?;
        for step in moves {
            let key = (step.place.topic_id.to_string(), step.place.partition);
            if let Some(taken) = self.taken.get_mut(&key) {
                taken.next_offset = step.to;
            }
        }
        Ok(())
    }

    /// How many rows were new; none: another process has the partitions.
    async fn transaction(
        &mut self,
        client: &mut PoolClient,
        rows: &Rows<'_>,
        moves: &[Move],
    ) -> Result<Option<u64>, tokio_postgres::Error> {
        self.months.make(client, rows).await?;
        let tx = client.transaction().await?;
        if !positions::advance(&tx, READER, moves).await?.is_empty() {
            return Ok(None);
        }
        let written = obs::write(&tx, rows).await?;
        obs::measure(&tx, &written).await?;
        crash_point("sink/rebuild-written");
        in_flight("sink/rebuild-commit-in-flight", tx.commit()).await?;
        Ok(Some(written.tables.iter().map(|table| table.new).sum()))
    }

    /// Whether everything was read that the sinks have read. An error: a topic has partitions now that it did not have.
    pub fn is_beyond(&self, sinks: &BTreeMap<(String, i32), i64>) -> Result<bool, RebuildError> {
        let is_ours = |(id, _): &&(String, i32)| self.topics.iter().any(|topic| *topic.id == **id);
        let mut is_beyond = true;
        for place in sinks.keys().filter(is_ours) {
            let taken = self.taken.get(place).ok_or(RebuildError::Grown)?;
            is_beyond &= taken.next_offset >= sinks[place];
        }
        Ok(is_beyond)
    }
}

/// Reads records and makes rows of them, batch by batch; ends early if nobody takes them any more.
async fn project_all(
    mut records: mpsc::Receiver<Result<Record, AdminError>>,
    registry: &Registry,
    patience_ms: u64,
    give: mpsc::Sender<Vec<Item>>,
) -> Result<(), AdminError> {
    let mut reader = Reader::new(patience_ms);
    let mut batch = Vec::new();
    while let Some(record) = records.recv().await {
        let record = record?;
        let is = loop {
            match reader.read(&record, registry).await {
                Read::Row(row) => break Ok(*row),
                Read::Refused(refusal) => break Err(refusal),
                Read::Wait { pause, why } => {
                    tracing::warn!(why, offset = record.offset, "the rebuild waits");
                    tokio::time::sleep(pause).await;
                }
            }
        };
        batch.push(Item { record, is });
        if batch.len() >= BATCH_MAX && give.send(std::mem::take(&mut batch)).await.is_err() {
            return Ok(());
        }
    }
    if !batch.is_empty() {
        let _ = give.send(batch).await; // nobody listens: they have an error of their own
    }
    Ok(())
}

/// Records a second, for a person.
pub fn rate(records: u64, since: Instant) -> u64 {
    let took = since.elapsed().max(Duration::from_millis(1));
    (records as f64 / took.as_secs_f64()) as u64
}
