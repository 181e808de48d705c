//! `noctus explain`: tell the story of one trace: every hop, every clamp, why, and what would be decided now.

mod json;
pub(super) mod told;

use std::io::IsTerminal;

use rust_decimal::Decimal;
use serde::Serialize;

use super::language::Lang;
use super::{Exit, Global};
use crate::demo::report::Ink;
use crate::domain::catalogue::Language;
use crate::domain::policy::Policies;
use crate::domain::what_if::{self, Again};
use crate::pg::story::{Ledger, Order, Story};
use crate::pg::{self, PoolError, story};
use crate::runtime::policies;

const HELP: &str = "\
It tells what was asked, how the quantity came about step by step and what each rule is, the quote and the policies that
were used, halts, every send, command and step at the broker, the rules that fired and what to do, what is still reserved,
owed, waiting or parked, and what would be decided under the policies of this configuration. Times are UTC.

Examples:
  noctus explain 20250823-110000-USDJPY-h1
  noctus explain 20250823-110000-USDJPY-h1 --lang ja
  noctus explain 20250823-110000-USDJPY-h1 --json | jq '.orders[].clamps'

Exit codes: 0 told, 1 if nothing is known under this name, 69 Postgres is away.";

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// A trace id, or the idempotency key of one order or command
    #[arg(value_name = "TRACE_ID|KEY")]
    name: String,
    /// The same as one JSON object (docs/explain.schema.json)
    #[arg(long)]
    json: bool,
    /// The language of the text, and of the rules' texts in the JSON
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
}

/// A story and what is said of it besides.
pub struct Explained {
    /// What happened.
    pub story: Story,
    /// In which language it is told.
    pub language: Language,
    /// Each order judged again, or why it cannot be.
    pub again: Vec<Result<Again, String>>,
}

impl Explained {
    /// Judges the orders again under these policies, or says why there are none.
    pub fn new(story: Story, language: Language, policies: &Result<Policies, String>) -> Self {
        let again = story.orders.iter().map(|order| again(order, policies)).collect();
        Self { story, language, again }
    }
}

fn again(order: &Order, policies: &Result<Policies, String>) -> Result<Again, String> {
    let policies = policies.as_ref().map_err(Clone::clone)?;
    let recorded = order.recorded.clone();
    let recorded = recorded.ok_or("what was known then is not in obs_decisions (yet)")?;
    what_if::again(&order.idempotency_key, recorded, policies).map_err(|unjudged| unjudged.why)
}

/// What an order still holds of its reservation (C-RISK-8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Holds {
    pub qty: Decimal,
    pub opening_notional: Decimal,
}

/// Of an order in the ledger: stored × unfilled / decided.
pub fn held(ledger: &Ledger) -> Holds {
    let (working, decided) = (ledger.working_qty, ledger.decided_qty);
    let all = ledger.opening_notional.checked_mul(working);
    let part = all.and_then(|all| all.checked_div(decided)).unwrap_or_default();
    Holds { qty: working.normalize(), opening_notional: part.round_dp(9).normalize() }
}

/// The policies of this configuration, as far as they can be read: a story is told without them too.
pub fn in_force(files: &crate::runtime::config::PolicyFiles) -> Result<Policies, String> {
    policies::load(files).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// Runs the command.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (config, language) = (global.config()?, Language::from(args.lang));
    let pool = pg::connect(&config.database).await?;
    let mut client = pool.get().await.map_err(PoolError::from)?;
    pg::migrate::check(&client).await?;
    let Some(story) = story::tell(&mut client, &args.name).await? else {
        eprintln!("{}", unknown(language, &args.name));
        return Ok(Exit::Findings);
    };
    let explained = Explained::new(story, language, &in_force(&config.policies));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json::json(&explained)?)?);
    } else {
        let ink = Ink::of(std::io::stdout().is_terminal());
        println!("{}", told::story(ink, &explained));
    }
    Ok(Exit::Ok)
}

fn unknown(language: Language, name: &str) -> String {
    match language {
        Language::English => format!(
            "nothing is known of a trace or an idempotency key {name:?}. If it was sent a moment ago: are a gate \
             and a sink running? If it was refused, topic dead-letters says why."
        ),
        Language::Japanese => format!(
            "トレースまたは冪等キー {name:?} は見つからない。送った直後なら gate と sink が動いているかを、\
             拒否されたならトピック dead-letters の理由を確かめる。"
        ),
    }
}
