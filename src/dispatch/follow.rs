//! Follow: what the broker tells by itself, page after page, as long as it tells.
//! Never trusted alone: events may be late, twice, in disorder or missing; questions are the net under them. Where the
//! broker answers none, whoever takes a lane hears again what its last holder may not have acted on.
//! Invariant: a place in the stream only moves forward, unless it is put back for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::broker::protocol::{EventPage, OrderView};
use crate::runtime::metrics::Metrics;

/// How long the broker may wait with an empty page.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after a page that could not be had; doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pages that nobody has looked at yet.
pub const PAGES_MAX: usize = 16;

/// What the broker told after one place in its stream, up to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// In the order in which it happened.
    pub views: Vec<OrderView>,
    /// The place before.
    pub from: u64,
    /// The place after; no less.
    pub upto: u64,
}

/// Puts the place of a reader back.
#[derive(Default)]
pub struct Back {
    to: Mutex<Option<u64>>,
    asked: Notify,
}

impl Back {
    /// Reads again what came after this place.
    pub fn to(&self, place: u64) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        *to = Some(to.map_or(place, |earlier| earlier.min(place)));
        self.asked.notify_one();
    }

    fn take(&self) -> Option<u64> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Reads on from a place, or from the newest event at its start, until `stop`.
pub async fn follow(
    broker: Arc<dyn Broker>,
    metrics: Arc<Metrics>,
    (start, back): (Option<u64>, Arc<Back>),
    tell: mpsc::Sender<Told>,
    stop: CancellationToken,
) {
    let (mut after, mut pause) = (start, PAUSE);
    loop {
        if let Some(place) = back.take() {
            after = Some(after.map_or(place, |after| after.min(place)));
        }
        let page = tokio::select! {
            () = stop.cancelled() => return,
            () = back.asked.notified() => continue,
            page = broker.events(after, WAIT) => page,
        };
        let rest = match page {
            Ok(page) => {
                let heard = take(after, page);
                metrics.broker_events.inc_by(heard.views.len() as u64);
                if heard.missed > 0 {
                    metrics.broker_events_missed.inc_by(heard.missed);
                    tracing::warn!(missed = heard.missed, "the broker left events out");
                }
                let moved = after != Some(heard.last);
                let told = Told {
                    views: heard.views,
                    from: after.unwrap_or(heard.last),
                    upto: heard.last,
                };
                (after, pause) = (Some(heard.last), PAUSE);
                if (moved || !told.views.is_empty()) && tell.send(told).await.is_err() {
                    return;
                }
                // A stream that stands still and still has something to say is not asked in a hurry.
                (!moved).then_some(PAUSE)
            }
            Err(none) => {
                tracing::warn!(
                    code = none.code,
                    detail = none.detail,
                    "the broker's events are away"
                );
                // One that cannot be read is left to the questions, or it would be in the way for ever.
                let unreadable = matches!(none.code, "answer_too_large" | "answer_malformed");
                if let Some(from) = after.filter(|_| unreadable) {
                    let upto = from + 1;
                    metrics.broker_events_missed.inc();
                    if tell.send(Told { views: vec![], from, upto }).await.is_err() {
                        return;
                    }
                    after = Some(upto);
                }
                pause = (pause * 2).min(PAUSE_MAX);
                Some(pause.max(none.retry_after.unwrap_or_default()))
            }
        };
        if let Some(rest) = rest {
            tokio::select! {
                () = stop.cancelled() => return,
                () = back.asked.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }
}

/// What a page says.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    /// In the order of their numbers, each number once.
    views: Vec<OrderView>,
    missed: u64,
    last: u64,
}

fn take(after: Option<u64>, page: EventPage) -> Heard {
    let views: BTreeMap<u64, OrderView> =
        page.events.into_iter().map(|event| (event.n, event.order)).collect();
    let Some(after) = after else {
        return Heard { views: vec![], missed: 0, last: page.last };
    };
    let last = page.last.max(after);
    let there = views.range(after + 1..=last.max(after + 1)).count() as u64;
    let missed = (last - after).saturating_sub(there);
    Heard { views: views.into_values().collect(), missed, last }
}

#[cfg(test)]
mod tests {
    use super::super::broker::protocol::BrokerEvent;
    use super::super::tests::order_view;
    use super::*;

    fn page(numbers: &[u64], last: u64) -> EventPage {
        let event = |n: &u64| BrokerEvent {
            n: *n,
            at: jiff::Timestamp::UNIX_EPOCH,
            order: OrderView { order_ref: n.to_string(), ..order_view("key-000001") },
        };
        EventPage { events: numbers.iter().map(event).collect(), last }
    }

    /// The place, a page, and the orders, gaps and place that follow.
    type Case = (Option<u64>, EventPage, &'static [&'static str], u64, u64);

    #[test]
    fn a_page_is_put_in_order_each_event_once_and_gaps_are_counted() {
        let cases: [Case; 8] = [
            (None, page(&[], 7), &[], 0, 7),
            (Some(7), page(&[], 7), &[], 0, 7),
            (Some(7), page(&[8, 9], 9), &["8", "9"], 0, 9),
            (Some(7), page(&[9, 8, 9], 9), &["8", "9"], 0, 9),
            (Some(7), page(&[9], 9), &["9"], 1, 9),
            (Some(7), page(&[], 9), &[], 2, 9),
            // A number from before is heard, and the place does not move back.
            (Some(7), page(&[3], 3), &["3"], 0, 7),
            (Some(7), page(&[3, 8], 8), &["3", "8"], 0, 8),
        ];
        for (after, page, views, missed, last) in cases {
            let shown = format!("{after:?} {page:?}");
            let heard = take(after, page);
            let refs: Vec<&str> = heard.views.iter().map(|v| v.order_ref.as_str()).collect();
            assert_eq!(
                (refs.as_slice(), heard.missed, heard.last),
                (views, missed, last),
                "{shown}"
            );
        }
    }
}
