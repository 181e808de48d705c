//! Owns whether the topics still hold what the tables hold. It only looks.

use std::collections::BTreeMap;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{SINK, subjects};
use crate::kafka::offsets::{self, Ends};
use crate::kafka::record::Topic;
use crate::kafka::scan::scan;
use crate::pg::PoolClient;
use crate::pg::obs::tables::Table;
use crate::pg::rebuild as shadow;
use crate::runtime::clock;
use crate::runtime::config::Config;

/// Clocks of producers and of Kafka are believed to differ by less than this.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// Why tables cannot be made again from these topics; nothing if they can.
pub async fn lost(
    config: &Config,
    client: &PoolClient,
    tables: &[&'static Table],
    since: Option<Timestamp>,
    topics: &[Topic],
) -> anyhow::Result<Vec<String>> {
    let named: Vec<(String, String)> =
        topics.iter().map(|topic| (topic.name.to_string(), topic.id.to_string())).collect();
    let made_again = shadow::made_again(client, SINK, &named).await?;
    let mut lost = Vec::new();
    for topic in topics {
        let is_new = made_again.iter().any(|name| **name == *topic.name);
        let ends = offsets::ends(config, &topic.name).await?;
        let Some(kept_from) = kept_from(config, topic, &ends, is_new).await? else { continue };
        let safe = kept_from.saturating_add(SKEW)?;
        if since.is_some_and(|since| since >= safe) {
            continue;
        }
        let of_topic = |table: &&&'static Table| {
            subjects(&[table]).iter().any(|subject| subject.topic() == topic.logical)
        };
        for table in tables.iter().filter(of_topic) {
            if shadow::has_before(client, table, kept_from).await? {
                let how = if is_new { "was made anew" } else { "begins" };
                lost.push(format!(
                    "topic {} {how} at {kept_from}, and {} has rows from before, which it cannot give back: \
                     --since {} makes the months again that it has",
                    topic.name,
                    table.name,
                    month_after(safe)
                ));
            }
        }
    }
    Ok(lost)
}

/// Since when a topic has everything, if that is not always.
async fn kept_from(
    config: &Config,
    topic: &Topic,
    ends: &BTreeMap<i32, Ends>,
    is_new: bool,
) -> anyhow::Result<Option<Timestamp>> {
    let mut kept_from = None;
    for (partition, Ends { low, high }) in ends.iter().filter(|(_, ends)| is_new || ends.low > 0) {
        let stretch = BTreeMap::from([(*partition, *low..(low + 1).min(*high))]);
        let first = scan(config, topic.clone(), stretch).recv().await.transpose()?;
        let at = first.and_then(|record| record.timestamp);
        kept_from = kept_from.max(Some(at.unwrap_or_else(clock::now)));
    }
    Ok(kept_from)
}

/// The first month that begins at this time or later, as `--since` takes it.
fn month_after(at: Timestamp) -> String {
    let day = at.to_zoned_datetime(TimeZone::UTC).date();
    let first = date(day.year(), day.month(), 1);
    let is_start = TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).is_ok_and(|start| start == at);
    let month = match first.checked_add(jiff::Span::new().months(1)) {
        Ok(next) if !is_start => next,
        _ => first,
    };
    month.strftime("%Y-%m").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_that_is_advised_has_nothing_from_before() {
        let month = |at: &str| month_after(at.parse().expect("a time"));
        assert_eq!(month("2026-11-01T00:00:00Z"), "2026-11");
        assert_eq!(month("2026-11-01T00:00:01Z"), "2026-12");
        assert_eq!(month("2026-12-31T23:00:00Z"), "2027-01");
    }
}
