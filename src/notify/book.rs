//! Owns who can be called: the routes in force, with addresses, secrets and a client for each receiver.
//! Never keeps a file that is not whole: a bad one, or one whose secrets are missing, changes nothing.
//! Invariant: what is called was checked by the guard, at the latest when its name was resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Url};

use super::guard::{Guard, Refused};
use crate::domain::notice::routes::{Kind, Routes};
use crate::domain::notice::webhook;
use crate::domain::policy::BadPolicy;
use crate::runtime::config;
use crate::runtime::secrets;

/// No connection after this long: nothing was sent.
const CONNECT: Duration = Duration::from_secs(3);

/// Why a file of routes is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadRoutes {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Bad(#[from] BadPolicy),
    #[error("{}: {}", path.display(), .found.join("; "))]
    Receivers { path: PathBuf, found: Vec<String> },
}

/// How one receiver is called.
#[derive(Clone)]
pub struct Caller {
    /// How.
    pub kind: Kind,
    /// Where.
    pub url: Url,
    /// By what.
    pub client: Client,
    /// What messages are signed with; the current key first.
    pub keys: Vec<Vec<u8>>,
}

/// The heartbeat's address and its probes.
#[derive(Clone)]
pub struct Pulse {
    /// How often.
    pub every: Duration,
    /// Where.
    pub url: Url,
    /// By what.
    pub client: Client,
    /// What must answer before.
    pub probes: Vec<Url>,
    /// By what: these may be within the own network.
    pub probing: Client,
}

/// The routes in force.
#[derive(Clone, Default)]
pub struct Book {
    /// As the file says.
    pub routes: Routes,
    /// Receivers, ready to be called.
    pub callers: BTreeMap<String, Caller>,
    /// The heartbeat, if there is one.
    pub pulse: Option<Pulse>,
}

impl Book {
    /// Reads the file that the configuration names; without one nobody is told of anything.
    pub fn load(config: &config::Notify) -> Result<Self, BadRoutes> {
        match &config.file {
            Some(path) => Self::of(path, read(path)?, config),
            None => Ok(Self::default()),
        }
    }

    /// These routes, with the secrets of the environment.
    pub fn of(path: &Path, routes: Routes, config: &config::Notify) -> Result<Self, BadRoutes> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let (mut callers, mut found) = (BTreeMap::new(), Vec::new());
        for (name, receiver) in &routes.receivers {
            let guard =
                Guard { allow_http: receiver.allow_http, allow_private: receiver.allow_private };
            let made = address(name, receiver.url.as_deref())
                .and_then(|url| guard.url(&url).map_err(|why| told(name, &why)))
                .and_then(|url| Ok((url, keys(name, receiver.kind)?, client(guard, timeout)?)));
            match made {
                Ok((url, keys, client)) => {
                    callers.insert(name.clone(), Caller { kind: receiver.kind, url, client, keys });
                }
                Err(why) => found.push(why),
            }
        }
        let pulse = match pulse(&routes, timeout) {
            Ok(pulse) => pulse,
            Err(why) => {
                found.push(why);
                None
            }
        };
        match found.is_empty() {
            true => Ok(Self { routes, callers, pulse }),
            false => Err(BadRoutes::Receivers { path: path.to_path_buf(), found }),
        }
    }

    /// The files that it is made of: the routes, and those that secrets are in.
    pub fn files(config: &config::Notify) -> Vec<PathBuf> {
        let Some(path) = &config.file else { return Vec::new() };
        let ours = |name: &str| name.starts_with("NOCTUS_NOTIFY_") && name.ends_with("_FILE");
        let named =
            std::env::vars().filter(|(name, _)| ours(name) && name != "NOCTUS_NOTIFY__FILE");
        let mut files: Vec<PathBuf> = named.map(|(_, file)| file.into()).collect();
        files.sort();
        files.insert(0, path.clone());
        files
    }
}

/// Reads a file of routes, without secrets.
pub fn read(path: &Path) -> Result<Routes, BadRoutes> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| BadRoutes::Unreadable { path: path.to_path_buf(), source })?;
    Ok(Routes::parse(&path.display().to_string(), &text)?)
}

/// The variable of a receiver: `NOCTUS_NOTIFY_PAGER_EU_URL`.
pub fn variable(name: &str, what: &str) -> String {
    format!("NOCTUS_NOTIFY_{}_{what}", name.to_ascii_uppercase().replace('-', "_"))
}

fn secret(variable: &str) -> Result<Option<String>, String> {
    secrets::read_named(variable).map_err(|source| format!("{variable}_FILE: {source}"))
}

/// An address from the environment, else from the file.
fn address(name: &str, in_file: Option<&str>) -> Result<String, String> {
    let variable = variable(name, "URL");
    let given = secret(&variable)?.or_else(|| in_file.map(String::from));
    given.ok_or_else(|| format!("{name} has no address: give {variable} or {variable}_FILE"))
}

fn keys(name: &str, kind: Kind) -> Result<Vec<Vec<u8>>, String> {
    if kind == Kind::Slack {
        return Ok(Vec::new());
    }
    let variable = variable(name, "SECRET");
    match secret(&variable)? {
        Some(text) => webhook::keys(&text).map_err(|bad| format!("{variable} {bad}")),
        None => Err(format!("{name} has no secret: give {variable} or {variable}_FILE")),
    }
}

fn told(name: &str, why: &Refused) -> String {
    format!("{name}: {why}")
}

fn client(guard: Guard, timeout: Duration) -> Result<Client, String> {
    Client::builder()
        .connect_timeout(CONNECT.min(timeout))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .dns_resolver(std::sync::Arc::new(guard))
        .https_only(!guard.allow_http)
        .http1_only()
        .no_proxy()
        // A connection that was kept may be closed by the time it is used, and nobody would know what arrived.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("noctus/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("no client: {error}"))
}

fn pulse(routes: &Routes, timeout: Duration) -> Result<Option<Pulse>, String> {
    let Some(heartbeat) = &routes.heartbeat else { return Ok(None) };
    let guard = Guard { allow_http: heartbeat.allow_http, allow_private: heartbeat.allow_private };
    let url = address("heartbeat", heartbeat.url.as_deref())?;
    let url = guard.url(&url).map_err(|why| told("heartbeat", &why))?;
    let inside = Guard { allow_http: true, allow_private: true };
    let probe = |text: &String| inside.url(text).map_err(|why| told("heartbeat.probes", &why));
    Ok(Some(Pulse {
        every: Duration::from_secs(u64::from(heartbeat.every_s)),
        url,
        client: client(guard, timeout)?,
        probes: heartbeat.probes.iter().map(probe).collect::<Result<_, _>>()?,
        probing: client(inside, timeout)?,
    }))
}
