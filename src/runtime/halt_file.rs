//! Owns a host's own halt (C-OUT-7): a file that stops every dispatch process of this host that reads it, without Postgres.
//! Never lifts a halt: a higher resume in Postgres does, and dispatch compares. Invariant: a file that is there
//! and cannot be read halts, and a process says that it has seen one only when no write on older knowledge is under way.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HostHalt {
    /// Tells one halt from the next.
    pub token: String,
    /// The newest number in Postgres that the host knew of; a higher resume of everything lifts the halt.
    pub after: Option<i64>,
    pub reason: String,
    pub by_whom: String,
    pub at: Timestamp,
}

/// A dispatch process of this host and what it acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HostSender {
    pub worker: String,
    /// The halt it acts on; empty: none.
    pub token: String,
    /// The newest number in Postgres that it knows of.
    pub number: i64,
}

/// What the file says now. One that is there and cannot be read halts from the beginning of time on: it lifts nothing.
pub fn read(path: &Path) -> Option<HostHalt> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(unreadable(error.to_string())),
    };
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| unreadable(error.to_string())))
}

fn unreadable(why: String) -> HostHalt {
    let reason = format!("the halt file cannot be read: {why}");
    let (by_whom, at) = ("-".into(), Timestamp::UNIX_EPOCH);
    HostHalt { token: "unreadable".into(), after: None, reason, by_whom, at }
}

/// Puts a halt in force for this host, durably: it is whole or not there, also after a loss of power.
pub fn write(path: &Path, halt: &HostHalt) -> std::io::Result<()> {
    let new = beside(path, &format!("new-{}", std::process::id()));
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(halt)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{what}"));
    path.with_file_name(name)
}

/// A process's entry beside the halt file. It is locked while the process lives, however it ends.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    file: File,
    said: Option<HostSender>,
}

impl Entry {
    /// Makes this process known, and forgets those that are gone; before the halt file is read for the first time.
    pub fn make(path: &Path, worker: &str) -> std::io::Result<Self> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let name: String = worker.chars().map(plain).collect();
        let (new, own) =
            (beside(path, &format!("new-{name}")), beside(path, &format!("sender-{name}")));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
        // Locked before it can be found, so that nobody takes it for a dead one's.
        file.lock()?;
        std::fs::rename(&new, &own)?;
        let mut entry = Self { path: own, file, said: None };
        let mut number = 0;
        for (gone, said, lives) in entries(path)? {
            number = number.max(said.map_or(0, |said| said.number));
            if !lives && gone != entry.path {
                std::fs::remove_file(gone)?;
            }
        }
        entry.say(HostSender { worker: worker.into(), token: String::new(), number })?;
        Ok(entry)
    }

    /// Says what this process acts on, if that is new.
    pub fn say(&mut self, says: HostSender) -> std::io::Result<()> {
        if self.said.as_ref() == Some(&says) {
            return Ok(());
        }
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&serde_json::to_vec(&says)?)?;
        self.said = Some(says);
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "an entry beside the halt file stays behind");
        }
    }
}

type Found = (PathBuf, Option<HostSender>, bool);

/// Every entry beside the file: where, what it says (none: it is just being written), and whether its process lives.
fn entries(path: &Path) -> std::io::Result<Vec<Found>> {
    let prefix = beside(path, "sender-");
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let at = entry?.path();
        if !at.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(&prefix)) {
            continue;
        }
        let mut file = match File::open(&at) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lives = match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        found.push((at, serde_json::from_str(&text).ok(), lives));
    }
    Ok(found)
}

/// The newest number in Postgres that any dispatch of this host has known.
pub fn newest_known(path: &Path) -> std::io::Result<Option<i64>> {
    Ok(entries(path)?.into_iter().filter_map(|(_, said, _)| said).map(|said| said.number).max())
}

/// The running dispatch processes of this host: those that act on this halt, and those that do not yet.
pub fn senders(path: &Path, token: &str) -> std::io::Result<(Vec<String>, Vec<String>)> {
    let name = |(at, said, _): Found| match said {
        Some(said) => (said.token == token, said.worker),
        None => (false, at.display().to_string()),
    };
    let living = entries(path)?.into_iter().filter(|(_, _, lives)| *lives).map(name);
    let (there, missing): (Vec<_>, Vec<_>) = living.partition(|(has_seen, _)| *has_seen);
    let names = |list: Vec<(bool, String)>| list.into_iter().map(|(_, name)| name).collect();
    Ok((names(there), names(missing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(token: &str) -> HostHalt {
        let (reason, by_whom) = ("test".into(), "alice".into());
        HostHalt { token: token.into(), after: Some(7), reason, by_whom, at: Timestamp::UNIX_EPOCH }
    }

    /// A folder of this test's own; dropping it removes it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("noctus-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("the temporary folder can be written");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).expect("it can be removed");
        }
    }

    #[test]
    fn f67_a_halt_file_is_read_as_written_and_one_that_cannot_be_read_halts() {
        let folder = Folder::new("halt-file");
        let path = folder.0.join("halt");
        assert_eq!(read(&path), None);
        write(&path, &halt("one")).expect("it can be written");
        write(&path, &halt("two")).expect("over the one before");
        assert_eq!(read(&path), Some(halt("two")));
        std::fs::write(&path, "{").expect("it can be written");
        let broken = read(&path).expect("it halts");
        assert_eq!((broken.after, broken.at), (None, Timestamp::UNIX_EPOCH));
        assert_eq!(std::fs::read_dir(&folder.0).expect("a folder").count(), 1);
    }

    #[test]
    fn f67_only_living_processes_are_waited_for_and_what_dead_ones_knew_is_kept() {
        let folder = Folder::new("halt-senders");
        let path = folder.0.join("halt");
        let says = |worker: &str, token: &str, number| HostSender {
            worker: worker.into(),
            token: token.into(),
            number,
        };
        let mut one = Entry::make(&path, "one").expect("an entry");
        let two = Entry::make(&path, "two").expect("an entry");
        one.say(says("one", "t", 3)).expect("said");
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(senders(&path, "t").expect("read"), (list(&["one"]), list(&["two"])));
        drop(two);
        assert_eq!(senders(&path, "t").expect("read"), (list(&["one"]), vec![]));
        // As a killed process leaves it: there, and not locked.
        let dead = serde_json::to_vec(&says("dead", "", 9)).expect("JSON");
        std::fs::write(folder.0.join("halt.sender-dead"), dead).expect("written");
        assert_eq!(senders(&path, "t").expect("read").1, Vec::<String>::new());
        assert_eq!(newest_known(&path).expect("read"), Some(9));
        let _three = Entry::make(&path, "three").expect("an entry");
        assert!(!folder.0.join("halt.sender-dead").exists());
        assert_eq!(newest_known(&path).expect("read"), Some(9));
    }
}
