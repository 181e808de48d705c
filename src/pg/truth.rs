//! The ledger and the obs_* tables as of one moment, row by row, for comparing them with the topics.
//! Never changes anything: the transaction is read only. The obs_* tables are read as `noctus_reader`, if that role may be taken on.

use std::collections::BTreeMap;

use deadpool_postgres::{Client, Transaction};
use futures::{TryStreamExt, pin_mut};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::PgTime;
use super::obs::tables::{TABLES, Table};
use super::reader::ROLE;
use crate::domain::money::plain;

/// What was owed to Kafka: logical topic and value.
pub type OwedEvent = (String, Option<Vec<u8>>);

/// One moment of the database.
pub struct Moment<'c> {
    tx: Transaction<'c>,
    /// When it is, by the database's clock.
    pub at: Timestamp,
    /// Whether the reader's role may be taken on.
    has_role: bool,
}

/// A decision of the ledger.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Decided {
    pub id: i64,
    /// As the ledger keeps it: without the facts.
    pub payload: Value,
    pub decided_at: Timestamp,
}

/// An order, as far as its steps tell of it too.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Ordered {
    pub id: i64,
    pub idempotency_key: String,
    /// Of its newest step.
    pub exec_seq: i32,
    pub trace_id: String,
    pub account: String,
    pub symbol: String,
    pub action: String,
    pub decided_at: Timestamp,
}

/// A command, as far as its outcomes tell of it too.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Commanded {
    pub idempotency_key: String,
    pub status: String,
    pub code: Option<String>,
    pub reason: String,
    pub decided_at: Timestamp,
    /// Fields that never change, by the names of an outcome.
    pub asked: Value,
}

impl<'c> Moment<'c> {
    /// From now on nothing moves.
    pub async fn begin(client: &'c mut Client) -> Result<Self, Error> {
        let tx = super::moment(client).await?;
        // It takes as long as it takes, and while topics are read nothing is asked. The lock comes before the snapshot: a
        // month that were exchanged or dropped in between would be empty in it, not full as before.
        let tables = TABLES.map(|table| table.name).join(", ");
        tx.batch_execute(&format!(
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
             LOCK TABLE {tables} IN ACCESS SHARE MODE"
        ))
        .await?;
        let row = tx
            .query_one(
                "SELECT now(), EXISTS (SELECT FROM pg_roles WHERE rolname = $1)
                           AND coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER')
                                           FROM pg_roles WHERE rolname = $1), false)",
                &[&ROLE],
            )
            .await?;
        let (at, is_member): (PgTime, bool) = (row.try_get(0)?, row.try_get(1)?);
        let mut moment = Self { tx, at: at.0, has_role: false };
        moment.has_role = is_member && moment.may_take_the_role().await?;
        Ok(moment)
    }

    /// The same for tables that only their owner may read.
    pub async fn begin_as_owner(client: &'c mut Client) -> Result<Self, Error> {
        let moment = Self::begin(client).await?;
        Ok(Self { has_role: false, ..moment })
    }

    /// Being a member is not enough from Postgres 16 on.
    async fn may_take_the_role(&mut self) -> Result<bool, Error> {
        let inner = self.tx.transaction().await?;
        let taken = inner.batch_execute(&format!("SET LOCAL ROLE {ROLE}")).await;
        inner.rollback().await?;
        Ok(taken.is_ok())
    }

    async fn as_reader(&self, is_reader: bool) -> Result<(), Error> {
        if !self.has_role {
            return Ok(());
        }
        let role = if is_reader { ROLE } else { "NONE" };
        self.tx.batch_execute(&format!("SET LOCAL ROLE {role}")).await
    }

    async fn each(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        mut take: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows = self.tx.query_raw(sql, values.iter().copied()).await?;
        pin_mut!(rows);
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
        }
        Ok(())
    }

    /// Up to where a reader has read, by topic id and partition.
    pub async fn positions(&self, reader: &str) -> Result<BTreeMap<(String, i32), i64>, Error> {
        let sql = "SELECT topic_id, partition, next_offset FROM input_positions WHERE reader = $1";
        let rows = self.tx.query(sql, &[&reader]).await?;
        rows.iter().map(|r| Ok(((r.try_get(0)?, r.try_get(1)?), r.try_get(2)?))).collect()
    }

    /// Everything that is committed and not acknowledged by Kafka.
    pub async fn owed(&self) -> Result<Vec<OwedEvent>, Error> {
        let mut owed = Vec::new();
        self.each("SELECT topics, payloads FROM owed_events", &[], |row| {
            let (topics, values): (Vec<String>, Vec<Option<Vec<u8>>>) =
                (row.try_get(0)?, row.try_get(1)?);
            owed.extend(topics.into_iter().zip(values));
            Ok(())
        })
        .await?;
        Ok(owed)
    }

    /// Every decision of the ledger.
    pub async fn decisions(&self, mut take: impl FnMut(Decided)) -> Result<(), Error> {
        let sql = "SELECT id, payload, decided_at FROM outbox_orders";
        self.each(sql, &[], |row| {
            let decided_at = row.try_get::<_, PgTime>(2)?.0;
            take(Decided { id: row.try_get(0)?, payload: row.try_get(1)?, decided_at });
            Ok(())
        })
        .await
    }

    /// One decision of the ledger.
    pub async fn decision(&self, id: i64) -> Result<Option<Value>, Error> {
        let sql = "SELECT payload FROM outbox_orders WHERE id = $1";
        self.tx.query_opt(sql, &[&id]).await?.map(|row| row.try_get(0)).transpose()
    }

    /// Every order that has steps.
    pub async fn orders(&self, mut take: impl FnMut(Ordered)) -> Result<(), Error> {
        self.each(&format!("{ORDERS} WHERE exec_seq > 0"), &[], |row| {
            take(ordered(row)?);
            Ok(())
        })
        .await
    }

    /// One order.
    pub async fn order(&self, id: i64) -> Result<Option<Ordered>, Error> {
        let row = self.tx.query_opt(&format!("{ORDERS} WHERE id = $1"), &[&id]).await?;
        row.as_ref().map(ordered).transpose()
    }

    /// Every command, in the order of their keys.
    pub async fn commands(&self, mut take: impl FnMut(Commanded)) -> Result<(), Error> {
        self.each(COMMANDS, &[], |row| {
            take(commanded(row)?);
            Ok(())
        })
        .await
    }

    /// Every row of a table in these hours, with its event's id and time.
    pub async fn rows(
        &self,
        table: &Table,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        mut take: impl FnMut(&str, Timestamp, Value),
    ) -> Result<(), Error> {
        self.as_reader(true).await?;
        let Table { name, time, columns } = table;
        let sql = format!(
            "SELECT event_id, {time}, {columns} FROM {name}
              WHERE {time} >= coalesce($1::timestamptz, '-infinity')
                AND {time} < coalesce($2::timestamptz, 'infinity')"
        );
        self.each(&sql, &[&from.map(PgTime), &to.map(PgTime)], |row| {
            take(row.try_get(0)?, row.try_get::<_, PgTime>(1)?.0, object(row, 2));
            Ok(())
        })
        .await?;
        self.as_reader(false).await
    }

    /// The rows of a table whose ids have these digests (the first half of SHA-256).
    pub async fn rows_of(
        &self,
        table: &Table,
        ids: &[Vec<u8>],
    ) -> Result<Vec<(String, Value)>, Error> {
        self.as_reader(true).await?;
        let Table { name, columns, .. } = table;
        let sql = format!(
            "SELECT event_id, {columns} FROM {name}
              WHERE substr(sha256(convert_to(event_id, 'UTF8')), 1, 16) = ANY($1)"
        );
        let rows = self.tx.query(&sql, &[&ids]).await?;
        self.as_reader(false).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, object(row, 1)))).collect()
    }

    /// The beginning of the oldest month that a table has; none without a month.
    pub async fn oldest_month(&self, table: &Table) -> Result<Option<Timestamp>, Error> {
        let sql = r"SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM $r$FROM \('([^']+)'$r$)::timestamptz)
                      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = $1::text::regclass";
        let row = self.tx.query_one(sql, &[&table.name]).await?;
        Ok(row.try_get::<_, Option<PgTime>>(0)?.map(|t| t.0))
    }

    /// Every step of every order in these hours' orders, the steps of an order together, as
    /// [`measure`](crate::sink::project::measure) wants them.
    pub async fn steps(
        &self,
        mut take: impl FnMut(crate::sink::project::measure::Step),
    ) -> Result<(), Error> {
        self.as_reader(true).await?;
        self.each(super::obs::ALL_STEPS, &[], |row| {
            take(super::obs::step(row)?);
            Ok(())
        })
        .await?;
        self.as_reader(false).await
    }
}

const ORDERS: &str = "SELECT id, idempotency_key, exec_seq, coalesce(trace_id, ''), account, symbol, action, decided_at
    FROM outbox_orders";

fn ordered(row: &Row) -> Result<Ordered, Error> {
    Ok(Ordered {
        id: row.try_get(0)?,
        idempotency_key: row.try_get(1)?,
        exec_seq: row.try_get(2)?,
        trace_id: row.try_get(3)?,
        account: row.try_get(4)?,
        symbol: row.try_get(5)?,
        action: row.try_get(6)?,
        decided_at: row.try_get::<_, PgTime>(7)?.0,
    })
}

const COMMANDS: &str = "SELECT idempotency_key, status, code, reason, decided_at,
        target_key, trace_id, account, symbol, action, qty, limit_price, requested_at
    FROM order_commands ORDER BY idempotency_key COLLATE \"C\"";

fn commanded(row: &Row) -> Result<Commanded, Error> {
    let mut asked = object(row, 5);
    asked["idempotency_key"] = json!(row.try_get::<_, &str>(0)?);
    Ok(Commanded {
        idempotency_key: row.try_get(0)?,
        status: row.try_get(1)?,
        code: row.try_get(2)?,
        reason: row.try_get(3)?,
        decided_at: row.try_get::<_, PgTime>(4)?.0,
        asked,
    })
}

/// The columns from this one on, by their names. What no role could have written is told as a text, which nothing equals.
fn object(row: &Row, from: usize) -> Value {
    let mut fields = Map::new();
    for (at, column) in row.columns().iter().enumerate().skip(from) {
        let value = value(row, at, column.type_());
        fields.insert(column.name().to_string(), value.unwrap_or_else(|e| json!(format!("? {e}"))));
    }
    Value::Object(fields)
}

fn value(row: &Row, at: usize, of: &Type) -> Result<Value, Error> {
    Ok(match *of {
        Type::INT4 => json!(row.try_get::<_, Option<i32>>(at)?),
        Type::INT8 => json!(row.try_get::<_, Option<i64>>(at)?),
        Type::NUMERIC => json!(row.try_get::<_, Option<Decimal>>(at)?.map(plain)),
        Type::TIMESTAMPTZ => json!(row.try_get::<_, Option<PgTime>>(at)?.map(|t| t.0)),
        Type::JSONB => row.try_get::<_, Option<Value>>(at)?.unwrap_or_default(),
        _ => json!(row.try_get::<_, Option<String>>(at)?),
    })
}
