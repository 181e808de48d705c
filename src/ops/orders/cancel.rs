//! `noctus orders cancel`: one order is not wanted any more (C-OUT-6).

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::super::Exit;
use super::super::person::whom;
use crate::domain::event::OrderStatus;
use crate::domain::money::plain;
use crate::pg::cancels::{self, Progress};
use crate::pg::{Pool, outbox};
use crate::runtime::clock::boot;

/// The code of cancels that a person wants.
const CODE: &str = "cancelled_by_hand";
/// Pause between two looks at what has become of it.
const LOOK: Duration = Duration::from_millis(50);

/// The arguments of `orders cancel`.
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The order's idempotency key
    key: String,
    /// Why, for those who look at it later
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Who does it; without it the user at this host
    #[arg(long, value_name = "WHO", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
    /// Wait at most this long for the outcome, seconds; the cancel stays wanted after it
    #[arg(long, value_name = "SECONDS", default_value = "15")]
    timeout: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Notes that it is wanted, and waits for what becomes of it: dispatch does it.
pub async fn run(pool: &Pool, args: CancelArgs) -> anyhow::Result<Exit> {
    let mut client = pool.get().await?;
    let key = args.key.as_str();
    let tx = client.transaction().await?;
    // Locked: it cannot be over between the look and the wish.
    let found = match outbox::find(&*tx, key).await? {
        Some(_) => outbox::lock(&tx, &[key]).await?.into_iter().next(),
        None => None,
    };
    let Some(row) = found else {
        eprintln!("noctus: no order is known under key {key}");
        return Ok(Exit::Findings);
    };
    let refused = match row.state {
        OrderStatus::Unknown => Some(
            "UNKNOWN: dispatch is asking the broker whether it has it; cancel it when that is known",
        ),
        OrderStatus::Parked => {
            Some("PARKED: nobody knows whether the broker has it; `noctus orders resolve` ends it")
        }
        _ => None,
    };
    if let Some(why) = refused {
        eprintln!("noctus: {key} is {why}");
        return Ok(Exit::Findings);
    }
    if row.state.is_final() {
        eprintln!("noctus: {key} is over: it is {}", row.state.as_str());
        return Ok(Exit::Findings);
    }
    cancels::want(&tx, key, CODE, &args.reason, &whom(args.by.as_deref())).await?;
    tx.commit().await?;
    let begun = boot();
    let patience = Duration::from_secs(args.timeout);
    loop {
        let progress = cancels::progress(&**client, key).await?;
        if let Some(progress) = progress
            && (ended(&progress) || boot().since(begun) >= patience)
        {
            return Ok(tell(key, &progress, args.json));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn state(progress: &Progress) -> Option<OrderStatus> {
    OrderStatus::read(&progress.state)
}

fn ended(progress: &Progress) -> bool {
    progress.answer.is_some() || state(progress).is_some_and(OrderStatus::is_final)
}

fn tell(key: &str, progress: &Progress, as_json: bool) -> Exit {
    let Progress { state: is, executed_qty, asked, answer } = progress;
    let filled = plain(*executed_qty);
    if as_json {
        println!(
            "{}",
            json!({
                "idempotency_key": key, "state": is, "executed_qty": filled, "asked": asked, "answer": answer,
            })
        );
    }
    let exit = match state(progress) {
        Some(OrderStatus::Cancelled) => Exit::Ok,
        _ => Exit::Findings,
    };
    if as_json {
        return exit;
    }
    match (exit, ended(progress), answer) {
        (Exit::Ok, ..) => println!("{key} is CANCELLED, {filled} of it filled"),
        (_, true, _) if state(progress).is_some_and(OrderStatus::is_final) => {
            eprintln!(
                "noctus: {key} is {is}, {filled} of it filled: there was nothing left to cancel"
            );
        }
        (_, true, Some(answer)) => {
            eprintln!(
                "noctus: {key} is {is}: the broker's answer was {answer}, and it is not asked again"
            );
        }
        _ => eprintln!(
            "noctus: {key} is {is}, and the broker was asked {asked} times: dispatch goes on until its answer is clear"
        ),
    }
    exit
}
