//! Owns librdkafka's mock cluster: real sockets, partitions and consumer groups, everything in memory.
//! Never used with real orders: it has no topic ids, no admin calls and no durability.
//! Invariant: the cluster lives on a thread of its own, because its handle must not change threads.

use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use rdkafka::mocking::MockCluster;

/// Brokers of the cluster: one is enough, and elections of a single one cannot surprise anyone.
const BROKERS: i32 = 1;

/// A running cluster.
pub struct Kafka {
    brokers: String,
    // Dropped before the thread is joined: the thread waits for it.
    asks: Option<mpsc::Sender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

struct Ask {
    topic: String,
    partitions: i32,
    done: mpsc::Sender<anyhow::Result<()>>,
}

impl Kafka {
    /// Starts a cluster without topics.
    pub fn start() -> anyhow::Result<Self> {
        let (asks, to_do) = mpsc::channel::<Ask>();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name("mock-kafka".into()).spawn(move || {
            let cluster = match MockCluster::new(BROKERS) {
                Ok(cluster) => cluster,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(cluster.bootstrap_servers()));
            for ask in to_do {
                let made = cluster.create_topic(&ask.topic, ask.partitions, BROKERS);
                let _ = ask.done.send(made.with_context(|| format!("topic {}", ask.topic)));
            }
        })?;
        let brokers = started.recv().context("the mock cluster's thread ended")??;
        Ok(Self { brokers, asks: Some(asks), thread: Some(thread) })
    }

    /// `host:port` of its broker.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let (done, made) = mpsc::channel();
        let asks = self.asks.as_ref().context("the mock cluster has ended")?;
        asks.send(Ask { topic: topic.into(), partitions, done })?;
        made.recv()?
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
