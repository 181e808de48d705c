//! `noctus judge`: judge cases without Kafka or Postgres: JSON lines in, results out.

mod by_hand;
pub mod case;
mod slices;
#[cfg(test)]
mod tests;
mod told;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use super::{BadInput, Exit, Global};
use case::{Cases, Outcome};

const HELP: &str = "\
A case is one JSON object a line: name, now, request or proposal_set, facts, policies (any of
quality, profiles, risk, instruments; an absent one is the plan's) and expect. One result a line
comes out, in order, with the name kept. A request of a refused shape is a result:
{\"name\", \"error\": \"invalid_qty\"}. A line that is no case gives {\"name\", \"error\"} in its
place, and exit code 1. docs/policies.md tells the format.

Examples:
  noctus judge tests/vectors/judge.jsonl --check
  noctus judge --request order.json --policy configs/risk_policy.yml";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// Cases, one JSON object a line; standard input unless given
    #[arg(value_name = "FILE", conflicts_with = "request")]
    cases: Option<PathBuf>,
    /// Compare with what the cases expect, print what differs, and exit 1 if anything does
    #[arg(long, conflicts_with = "request")]
    check: bool,
    #[command(flatten)]
    by_hand: by_hand::ByHand,
}

/// Runs the command.
pub async fn run(args: Args, _global: &Global) -> anyhow::Result<Exit> {
    if args.by_hand.is_asked() {
        return by_hand::run(&args.by_hand);
    }
    let out = std::io::stdout().lock();
    match &args.cases {
        Some(path) => {
            let file = std::fs::File::open(path)
                .map_err(|source| BadInput::Unreadable { path: path.clone(), source })?;
            lines(std::io::BufReader::with_capacity(1 << 16, file), out, args.check)
        }
        None => {
            lines(std::io::BufReader::with_capacity(1 << 16, std::io::stdin()), out, args.check)
        }
    }
}

/// Answers each line; what is written is flushed whenever the reader would have to wait.
fn lines<R: std::io::Read>(
    mut from: std::io::BufReader<R>,
    to: impl Write,
    check: bool,
) -> anyhow::Result<Exit> {
    let mut to = std::io::BufWriter::with_capacity(1 << 16, to);
    let mut cases = Cases::default();
    let (mut line, mut out) = (Vec::new(), Vec::new());
    let (mut judged, mut differing, mut bad) = (0_u64, 0_u64, 0_u64);
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer = match std::str::from_utf8(&line) {
            Ok(text) => cases.answer(text.trim()),
            Err(error) => case::Answer {
                name: serde_json::Value::Null,
                outcome: Outcome::Bad(format!("not UTF-8: {error}")),
                expect: None,
            },
        };
        judged += 1;
        bad += u64::from(matches!(answer.outcome, Outcome::Bad(_)));
        out.clear();
        if check {
            let differences = answer.differences();
            differing += u64::from(!differences.is_empty());
            for difference in differences {
                writeln!(out, "{}: {difference}", answer.name)?;
            }
            if let (Outcome::Bad(why), None) = (&answer.outcome, &answer.expect) {
                writeln!(out, "{}: {why}", answer.name)?;
            }
        } else {
            answer.write(&mut out)?;
            out.push(b'\n');
        }
        to.write_all(&out)?;
        if from.buffer().is_empty() {
            to.flush()?;
        }
    }
    if check {
        writeln!(to, "{judged} cases, {differing} differ, {bad} are no cases")?;
    }
    to.flush()?;
    Ok(if bad + differing == 0 { Exit::Ok } else { Exit::Findings })
}
