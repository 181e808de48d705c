//! Months: made by anyone, at any time, once.

use futures::future::join_all;
use noctus::domain::event::Action;
use noctus::pg::obs::{self, Months};
use noctus::sink::project::rows::Rows;

use super::base::{Base, Order, TABLES, at};

const PARTITIONS: &str = "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1)
    FROM (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'obs_alerts'::regclass
           ORDER BY inhrelid::regclass::text) p";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_made_by_many_sessions_at_once_are_made_once() {
    let base = Base::new().await;
    let months = ["2025-08-23T11:00Z", "2025-09-01T00:00Z", "2025-12-31T23:59:59.999999Z"];
    // Sessions without time-outs of their own: the disk may be slow.
    let sessions = (0..6).map(async |_| {
        let url = &base.database.url;
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let mut made = 0;
        for month in months {
            let sql = format!("SELECT obs_make_month('{month}')");
            let row = client.query_one(&sql, &[]).await.expect("a month");
            made += usize::from(row.get::<_, bool>(0));
        }
        made
    });
    let made: usize = join_all(sessions).await.into_iter().sum();
    assert_eq!(made, months.len(), "each month says once that it was made");
    let wanted = "obs_alerts_2025_08 obs_alerts_2025_09 obs_alerts_2025_12";
    assert_eq!(base.text(PARTITIONS).await, wanted);
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM pg_inherits WHERE inhparent = '{table}'::regclass");
        assert_eq!(base.text(&sql).await, "3", "{table}");
    }
}

/// A partition made by CREATE TABLE … PARTITION OF would wait for everyone, and everyone for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_is_made_while_others_read_and_write() {
    let base = Base::new().await;
    let order = Order::new("run", "order-00001");
    base.write(order.everything()).await;
    let mut busy = base.pool.get().await.unwrap();
    let tx = busy.transaction().await.unwrap();
    let row = Order::new("run", "order-00002").decision(Action::Buy, at(0));
    obs::write(&tx, &Rows::of([&row])).await.unwrap();
    tx.query("SELECT count(*) FROM obs_trace_timeline", &[]).await.unwrap();
    assert_eq!(base.text("SELECT obs_make_month('2026-01-15T00:00Z')").await, "true");
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_are_utc_months_whatever_the_session_says() {
    let base = Base::new().await;
    base.sql(
        "SET TimeZone = 'Pacific/Kiritimati'; SELECT obs_make_month('2025-08-31T23:59:59.999999Z')",
    )
    .await;
    assert_eq!(base.text(PARTITIONS).await, "obs_alerts_2025_08");
    let bound =
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'obs_alerts_2025_08'";
    let utc = "FOR VALUES FROM ('2025-08-01 00:00:00+00') TO ('2025-09-01 00:00:00+00')";
    base.sql("RESET TimeZone").await;
    let client = base.pool.get().await.unwrap();
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let row = client.query_one(bound, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), utc);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_that_was_dropped_is_made_again_once_it_is_forgotten() {
    let base = Base::new().await;
    let order = Order::new("run", "order-00001");
    let row = order.decision(Action::Buy, at(0));
    let rows = Rows::of([&row]);
    let mut months = Months::default();
    let mut client = base.pool.get().await.unwrap();
    months.make(&client, &rows).await.unwrap();
    base.sql("DROP TABLE obs_decisions_2025_08").await;
    months.make(&client, &rows).await.unwrap();
    let tx = client.transaction().await.unwrap();
    assert!(obs::write(&tx, &rows).await.is_err(), "it is believed to be there");
    drop(tx);
    months.forget();
    months.make(&client, &rows).await.unwrap();
    let tx = client.transaction().await.unwrap();
    obs::write(&tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(base.text("SELECT count(*) FROM obs_decisions").await, "1");
}
