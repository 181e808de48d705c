//! Whole databases: a demonstration or a test makes one of its own and drops it again.

use tokio_postgres::{Client, Error};

/// Makes a database. `name` is ours (`[a-z0-9_]+`), never input.
pub async fn create(admin: &Client, name: &str) -> Result<(), Error> {
    debug_assert!(ours(name), "{name} is a plain identifier");
    admin.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await
}

/// Drops a database and ends the sessions that are in it.
pub async fn drop(admin: &Client, name: &str) -> Result<(), Error> {
    debug_assert!(ours(name), "{name} is a plain identifier");
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
}

/// e.g. `PostgreSQL 15.8`.
pub async fn version(client: &Client) -> Result<String, Error> {
    let text: String =
        client.query_one("SELECT current_setting('server_version')", &[]).await?.get(0);
    Ok(format!("PostgreSQL {}", text.split(' ').next().unwrap_or(&text)))
}

fn ours(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
