//! `noctus notify`: the role, and its verbs: check routes, try a receiver, list conditions and deliveries.

mod lists;

use std::path::PathBuf;

use anyhow::Context as _;

use super::roles::{self, Role};
use super::{Exit, Global};
use crate::domain::notice::attempt::Answer;
use crate::domain::notice::letter::Letter;
use crate::domain::notice::routes::{Kind, Routes};
use crate::domain::policy::{BadPolicy, schema};
use crate::notify::{Book, book, post};
use crate::runtime::{clock, policies};

const HELP: &str = "\
Without a verb it is the role: it reads topic alerts, looks at obs_slo_violations_24h, and tells whom the routes of
notify.file name. Without such a file it records and tells nobody.

Examples:
  noctus notify --config configs/noctus.yml      the role
  noctus notify check configs/notify.yml         every violation of a file of routes, and the secrets it needs
  noctus notify test ops                         one message to one receiver of notify.file
  noctus notify list                             what holds now
  noctus notify deliveries --receiver ops        what was sent, and what became of it

Exit codes: 1 a violation was found (check), the receiver did not take it (test), something holds (list).";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(args_conflicts_with_subcommands = true, after_long_help = HELP)]
pub struct Args {
    #[command(flatten)]
    role: roles::Args,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check a file of routes: every violation with its line; and which secrets it needs
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Send one message to one receiver of notify.file; it is about nothing
    Test {
        /// The receiver's name
        #[arg(value_name = "RECEIVER")]
        receiver: String,
    },
    /// Conditions that hold, the newest change first
    List(lists::ListArgs),
    /// The last messages, and what became of them
    Deliveries(lists::DeliveriesArgs),
    /// Print the JSON Schema of a file of routes, for editors
    Schema,
}

/// Runs the role or a verb.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.verb {
        None => roles::run(args.role, &[Role::Notify], global).await,
        Some(Verb::Check { file }) => check(&file),
        Some(Verb::Test { receiver }) => test(&receiver, global).await,
        Some(Verb::List(args)) => lists::conditions(args, global).await,
        Some(Verb::Deliveries(args)) => lists::deliveries(args, global).await,
        Some(Verb::Schema) => {
            println!("{}", schema_text()?);
            Ok(Exit::Ok)
        }
    }
}

/// The schema as it is committed, without the last line break.
fn schema_text() -> serde_json::Result<String> {
    serde_json::to_string_pretty(&schema::notify())
}

fn check(path: &std::path::Path) -> anyhow::Result<Exit> {
    let (file, text) = match policies::text(path) {
        Ok(read) => read,
        Err(error) => {
            println!("{:#}", anyhow::Error::from(error));
            return Ok(Exit::Findings);
        }
    };
    let routes = match Routes::parse(&file, &text) {
        Ok(routes) => routes,
        Err(BadPolicy(found)) => {
            found.iter().for_each(|violation| println!("{violation}\n"));
            println!("{} violation(s)", found.len());
            return Ok(Exit::Findings);
        }
    };
    println!("{file}: good");
    if routes.lead_nowhere() {
        println!("no route leads to anybody");
    }
    for (name, receiver) in &routes.receivers {
        let address = receiver.url.is_none().then_some("URL");
        let secret = (receiver.kind == Kind::Webhook).then_some("SECRET");
        for what in address.into_iter().chain(secret) {
            needs(&book::variable(name, what));
        }
    }
    if routes.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.url.is_none()) {
        needs(&book::variable("heartbeat", "URL"));
    }
    Ok(Exit::Ok)
}

fn needs(variable: &str) {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set = is_set(variable) || is_set(&format!("{variable}_FILE"));
    println!("needs {variable} or {variable}_FILE{}", if set { ": set" } else { ": not set here" });
}

async fn test(name: &str, global: &Global) -> anyhow::Result<Exit> {
    let config = global.config()?;
    let book = Book::load(&config.notify)?;
    let caller = book.callers.get(name).with_context(|| {
        let known: Vec<&str> = book.callers.keys().map(String::as_str).collect();
        format!("{name} is no receiver of notify.file; there are: {}", known.join(", "))
    })?;
    let nonce = format!("{:032x}", rand::random::<u128>());
    let letter = Letter::test(name, &nonce, clock::now());
    match post::post(caller, &letter, false).await {
        Answer::Status(status @ 200..=299, _) => {
            println!("{name} took {} (HTTP {status})", letter.id);
            Ok(Exit::Ok)
        }
        Answer::Status(status, _) => {
            println!("{name} did not take {}: HTTP {status}", letter.id);
            Ok(Exit::Findings)
        }
        Answer::NothingLeft(why) | Answer::Lost(why) => {
            println!("{name} did not answer: {why}");
            Ok(Exit::Findings)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_the_one_that_is_printed() {
        let path = "configs/schema/notify.json";
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let printed = schema_text().expect("plain data") + "\n";
        assert!(committed == printed, "make it with: noctus notify schema > {path}");
    }
}
