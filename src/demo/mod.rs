//! Owns the demonstration: services inside or beside this process, scenarios played on them, a readable report.
//! Never judges, sends or projects anything itself: the roles do, as in production.
//! Invariant: what it starts it ends, also when it is interrupted or killed.

pub mod embedded;
pub mod player;
mod policies;
pub mod progress;
pub mod report;
pub mod roles;
pub mod scenario;
pub mod stage;
mod topics;
