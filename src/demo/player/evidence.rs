//! What came of requests: from the ledger, the tables, the dead letters, and the broker's own ledger.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::message::Headers;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::rest::End;
use super::{Player, Sent};
use crate::dispatch::broker::protocol::OrderView;
use crate::pg::evidence::{self, SeenAlert};
use crate::wire::Subject;

mod dead_letter {
    pub const TOPIC: &str = "noctus-origin-topic";
    pub const PARTITION: &str = "noctus-origin-partition";
    pub const OFFSET: &str = "noctus-origin-offset";
    pub const REASON: &str = "noctus-reason";
    pub const DETAIL: &str = "noctus-detail";
}

/// An order as the broker has it.
pub type BrokerOrder = OrderView;

/// A refused input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The stable reason code.
    pub reason: String,
    /// For a person.
    pub detail: String,
    /// The partition it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// What came of each request, by label.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The decision in the ledger.
    pub decisions: BTreeMap<String, Value>,
    /// Rules that fired.
    pub alerts: BTreeMap<String, Vec<SeenAlert>>,
    /// What the broker received.
    pub broker: BTreeMap<String, Vec<BrokerOrder>>,
    /// Steps of the order.
    pub statuses: BTreeMap<String, Vec<String>>,
    /// Dead letters.
    pub dead_letters: BTreeMap<String, Vec<DeadLetter>>,
}

impl Player {
    /// Collects what came of these requests; `before` are the ends of dead-letters when they began.
    pub(super) async fn evidence(&self, sent: &[Sent], before: &[End]) -> anyhow::Result<Evidence> {
        let client = self.pool.get().await?;
        let topic = self.config.topic(Subject::OrderRequest.topic());
        let letters = self.dead_letters(before, &topic).await?;
        let orders = self.broker_orders().await?;
        let mut found = Evidence::default();
        for one in sent {
            let label = one.label.clone();
            if let Some(decision) = evidence::decision(&client, &one.key).await? {
                found.decisions.insert(label.clone(), decision);
            }
            let mine: Vec<DeadLetter> = letters
                .iter()
                .filter(|letter| one.places.contains(&(letter.partition, letter.offset)))
                .cloned()
                .collect();
            let mut alerts = Vec::new();
            for letter in &mine {
                let at = (letter.partition, letter.offset);
                alerts.extend(evidence::alerts_of_place(&client, &topic, at.0, at.1).await?);
            }
            if mine.is_empty() {
                alerts = evidence::alerts_of_trace(&client, &one.request.trace_id).await?;
            }
            let received = orders.iter().filter(|o| {
                o.order.client_order_id == *one.key
                    || o.order.trace_id.as_deref() == Some(&*one.request.trace_id)
            });
            found.broker.insert(label.clone(), received.cloned().collect());
            found.statuses.insert(label.clone(), evidence::statuses(&client, &one.key).await?);
            found.alerts.insert(label.clone(), alerts);
            found.dead_letters.insert(label, mine);
        }
        Ok(found)
    }

    /// Every order in the broker's own ledger.
    async fn broker_orders(&self) -> anyhow::Result<Vec<BrokerOrder>> {
        let (mut orders, mut after) = (Vec::new(), 0);
        loop {
            let url = format!("{}/v1/orders?after={after}", self.config.broker.url);
            let answer = self.http.get(&url).send().await.context(url)?.error_for_status()?;
            let page: Vec<BrokerOrder> = answer.json().await?;
            if page.is_empty() {
                return Ok(orders);
            }
            after += page.len();
            orders.extend(page);
        }
    }

    /// The dead letters since `before` that came from `origin`.
    async fn dead_letters(&self, before: &[End], origin: &str) -> anyhow::Result<Vec<DeadLetter>> {
        let ends = self.end_offsets(&[super::wire_dead_letters()]).await?;
        let consumer = self.asker()?;
        let mut assigned = TopicPartitionList::new();
        let mut open = 0;
        for (topic, partition, end) in &ends {
            let start = before.iter().find(|(t, p, _)| t == topic && p == partition);
            let start = start.map_or(0, |(_, _, next)| *next);
            open += end - start;
            assigned.add_partition_offset(topic, *partition, Offset::Offset(start))?;
        }
        let origin = origin.to_string();
        let read = move || -> anyhow::Result<Vec<DeadLetter>> {
            let (mut letters, mut left) = (Vec::new(), open);
            consumer.assign(&assigned)?;
            let deadline = Instant::now() + Duration::from_secs(20);
            while left > 0 {
                anyhow::ensure!(Instant::now() < deadline, "{left} dead letters cannot be read");
                let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
                let record = record?;
                left -= 1;
                let header = |name: &str| -> Option<String> {
                    let found = record.headers()?.iter().find(|h| h.key == name)?;
                    Some(String::from_utf8_lossy(found.value?).into_owned())
                };
                if header(dead_letter::TOPIC).as_deref() != Some(&*origin) {
                    continue;
                }
                let number = |name: &str| -> anyhow::Result<i64> {
                    let text = header(name).with_context(|| format!("no header {name}"))?;
                    Ok(text.parse()?)
                };
                letters.push(DeadLetter {
                    reason: header(dead_letter::REASON).unwrap_or_default(),
                    detail: header(dead_letter::DETAIL).unwrap_or_default(),
                    partition: number(dead_letter::PARTITION)?.try_into()?,
                    offset: number(dead_letter::OFFSET)?,
                });
            }
            Ok(letters)
        };
        tokio::task::spawn_blocking(read).await?
    }
}
