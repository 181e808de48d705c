//! `noctus docs`: the pages that are made from the code. Hidden: it is for who changes the code.

use super::Exit;
use super::language::Lang;
use crate::domain::catalogue::page::page;
use crate::domain::order::page::page as order_states;
use crate::runtime::metrics::page::page as metrics;

/// The command's arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every rule and reason code: docs/rules.md and docs/rules.ja.md
    Rules {
        /// The language
        #[arg(long, value_enum, default_value = "en")]
        lang: Lang,
    },
    /// What moves an order, and where to: docs/order-states.md
    OrderStates,
    /// Every metric: docs/metrics.md
    Metrics,
}

/// Prints a page.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let page = match args.what {
        What::Rules { lang } => page(lang.into()),
        What::OrderStates => order_states(),
        What::Metrics => metrics(),
    };
    print!("{page}");
    Ok(Exit::Ok)
}
