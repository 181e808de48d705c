//! ROLE: claim → attempt → settle → emit.

pub mod broker;
