//! PURE: what an order request is and what may happen to it.
//! Owns every rule of the contract. Never reads a clock, a file, an environment, a socket or a log.
//! Invariant: same input, same output; the border is held by `tests/it/border.rs` and clippy.

pub mod catalogue;
pub mod command;
pub mod decision;
pub mod event;
pub mod exact;
pub mod judge;
pub mod key;
pub mod lots;
pub mod money;
pub mod news;
pub mod notice;
pub mod order;
pub mod policy;
pub mod position;
pub mod quality;
pub mod request;
pub mod risk;
pub mod risk_state;
pub mod text;
pub mod trace_context;
pub mod truth;
pub mod what_if;

#[cfg(test)]
pub(crate) mod laws;
