//! `timestamptz` ⇄ [`jiff::Timestamp`], micros since 2000-01-01 UTC in between.

use std::error::Error;

use jiff::Timestamp;
use postgres_types::private::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::Client;

/// 2000-01-01T00:00:00Z as Unix microseconds.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// What Postgres' clock says.
pub async fn now(client: &Client) -> Result<Timestamp, tokio_postgres::Error> {
    let row = client.query_one("SELECT clock_timestamp()", &[]).await?;
    Ok(row.try_get::<_, PgTime>(0)?.0)
}

/// A point in time as Postgres takes and gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgTime(pub Timestamp);

impl ToSql for PgTime {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        postgres_protocol::types::timestamp_to_sql(
            self.0.as_microsecond() - POSTGRES_EPOCH_US,
            out,
        );
        Ok(IsNull::No)
    }
    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
    to_sql_checked!();
}

impl<'a> FromSql<'a> for PgTime {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let us = postgres_protocol::types::timestamp_from_sql(raw)?;
        let unix = us.checked_add(POSTGRES_EPOCH_US).ok_or("a timestamp out of range")?;
        Ok(Self(Timestamp::from_microsecond(unix)?))
    }
    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}
