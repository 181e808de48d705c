//! `noctus explain`: tell the story of one trace: every hop, every clamp, and why.

use super::{Exit, Global};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: Args, _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
