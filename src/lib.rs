//! Noctus: the gate between a trading signal and a broker. The modules stand in the order of the flow.

/// PURE: what an order request is and what may happen to it.
pub mod domain;
/// PURE: Avro bytes ⇄ domain, and the signature over them.
pub mod wire;
/// ROLE: ingest → judge → admit (the transaction) → emit.
pub mod gate;
/// Events committed to Postgres and not yet acknowledged by Kafka: emit → settle, and the orphans of a crash.
pub mod owed;
/// ROLE: claim → attempt → settle → emit.
pub mod dispatch;
/// A broker of paper: a process of its own with a durable ledger, to try Noctus on.
pub mod paper;
/// ROLE: ingest → project → write.
pub mod sink;
/// ROLE: alerts and violations → conditions → changes → messages to people.
pub mod notify;
/// Verbs of the command line.
pub mod ops;
/// ADAPTER: the only rdkafka, and the schema registry's client.
pub mod kafka;
/// ADAPTER: the only SQL.
pub mod pg;
/// Configuration, secrets, shutdown, health, metrics, logs.
pub mod runtime;
/// Embedded services and scenarios.
pub mod demo;
#[cfg(feature = "faults")]
/// The way of an order in a simulated world: the pure core under simulated time, and faults from a seed.
pub mod sim;
