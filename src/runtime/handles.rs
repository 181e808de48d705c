//! Open files of the process: raised as far as the host allows, and too few are told at the start.
//!
//! A process without free handles cannot reach Kafka, and its client only says that time ran out.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that roles must be allowed to have: `noctus run` holds about 90 with pools of the default size.
pub const NEEDED: u64 = 256;

/// The host allows too few open files.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process may have {allowed} open files and needs {NEEDED}: raise the limit (`ulimit -n`, LimitNOFILE=)"
)]
pub struct TooFew {
    allowed: u64,
}

/// Raises the soft limit to the hard one, and returns it (open files; `u64::MAX` without a limit).
pub fn raise() -> Result<u64, TooFew> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = if raised.is_ok() { maximum } else { current }.unwrap_or(u64::MAX);
    if allowed < NEEDED { Err(TooFew { allowed }) } else { Ok(allowed) }
}
