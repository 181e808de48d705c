//! The outbox as dispatch reads and moves it: claims, questions that are due, settled states.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use tokio_postgres::types::Json;
use tokio_postgres::{Client, GenericClient, Row, Transaction};

use super::PgTime;
use super::lanes::{HeldLane, LaneKey, columns};
use super::replaces::{AtBroker, COLUMN as REPLACEMENT, InForce, Replacement};
use super::risk::{HaltRow, covered};
use crate::domain::event::{Fill, OrderStatus};
use crate::domain::request::{OrderType, Side, TimeInForce};
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};
use crate::domain::trace_context::{self, TraceContext};
use crate::runtime::faults::is_planted;

/// Why the outbox cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OutboxError {
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    #[error("outbox order {id} holds a {field} that no gate wrote")]
    Row { id: i64, field: &'static str },
}

impl OutboxError {
    /// Whether a row of the same key is there already (23505).
    pub fn is_there_already(&self) -> bool {
        let OutboxError::Postgres(error) = self else { return false };
        error.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
    }
}

/// One order of the outbox: what dispatch needs of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct OrderRow {
    pub id: i64,
    pub key: IdempotencyKey,
    pub trace_id: TraceId,
    pub account: Account,
    pub symbol: Symbol,
    pub side: Side,
    pub qty: Decimal,
    pub order_type: OrderType,
    pub limit_price: Option<Decimal>,
    pub stop_price: Option<Decimal>,
    pub stop_loss: Option<Decimal>,
    pub take_profit: Option<Decimal>,
    /// The request's own, else the price the limits were judged at.
    pub reference_price: Option<Decimal>,
    pub time_in_force: TimeInForce,
    pub strategy: Option<String>,
    pub requested_at: Timestamp,
    pub decided_at: Timestamp,
    /// The earlier of dispatch_by and valid_until: never sent after it.
    pub send_by: Option<Timestamp>,
    pub sent_at: Option<Timestamp>,
    pub state: OrderStatus,
    pub exec_seq: i32,
    pub attempt_no: i32,
    pub query_no: i32,
    pub broker_ref: Option<String>,
    pub quarantined: Vec<String>,
    pub opening_qty: Decimal,
    pub opening_notional: Decimal,
    pub working_qty: Decimal,
    pub realised_pnl: Decimal,
    /// Contract size × rate to the account's currency, as decided.
    pub unit_value: Decimal,
    /// Which profile of an experiment decided.
    pub arm: Option<String>,
    /// The database's clock when the row was read.
    pub read_at: Timestamp,
    /// How the newest attempt sent it.
    pub sent_as: Option<SentAs>,
    /// The code of the cancel that is wanted of it.
    pub cancel: Option<String>,
    /// An attempt before the newest may have reached the broker.
    pub unsure_before: bool,
    /// A replacement on its way.
    pub replace: Option<Box<Replacement>>,
    /// The order that took its place at the broker, since its terms were replaced there; quantity, limit price and
    /// what opens are those in force.
    pub at_broker: Option<AtBroker>,
    /// The trace that the record belongs to which asked for it.
    pub trace: Option<TraceContext>,
}

/// What of an order as it was sent depends on what the broker said it could at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SentAs {
    pub client_order_id: String,
    pub price_tick: Option<Decimal>,
}

const COLUMNS: &str = "o.id, o.idempotency_key, o.trace_id, o.account, o.symbol, o.action, o.decided_qty,
    o.order_type, o.limit_price, o.stop_price, o.stop_loss, o.take_profit,
    coalesce(o.reference_price, o.risk_price), o.time_in_force, o.strategy, o.requested_at, o.decided_at,
    least(o.dispatch_by, o.valid_until), o.dispatch_by IS NULL, o.sent_at, o.state, o.exec_seq, o.attempt_no,
    o.query_no, o.broker_ref, o.quarantined, o.opening_qty, o.opening_notional, o.working_qty,
    o.realised_pnl, clock_timestamp(), o.unit_value, o.arm,
    CASE WHEN o.attempt_no > 0 THEN (SELECT a.client_order_id FROM send_attempts a
        WHERE a.idempotency_key = o.idempotency_key AND a.attempt_no = o.attempt_no) END,
    CASE WHEN o.attempt_no > 0 THEN (SELECT (b.capabilities->>'price_tick')::numeric
        FROM send_attempts a JOIN broker_capabilities b ON b.digest = a.capabilities
        WHERE a.idempotency_key = o.idempotency_key AND a.attempt_no = o.attempt_no) END,
    (SELECT c.code FROM order_cancels c WHERE c.idempotency_key = o.idempotency_key),
    o.attempt_no > 1 AND EXISTS (SELECT FROM send_attempts a WHERE a.idempotency_key = o.idempotency_key
        AND a.attempt_no < o.attempt_no AND a.outcome IS DISTINCT FROM 'not_sent'), o.replaced,
    o.traceparent, o.tracestate";

/// A wire word → its value, by serde, so that words stand in one place.
fn word<T: serde::de::DeserializeOwned>(text: String) -> Option<T> {
    serde_json::from_value(Value::String(text)).ok()
}

/// A JSON column, if there is one; within: whether it can be read.
fn json<T: serde::de::DeserializeOwned>(
    row: &Row,
    at: usize,
) -> Result<Result<Option<T>, serde_json::Error>, tokio_postgres::Error> {
    let value: Option<Value> = row.try_get(at)?;
    Ok(value.map(serde_json::from_value).transpose())
}

impl OrderRow {
    fn read(row: &Row) -> Result<Self, OutboxError> {
        let id: i64 = row.try_get(0)?;
        let bad = |field| OutboxError::Row { id, field };
        let time = |at: usize| {
            Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<PgTime>>(at)?.map(|t| t.0))
        };
        let needed = |at: usize, field| time(at)?.ok_or(bad(field));
        let side = match row.try_get::<_, &str>(5)? {
            "BUY" => Side::Buy,
            "SELL" => Side::Sell,
            _ => return Err(bad("action")),
        };
        let never_sent: bool = row.try_get(18)?;
        let send_by = if never_sent { Some(Timestamp::MIN) } else { time(17)? };
        let in_force: Option<InForce> = json(row, 37)?.map_err(|_| bad("replaced"))?;
        let replace: Option<Replacement> = json(row, 40)?.map_err(|_| bad("replacement"))?;
        let mut read = Self {
            id,
            key: IdempotencyKey::new(row.try_get(1)?).map_err(|_| bad("idempotency_key"))?,
            trace_id: row
                .try_get::<_, Option<&str>>(2)?
                .and_then(|t| TraceId::new(t).ok())
                .ok_or(bad("trace_id"))?,
            account: Account::new(row.try_get(3)?).map_err(|_| bad("account"))?,
            symbol: Symbol::new(row.try_get(4)?).map_err(|_| bad("symbol"))?,
            side,
            qty: row.try_get(6)?,
            order_type: word(row.try_get(7)?).ok_or(bad("order_type"))?,
            limit_price: row.try_get(8)?,
            stop_price: row.try_get(9)?,
            stop_loss: row.try_get(10)?,
            take_profit: row.try_get(11)?,
            reference_price: row.try_get(12)?,
            time_in_force: word(row.try_get(13)?).ok_or(bad("time_in_force"))?,
            strategy: row.try_get(14)?,
            requested_at: needed(15, "requested_at")?,
            decided_at: needed(16, "decided_at")?,
            send_by,
            sent_at: time(19)?,
            state: OrderStatus::read(row.try_get(20)?).ok_or(bad("state"))?,
            exec_seq: row.try_get(21)?,
            attempt_no: row.try_get(22)?,
            query_no: row.try_get(23)?,
            broker_ref: row.try_get(24)?,
            quarantined: row.try_get(25)?,
            opening_qty: row.try_get(26)?,
            opening_notional: row.try_get(27)?,
            working_qty: row.try_get(28)?,
            realised_pnl: row.try_get(29)?,
            read_at: needed(30, "clock")?,
            unit_value: row.try_get(31)?,
            arm: row.try_get(32)?,
            sent_as: match row.try_get(33)? {
                Some(id) => Some(SentAs { client_order_id: id, price_tick: row.try_get(34)? }),
                None => None,
            },
            cancel: row.try_get(35)?,
            unsure_before: row.try_get(36)?,
            replace: replace.map(Box::new),
            at_broker: None,
            trace: TraceContext::stored(row.try_get(38)?, row.try_get(39)?),
        };
        if let Some(in_force) = in_force {
            read.go_on(in_force);
        }
        Ok(read)
    }

    /// It has other terms from now.
    pub fn go_on(&mut self, InForce { terms, at_broker, .. }: InForce) {
        (self.qty, self.limit_price) = (terms.qty, terms.limit_price);
        (self.opening_qty, self.opening_notional) = (terms.opening_qty, terms.opening_notional);
        if let (Some(at_broker), Some(sent)) = (&at_broker, &mut self.sent_as) {
            sent.client_order_id.clone_from(&at_broker.order_id);
        }
        self.at_broker = at_broker;
    }

    /// Its trace, as whoever is sent it and reads of it finds it.
    pub fn hop(&self) -> Option<TraceContext> {
        let hop = trace_context::send(&self.key, self.attempt_no);
        self.trace.as_ref().map(|trace| trace.child(&hop))
    }

    /// Units filled, while it works.
    pub fn executed(&self) -> Decimal {
        (self.qty - self.working_qty).max(Decimal::ZERO)
    }

    /// The lane it belongs to.
    pub fn lane(&self) -> LaneKey {
        LaneKey { account: self.account.to_string(), symbol: self.symbol.to_string() }
    }
}

/// What may be claimed in these lanes, oldest decision first, at most `per_lane` each and `limit` in all:
/// new orders, and orders of unknown outcome that are to be sent again. Behind an order that is PARKED, or that the
/// broker is still asked about, opening orders wait, those to be sent again too; what was decided before it goes, and
/// those whose life is over are told (C-OUT-4), and so are new ones that a halt stops or that are to be cancelled: they
/// never go (C-OUT-6).
pub async fn claimable(
    tx: &Transaction<'_>,
    lanes: &[HeldLane],
    halts: &[HaltRow],
    (per_lane, limit): (usize, usize),
) -> Result<Vec<OrderRow>, OutboxError> {
    let (accounts, symbols, _) = columns(lanes);
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT}
           FROM unnest($1::text[], $2::text[]) AS l (account, symbol)
          CROSS JOIN LATERAL (
                SELECT min(e.id) AS first FROM outbox_orders e
                 WHERE e.account = l.account AND e.symbol = l.symbol
                   AND (e.state = 'PARKED' OR e.state = 'UNKNOWN' AND e.next_query_at IS NOT NULL)) held
          CROSS JOIN LATERAL (
                SELECT * FROM outbox_orders n
                 WHERE n.account = l.account AND n.symbol = l.symbol
                   AND (n.state = 'NEW' OR n.state = 'UNKNOWN' AND n.next_query_at IS NULL)
                   AND (n.opening_qty = 0 OR held.first IS NULL OR n.id < held.first OR n.dispatch_by IS NULL
                     OR least(n.dispatch_by, n.valid_until) < clock_timestamp()
                     OR n.state = 'NEW' AND (EXISTS (SELECT FROM order_cancels k
                                                      WHERE k.idempotency_key = n.idempotency_key)
                                          OR EXISTS (SELECT FROM {})))
                 ORDER BY n.id LIMIT $3) o
          ORDER BY o.id LIMIT $4",
        covered("n", "$5")
    );
    let (per_lane, limit) = (per_lane as i64, limit as i64);
    let rows = tx.query(&sql, &[&accounts, &symbols, &per_lane, &limit, &Json(halts)]).await?;
    rows.iter().map(OrderRow::read).collect()
}

/// Marks orders as SENT, one step further, and writes their attempt rows, with the ids under which they are
/// sent and the digest of what the broker says it can. Returns when the first send
/// of each began, in the order given; fewer rows than given means that someone else moved one of them.
pub async fn begin_attempts(
    tx: &Transaction<'_>,
    worker: &str,
    orders: &[(&OrderRow, i64)],
    (ids, capabilities): (&[&str], &str),
) -> Result<Vec<(String, Timestamp)>, OutboxError> {
    let keys: Vec<&str> = orders.iter().map(|(o, _)| o.key.as_str()).collect();
    let seqs: Vec<i32> = orders.iter().map(|(o, _)| o.exec_seq).collect();
    let attempts: Vec<i32> = orders.iter().map(|(o, _)| o.attempt_no + 1).collect();
    let epochs: Vec<i64> = orders.iter().map(|(_, epoch)| *epoch).collect();
    let rows = tx
        .query(
            "UPDATE outbox_orders o
                SET state = 'SENT', exec_seq = o.exec_seq + 1, attempt_no = u.attempt, query_no = 0,
                    next_query_at = NULL, sent_at = coalesce(o.sent_at, clock_timestamp())
               FROM (SELECT * FROM unnest($1::text[], $2::int[], $3::int[]) AS u (key, seq, attempt)
                      ORDER BY key) u
              WHERE o.idempotency_key = u.key AND o.exec_seq = u.seq AND o.state IN ('NEW','UNKNOWN')
             RETURNING o.idempotency_key, o.sent_at",
            &[&keys, &seqs, &attempts],
        )
        .await?;
    tx.execute(
        "INSERT INTO send_attempts (idempotency_key, attempt_no, worker, lane_epoch, client_order_id,
                                    capabilities)
         SELECT key, attempt, $4, epoch, id, $6
           FROM unnest($1::text[], $2::int[], $3::bigint[], $5::text[]) AS u (key, attempt, epoch, id) WHERE $7",
        &[&keys, &attempts, &epochs, &worker, &ids, &capabilities, &!is_planted("no-attempt-row")],
    )
    .await?;
    let read = |r: &Row| Ok((r.try_get(0)?, r.try_get::<_, PgTime>(1)?.0));
    rows.iter().map(read).collect()
}

/// Orders that were being sent when their lane was taken over: their attempts have no outcome.
pub async fn stranded(client: &Client, lanes: &[HeldLane]) -> Result<Vec<OrderRow>, OutboxError> {
    let (accounts, symbols, epochs) = columns(lanes);
    // A lane that has another holder by now is that one's: what is SENT there may be on its way.
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT} FROM outbox_orders o
           JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS l (account, symbol, epoch)
             ON o.account = l.account AND o.symbol = l.symbol
           JOIN dispatch_lanes d
             ON d.account = l.account AND d.symbol = l.symbol AND d.epoch = l.epoch
          WHERE o.state = 'SENT' ORDER BY o.id"
    );
    let rows = client.query(&sql, &[&accounts, &symbols, &epochs]).await?;
    rows.iter().map(OrderRow::read).collect()
}

/// Orders of these lanes that the broker must be asked about now.
pub async fn questions(
    client: &Client,
    lanes: &[HeldLane],
    limit: usize,
) -> Result<Vec<OrderRow>, OutboxError> {
    let (accounts, symbols, _) = columns(lanes);
    // Two parts: each has an index of its own.
    let due = "SELECT q.* FROM outbox_orders q
                 JOIN unnest($1::text[], $2::text[]) AS l (account, symbol)
                   ON q.account = l.account AND q.symbol = l.symbol
                WHERE q.next_query_at <= clock_timestamp()";
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT}
           FROM ({due} AND q.state IN ('UNKNOWN','ACCEPTED','PARTIALLY_FILLED')
                 UNION ALL
                 {due} AND q.state IN ('CANCELLED','EXPIRED') AND q.next_query_at IS NOT NULL) o
          ORDER BY o.next_query_at LIMIT $3"
    );
    let rows = client.query(&sql, &[&accounts, &symbols, &(limit as i64)]).await?;
    rows.iter().map(OrderRow::read).collect()
}

/// The order of a key, not locked.
pub async fn find(client: &impl GenericClient, key: &str) -> Result<Option<OrderRow>, OutboxError> {
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT} FROM outbox_orders o WHERE o.idempotency_key = $1 AND o.action IN ('BUY','SELL')"
    );
    let row = client.query_opt(&sql, &[&key]).await?;
    row.as_ref().map(OrderRow::read).transpose()
}

/// The orders of these keys, not locked.
pub async fn of_keys(
    client: &impl GenericClient,
    keys: &[&str],
) -> Result<Vec<OrderRow>, OutboxError> {
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT} FROM outbox_orders o
          WHERE o.idempotency_key = ANY($1) AND o.action IN ('BUY','SELL') ORDER BY o.id"
    );
    let rows = client.query(&sql, &[&keys]).await?;
    rows.iter().map(OrderRow::read).collect()
}

/// Locks orders (the last locks of the global order) and returns them by key.
pub async fn lock(tx: &Transaction<'_>, keys: &[&str]) -> Result<Vec<OrderRow>, OutboxError> {
    let sql = format!(
        "SELECT {COLUMNS}, {REPLACEMENT} FROM outbox_orders o WHERE o.idempotency_key = ANY($1)
          ORDER BY o.idempotency_key FOR UPDATE"
    );
    let rows = tx.query(&sql, &[&keys]).await?;
    rows.iter().map(OrderRow::read).collect()
}

/// The fills of orders, with their keys.
pub async fn fills(
    client: &impl GenericClient,
    keys: &[&str],
) -> Result<Vec<(String, Fill)>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT idempotency_key, fill_id, px, qty, filled_at FROM order_fills
              WHERE idempotency_key = ANY($1)",
            &[&keys],
        )
        .await?;
    let read = |r: &Row| {
        let at = r.try_get::<_, PgTime>(4)?.0;
        let fill = Fill { fill_id: r.try_get(1)?, px: r.try_get(2)?, qty: r.try_get(3)?, at };
        Ok((r.try_get(0)?, fill))
    };
    rows.iter().map(read).collect()
}

/// When an order is asked about next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextQuestion {
    /// As it was.
    #[default]
    Keep,
    /// Not at all; for an UNKNOWN order: it is to be sent again.
    Never,
    /// After this many milliseconds.
    InMs(u64),
}

/// What settling leaves of an order.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Settled {
    pub key: IdempotencyKey,
    /// The exec_seq it was read with.
    pub expected_seq: i32,
    pub exec_seq: i32,
    pub state: OrderStatus,
    pub executed_qty: Decimal,
    pub avg_price: Option<Decimal>,
    pub broker_ref: Option<String>,
    pub working_qty: Decimal,
    pub realised_pnl: Decimal,
    pub next_question: NextQuestion,
    pub query_no: i32,
    /// The broker's newest answer; none keeps the last.
    pub response: Option<Value>,
    /// Other terms that are in force now.
    pub in_force: Option<InForce>,
    /// Labels of events refused as illegal, new ones only.
    pub quarantined: Vec<String>,
    pub new_fills: Vec<Fill>,
}

/// Writes settled orders `WHERE exec_seq = expected`; returns how many were.
pub async fn store(tx: &Transaction<'_>, orders: &[Settled]) -> Result<u64, tokio_postgres::Error> {
    macro_rules! column {
        ($f:expr) => {
            orders.iter().map($f).collect::<Vec<_>>()
        };
    }
    let question = |o: &Settled| match o.next_question {
        NextQuestion::Keep => (false, None),
        NextQuestion::Never => (true, None),
        NextQuestion::InMs(ms) => (true, Some(ms as f64)),
    };
    let stored = tx
        .execute(
            "UPDATE outbox_orders o
                SET state = u.state, exec_seq = u.exec_seq, executed_qty = u.executed_qty,
                    avg_price = u.avg_price, broker_ref = u.broker_ref, working_qty = u.working_qty,
                    realised_pnl = u.realised_pnl, query_no = u.query_no,
                    next_query_at = CASE WHEN u.asks
                        THEN clock_timestamp() + u.ask_in_ms * interval '1 millisecond'
                        ELSE o.next_query_at END,
                    broker_response = coalesce(u.response, o.broker_response)
               FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::numeric[], $6::numeric[],
                           $7::text[], $8::numeric[], $9::numeric[], $10::int[], $11::bool[],
                           $12::float8[], $13::jsonb[])
                 AS u (key, expected, exec_seq, state, executed_qty, avg_price, broker_ref, working_qty,
                       realised_pnl, query_no, asks, ask_in_ms, response)
              WHERE o.idempotency_key = u.key AND o.exec_seq = u.expected",
            &[
                &column!(|o| o.key.as_str()),
                &column!(|o| o.expected_seq),
                &column!(|o| o.exec_seq),
                &column!(|o| o.state.as_str()),
                &column!(|o| o.executed_qty),
                &column!(|o| o.avg_price),
                &column!(|o| o.broker_ref.as_deref()),
                &column!(|o| o.working_qty),
                &column!(|o| o.realised_pnl),
                &column!(|o| o.query_no),
                &column!(|o| question(o).0),
                &column!(|o| question(o).1),
                &column!(|o| o.response.as_ref().map(Json)),
            ],
        )
        .await?;
    store_fills(tx, orders).await?;
    for order in orders.iter().filter(|o| !o.quarantined.is_empty()) {
        tx.execute(
            "UPDATE outbox_orders SET quarantined = quarantined || $2 WHERE idempotency_key = $1",
            &[&order.key.as_str(), &order.quarantined],
        )
        .await?;
    }
    Ok(stored)
}

async fn store_fills(
    tx: &Transaction<'_>,
    orders: &[Settled],
) -> Result<(), tokio_postgres::Error> {
    let fills: Vec<(&str, &Fill)> =
        orders.iter().flat_map(|o| o.new_fills.iter().map(|f| (o.key.as_str(), f))).collect();
    if fills.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($f:expr) => {
            fills.iter().map($f).collect::<Vec<_>>()
        };
    }
    tx.execute(
        "INSERT INTO order_fills (idempotency_key, fill_id, px, qty, filled_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::timestamptz[])",
        &[
            &column!(|(key, _)| *key),
            &column!(|(_, f)| f.fill_id.as_str()),
            &column!(|(_, f)| f.px),
            &column!(|(_, f)| f.qty),
            &column!(|(_, f)| PgTime(f.at)),
        ],
    )
    .await?;
    Ok(())
}
