//! `noctus policy`: check policy files, compare them, try them on cases and on recorded decisions, and schemas for
//! editors.

mod cases;
mod check;
mod diff;
mod junit;
mod kind;
mod schema;
#[cfg(test)]
mod tests;
mod what_if;

use super::{Exit, Global};
use crate::domain::policy::Policies;
use crate::runtime::policies;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check policy files: every violation with its file, line and column; exit 1 if there is one
    Check(check::Args),
    /// What changes between two policy files, key by key, and whether it tightens or loosens
    Diff(diff::Args),
    /// Judge recorded decisions again under new policies: which orders change, and by which rules
    WhatIf(what_if::Args),
    /// Judge the cases of test files and compare with what they expect; exit 1 if one differs
    Test(cases::Args),
    /// Print the JSON Schema of a kind of policy file, for editors
    Schema(schema::Args),
    /// Print the digests of the policies that the configuration names
    Digests,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.what {
        Verb::Check(args) => check::run(&args),
        Verb::Diff(args) => diff::run(&args),
        Verb::WhatIf(args) => what_if::run(args, global).await,
        Verb::Test(args) => cases::run(&args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Digests => {
            let found: Policies = policies::load(&global.config()?.policies)?;
            let d = found.digests;
            println!("quality     {}\nprofiles    {}", d.quality, d.profiles);
            println!("risk        {}\ninstruments {}", d.risk, d.instruments);
            Ok(Exit::Ok)
        }
    }
}
