//! Owns the comparison of the tables in use with those that were made again, by count and hash of each hour.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::table::{numbers, table};
use super::Work;
use crate::domain::truth::{Hour, Short, Tally};
use crate::pg::truth::Moment;
use crate::pg::{Pool, PoolError};

/// Hours that are shown.
const HOURS_MAX: usize = 24;

/// Both tallies of an hour of a table: in use, and made again.
type Hours = BTreeMap<(&'static str, Hour), (Tally, Tally)>;

/// Both sides, hour by hour.
pub(super) async fn compared(work: &Work<'_>, beside: &Pool) -> anyhow::Result<Hours> {
    let mut hours = Hours::new();
    for is_new in [true, false] {
        let pool = if is_new { beside } else { work.pool };
        let mut client = pool.get().await.map_err(PoolError::from)?;
        let moment = Moment::begin_as_owner(&mut client).await?;
        for table in &work.tables {
            work.progress.waiting(table.name);
            let take = |_: &str, at: Timestamp, row: serde_json::Value| {
                let (old, new) = hours.entry((table.name, Hour::of(at))).or_default();
                if is_new { new } else { old }.add(Short::of_json(&row));
            };
            moment.rows(table, (work.plan.since, None), take).await?;
        }
    }
    Ok(hours)
}

/// The hours that are not the same, for a person.
pub(super) fn told(hours: &Hours) -> String {
    let rows: u64 = hours.values().map(|(_, new)| new.events).sum();
    let different: Vec<_> = hours.iter().filter(|(_, (old, new))| old != new).collect();
    if different.is_empty() {
        return format!(
            "{rows} rows in {} hours of tables, each with the same hash as in use",
            hours.len()
        );
    }
    let row = |((table, hour), (old, new)): &(&(&str, Hour), &(Tally, Tally))| {
        let (old, new) = (old.events.to_string(), new.events.to_string());
        vec![table.to_string(), hour.to_string(), old, new]
    };
    let columns = ["table", "hour that differs", "rows in use", "rows made again"];
    let shown = numbers(table(&columns, different.iter().take(HOURS_MAX).map(row)), 2..4);
    let more = different.len().saturating_sub(HOURS_MAX);
    format!(
        "{shown}\n{rows} rows; {} hour(s) of tables differ{}. What sinks have written since is among it",
        different.len(),
        if more > 0 { format!(", {more} of them not shown") } else { String::new() }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_are_the_same_are_counted_and_others_are_named() {
        let one = |content: &[u8]| {
            let mut tally = Tally::default();
            tally.add(Short::of(content));
            tally
        };
        let mut hours = Hours::new();
        hours.insert(("obs_alerts", Hour(0)), (one(b"a"), one(b"a")));
        assert_eq!(told(&hours), "1 rows in 1 hours of tables, each with the same hash as in use");
        hours.insert(("obs_alerts", Hour(1)), (one(b"a"), one(b"b")));
        let told = told(&hours);
        assert!(told.contains("1970-01-01T01:00:00Z") && told.contains("1 hour(s)"), "{told}");
    }
}
