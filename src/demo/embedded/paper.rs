//! Owns the paper broker's process: the same executable, another command, its ledger in the demo's folder.
//! Never shares memory with Noctus: what it received is known from its own ledger only.
//! Invariant: it answers before `start` returns, and ends with its owner.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::minder::Minder;

/// How long it may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// What it prints before its address.
const LISTENS: &str = "paper broker on ";

/// A running paper broker.
pub struct Paper {
    process: Child,
    url: String,
}

impl Paper {
    /// Starts it with a new ledger under `folder` and waits until it says where it listens.
    pub async fn start(folder: &Path, minder: &mut Minder) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this executable is")?;
        Self::start_as(&program, folder, minder).await
    }

    /// The same with the executable given, for tests, whose own executable is another one.
    pub async fn start_as(
        program: &Path,
        folder: &Path,
        minder: &mut Minder,
    ) -> anyhow::Result<Self> {
        let log = folder.join("paper-broker.log");
        let out = std::fs::File::create(&log)?;
        let process = Command::new(program)
            .args(["paper-broker", "--listen", "127.0.0.1:0", "--ledger"])
            .arg(folder.join("paper-ledger.jsonl"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        minder.watch(process.id())?;
        let mut paper = Self { process, url: String::new() };
        paper.url = paper.listens(&log).await?;
        Ok(paper)
    }

    /// Its base address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the line that says where it listens.
    async fn listens(&mut self, log: &Path) -> anyhow::Result<String> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let told = std::fs::read_to_string(log).unwrap_or_default();
            let line = told.split_inclusive('\n').find_map(|line| line.strip_prefix(LISTENS));
            if let Some(url) = line.and_then(|rest| rest.strip_suffix('\n')) {
                return Ok(url.to_string());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the paper broker ended with {status}: {}", told.trim());
            }
            if Instant::now() > deadline {
                bail!("the paper broker is not there within {START_DEADLINE:?}: {}", told.trim());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
