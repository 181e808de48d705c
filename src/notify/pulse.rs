//! Owns the heartbeat: a call that is made again and again while all is well, to somebody who notices when it stops.
//! Never beats when something is wrong: that silence is the message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Book;
use super::book::Pulse;
use crate::runtime::context::Context;

/// Beats once, if all is well.
pub async fn beat(ctx: Context, book: Arc<Book>, is_caught_up: Arc<AtomicBool>) {
    let Some(pulse) = &book.pulse else { return };
    let outcome = match well(&ctx, pulse, &is_caught_up).await {
        Ok(()) => match pulse.client.post(pulse.url.clone()).send().await {
            Ok(answer) if answer.status().is_success() => "sent",
            _ => "refused",
        },
        Err(why) => {
            tracing::warn!(why, "no heartbeat");
            "unwell"
        }
    };
    ctx.metrics.notify_heartbeats.with_label_values(&[outcome]).inc();
}

/// Whether this process reads to the end, Postgres answers, and so does whoever is asked besides.
async fn well(ctx: &Context, pulse: &Pulse, is_caught_up: &AtomicBool) -> Result<(), String> {
    let problems = ctx.health.problems();
    if let Some((part, why)) = problems.first() {
        return Err(format!("{part}: {why}"));
    }
    if !is_caught_up.load(Relaxed) {
        return Err("alerts are waiting to be read".into());
    }
    let client = ctx.pool.get().await.map_err(|error| error.to_string())?;
    crate::pg::time::now(&client).await.map_err(|error| crate::pg::told(&error))?;
    drop(client);
    for probe in &pulse.probes {
        let host = probe.host_str().unwrap_or_default();
        match pulse.probing.get(probe.clone()).send().await {
            Ok(answer) if answer.status() == 200 => {}
            Ok(answer) => return Err(format!("{host} answers {}", answer.status())),
            Err(error) => return Err(format!("{host}: {}", error.without_url())),
        }
    }
    Ok(())
}
