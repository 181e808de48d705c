//! `noctus completions`: shell completions on standard output.

use clap::CommandFactory;

use super::{Cli, Exit};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to complete in.
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    clap_complete::generate(args.shell, &mut Cli::command(), "noctus", &mut std::io::stdout());
    Ok(Exit::Ok)
}
