//! `noctus config`: show the configuration in force, or check it.

use super::{Exit, Global};

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the configuration in force as YAML, passwords redacted
    Show,
    /// List every violation; exit 78 if there is one
    Check,
}

/// Runs the command.
pub fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    match args.what {
        What::Show => print!("{}", serde_saphyr::to_string(&config.redacted())?),
        What::Check => println!("the configuration is good"),
    }
    Ok(Exit::Ok)
}
