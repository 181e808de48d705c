//! Owns where recorded decisions come from: the table as a role that may read nothing else, or the lines of a dump.
//! Never holds more than a page of them, and never drops one: what cannot be read is told.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Stretch;
use crate::domain::what_if::WhatIf;
use crate::pg::reader::Reader;
use crate::pg::{self, PoolError};
use crate::runtime::config::Database;

/// Where decisions were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Source {
    /// The table.
    ObsDecisions,
    /// A dump.
    Dump {
        /// Its name; `-` is standard input.
        file: String,
        /// Events that came again; they are counted once.
        repeats: u64,
    },
}

/// Decisions of `obs_decisions`, read as `noctus_reader`.
pub async fn tables(
    database: &Database,
    stretch: &Stretch,
    what_if: &mut WhatIf<'_>,
) -> anyhow::Result<Source> {
    let pool = pg::connect(database).await?;
    let mut client = pool.get().await.map_err(PoolError::from)?;
    let reader = Reader::begin(&mut client).await?;
    let progress = Progress::new();
    let take = |decision: pg::reader::Decision| {
        progress.one();
        what_if.take(&decision.event_id, decision.json);
    };
    reader.decisions(stretch.from, stretch.to, take).await?;
    Ok(Source::ObsDecisions)
}

/// Decisions of a dump of their topic. An event that was told more than once is one decision.
pub fn dump(path: &Path, stretch: &Stretch, what_if: &mut WhatIf<'_>) -> anyhow::Result<Source> {
    let name = path.display().to_string();
    let mut lines: Box<dyn BufRead> = match path == Path::new("-") {
        true => Box::new(std::io::BufReader::new(std::io::stdin())),
        false => {
            let file = std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
            Box::new(std::io::BufReader::with_capacity(1 << 16, file))
        }
    };
    let progress = Progress::new();
    let mut seen = Seen::default();
    let (mut line, mut nth) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).with_context(|| format!("cannot read {name}"))? == 0 {
            break;
        }
        nth += 1;
        if !line.trim_ascii().is_empty() {
            progress.one();
            read(&line, nth, stretch, &mut seen, what_if);
        }
    }
    Ok(Source::Dump { file: name, repeats: seen.repeats })
}

/// The events of a dump, by the beginning of their ids' digests: a million of them take 50 MB at most.
#[derive(Default)]
struct Seen {
    ids: HashSet<[u8; 16]>,
    repeats: u64,
}

impl Seen {
    fn is_new(&mut self, event_id: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(event_id).into();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        let is_new = self.ids.insert(short);
        self.repeats += u64::from(!is_new);
        is_new
    }
}

/// One line of a dump.
fn read(line: &[u8], nth: u64, stretch: &Stretch, seen: &mut Seen, what_if: &mut WhatIf<'_>) {
    let mut record: Value = match serde_json::from_slice(line) {
        Ok(record) => record,
        Err(error) => {
            return what_if.unreadable(&format!("line {nth}"), format!("no JSON: {error}"));
        }
    };
    let place = place(&record).unwrap_or_else(|| format!("line {nth}"));
    if let Some(error) = record.get("error").and_then(Value::as_str) {
        return what_if.unreadable(&place, error.to_string());
    }
    let Some(decision) = record.get_mut("value").map(Value::take) else {
        let why = "not a line of noctus topics dump: it has no value";
        return what_if.unreadable(&place, why.into());
    };
    let at = decision.get("decided_at").and_then(Value::as_str);
    if let Some(at) = at.and_then(|at| at.parse::<Timestamp>().ok())
        && !stretch.has(at)
    {
        return;
    }
    match decision.get("event_id").and_then(Value::as_str) {
        Some(event_id) if !seen.is_new(event_id) => {}
        _ => what_if.take(&place, decision),
    }
}

/// `decisions/3/17`.
fn place(record: &Value) -> Option<String> {
    let topic = record.get("topic")?.as_str()?;
    let (partition, offset) = (record.get("partition")?.as_i64()?, record.get("offset")?.as_i64()?);
    Some(format!("{topic}/{partition}/{offset}"))
}

impl Stretch {
    fn has(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

/// How many decisions were judged so far, on standard error if it is a terminal.
struct Progress(ProgressBar);

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        let template = "{spinner} {human_pos} decisions judged again, {per_sec} {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    fn one(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
