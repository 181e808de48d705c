//! Owns the spans of what the sink has written: one of each event whose trace is recorded.
//! Never counts: an event that comes again is written again, and its span has the same id.

use jiff::Timestamp;

use super::write::Batch;
use crate::runtime::clock;
use crate::runtime::spans::{self, Kind, Span};

/// Tells the spans of a batch that was committed just now.
pub(super) fn written(batch: &Batch, began: Timestamp) {
    if !spans::on() {
        return;
    }
    let ended = clock::now();
    for item in &batch.items {
        let record = &item.record;
        let Some(parent) = record.trace() else { continue };
        let (topic, partition, offset) = (&*record.topic, record.partition, record.offset);
        spans::tell(Span {
            name: "noctus.write",
            kind: Kind::Consumer,
            parent,
            hop: format!("write {topic} {partition} {offset}"),
            began,
            ended,
            attributes: vec![
                ("messaging.destination.name", topic.to_string()),
                ("messaging.destination.partition.id", partition.to_string()),
                ("messaging.kafka.offset", offset.to_string()),
            ],
            failed: item.is.as_ref().err().map(|refusal| refusal.reason.to_string()),
            within: None,
            is_root: false,
        });
    }
}
