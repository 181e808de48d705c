//! Logs: text for people, JSON for machines; colour only on a terminal and without NO_COLOR.
//! Never waits for whoever reads them, and never fails because nobody does (F68): a line that does not go through at
//! once is dropped and counted.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging to standard error. `filter` is e.g. `info` or `noctus::gate=debug`.
pub fn start(format: LogFormat, filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Unwaited(std::io::stderr()))
        // It would tell of a line that could not be written by another one, and panic if that cannot be either.
        .log_internal_errors(false);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = match format {
        LogFormat::Text => builder.with_ansi(colour).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

/// What a pipe that is ready takes at once: PIPE_BUF.
const AT_ONCE_BYTES: usize = 4_096;

/// Lines that were dropped since the last one that was written.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes what goes through at once, and drops the rest.
struct Unwaited<W>(W);

impl<W: Write + AsFd> Unwaited<W> {
    /// Whether a write of [`AT_ONCE_BYTES`] would not wait. A pipe whose reader is gone is ready, too: the write fails.
    fn is_ready(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    fn written(&mut self, line: &[u8]) -> bool {
        let goes = |w: &mut Self, part: &[u8]| w.is_ready() && w.0.write_all(part).is_ok();
        line.chunks(AT_ONCE_BYTES).all(|part| goes(self, part))
    }
}

impl<W: Write + AsFd> Write for Unwaited<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let dropped = DROPPED.swap(0, Relaxed);
        let told = match dropped {
            0 => true,
            lines => self.written(format!("({lines} log lines were dropped)\n").as_bytes()),
        };
        if !told || !self.written(line) {
            DROPPED.fetch_add(dropped + 1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn f68_a_pipe_that_nobody_reads_is_not_waited_for_and_what_was_dropped_is_counted() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut log = Unwaited(writer);
        let line = [b'.'; 1_000];
        for _ in 0..1_000 {
            assert_eq!(log.write(&line).expect("it never fails"), 1_000);
        }
        let mut kept = vec![0; 1 << 20];
        let bytes = reader.read(&mut kept).expect("something is there");
        assert!((AT_ONCE_BYTES..1_000_000).contains(&bytes), "{bytes}");
        log.write_all(b"later\n").expect("it never fails");
        let bytes = reader.read(&mut kept).expect("something is there");
        let told = String::from_utf8_lossy(&kept[..bytes]);
        assert!(told.contains(" log lines were dropped)\nlater\n"), "{told}");
        drop(reader);
        log.write_all(b"to nobody\n").expect("it never fails");
    }
}
