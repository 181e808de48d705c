//! The role that dashboards and what-if read as: what it may do, and that nothing is read when it may do more.

use std::process::{Command, Output};

use noctus::demo::embedded::minder::Minder;
use noctus::demo::embedded::postgres::{self, Postgres};
use noctus::domain::event::Action;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use super::base::{Base, Order, TABLES, at};

fn noctus(url: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noctus"));
    command.args(words).args(["--database", url]).env("NO_COLOR", "1");
    command.output().expect("noctus runs")
}

fn what_if(url: &str) -> Output {
    noctus(url, &["policy", "what-if", "--policy", "configs/risk_policy.yml"])
}

fn err(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

const VIEWS: [&str; 3] = ["obs_trace_timeline", "obs_trace_latency", "obs_latency_daily"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reader_reads_every_obs_table_and_view_and_nothing_else() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    // Months that were made after the rights were given: they are read through their tables.
    base.write(order.everything()).await;
    base.write(vec![order.commanded(at(60))]).await;
    let client = base.pool.get().await.expect("a connection");
    client.batch_execute("SET ROLE noctus_reader").await.expect("the role is there");
    for table in TABLES.iter().chain(&VIEWS) {
        let read = client.query(&format!("SELECT * FROM {table}"), &[]).await;
        let rows = read.unwrap_or_else(|e| panic!("{table}: {e:?}"));
        assert!(!rows.is_empty() || *table == "obs_latency_daily", "{table} has rows");
    }
    let tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
                     AND relkind IN ('r','p') AND relname NOT LIKE 'obs\\_%' ORDER BY 1";
    let others = client.query(tables, &[]).await.expect("the catalogue is everyone's");
    assert!(others.len() > 10, "the ledger is there");
    for row in others {
        let table: String = row.get(0);
        for sql in [format!("SELECT FROM {table}"), format!("DELETE FROM {table}")] {
            let code = client.batch_execute(&sql).await.expect_err(&sql).code().cloned();
            assert_eq!(code, Some(SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
        }
    }
    for sql in [
        "UPDATE outbox_orders SET state = 'NEW'",
        "UPDATE obs_decisions SET reason = ''",
        "DELETE FROM obs_alerts",
        "INSERT INTO obs_plan_runs SELECT * FROM obs_plan_runs",
        "TRUNCATE obs_exec_events",
        "SELECT nextval('outbox_orders_id_seq')",
        "SELECT obs_make_month('2030-01-01T00:00Z')",
        "SELECT FROM obs_decisions_2025_08",
        "REFRESH MATERIALIZED VIEW obs_latency_daily",
    ] {
        let code = client.batch_execute(sql).await.expect_err(sql).code().cloned();
        assert_eq!(code, Some(SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_when_the_role_may_do_more_than_it_should() {
    let base = Base::new().await;
    let order = Order::new("run-1", "order-00001");
    base.write(vec![order.decision(Action::Buy, at(30))]).await;
    let url = base.database.url.clone();
    // The decision has no facts worth the name: a finding, and so it was read.
    let good = what_if(&url);
    assert_eq!(good.status.code(), Some(1), "{}", err(&good));
    assert!(String::from_utf8_lossy(&good.stdout).contains("order-00001: "), "{good:?}");
    base.sql("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.secrets (x int)").await;
    base.sql("GRANT USAGE ON SCHEMA elsewhere TO noctus_reader").await;
    for (grant, on, told) in [
        ("SELECT", "outbox_orders", "public.outbox_orders: SELECT"),
        ("SELECT (payload)", "outbox_orders", "public.outbox_orders: SELECT on a column"),
        ("UPDATE", "risk_positions", "public.risk_positions: UPDATE"),
        ("INSERT, DELETE", "obs_alerts", "public.obs_alerts: DELETE, INSERT"),
        ("UPDATE (reason)", "obs_decisions", "public.obs_decisions: UPDATE on a column"),
        ("TRUNCATE", "obs_decisions_2025_08", "public.obs_decisions_2025_08: TRUNCATE"),
        ("USAGE", "SEQUENCE outbox_orders_id_seq", "outbox_orders_id_seq: USAGE on the sequence"),
        ("SELECT", "elsewhere.secrets", "elsewhere.secrets: SELECT"),
    ] {
        for whom in ["noctus_reader", "PUBLIC"] {
            base.sql(&format!("GRANT {grant} ON {on} TO {whom}")).await;
            let refused = what_if(&url);
            assert_eq!(refused.status.code(), Some(77), "{grant} ON {on}: {}", err(&refused));
            assert!(err(&refused).contains(told), "{}", err(&refused));
            assert!(refused.stdout.is_empty(), "nothing is told: {refused:?}");
            base.sql(&format!("REVOKE {grant} ON {on} FROM {whom}")).await;
        }
    }
    let again = what_if(&url);
    assert_eq!(again.status.code(), Some(1), "{}", err(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_our_tables_says_what_to_do() {
    let database = crate::stack::fresh_database().await;
    let out = what_if(&database.url);
    assert_eq!(out.status.code(), Some(78), "{}", err(&out));
    assert!(err(&out).contains("noctus migrate"), "{}", err(&out));
    let away = what_if("postgres://nobody@127.0.0.1:1/none");
    assert_eq!(away.status.code(), Some(69), "{}", err(&away));
}

/// On a cluster of its own: whether there is the role is the same for all databases of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_make_no_role_still_migrates_and_is_told_the_sql() {
    let folder = std::env::temp_dir().join(format!("noctus-it-reader-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut minder = Minder::start(&folder).expect("a minder");
    let programs = postgres::find(&|_| ()).await.expect("Postgres is installed");
    let cluster = Postgres::start(&programs, &folder, &mut minder).await.expect("it starts");
    let (admin, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await.expect("it");
    tokio::spawn(connection);
    let make =
        "CREATE ROLE \"poor Owner\" LOGIN PASSWORD 'p'; GRANT CREATE ON SCHEMA public TO PUBLIC";
    admin.batch_execute(make).await.expect("a user");
    let (place, _) = cluster.url().split_once('@').map(|(_, p)| (p.to_string(), ())).expect("it");
    let url = format!("postgres://poor%20Owner:p@{place}");
    let sql = "CREATE ROLE noctus_reader NOLOGIN; GRANT noctus_reader TO \"poor Owner\";";
    let told = |out: &Output| String::from_utf8_lossy(&out.stdout).into_owned();

    let migrated = noctus(&url, &["migrate"]);
    assert_eq!(migrated.status.code(), Some(0), "{}", err(&migrated));
    assert!(told(&migrated).contains("applied V3__reader_role"), "{}", told(&migrated));
    assert!(told(&migrated).contains(sql), "{}", told(&migrated));
    let refused = what_if(&url);
    assert_eq!(refused.status.code(), Some(77), "{}", err(&refused));
    assert!(err(&refused).contains(sql), "{}", err(&refused));

    // Somebody makes the role and forgets to make the owner a member of it.
    admin.batch_execute("CREATE ROLE noctus_reader NOLOGIN").await.expect("the role");
    let grant = "GRANT noctus_reader TO \"poor Owner\";";
    let migrated = noctus(&url, &["migrate"]);
    assert!(told(&migrated).contains(grant), "{}", told(&migrated));
    let refused = what_if(&url);
    assert_eq!(refused.status.code(), Some(77), "{}", err(&refused));
    assert!(err(&refused).contains(grant), "{}", err(&refused));

    admin.batch_execute(grant).await.expect("a member");
    let migrated = noctus(&url, &["migrate"]);
    assert!(!told(&migrated).contains("note:"), "{}", told(&migrated));
    let empty = what_if(&url);
    assert_eq!(empty.status.code(), Some(1), "{}", err(&empty));
    assert!(err(&empty).contains("there is no decision in obs_decisions"), "{}", err(&empty));

    // A login for dashboards, as docs/operations.md makes one, may ask too.
    let login = "CREATE ROLE grafana LOGIN PASSWORD 'g' IN ROLE noctus_reader";
    admin.batch_execute(login).await.expect("a login");
    let empty = what_if(&format!("postgres://grafana:g@{place}"));
    assert_eq!(empty.status.code(), Some(1), "{}", err(&empty));
    drop(admin);
    tokio::task::spawn_blocking(move || drop(cluster)).await.expect("it ends");
    minder.done();
    std::fs::remove_dir_all(&folder).expect("nothing stays behind");
}
