//! `noctus topics`: create the topics of topics/topics.yml, or show how the cluster differs.

use super::{Exit, Global};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: Args, _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
