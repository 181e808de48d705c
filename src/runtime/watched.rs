//! Owns files that may change while a process runs: what they held when they were read, and whether that changed.
//! Never reads what they say. Invariant: a change after they were first looked at is never missed.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// Some files that are read together.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    files: Vec<PathBuf>,
    /// Digest of the contents in force, or refused.
    settled: [u8; 32],
    /// Seen once; acted upon when seen again, so that a file being written is left alone.
    seen: [u8; 32],
}

impl Watched {
    /// Looks at the files. To be called before they are read: what changes in between is a change.
    pub fn before_reading(files: Vec<PathBuf>) -> Self {
        let now = contents(&files);
        Self { files, settled: now, seen: now }
    }

    /// Whether there is something new that has come to rest. It counts as settled from then on.
    pub fn has_changed(&mut self) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let now = contents(&self.files);
        let rests = std::mem::replace(&mut self.seen, now) == now;
        rests && std::mem::replace(&mut self.settled, now) != now
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// SHA-256 of what was settled last.
    pub fn settled(&self) -> [u8; 32] {
        self.settled
    }
}

fn contents(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        // A file that is gone is a change too, and a bad one.
        let bytes = std::fs::read(file).unwrap_or_default();
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f43_a_change_is_told_once_it_rests_also_when_it_came_right_after_the_first_look() {
        let file = std::env::temp_dir().join(format!("noctus-watched-{}", std::process::id()));
        let write = |text: &str| std::fs::write(&file, text).expect("a temporary file");
        write("one");
        let mut watched = Watched::before_reading(vec![file.clone()]);
        write("two");
        assert_eq!([watched.has_changed(), watched.has_changed()], [false, true]);
        assert!(!watched.has_changed());
        write("hal");
        assert!(!watched.has_changed(), "seen for the first time");
        write("half");
        assert!(!watched.has_changed(), "still being written");
        assert!(watched.has_changed());
        std::fs::remove_file(&file).expect("it is there");
        assert_eq!([watched.has_changed(), watched.has_changed()], [false, true]);
        assert!(!Watched::before_reading(vec![]).has_changed());
    }
}
