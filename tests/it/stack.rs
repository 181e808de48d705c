//! The real services that tests speak to, and a corner of one's own in them: each test its own database,
//! topics and groups. `tests/stack/up` starts the services and writes where they are.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use noctus::kafka::admin::Admin;
use noctus::ops::topics::{self, spec::Spec};
use noctus::pg;
use noctus::runtime::config::Config;

const START: &str = "start the services with: tests/stack/up";

/// Where the services are.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Kafka, host:port.
    pub brokers: String,
    /// The schema registry's base address.
    pub registry: String,
    /// A database of Postgres whose user may make others.
    pub database: String,
    /// A Python with confluent_kafka and psycopg.
    pub python: String,
    /// The folder of Kafka's jars.
    pub kafka_libs: String,
}

impl Stack {
    /// From `NOCTUS_TEST_…` variables, else from the file that `tests/stack/up` writes.
    pub fn get() -> &'static Stack {
        static STACK: OnceLock<Stack> = OnceLock::new();
        STACK.get_or_init(|| Stack {
            brokers: given("NOCTUS_TEST_BROKERS"),
            registry: given("NOCTUS_TEST_REGISTRY"),
            database: given("NOCTUS_TEST_DATABASE"),
            python: given("NOCTUS_TEST_PYTHON"),
            kafka_libs: given("NOCTUS_TEST_KAFKA_LIBS"),
        })
    }

    /// The folder of Prometheus' programs.
    pub fn prometheus() -> String {
        given("NOCTUS_TEST_PROMETHEUS")
    }

    /// The configuration of a role that uses this database and prefix, for development.
    pub fn config(&self, database: &str, prefix: &str) -> Config {
        let mut config = Config { dev: true, ..Config::default() };
        config.kafka.brokers = self.brokers.clone();
        config.kafka.topic_prefix = prefix.into();
        config.kafka.group_prefix = prefix.into();
        config.registry.url = self.registry.clone();
        config.database.url = database.into();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        config
    }
}

/// A variable, else a line of the file that `tests/stack/up` writes.
fn given(name: &str) -> String {
    let set = std::env::var(name).ok().filter(|value| !value.is_empty());
    let written = || {
        let written = std::fs::read_to_string(file()).unwrap_or_default();
        let mut lines = written.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(key, value)| (key == name).then(|| value.to_string()))
    };
    let found = set.or_else(written);
    found.unwrap_or_else(|| panic!("{name} is not set and not in {}; {START}", file().display()))
}

/// As tests/stack/lib.sh finds it.
fn file() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || match set("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(set("HOME").unwrap_or("/var/tmp".into())).join(".cache"),
    };
    let home = set("NOCTUS_STACK_HOME").map_or_else(|| cache().join("noctus-stack"), PathBuf::from);
    home.join("stack.env")
}

/// A name that no other test has or had: `<start><process>_<random>`, of `[a-z0-9_]`.
fn fresh_name(start: &str) -> String {
    format!("{start}{}_{:08x}", std::process::id(), rand::random::<u32>())
}

/// A database that is dropped with this; `url` is its address.
pub struct FreshDatabase {
    pub url: String,
    name: String,
}

/// Makes an empty database.
pub async fn fresh_database() -> FreshDatabase {
    let name = fresh_name("it_");
    let (server, _) = Stack::get().database.rsplit_once('/').expect("an address with a database");
    let url = format!("{server}/{name}");
    administer(async |admin| pg::database::create(admin, &name).await)
        .await
        .unwrap_or_else(|error| panic!("a database can be made: {error:#}; {START}"));
    FreshDatabase { url, name }
}

/// Makes a database with this build's tables.
pub async fn migrated_database() -> FreshDatabase {
    let database = fresh_database().await;
    pg::migrate::run(&database.url).await.expect("the schema can be made");
    database
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        clean(move || async move {
            administer(async |admin| pg::database::drop(admin, &name).await).await
        });
    }
}

async fn administer<F>(act: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&tokio_postgres::Client) -> Result<(), tokio_postgres::Error>,
{
    let url = &Stack::get().database;
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(act(&client).await?)
}

/// A prefix of topics and groups; the topics under it are deleted with this. Derefs to its text.
pub struct FreshPrefix(String);

/// Gives a prefix that nobody else has.
pub fn fresh_prefix() -> FreshPrefix {
    FreshPrefix(fresh_name("it-").replace('_', "-") + "-")
}

impl Deref for FreshPrefix {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for FreshPrefix {
    fn drop(&mut self) {
        let prefix = self.0.clone();
        clean(move || async move {
            let admin = Admin::new(&Stack::get().config("postgres://none", &prefix))?;
            let all = admin.topics().await?;
            let ours: Vec<String> =
                all.into_keys().filter(|topic| topic.starts_with(&prefix)).collect();
            Ok(admin.delete(&ours).await?)
        });
    }
}

/// Makes every topic of topics/topics.yml under the configuration's prefix, with at most so many partitions.
pub async fn make_topics(config: &Config, partitions_max: i32) {
    let spec = Spec { replication: 1, ..Spec::embedded().with_partitions_max(partitions_max) };
    let admin = Admin::new(config).expect("a client");
    let applied = topics::apply(&admin, config, &spec).await;
    let applied = applied.unwrap_or_else(|error| panic!("topics can be made: {error}; {START}"));
    assert_eq!(applied.left, [], "the topics are as wanted");
}

/// Asks until the answer is as wanted; panics with the last one when it never is.
pub async fn until<T: std::fmt::Debug>(
    mut ask: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "it stays {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs to its end on a thread of its own, since `drop` may be anywhere; what goes wrong is only told.
fn clean<A, F>(act: A)
where
    A: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>>,
{
    let done = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(act())
    });
    match done.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("something of a test stays behind: {error:#}"),
        Err(_) => eprintln!("something of a test stays behind: cleaning up panicked"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_test_made_goes_with_it() {
    let stack = Stack::get();
    assert!(PathBuf::from(&stack.python).exists(), "{}; {START}", stack.python);
    assert!(PathBuf::from(&stack.kafka_libs).is_dir(), "{}; {START}", stack.kafka_libs);
    let database = migrated_database().await;
    let url = database.url.clone();
    let pool = pg::connect(&stack.config(&url, "").database).await.expect("it is there");
    drop((pool, database));
    let gone = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
    assert!(gone.is_err(), "the database is still there");

    let prefix = fresh_prefix();
    let config = stack.config(&url, &prefix);
    make_topics(&config, 1).await;
    let admin = Admin::new(&config).expect("a client");
    let start = prefix.to_string();
    drop(prefix);
    let ours = async || {
        let there = admin.topics().await.expect("Kafka answers");
        there.into_keys().filter(|topic| topic.starts_with(&start)).collect::<Vec<_>>()
    };
    until(ours, Vec::is_empty).await;
}
