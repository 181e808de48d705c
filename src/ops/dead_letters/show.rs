//! `noctus dead-letters show`.

use serde_json::{Value, json};

use super::super::decoded::Decoder;
use super::super::table::printable;
use super::super::{Exit, Global};
use super::Spot;
use super::chosen::{Found, Letters};
use super::list::told;
use crate::runtime::config::Config;

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
    let decoder = Decoder::new(config).map_err(|e| e.to_string())?;
    let decoded = decoder.message(&found.letter.topic, value).await;
    decoded.unwrap_or_else(|away| Err(away.to_string()))
}
