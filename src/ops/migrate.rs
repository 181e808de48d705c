//! `noctus migrate`: bring the database to this build's schema.

use super::{Exit, Global};
use crate::pg::migrate;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Change nothing: exit 1 if the schema is not this build's
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    if args.check {
        let pool = crate::pg::connect(&config.database).await?;
        return match migrate::check(&**pool.get().await?).await {
            Ok(()) => {
                println!("schema version {} is this build's", migrate::known_version());
                Ok(Exit::Ok)
            }
            Err(mismatch) => {
                eprintln!("{mismatch}");
                Ok(Exit::Findings)
            }
        };
    }
    let migrated = migrate::run(&config.database.url).await?;
    for name in &migrated.applied {
        println!("applied {name}");
    }
    println!("schema version {} ({} applied)", migrate::known_version(), migrated.applied.len());
    if let Some(sql) = migrated.lacks {
        println!(
            "note: the role that dashboards and `noctus policy what-if` read as is not complete."
        );
        println!("note: everything else works; let an administrator run: {sql}");
        if sql.starts_with("CREATE ROLE") {
            println!("note: and then run `noctus migrate` again");
        }
    }
    Ok(Exit::Ok)
}
