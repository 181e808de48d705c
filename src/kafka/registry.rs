//! The schema registry's client (Confluent API): schemas by id, ids by subject.

/// Schemas by id, kept once known (ids are immutable).
pub struct Registry {}
