//! What is being done or waited for, on standard error: one line that changes on a terminal, else a line per stage.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Tells a person what is going on.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A spinner on a terminal, plain lines elsewhere.
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    /// A stage has begun.
    pub fn stage(&self, what: &str) {
        match &self.0 {
            Some(bar) => bar.set_message(what.to_string()),
            None => eprintln!("… {what}"),
        }
    }

    /// What is being waited for within a stage: too much for a log.
    pub fn waiting(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_string());
        }
    }

    /// Prints to standard output without tearing the line.
    pub fn print(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Nothing more to tell.
    pub fn done(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
