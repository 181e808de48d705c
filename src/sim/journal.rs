//! Owns the log of a simulated world: a hash of everything that happened, and its lines where somebody reads them.
//! Invariant: the hash is of the same bytes whether lines are kept or not.

use std::fmt::{self, Write};
use std::hash::Hasher;

use fnv::FnvHasher;

/// What happened, in order.
pub struct Journal {
    hash: FnvHasher,
    lines: Option<Vec<String>>,
}

struct Hashed<'a>(&'a mut FnvHasher);

impl Write for Hashed<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Journal {
    /// Empty; `keeps`: its lines too.
    pub fn new(keeps: bool) -> Self {
        Self { hash: FnvHasher::default(), lines: keeps.then(Vec::new) }
    }

    /// Something happened at this moment (microseconds).
    pub fn note(&mut self, at_us: u64, what: fmt::Arguments<'_>) {
        // Writing into a hash does not fail.
        let _ = writeln!(Hashed(&mut self.hash), "{at_us} {what}");
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {what}", at_us as f64 / 1e6));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The lines, if they were kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
