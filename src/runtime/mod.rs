//! What every role stands on: configuration, secrets, clock, shutdown, health, metrics, logs.
//! Never knows what an order is.

pub mod clock;
pub mod config;
pub mod context;
pub mod faults;
pub mod halt_file;
pub mod handles;
pub mod health;
pub mod http;
pub mod keyring;
pub mod metrics;
pub mod policies;
pub mod secrets;
pub mod spans;
pub mod telemetry;
pub mod watched;
