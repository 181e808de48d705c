//! ADAPTER: the only rdkafka, and the schema registry's client.
//! Never decides anything about an order.

pub mod admin;
pub mod client;
pub mod input;
pub mod latest;
pub mod offsets;
pub mod producer;
pub mod record;
pub mod registry;
pub mod scan;
mod topic_ids;

pub use rdkafka::error::KafkaError;
