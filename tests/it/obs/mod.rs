//! The obs_* tables and views on a real Postgres.

pub(crate) mod base;
mod catalogue;
mod explain;
mod months;
mod reader;
mod role;
mod unstorable;
mod views;
mod writing;
