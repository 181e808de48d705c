//! Owns an embedded Postgres: a server of our own in a folder of our own, on a free port of 127.0.0.1.
//! Never runs as root (the server refuses it) and never touches a cluster that is installed.
//! Invariant: it ends with its owner; a password made for it alone keeps other users of the machine out.

mod programs;

pub use programs::{Programs, find};

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_postgres::NoTls;

use super::minder::Minder;

/// How long a server may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How often another port is tried when ours was taken between choosing and binding it.
const PORT_TRIES: usize = 3;
/// Database and owner.
const NAME: &str = "noctus";

/// A running server.
pub struct Postgres {
    server: Child,
    port: u16,
    password: String,
    version: String,
}

/// The user a server runs as when we are root.
#[derive(Clone, Copy)]
struct Unprivileged {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Makes a cluster under `folder`, starts it, and waits until it answers.
    pub async fn start(
        programs: &Programs,
        folder: &Path,
        minder: &mut Minder,
    ) -> anyhow::Result<Self> {
        let user = unprivileged()?;
        let home = folder.join("postgres");
        std::fs::DirBuilder::new().mode(0o700).create(&home)?;
        let password = hex::encode(rand::random::<[u8; 16]>());
        let secret = home.join("password");
        std::fs::write(&secret, &password)?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        if let Some(user) = user {
            chown(&home, Some(user.uid), Some(user.gid))?;
            chown(&secret, Some(user.uid), Some(user.gid))?;
        }
        let data = home.join("data");
        initdb(programs, user, &home, &data, &secret)?;
        let mut failure = String::new();
        for _ in 0..PORT_TRIES {
            let port = free_port()?;
            let log = home.join("server.log");
            let server = spawn(programs, user, &home, &data, &log, port)?;
            minder.watch(server.id())?;
            let mut started =
                Self { server, port, password: password.clone(), version: String::new() };
            match started.answers(&log).await {
                Ok(version) => {
                    started.version = version;
                    return Ok(started);
                }
                Err(error) => failure = format!("{error:#}"),
            }
        }
        bail!("the embedded Postgres did not start: {failure}")
    }

    /// Its address for clients, with the password.
    pub fn url(&self) -> String {
        format!("postgres://{NAME}:{}@127.0.0.1:{}/{NAME}", self.password, self.port)
    }

    /// e.g. `PostgreSQL 15.8`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits until it takes connections and has our database; its version.
    async fn answers(&mut self, log: &Path) -> anyhow::Result<String> {
        let admin = format!(
            "host=127.0.0.1 port={} user={NAME} password={} dbname=postgres connect_timeout=2",
            self.port, self.password
        );
        let deadline = Instant::now() + START_DEADLINE;
        let client = loop {
            if let Some(status) = self.server.try_wait()? {
                bail!("it ended with {status}: {}", tail(log));
            }
            match tokio_postgres::connect(&admin, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    break client;
                }
                Err(error) if Instant::now() > deadline => {
                    bail!("no answer within {START_DEADLINE:?}: {error}; {}", tail(log))
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        crate::pg::database::create(&client, NAME).await?;
        let version: String = crate::pg::database::version(&client).await?;
        Ok(version)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is Postgres's fast shutdown: sessions are ended, data is written, then it goes.
        let pid = self.server.id().to_string();
        let told = Command::new("/bin/sh").args(["-c", "kill -INT \"$1\"", "sh", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while told.is_ok() && Instant::now() < deadline {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It did not listen; what it would have written goes away with its folder.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Whom to run as: ourselves, or, as root, `postgres` or `nobody`.
fn unprivileged() -> anyhow::Result<Option<Unprivileged>> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| of_passwd(&passwd, name))
        .map(Some)
        .context("Postgres does not run as root, and there is no user postgres or nobody")
}

fn of_passwd(passwd: &str, name: &str) -> Option<Unprivileged> {
    let mut fields =
        passwd.lines().map(|l| l.split(':')).find(|l| l.clone().next() == Some(name))?;
    let uid = fields.nth(2)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some(Unprivileged { uid, gid })
}

/// Whether this process is root, by the owner of its entry in /proc.
pub(super) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn command(program: PathBuf, user: Option<Unprivileged>, home: &Path) -> Command {
    let mut command = Command::new(program);
    // Without a list of groups, setting a uid as root also drops root's groups.
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command.current_dir(home).stdin(Stdio::null()).process_group(0);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("HOME", home);
    command
}

fn initdb(
    programs: &Programs,
    user: Option<Unprivileged>,
    home: &Path,
    data: &Path,
    password: &Path,
) -> anyhow::Result<()> {
    let output = command(programs.initdb(), user, home)
        .args(["--no-sync", "-U", NAME, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"])
        .arg("--pwfile")
        .arg(password)
        .arg("-D")
        .arg(data)
        .output()
        .with_context(|| format!("cannot run {}", programs.initdb().display()))?;
    if !output.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn spawn(
    programs: &Programs,
    user: Option<Unprivileged>,
    home: &Path,
    data: &Path,
    log: &Path,
    port: u16,
) -> anyhow::Result<Child> {
    let log = std::fs::File::create(log)?;
    command(programs.postgres(), user, home)
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=100"])
        .args(["-c", "shared_buffers=32MB", "-c", "TimeZone=UTC"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", programs.postgres().display()))
}

/// A port nobody listens on now.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_gives_its_user_and_never_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\nx:x:0:0::/:/";
        let nobody = of_passwd(passwd, "nobody").map(|u| (u.uid, u.gid));
        assert_eq!(nobody, Some((65534, 65533)));
        assert!(of_passwd(passwd, "postgres").is_none());
        assert!(of_passwd(passwd, "x").is_none(), "another name for root is root");
    }
}
