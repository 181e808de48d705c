//! The demo's own services.

use noctus::demo::embedded::minder::Minder;
use noctus::demo::embedded::postgres::{self, Postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_postgres_starts_takes_our_schema_and_leaves_nothing_behind() {
    let folder = std::env::temp_dir().join(format!("noctus-it-embedded-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut minder = Minder::start(&folder).unwrap();
    let programs = postgres::find(&|_| ()).await.unwrap();
    let postgres = Postgres::start(&programs, &folder, &mut minder).await.unwrap();
    let migrated = noctus::pg::migrate::run(&postgres.url()).await.unwrap();
    assert!(!migrated.applied.is_empty());
    assert_eq!(migrated.lacks, None);
    assert!(postgres.version().starts_with("PostgreSQL 1"), "{}", postgres.version());
    let url = postgres.url();
    tokio::task::spawn_blocking(move || drop(postgres)).await.unwrap();
    let gone = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    assert!(gone.is_err(), "the server still answers");
    minder.done();
    std::fs::remove_dir_all(&folder).unwrap();
}
