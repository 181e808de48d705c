//! `noctus docs`: the pages that are made from the code. Hidden: it is for who changes the code.

use super::Exit;
use crate::domain::catalogue::Language;
use crate::domain::catalogue::page::page;

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
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Lang {
    En,
    Ja,
}

/// Prints a page.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let What::Rules { lang } = args.what;
    let language = match lang {
        Lang::En => Language::English,
        Lang::Ja => Language::Japanese,
    };
    print!("{}", page(language));
    Ok(Exit::Ok)
}
