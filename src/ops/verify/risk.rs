//! `noctus verify --risk`: the risk state as it is stored, beside the one that the events make.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::events::Events;
use super::told::Found;
use super::{Desk, Verdict};
use crate::domain::risk_state::Rebuild;
use crate::kafka::registry::Registry;
use crate::pg::PoolError;
use crate::pg::risk_state::{snapshot, still_owed};
use crate::wire::{Subject, decision, exec_event};

/// Pause between two looks for events that are owed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Compares; see the module's head.
pub async fn compare(desk: &Desk) -> anyhow::Result<Verdict> {
    let Desk { config, pool, progress, .. } = desk;
    let registry = Registry::new(&config.registry)?;
    let mut decisions = Events::open(config, Subject::Decision).await?;
    let mut steps = Events::open(config, Subject::ExecEvent).await?;
    let mut client = pool.get().await.map_err(PoolError::from)?;
    progress.waiting("reading the tables");
    let taken = snapshot(&mut client).await.context("the tables cannot be read")?;
    let mut rebuild = Rebuild::new(taken.state);
    let tell = |what: String| progress.waiting(&what);
    let until = Instant::now() + desk.wait;
    let owed = loop {
        // Asked before the topics are read: what is owed no more is in them.
        let owed = still_owed(&client, &taken.owed).await?;
        decisions
            .read(config, &registry, tell, |body, schema| {
                rebuild.decided(decision::decode(body, schema)?);
                Ok(())
            })
            .await?;
        steps
            .read(config, &registry, tell, |body, schema| {
                rebuild.stepped(exec_event::decode(body, schema)?);
                Ok(())
            })
            .await?;
        if rebuild.left() == 0 || owed == 0 || Instant::now() >= until {
            break owed;
        }
        progress.waiting(&format!("{} events are not told yet", rebuild.left()));
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let still_owed = if rebuild.left() == 0 { 0 } else { owed };
    let compared = rebuild.compared();
    let shortened = [decisions.shortened, steps.shortened].concat();
    let unreadable = [decisions.unreadable, steps.unreadable].concat();
    Ok(Found { taken_at: taken.taken_at, compared, still_owed, shortened, unreadable }.verdict())
}
