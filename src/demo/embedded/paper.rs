//! Owns the paper broker's process: the same executable, another command, its ledger in the demo's folder.
//! Never shares memory with Noctus: what it received is known from its own ledger only.
//! Invariant: it answers before `start` returns, and ends with its owner.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::kafka::Kafka;
use super::minder::Minder;
use super::postgres::free_port;
use super::registry::Registry;

/// How long it may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// A running paper broker.
pub struct Paper {
    process: Child,
    url: String,
}

impl Paper {
    /// Starts it with a new ledger under `folder` and waits until it answers.
    pub async fn start(
        folder: &Path,
        kafka: &Kafka,
        registry: &Registry,
        minder: &mut Minder,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this executable is")?;
        Self::start_as(&program, folder, kafka.brokers(), registry.url(), minder).await
    }

    async fn start_as(
        program: &Path,
        folder: &Path,
        brokers: &str,
        registry: &str,
        minder: &mut Minder,
    ) -> anyhow::Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let log = folder.join("paper-broker.log");
        let out = std::fs::File::create(&log)?;
        let process = Command::new(program)
            .args(["paper-broker", "--listen", &listen, "--brokers", brokers])
            .args(["--registry", registry, "--dev", "--ledger"])
            .arg(folder.join("paper-ledger.jsonl"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()?;
        minder.watch(process.id())?;
        let mut paper = Self { process, url: format!("http://{listen}") };
        paper.answers(&log).await?;
        Ok(paper)
    }

    /// Its base address.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn answers(&mut self, log: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                let told = std::fs::read_to_string(log).unwrap_or_default();
                bail!("the paper broker ended with {status}: {}", told.trim());
            }
            let address = self.url.trim_start_matches("http://");
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the paper broker does not answer at {} within {START_DEADLINE:?}", self.url);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
