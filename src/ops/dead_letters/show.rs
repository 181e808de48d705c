//! `noctus dead-letters show`.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{Exit, Global};
use super::Spot;
use super::chosen::{Found, Letters};
use super::list::{printable, told};
use crate::kafka::registry::Registry;
use crate::runtime::config::Config;
use crate::wire::{self, DecodeError, Subject};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it lies among the dead letters
    #[arg(value_name = "PARTITION/OFFSET")]
    spot: Spot,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let letters = Letters::open(&config).await?;
    let found = letters.at(&config, &[args.spot]).await?;
    let Some(found) = found.first() else {
        eprintln!("there is no dead letter {}", args.spot);
        return Ok(Exit::Findings);
    };
    let message = match message(&config, found).await {
        Ok(message) => message,
        Err(why) => json!({ "error": why }),
    };
    let mut all = told(found);
    let headers = found.letter.headers.iter();
    let header =
        |(name, value): &(String, Option<Vec<u8>>)| json!([name, value.as_deref().map(printable)]);
    all["headers"] = headers.map(header).collect();
    all["cut"] = json!(found.letter.cut);
    all["value"] = json!(found.record.value.as_ref().map(hex::encode));
    all["message"] = message;
    if args.json {
        println!("{all}");
    } else {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(Exit::Ok)
}

/// The value as a message, as far as it can be read; else why not.
async fn message(config: &Config, found: &Found) -> Result<Value, String> {
    let value = found.record.value.as_deref().ok_or("it has no value")?;
    let (id, body) = wire::split(value).map_err(|e| e.to_string())?;
    let topic = &found.letter.topic;
    let logical = topic.strip_prefix(&config.kafka.topic_prefix).unwrap_or(topic);
    let subject = Subject::of_topic(logical).ok_or(format!("{topic} is no topic of ours"))?;
    let registry = Registry::new(&config.registry).map_err(|e| e.to_string())?;
    let schema = registry.schema(id).await.map_err(|e| e.to_string())?;
    match subject {
        Subject::OrderRequest => json_of(wire::order_request::decode(body, &schema)),
        Subject::ProposalSet => json_of(wire::proposal_set::decode(body, &schema)),
        Subject::Decision => json_of(wire::decision::decode(body, &schema)),
        Subject::Alert => json_of(wire::alert::decode(body, &schema)),
        Subject::ExecEvent => json_of(wire::exec_event::decode(body, &schema)),
        Subject::Quote | Subject::PlanRun | Subject::InferCall => {
            Err(format!("{} is not decoded here", subject.name()))
        }
    }
}

fn json_of<T: Serialize>(decoded: Result<T, DecodeError>) -> Result<Value, String> {
    let value = decoded.map_err(|e| e.to_string())?;
    serde_json::to_value(value).map_err(|e| e.to_string())
}
