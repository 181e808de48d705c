//! Owns spans: how long each hop of an order's trace took, for an OTLP receiver. Only a build with the feature `otlp`
//! tells any; in another one [`on`] is false and nothing of it is left.
//! Never waits for the receiver and never fails because it is away: what the queue does not hold is dropped and counted.
//! Invariant: a span's id is that of its hop (`domain::trace_context`), so whatever a header names as parent is told.

#[cfg(feature = "otlp")]
mod export;

use std::time::Duration;

use jiff::Timestamp;

use super::config::Tracing;
use crate::domain::trace_context::TraceContext;

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    /// Reads what another process has written.
    Consumer,
    /// Calls the broker.
    Client,
    /// Neither.
    Internal,
}

/// What one hop did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Span {
    pub name: &'static str,
    pub kind: Kind,
    /// The trace, and the span that caused this one.
    pub parent: TraceContext,
    /// Which hop of the trace it is: its id is a function of this.
    pub hop: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub attributes: Vec<(&'static str, String)>,
    /// Why it came to nothing.
    pub failed: Option<String>,
    /// What it was done in, e.g. a batch.
    pub within: Option<TraceContext>,
    /// It begins its trace: nothing caused it.
    pub is_root: bool,
}

/// Why spans cannot be told.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SpansError {
    #[error(
        "tracing.otlp_endpoint is set, and this build has no feature otlp (cargo build --features otlp)"
    )]
    NotCompiledIn,
    #[error("the OTLP exporter cannot be made: {0}")]
    Exporter(String),
}

/// Whether spans are told at all; ask before one is made.
#[inline]
pub fn on() -> bool {
    #[cfg(feature = "otlp")]
    {
        export::on()
    }
    #[cfg(not(feature = "otlp"))]
    {
        false
    }
}

/// Tells a span, if whoever began its trace records it.
#[inline]
pub fn tell(span: Span) {
    #[cfg(feature = "otlp")]
    export::tell(span);
    #[cfg(not(feature = "otlp"))]
    drop(span);
}

/// Begins to tell spans, if the configuration names a receiver.
pub fn start(config: &Tracing, worker: &str) -> Result<(), SpansError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(()) };
    #[cfg(feature = "otlp")]
    {
        export::start(config, endpoint, worker)
    }
    #[cfg(not(feature = "otlp"))]
    {
        let _ = (endpoint, worker);
        Err(SpansError::NotCompiledIn)
    }
}

/// Waits until what was told is with the receiver, at most for `limit`.
pub async fn flush(limit: Duration) {
    #[cfg(feature = "otlp")]
    export::flush(limit).await;
    #[cfg(not(feature = "otlp"))]
    let _ = limit;
}
