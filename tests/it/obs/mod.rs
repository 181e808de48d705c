//! The obs_* tables and views on a real Postgres.

mod base;
mod catalogue;
mod explain;
mod months;
mod reader;
mod role;
mod unstorable;
mod varied;
mod views;
mod writing;
