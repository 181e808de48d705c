//! `noctus policy check`: every violation of every file at once, with its place.

use std::path::PathBuf;

use super::kind::Kind;
use crate::domain::policy::BadPolicy;
use crate::ops::Exit;
use crate::runtime::policies;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files; the kind is told by the name (…quality…, …profiles…, …risk…, …instruments…)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The kind of every file, whatever its name
    #[arg(long, value_enum)]
    kind: Option<Kind>,
}

/// Checks the files.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut violations = 0;
    for path in &args.files {
        let kind = match Kind::tell(args.kind, path) {
            Ok(kind) => kind,
            Err(question) => {
                println!("{question}");
                violations += 1;
                continue;
            }
        };
        let (file, text) = match policies::text(path) {
            Ok(read) => read,
            Err(error) => {
                println!("{:#}", anyhow::Error::from(error));
                violations += 1;
                continue;
            }
        };
        match kind.read(&file, &text) {
            Ok(_) => println!("{file}: good"),
            Err(BadPolicy(found)) => {
                violations += found.len();
                found.iter().for_each(|violation| println!("{violation}\n"));
            }
        }
    }
    if violations == 0 {
        return Ok(Exit::Ok);
    }
    println!("{violations} violation(s)");
    Ok(Exit::Findings)
}
