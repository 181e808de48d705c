//! `noctus sink`: the role, and the verb that makes its tables again.

use super::{Exit, Global, rebuild, roles};

/// The command's arguments: none for the role.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    role: roles::Args,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the obs_* tables again from the topics, beside those in use, and exchange them
    Rebuild(rebuild::Args),
}

/// Runs the role, or the verb.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.verb {
        Some(Verb::Rebuild(args)) => rebuild::run(args, global).await,
        None => roles::run(args.role, &[roles::Role::Sink], global).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::Cli;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
