//! The hops of a trace: the rows of the timeline, when each was written, and the inputs that were refused.

use std::collections::{HashMap, VecDeque};

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Error;

use super::{Alert, DeadLetter, Hop, time, time_opt};

// Rows of one time, kind and action cannot be told apart in the view, nor need they be.
const WRITTEN: &str = "
    SELECT started_at AS ts, 'PLAN:' || status AS kind, NULL AS action, ingested_at FROM obs_plan_runs WHERE trace_id = $1
    UNION ALL SELECT called_at, 'INFER', model, ingested_at FROM obs_infer_calls WHERE trace_id = $1
    UNION ALL SELECT made_at, 'DECISION', decision ->> 'action', ingested_at FROM obs_decisions WHERE trace_id = $1
    UNION ALL SELECT decided_at, 'COMMAND', action || ' ' || status, ingested_at FROM obs_command_outcomes
               WHERE trace_id = $1
    UNION ALL SELECT sent_at, 'EXEC', status, ingested_at FROM obs_exec_events WHERE trace_id = $1
    UNION ALL SELECT created_at, 'ALERT', policy_name, ingested_at FROM obs_alerts WHERE trace_id = $1";

/// The kind of a refused input.
const DEAD_LETTER: &str = "DEAD_LETTER";

/// The rows of `obs_trace_timeline` as the plan's query has them, and dead letters behind their alerts.
pub(super) async fn hops(
    tx: &Transaction<'_>,
    trace: &str,
    letters: &[DeadLetter],
) -> Result<Vec<Hop>, Error> {
    let mut written: HashMap<_, VecDeque<Option<Timestamp>>> = HashMap::new();
    for row in tx.query(WRITTEN, &[&trace]).await? {
        let name: (Timestamp, String, Option<String>) =
            (time(&row, "ts")?, row.try_get("kind")?, row.try_get("action")?);
        written.entry(name).or_default().push_back(time_opt(&row, "ingested_at")?);
    }
    let sql = "SELECT * FROM obs_trace_timeline WHERE trace_id = $1 ORDER BY ts";
    let mut hops = Vec::new();
    for row in tx.query(sql, &[&trace]).await? {
        let name = (time(&row, "ts")?, row.try_get("kind")?, row.try_get("action")?);
        let ingested_at = written.get_mut(&name).and_then(VecDeque::pop_front).flatten();
        let (ts, kind, action): (Timestamp, String, Option<String>) = name;
        let letter = letters.iter().find(|letter| {
            kind == "ALERT" && letter.at == ts && action.as_ref() == Some(&letter.policy_name)
        });
        hops.push(Hop { ts, ingested_at, kind, action, payload: row.try_get("payload")? });
        hops.extend(letter.map(|letter| Hop {
            ts,
            ingested_at: None,
            kind: DEAD_LETTER.into(),
            action: Some(letter.reason.clone()),
            payload: serde_json::to_value(letter).unwrap_or_default(),
        }));
    }
    Ok(hops)
}

/// The inputs of a trace that became dead letters: each has an alert that says where it lay.
pub(super) fn letters(alerts: &[Alert]) -> Vec<DeadLetter> {
    let letter = |alert: &Alert| {
        let (_, reason) = alert.policy_name.split_once('.')?;
        Some(DeadLetter {
            topic: alert.details.get("topic")?.as_str()?.to_string(),
            partition: alert.details.get("partition")?.as_i64()?,
            offset: alert.details.get("offset")?.as_i64()?,
            reason: reason.to_string(),
            policy_name: alert.policy_name.clone(),
            at: alert.created_at,
        })
    };
    alerts.iter().filter_map(letter).collect()
}
