//! `noctus policy schema`: the JSON Schema of a kind of policy file, as it is committed under `configs/schema/`.

use super::kind::Kind;
use crate::ops::Exit;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of policy file
    #[arg(value_enum)]
    kind: Kind,
}

/// Prints it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    println!("{}", text(args.kind)?);
    Ok(Exit::Ok)
}

/// The schema's text, without the last line break.
pub(super) fn text(kind: Kind) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&kind.schema())
}
