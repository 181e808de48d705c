//! `noctus bench`: measure orders per second and latencies on real services, as JSON.

use super::{Exit, Global};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: Args, _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
