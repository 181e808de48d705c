//! `noctus run`, `gate`, `dispatch`, `sink`: start roles and drain them on SIGTERM.

use super::{Exit, Global};

/// Which role to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    Gate,
    Dispatch,
    Sink,
}

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where /livez, /readyz and /metrics listen (port 0 picks one)
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<std::net::SocketAddr>,
}

/// Runs the roles until SIGTERM or SIGINT.
pub async fn run(_args: Args, _roles: &[Role], _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
