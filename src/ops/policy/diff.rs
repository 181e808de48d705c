//! `noctus policy diff`: what is in force by one file and by another, key by key, and what that does to orders.

use std::path::PathBuf;

use serde_json::json;

use super::kind::Kind;
use crate::domain::policy::diff::{Change, Direction, OTHERS};
use crate::ops::Exit;
use crate::runtime::policies::{self, PolicyError};

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// The policy file as it was
    old: PathBuf,
    /// The policy file as it shall be
    new: PathBuf,
    /// The kind of both, if OLD's name does not tell it
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Exit 1 unless every change tightens
    #[arg(long)]
    only_tighter: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
What is compared is what is in force: per symbol (or timeframe) after its overrides; * is every other one.
A change tightens if no order can get more by it, loosens if none can get less; neither is said of all else.

Example:
  noctus policy diff configs/risk_policy.yml new.yml --only-tighter";

/// Compares the files.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let kind = match Kind::tell(args.kind, &args.old) {
        Ok(kind) => kind,
        Err(question) => {
            eprintln!("{question}");
            return Ok(Exit::Usage);
        }
    };
    let read = |path| -> Result<_, PolicyError> {
        let (file, text) = policies::text(path)?;
        Ok((kind.read(&file, &text)?, file))
    };
    let ((old, old_file), (new, new_file)) = (read(&args.old)?, read(&args.new)?);
    let changes = kind.diff(&old, &new);
    let digests = [kind.digest(&old), kind.digest(&new)];
    if args.json {
        let each = |c: &Change| {
            json!({"scope": c.scope, "key": c.key, "before": c.before, "after": c.after,
                "direction": c.direction.as_str()})
        };
        let all: Vec<_> = changes.iter().map(each).collect();
        let told = json!({"kind": kind.name(), "digests": digests, "changes": all});
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        println!("{}: {old_file} → {new_file}", kind.name());
        print!("{}", table(&changes));
        println!("{}", tally(&changes));
        println!("digest {} → {}", digests[0], digests[1]);
    }
    let tighter = changes.iter().all(|c| c.direction == Direction::Tightens);
    Ok(if args.only_tighter && !tighter { Exit::Findings } else { Exit::Ok })
}

/// The changes, under their scopes, in columns.
fn table(changes: &[Change]) -> String {
    let width = |of: fn(&Change) -> &str| {
        changes.iter().map(|c| of(c).chars().count()).max().unwrap_or_default()
    };
    let key = width(|c| &c.key);
    let values = changes.iter().map(|c| (c.before.chars().count(), c.after.chars().count()));
    let (before, after) = values.fold((0, 0), |w, (b, a)| (w.0.max(b), w.1.max(a)));
    let (mut page, mut scope) = (String::new(), None);
    for c in changes {
        if scope != Some(&c.scope) {
            let name = if c.scope == OTHERS { "* (every other)" } else { &c.scope };
            page.push_str(&format!("  {name}\n"));
            scope = Some(&c.scope);
        }
        let (b, a) = (&c.before, &c.after);
        let direction = c.direction.as_str();
        page.push_str(&format!("    {:key$}  {b:before$} → {a:after$}  {direction}\n", c.key));
    }
    page
}

fn tally(changes: &[Change]) -> String {
    let count = |d: Direction| changes.iter().filter(|c| c.direction == d).count();
    let [tight, loose, neither] =
        [Direction::Tightens, Direction::Loosens, Direction::Neither].map(count);
    match changes.len() {
        0 => "nothing that is in force changes".into(),
        all => format!("{all} change(s): {tight} tighten, {loose} loosen, {neither} neither"),
    }
}
