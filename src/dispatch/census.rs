//! Owns the gauges of what dispatch still has to do, as Postgres has it; every dispatch process tells the same.
//! Never moves anything.

use super::{Dispatch, DispatchError};
use crate::domain::event::OrderStatus;
use crate::pg::census;

/// Modes of halts that stop something.
const MODES: [&str; 2] = ["halted", "reduce_only"];

/// Counts the open orders, the cancels that are wanted and the halts in force.
pub async fn count(dispatch: &Dispatch) -> Result<(), DispatchError> {
    let client = dispatch.ctx.pool.get().await?;
    let (open, halts) = (census::open(&client).await?, census::halted(&client).await?);
    drop(client);
    let metrics = &dispatch.ctx.metrics;
    // All at once, those that are 0 as well: a series that comes and goes alerts nobody.
    for state in OrderStatus::ALL.into_iter().filter(|state| !state.is_final()) {
        let orders = open.states.get(state.as_str()).copied().unwrap_or_default();
        metrics.dispatch_open.with_label_values(&[state.as_str()]).set(orders);
    }
    for mode in MODES {
        metrics.halts.with_label_values(&[mode]).set(halts.get(mode).copied().unwrap_or_default());
    }
    metrics.cancels_wanted.set(open.cancels);
    metrics.dispatch_oldest_new.set(open.oldest_new_s);
    metrics.dispatch_oldest_unclear.set(open.oldest_unclear_s);
    Ok(())
}
