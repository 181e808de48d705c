//! Owns sorting any number of entries in little memory: runs are sorted in memory and kept in files without a name,
//! then merged. The files are gone when the process is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use crate::domain::truth::Entry;

/// Entries sorted in memory at a time: about 20 MB.
const RUN_MAX: usize = 1 << 18;

/// Entries, in any order.
pub struct Spill {
    run: Vec<Entry>,
    run_max: usize,
    files: Vec<File>,
}

impl Default for Spill {
    fn default() -> Self {
        Self { run: Vec::new(), run_max: RUN_MAX, files: Vec::new() }
    }
}

impl Spill {
    /// One more.
    pub fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.run.push(entry);
        if self.run.len() >= self.run_max { self.keep() } else { Ok(()) }
    }

    fn keep(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for entry in self.run.drain(..) {
            out.write_all(&entry.to_bytes())?;
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.files.push(file);
        Ok(())
    }

    /// All of them, sorted.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        if !self.files.is_empty() && !self.run.is_empty() {
            self.keep()?;
        }
        self.run.sort_unstable();
        let mut runs: Vec<Run> = vec![Run::Memory(self.run.into_iter())];
        runs.extend(self.files.into_iter().map(|file| Run::File(BufReader::new(file))));
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (nth, run) in runs.iter_mut().enumerate() {
            if let Some(entry) = run.next()? {
                heads.push(Reverse((entry, nth)));
            }
        }
        Ok(Sorted { runs, heads })
    }
}

enum Run {
    Memory(std::vec::IntoIter<Entry>),
    File(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        let file = match self {
            Run::Memory(entries) => return Ok(entries.next()),
            Run::File(file) => file,
        };
        let mut bytes = [0; Entry::BYTES];
        match file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a temporary file was changed");
        Entry::from_bytes(&bytes).map(Some).ok_or_else(broken)
    }
}

/// Entries in order; of equal ones each.
pub struct Sorted {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Iterator for Sorted {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, nth)) = self.heads.pop()?;
        match self.runs[nth].next() {
            Ok(Some(next)) => self.heads.push(Reverse((next, nth))),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::truth::{Hour, Place, Short, Standing};

    fn entry(n: u32) -> Entry {
        Entry {
            id: Short::of(&(n / 2).to_be_bytes()),
            hour: Hour(1),
            content: Short::of(&n.to_be_bytes()),
            bytes: 0,
            place: Place { part: 0, at: i64::from(n) },
            standing: Standing::Sure,
            is_inner: false,
        }
    }

    #[test]
    fn what_does_not_fit_in_memory_comes_out_sorted_and_whole() {
        for (run_max, all) in [(7, 100), (100, 100), (101, 100), (1, 5), (10, 0)] {
            let mut spill = Spill { run_max, ..Spill::default() };
            (0..all).for_each(|n| spill.push(entry(n)).expect("there is room"));
            let sorted: Vec<Entry> =
                spill.sorted().expect("files").map(|e| e.expect("an entry")).collect();
            let mut wanted: Vec<Entry> = (0..all).map(entry).collect();
            wanted.sort();
            assert_eq!(sorted, wanted, "runs of {run_max}");
        }
    }
}
