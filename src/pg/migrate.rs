//! Migrations: versioned, forward only, under an advisory lock (refinery takes none itself).

use tokio_postgres::NoTls;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// One for all Noctus databases: "noctus" in ASCII, cut to what fits.
const LOCK: i64 = 0x6e6f_6374_7573;

/// Why migrating or starting on this schema is refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MigrateError {
    #[error("Postgres: {}", crate::pg::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("migration: {0}")]
    Refinery(#[from] refinery::Error),
    #[error("the database has schema version {found}, this build knows {known}: {advice}")]
    Mismatch { found: u32, known: u32, advice: &'static str },
}

/// The newest schema version this build knows.
pub fn known_version() -> u32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(|m| m.version() as u32)
        .max()
        .unwrap_or(0)
}

/// What migrating came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// What was applied, e.g. `V1__ledger`.
    pub applied: Vec<String>,
    /// SQL that this user may not run and somebody must, for the role that dashboards read as.
    pub lacks: Option<String>,
}

/// Applies what is missing.
pub async fn run(url: &str) -> Result<Migrated, MigrateError> {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(connection);
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let migrated = apply(&mut client).await;
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    drop(client);
    if let Ok(Err(error)) = driver.await {
        tracing::debug!(%error, "the migration's connection ended badly");
    }
    migrated
}

async fn apply(client: &mut tokio_postgres::Client) -> Result<Migrated, MigrateError> {
    let report = embedded::migrations::runner().run_async(client).await?;
    // Again at every run: an administrator may have made the role since, and new tables are to be read too.
    let lacks = client.query_one("SELECT obs_grant_reader()", &[]).await?.try_get(0)?;
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { applied, lacks })
}

/// Refuses a schema that this build does not know.
pub async fn check(client: &tokio_postgres::Client) -> Result<(), MigrateError> {
    let known = known_version();
    let exists: bool = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await?
        .get(0);
    let found: i32 = match exists {
        true => client
            .query_one("SELECT coalesce(max(version), 0) FROM refinery_schema_history", &[])
            .await?
            .get(0),
        false => 0,
    };
    let found = u32::try_from(found).unwrap_or(0);
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => {
            Err(MigrateError::Mismatch { found, known, advice: "run `noctus migrate` first" })
        }
        std::cmp::Ordering::Greater => Err(MigrateError::Mismatch {
            found,
            known,
            advice: "this build is older than the database; start a newer one",
        }),
    }
}
