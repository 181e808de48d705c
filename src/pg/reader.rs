//! Reading recorded decisions as `noctus_reader`, a role that may read the obs_* tables and views and nothing else.
//! Never trusts that it is so: before a row is read, Postgres is asked what the role may do.
//! Invariant: the transaction is read only, and nothing is read in it unless the answer was "nothing else".

use deadpool_postgres::{Client, Transaction};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::PgTime;

/// The role.
pub const ROLE: &str = "noctus_reader";
/// Longest statement: a page of a table that has no index by time may take longer than a role's statement.
const STATEMENT_TIMEOUT: &str = "10min";
/// Decisions in memory at a time.
const PAGE: i32 = 500;

/// Why nothing is read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The role is not there.
    #[error(
        "the database has no role {ROLE}: `noctus migrate` makes it if its user may; else let an administrator run \
         CREATE ROLE {ROLE} NOLOGIN; GRANT {ROLE} TO {user}; and then `noctus migrate` again"
    )]
    NoRole {
        /// Who is connected, quoted for SQL.
        user: String,
    },
    /// The user may not act as the role.
    #[error(
        "{user} may not act as {ROLE}: let an administrator run GRANT {ROLE} TO {user}; or connect as a member of it"
    )]
    NoMember {
        /// Who is connected, quoted for SQL.
        user: String,
    },
    /// The role may not even read what it is for.
    #[error(
        "{ROLE} may not read obs_decisions: run `noctus migrate`, or let the tables' owner run GRANT SELECT ON \
         obs_decisions TO {ROLE};"
    )]
    NotGranted,
    /// The role may do more than read what dashboards read.
    #[error(
        "{ROLE} may do more than it should, so nothing is read:\n{}\ntake it away (REVOKE … FROM {ROLE};, or from PUBLIC \
         or the role that it has it by) and try again",
        .0.iter().map(|right| format!("  {right}")).collect::<Vec<_>>().join("\n")
    )]
    TooWide(Vec<String>),
    /// The tables are not there.
    #[error(
        "the database has no obs_decisions: run `noctus migrate` first, or is database.url another one's?"
    )]
    NoTables,
    /// Postgres does not do what it is asked for.
    #[error("Postgres: {}", super::told(.0))]
    Postgres(#[from] Error),
}

/// One recorded decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its event's id.
    pub event_id: String,
    /// As topic `decisions` has it, but for what only informs (the score, the strategy, the candidates).
    pub json: Value,
}

/// Whatever the role may do that it should not, one right a row. The members of an extension may be readable by
/// everyone and are none of ours; rights to write count everywhere.
const TOO_WIDE: &str = r"
    WITH ours AS (
        SELECT c.oid, c.relkind, c.relname, format('%I.%I', n.nspname, c.relname) AS name,
               c.relname LIKE 'obs\_%' AS is_obs,
               EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                 AND d.deptype = 'e') AS is_extension
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_)'
    ), rights AS (
        SELECT name, may AS what, 1 AS kind FROM ours
         CROSS JOIN unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) AS may
         WHERE relkind IN ('r','p','v','m','f') AND (may <> 'SELECT' OR NOT (is_obs OR is_extension))
           AND has_table_privilege(oid, may)
        UNION ALL
        SELECT name, may || ' on a column', 2 FROM ours
         CROSS JOIN unnest(ARRAY['SELECT','INSERT','UPDATE','REFERENCES']) AS may
         WHERE relkind IN ('r','p','v','m','f') AND (may <> 'SELECT' OR NOT (is_obs OR is_extension))
           AND has_any_column_privilege(oid, may) AND NOT has_table_privilege(oid, may)
        UNION ALL
        SELECT name, may || ' on the sequence', 3 FROM ours CROSS JOIN unnest(ARRAY['USAGE','UPDATE']) AS may
         WHERE relkind = 'S' AND has_sequence_privilege(oid, may)
    )
    SELECT name || ': ' || string_agg(what, ', ' ORDER BY kind, what) FROM rights GROUP BY name ORDER BY name";

// Unordered: there is no index by time, and sorting a million decisions would take their room on disk.
const DECISIONS: &str = "
    SELECT event_id, decision || jsonb_build_object('request', features -> 'request', 'facts', features -> 'facts',
               'unit_value', features -> 'unit_value', 'trace_id', trace_id, 'event_id', event_id, 'reason', reason,
               'engine_version', engine_version, 'price', price::text)
      FROM obs_decisions
     WHERE made_at >= coalesce($1::timestamptz, '-infinity') AND made_at < coalesce($2::timestamptz, 'infinity')";

/// A transaction under the role, checked.
pub struct Reader<'c> {
    tx: Transaction<'c>,
}

impl<'c> Reader<'c> {
    /// Takes the role on, read only, and asks Postgres what it may do.
    pub async fn begin(client: &'c mut Client) -> Result<Self, ReaderError> {
        let row = client.query_one("SELECT quote_ident(session_user)", &[]).await?;
        let user: String = row.try_get(0)?;
        let tx = super::moment(client).await?;
        let timeout = format!("SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'");
        tx.batch_execute(&timeout).await?;
        tx.batch_execute(&format!("SET LOCAL ROLE {ROLE}")).await.map_err(|error| {
            match error.code() {
                Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                    ReaderError::NoMember { user: user.clone() }
                }
                // Postgres says of a role that is not there that the value cannot be set.
                Some(code)
                    if [SqlState::INVALID_PARAMETER_VALUE, SqlState::UNDEFINED_OBJECT]
                        .contains(code) =>
                {
                    ReaderError::NoRole { user: user.clone() }
                }
                _ => error.into(),
            }
        })?;
        let reader = Self { tx };
        reader.check().await?;
        Ok(reader)
    }

    async fn check(&self) -> Result<(), ReaderError> {
        let rows = self.tx.query(TOO_WIDE, &[]).await?;
        if !rows.is_empty() {
            let rights = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            return Err(ReaderError::TooWide(rights));
        }
        let may = "SELECT to_regclass('obs_decisions') IS NOT NULL,
                          coalesce(has_table_privilege(to_regclass('obs_decisions'), 'SELECT'), false)";
        let row = self.tx.query_one(may, &[]).await?;
        match (row.try_get(0)?, row.try_get(1)?) {
            (false, _) => Err(ReaderError::NoTables),
            (_, false) => Err(ReaderError::NotGranted),
            _ => Ok(()),
        }
    }

    /// Gives every decision made in [from, to) to `take`, in no order, a page at a time.
    pub async fn decisions(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        mut take: impl FnMut(Decision),
    ) -> Result<(), ReaderError> {
        let bounds = [from.map(PgTime), to.map(PgTime)];
        let portal = self.tx.bind(DECISIONS, &[&bounds[0], &bounds[1]]).await?;
        loop {
            let page = self.tx.query_portal_raw(&portal, PAGE).await?;
            let mut page = std::pin::pin!(page);
            let mut read = 0;
            while let Some(row) = page.try_next().await? {
                take(Decision { event_id: row.try_get(0)?, json: row.try_get(1)? });
                read += 1;
            }
            if read < PAGE {
                return Ok(());
            }
        }
    }
}
