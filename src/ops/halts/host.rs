//! `noctus halt` on this host alone: told so, or because Postgres is away (C-OUT-7, F67).

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::LOOK;
use crate::ops::Exit;
use crate::runtime::clock::{self, boot};
use crate::runtime::config::Config;
use crate::runtime::halt_file::{self, HostHalt};

/// What to write, and how to tell of it.
pub struct Wish<'a> {
    pub reason: &'a str,
    pub by: &'a str,
    /// The newest number in Postgres, if that could be read.
    pub after: Option<i64>,
    pub patience: Duration,
    pub json: bool,
}

/// Writes the halt file and waits until every dispatch of this host that reads it has confirmed.
pub async fn halt(config: &Config, wish: Wish<'_>) -> anyhow::Result<Exit> {
    let path = config.dispatch.halt_file.as_deref().context("dispatch.halt_file is not set")?;
    let begun = boot();
    let known = match wish.after {
        Some(number) => Some(number),
        None => halt_file::newest_known(path).unwrap_or_default(),
    };
    let halt = HostHalt {
        token: format!("{:016x}", rand::random::<u64>()),
        after: known,
        reason: wish.reason.into(),
        by_whom: wish.by.into(),
        at: clock::now(),
    };
    halt_file::write(path, &halt)?;
    if !wish.json {
        println!("this host is halted by {}, by {}", path.display(), wish.by);
    }
    let (senders, missing) = loop {
        let (there, missing) = halt_file::senders(path, &halt.token)?;
        if missing.is_empty() || boot().since(begun) >= wish.patience {
            break (there, missing);
        }
        tokio::time::sleep(LOOK).await;
    };
    let waited = u64::try_from(boot().since(begun).as_millis()).unwrap_or(u64::MAX);
    let at = missing.is_empty().then(clock::now);
    if wish.json {
        let told = json!({
            "where": "host", "file": path, "after": known, "by": wish.by, "acknowledged_at": at,
            "waited_ms": waited, "senders": senders, "unconfirmed": missing,
        });
        println!("{told}");
    } else if at.is_some() {
        let senders = senders.len();
        println!(
            "acknowledged after {waited} ms by {senders} dispatch processes of this host; others go on"
        );
    }
    if missing.is_empty() {
        return Ok(Exit::Ok);
    }
    eprintln!("noctus: not confirmed in time by {}", missing.join(", "));
    Ok(Exit::Findings)
}
