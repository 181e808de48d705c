//! `noctus notify list` and `deliveries`.

use serde_json::Value;

use super::super::table::{numbers, printable, table};
use super::super::{Exit, Global};
use crate::domain::notice::{Condition, State};
use crate::pg::notify::list;
use crate::pg::{self, PoolClient, PoolError};

/// The arguments of `list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Those that are over, too
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "200",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

/// The arguments of `deliveries`.
#[derive(Debug, clap::Args)]
pub(super) struct DeliveriesArgs {
    /// Only to this receiver
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value = "50",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// JSON lines instead of a table
    #[arg(long)]
    json: bool,
}

async fn client(global: &Global) -> anyhow::Result<PoolClient> {
    let pool = pg::connect(&global.config()?.database).await?;
    let client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    Ok(client)
}

pub(super) async fn conditions(args: ListArgs, global: &Global) -> anyhow::Result<Exit> {
    let client = client(global).await?;
    let found = list::conditions(&client, args.all, args.limit.into()).await?;
    let holds = found.iter().any(|condition| condition.state == State::Open);
    if args.json {
        for condition in &found {
            println!("{}", serde_json::to_string(condition)?);
        }
    } else if !found.is_empty() {
        let columns = ["state", "severity", "rule", "about", "alerts", "since", "last", "reason"];
        println!("{}", numbers(table(&columns, found.iter().map(row)), [4]));
    }
    if found.is_empty() {
        eprintln!("nothing holds");
    }
    for (receiver, changes) in list::untold(&client).await? {
        eprintln!("{receiver} has not been told of {changes} change(s) yet");
    }
    Ok(if holds { Exit::Findings } else { Exit::Ok })
}

fn row(condition: &Condition) -> Vec<String> {
    let state = match condition.state {
        State::Open => "open",
        State::Resolved => "resolved",
        State::New => "-",
    };
    let shown = |text: &str| printable(text.as_bytes());
    vec![
        state.into(),
        condition.severity.as_str().into(),
        shown(&condition.policy_name),
        shown(&condition.subject.text),
        condition.alerts.to_string(),
        condition.opened_at.to_string(),
        condition.last_at.to_string(),
        shown(&condition.reason),
    ]
}

pub(super) async fn deliveries(args: DeliveriesArgs, global: &Global) -> anyhow::Result<Exit> {
    let client = client(global).await?;
    let found = list::messages(&client, args.receiver.as_deref(), args.limit.into()).await?;
    if args.json {
        found.iter().for_each(|message| println!("{message}"));
    } else if !found.is_empty() {
        let columns =
            ["made at", "receiver", "state", "attempts", "changes", "HTTP", "message", "error"];
        let rows = found.iter().map(|message| {
            ["made_at", "receiver", "state", "attempts", "changes", "status", "id", "error"]
                .map(|key| cell(&message[key]))
                .to_vec()
        });
        println!("{}", numbers(table(&columns, rows), [3, 4, 5]));
    }
    if found.is_empty() {
        eprintln!("nothing was sent");
    }
    Ok(Exit::Ok)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text.as_bytes()),
        other => other.to_string(),
    }
}
