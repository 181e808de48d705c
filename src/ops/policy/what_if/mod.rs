//! `noctus policy what-if`: recorded decisions judged again, with their recorded facts, under new policies.
//! Never speaks to a broker, to Kafka or to a live table: it reads a file, or obs_* as `noctus_reader`, which is checked.

mod amount;
mod page;
mod policies;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod told;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueHint;

use self::policies::Tried;
use self::told::Told;
use super::kind::Kind;
use crate::demo::report::Ink;
use crate::domain::what_if::WhatIf;
use crate::ops::stretch::Moment;
use crate::ops::{Exit, Global};
use crate::runtime::clock;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// A policy file as it would be; the kinds that are not given stay those of the configuration
    #[arg(long = "policy", value_name = "FILE", required = true, num_args = 1..)]
    policies: Vec<PathBuf>,
    /// The kind of the policy, if its file's name does not tell it
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only decisions made from this time (RFC 3339) or day on, or from so long ago on, e.g. 7d
    #[arg(long, value_name = "TIME|AGE")]
    from: Option<Moment>,
    /// Only decisions made before this time
    #[arg(long, value_name = "TIME|AGE")]
    to: Option<Moment>,
    /// Read decisions from what `noctus topics dump decisions` printed (- is standard input), not from obs_decisions
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    dump: Option<PathBuf>,
    /// JSON, with every order that changes: instead of the table, or into a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Write a page with charts into a file; it stands alone and needs no network
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// At most so many orders and findings of a kind in the table and the page
    #[arg(long, value_name = "N", default_value = "25",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    top: u32,
    /// Exit 0 although orders change
    #[arg(long)]
    exit_zero: bool,
}

const HELP: &str = "\
Every decision is recorded with what was asked and what was known. This judges each of them again, at its own time and
by these facts, under the policies given, and tells which orders would have been blocked, smaller, larger or let
through; by rule, by symbol and over time; in units and in money.

Held fixed are the facts: under the new policies positions, losses and rates of orders would have developed otherwise.
An order that is blocked here leaves room for the next one, which is not seen. REJECT (too late, too early) stays REJECT.

Decisions that were made under the very policies they are judged by must come out the same: those that do not are
listed, and so is whatever cannot be judged again.

Decisions are read from obs_decisions as the role noctus_reader, in a read-only transaction. Postgres is asked before
what that role may do; if it is more than reading obs_*, nothing is read. With --dump no service is needed.

Examples:
  noctus policy what-if --policy new/risk_policy.yml --from 7d
  noctus policy what-if --policy risk_policy.yml --policy profiles.yaml --from 2026-11-01 --to 2026-12-01 --html nov.html
  noctus topics dump decisions | noctus policy what-if --policy risk_policy.yml --dump - --json | jq '.changes[0]'
  noctus policy what-if --policy configs/risk_policy.yml --json all.json       the policy in force: does it reproduce?

Exit codes: 0 no order changes, 1 some do (0 with --exit-zero), some decision is not reproduced or cannot be judged
again, or there is none; 2 wrong usage, 69 Postgres is away, 77 the role may do too much or is not there, 78 a policy
is bad: every violation is told, as by noctus policy check.";

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let asked = match asked(&args) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("noctus: {wrong}");
            return Ok(Exit::Usage);
        }
    };
    let config = global.config()?;
    let tried = Tried::load(&config.policies, &asked.files)?;
    // JSON has every order that changes; else only the worst are kept.
    let most = if args.json.is_some() { usize::MAX } else { args.top as usize };
    let mut what_if = WhatIf::new(&tried.base, &tried.new, most);
    let source = match &args.dump {
        Some(path) => source::dump(path, &asked.stretch, &mut what_if)?,
        None => source::tables(&config.database, &asked.stretch, &mut what_if).await?,
    };
    let report = what_if.finish();
    let told = Told::new(source, &asked.stretch, &tried, &report);
    let top = args.top as usize;
    let is_on_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&told)?;
        write(path, &format!("{text}\n"))?;
    }
    if let Some(path) = &args.html {
        write(path, &page::html(&told, top)?)?;
    }
    if !is_on_stdout {
        let ink = Ink::of(std::io::stdout().is_terminal());
        print(&table::text(ink, &told, top))?;
    }
    if report.decisions == 0 {
        eprintln!("noctus: {}", told.nothing());
        return Ok(Exit::Findings);
    }
    let is_clean = report.unjudged == 0 && report.reproduced.all();
    let is_same = report.changed == 0 || args.exit_zero;
    Ok(if is_clean && is_same { Exit::Ok } else { Exit::Findings })
}

/// The decisions that are meant, by decided_at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Stretch {
    pub from: Option<jiff::Timestamp>,
    pub to: Option<jiff::Timestamp>,
}

/// What is asked for, once it makes sense.
struct Asked {
    files: Vec<(Kind, PathBuf)>,
    stretch: Stretch,
}

fn asked(args: &Args) -> Result<Asked, String> {
    if args.kind.is_some() && args.policies.len() > 1 {
        return Err("--kind is for one policy; name the files so that they tell their kinds".into());
    }
    let mut files: Vec<(Kind, PathBuf)> = Vec::new();
    for path in &args.policies {
        let kind = Kind::tell(args.kind, path)?;
        if let Some((_, other)) = files.iter().find(|(known, _)| *known == kind) {
            let (one, other) = (other.display(), path.display());
            return Err(format!("{one} and {other} are both {} policies", kind.name()));
        }
        files.push((kind, path.clone()));
    }
    let now = clock::now();
    let time = |moment: Option<Moment>| {
        moment.map(|m| m.time(now).ok_or("that is too long ago".to_string())).transpose()
    };
    let stretch = Stretch { from: time(args.from)?, to: time(args.to)? };
    if let (Some(from), Some(to)) = (stretch.from, stretch.to)
        && from >= to
    {
        return Err(format!("--from {from} is not before --to {to}"));
    }
    // Before a long run, not after it.
    for path in args.json.iter().chain(&args.html).filter(|path| path.as_os_str() != "-") {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(format!("{} cannot be written", path.display()));
        }
    }
    Ok(Asked { files, stretch })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return print(text);
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// To standard output; that nobody reads it to its end is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
