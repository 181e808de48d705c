//! `noctus demo`: the whole way of an order on embedded services, with a readable report.

use super::{Exit, Global};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: Args, _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
