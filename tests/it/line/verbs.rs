//! What operators do to a running line: rewinds, redrives, halts, orders that nobody knows about, and trying other
//! policies on what was decided.

mod cancelled;
mod drills;
mod halted;
mod host;
mod redriven;
mod resolved;
mod rewound;
mod what_if;

use std::process::{Command, Output};

use serde_json::Value;

use super::Line;

/// A verb of the command line that was run to its end.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Its JSON lines.
    pub fn json(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        self.out.lines().map(read).collect()
    }

    /// It ended with this code.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n{}\n{}", self.code, self.out, self.err)
    }
}

/// Runs `noctus` with these words, separated by spaces.
pub fn run(line: &Line, words: &str) -> Ran {
    let words: Vec<&str> = words.split(' ').collect();
    let mut command: Command = line.noctus();
    let Output { status, stdout, stderr } = command.args(words).output().expect("it can be run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran { code: status.code().expect("it was not killed"), out: text(stdout), err: text(stderr) }
}

/// The number in `proposal 3 by …`.
pub fn proposal(ran: &Ran) -> String {
    let words = ran.out.split_whitespace().nth(1);
    words.unwrap_or_else(|| panic!("a proposal: {ran:?}")).to_string()
}
