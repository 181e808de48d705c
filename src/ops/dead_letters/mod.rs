//! `noctus dead-letters`: what was refused and why, and sending it again once the cause is mended.

mod chosen;
mod list;
mod redrive;
mod show;

use std::str::FromStr;

use super::{Exit, Global};

const HELP: &str = "\
A refused input uses no key up: once the cause is mended (a signing key added, a schema registered) its dead letter may be
sent again as it is. It goes back to its topic with key, value and headers unchanged, so its signature still holds, and
one header more, noctus-redriven, which counts. A letter is redriven once; what comes back three times stays.

Examples:
  noctus dead-letters list --since 2h
  noctus dead-letters list --reason bad_signature --json | jq -r '.detail'
  noctus dead-letters show 0/17
  noctus dead-letters redrive --reason unknown_schema --since 1d           a preview
  noctus dead-letters redrive 0/17 0/18 --yes

Exit codes: 0 done, 1 nothing found, not everything could be sent, or you said no, 2 wrong usage, or no --yes and no
terminal, 69 a service is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List dead letters, the newest last
    List(list::Args),
    /// Show one in full: headers, bytes, and the message if it decodes
    Show(show::Args),
    /// Send dead letters again to where they came from
    Redrive(redrive::Args),
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.what {
        What::List(args) => list::run(args, global).await,
        What::Show(args) => show::run(args, global).await,
        What::Redrive(args) => redrive::run(args, global).await,
    }
}

/// Where a dead letter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Spot {
    partition: i32,
    offset: i64,
}

impl FromStr for Spot {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let spot = parts.and_then(|(partition, offset)| {
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        let good = spot.filter(|spot| spot.partition >= 0 && spot.offset >= 0);
        good.ok_or_else(|| "a dead letter is named PARTITION/OFFSET, e.g. 0/17".into())
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}
