//! The plan's acceptance queries, as they are written there, and those that answer its other demands.
//! Never changes anything.

use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// The plan's query for the timeline of one trace; `{TID}` is the trace.
pub const TIMELINE: &str =
    "SELECT ts,kind,action FROM obs_trace_timeline WHERE trace_id='{TID}' ORDER BY ts;";
/// The plan's query for the latency of one trace.
pub const LATENCY: &str = "SELECT * FROM obs_trace_latency WHERE trace_id='{TID}';";
/// The plan's query for keys with two rows: none passes.
pub const TWICE: &str =
    "SELECT idempotency_key, COUNT(*) FROM outbox_orders GROUP BY 1 HAVING COUNT(*)>1;";
/// The queries that the plan prints.
pub const PLANS: [&str; 3] = [TIMELINE, LATENCY, TWICE];
/// Traces of exec events without a decision: none passes.
pub const EXEC_WITHOUT_DECISION: &str = "SELECT DISTINCT trace_id FROM obs_exec_events \
     EXCEPT SELECT trace_id FROM obs_decisions;";
/// BUY and SELL decisions without exec events: none passes.
pub const DECISION_WITHOUT_EXEC: &str = "SELECT trace_id FROM obs_decisions \
     WHERE decision->>'action' IN ('BUY','SELL') \
     AND trace_id NOT IN (SELECT trace_id FROM obs_exec_events);";

/// The P95 of each day, the plan's KPI of the CHECK layer, as of the last REFRESH.
pub const P95_OF_DAYS: &str =
    "SELECT day, p95_ms, traces, executed FROM obs_latency_daily ORDER BY day;";

/// What a query answered, as psql would show it; no value is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// The values of a column.
    pub fn column(&self, name: &str) -> Vec<Option<&str>> {
        let at = self.columns.iter().position(|column| column == name);
        self.rows.iter().map(|row| row.get(at?)?.as_deref()).collect()
    }
}

/// The query for this trace; a trace id's characters need no quoting (`[A-Za-z0-9_:.-]`).
pub fn of_trace(query: &str, trace: &crate::domain::text::TraceId) -> String {
    query.replace("{TID}", trace)
}

/// Runs a query as it is.
pub async fn ask(client: &Client, query: &str) -> Result<Answer, Error> {
    let mut answer = Answer::default();
    for message in client.simple_query(query).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|c| c.name().to_string()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                let values = 0..row.len();
                answer.rows.push(values.map(|at| row.get(at).map(str::to_string)).collect());
            }
            _ => {}
        }
    }
    Ok(answer)
}
