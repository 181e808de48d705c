//! `noctus policy`: check policy files: every violation at once, with the place.

use std::path::{Path, PathBuf};

use super::{Exit, Global};
use crate::domain::policy::{
    BadPolicy, InstrumentsPolicy, Policies, ProfilesPolicy, QualityPolicy, RiskPolicy,
};
use crate::runtime::policies;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check policy files: every violation with its file, line and column; exit 1 if there is one
    Check {
        /// The files; the kind is told by the name (…quality…, …profiles…, …risk…, …instruments…)
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The kind of every file, whatever its name
        #[arg(long, value_enum)]
        kind: Option<Kind>,
    },
    /// Print the digests of the policies that the configuration names
    Digests,
}

/// What a policy file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Quality,
    Profiles,
    Risk,
    Instruments,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 4] = [
        ("quality", Kind::Quality),
        ("profile", Kind::Profiles),
        ("risk", Kind::Risk),
        ("instrument", Kind::Instruments),
    ];

    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        Self::NAMES.into_iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| kind)
    }

    fn check(self, file: &str, text: &str) -> Result<(), BadPolicy> {
        match self {
            Kind::Quality => QualityPolicy::parse(file, text).map(drop),
            Kind::Profiles => ProfilesPolicy::parse(file, text).map(drop),
            Kind::Risk => RiskPolicy::parse(file, text, &policies::zones).map(drop),
            Kind::Instruments => InstrumentsPolicy::parse(file, text).map(drop),
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.what {
        What::Check { files, kind } => check(&files, kind),
        What::Digests => {
            let found: Policies = policies::load(&global.config()?.policies)?;
            let d = found.digests;
            println!("quality     {}\nprofiles    {}", d.quality, d.profiles);
            println!("risk        {}\ninstruments {}", d.risk, d.instruments);
            Ok(Exit::Ok)
        }
    }
}

fn check(files: &[PathBuf], kind: Option<Kind>) -> anyhow::Result<Exit> {
    let mut violations = 0;
    for path in files {
        let Some(kind) = kind.or_else(|| Kind::of(path)) else {
            println!("{}: what kind of policy is this? Say --kind", path.display());
            violations += 1;
            continue;
        };
        let (file, text) = match policies::text(path) {
            Ok(read) => read,
            Err(error) => {
                println!("{:#}", anyhow::Error::from(error));
                violations += 1;
                continue;
            }
        };
        match kind.check(&file, &text) {
            Ok(()) => println!("{file}: good"),
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
