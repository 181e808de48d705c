//! The obs_* tables and views on a real Postgres.

pub(crate) mod base;
mod catalogue;
mod explain;
mod indexes;
mod leads;
mod months;
mod reader;
mod role;
mod slo;
mod unstorable;
mod upkeep;
mod varied;
mod views;
mod writing;
