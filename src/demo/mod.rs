//! Owns the demonstration: services inside or beside this process, scenarios played on them, a readable report.
//! Never judges, sends or projects anything itself: the roles do, as in production.
//! Invariant: what it starts it ends, also when it is interrupted or killed.

pub mod embedded;
pub mod scenario;
pub mod player;
pub mod report;
mod policies;
