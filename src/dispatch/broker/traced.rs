//! Owns which trace a call to a broker is part of, and the headers that say so.
//! Never part of what a call asks for: it is not signed, and a broker may ignore it. Invariant: what an adapter calls
//! within [`within`] carries that order's trace, and nothing else does.

use crate::domain::trace_context::TraceContext;

tokio::task_local! {
    static TRACE: TraceContext;
}

/// Makes calls for an order of this trace.
pub async fn within<T>(trace: Option<TraceContext>, calls: impl Future<Output = T>) -> T {
    match trace {
        Some(trace) => TRACE.scope(trace, calls).await,
        None => calls.await,
    }
}

/// The headers of a call that is made now.
pub(super) fn headers() -> Vec<(String, Option<Vec<u8>>)> {
    TRACE.try_with(TraceContext::headers).unwrap_or_default()
}
