//! `noctus sign`: sign a JSON order file (prints it with its signature).

use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::submit::{order_file, signer};
use super::{Exit, Global};
use crate::runtime::clock;
use crate::runtime::secrets::Secrets;
use crate::wire::signature;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// One JSON order, an array, or JSON lines; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Sign with this key; without it with the first one in force
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
}

const HELP: &str = "\
The signature is HMAC-SHA256 over noctus-json-v1 and the order as RFC 8785 canonical JSON without its field
\"signature\", written kid=<id>,v1=<hex>. `noctus submit` sends a signed order only if it is as it was signed.";

/// Runs the command: prints one line per order.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (entries, mut violations) = order_file::read(&args.file);
    for entry in &entries {
        if let Some(number) = signature::inexact_number(&entry.json) {
            let why = format!("{number} cannot be signed exactly: write it as a text");
            violations.push(order_file::Violation { place: entry.place.clone(), why });
        }
    }
    if !violations.is_empty() {
        violations.iter().for_each(|violation| eprintln!("{violation}"));
        return Ok(Exit::Findings);
    }
    let secrets = Secrets::from_env(global.config()?.dev)?;
    let key = signer(&secrets, args.kid.as_deref(), clock::now())?;
    for mut entry in entries {
        let v1 = signature::sign_json(key.secret.expose_secret().as_bytes(), &entry.json);
        entry.json[signature::JSON_FIELD] = signature::header(&key.kid, &v1).into();
        println!("{}", entry.json);
    }
    Ok(Exit::Ok)
}
