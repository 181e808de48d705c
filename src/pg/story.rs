//! The story of a trace: the ledger's rows, the sends, and what the obs_* tables say, as of one moment.
//! Never changes anything.

mod held;
mod hops;
mod notified;
mod parts;

use std::collections::HashMap;

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::{Error, Row};

pub use self::parts::*;
use super::PgTime;

/// The story of a trace, or of an order by its key; none if nothing is known under this name.
pub async fn tell(client: &mut Client, name: &str) -> Result<Option<Story>, Error> {
    let tx = super::moment(client).await?;
    let Some((trace_id, idempotency_key)) = find(&tx, name).await? else { return Ok(None) };
    let mut orders = ledger(&tx, &trace_id).await?;
    decisions(&tx, &trace_id, &mut orders).await?;
    if let Some(key) = &idempotency_key {
        orders.retain(|order| order.idempotency_key == *key);
    }
    parts(&tx, &trace_id, &mut orders).await?;
    let alerts = alerts(&tx, &trace_id, idempotency_key.as_deref()).await?;
    let dead_letters = hops::letters(&alerts);
    let notifications = notified::notifications(&tx, &alerts, &orders).await?;
    let timeline = hops::hops(&tx, &trace_id, &dead_letters).await?;
    let timeline = notified::among(timeline, &notifications);
    let owed = owed(&tx, &trace_id).await?;
    let told_at = tx.query_one("SELECT clock_timestamp()", &[]).await?.try_get::<_, PgTime>(0)?.0;
    Ok(Some(Story {
        trace_id,
        idempotency_key,
        orders,
        alerts,
        dead_letters,
        notifications,
        timeline,
        owed,
        told_at,
    }))
}

/// The trace that is meant, and the key if it is one of its orders that is meant, by its own key or a command's.
async fn find(tx: &Transaction<'_>, name: &str) -> Result<Option<(String, Option<String>)>, Error> {
    let known = "SELECT EXISTS (SELECT FROM outbox_orders WHERE trace_id = $1)
                     OR EXISTS (SELECT FROM obs_trace_timeline WHERE trace_id = $1)
                     OR EXISTS (SELECT FROM owed_events WHERE convert_to($1, 'UTF8') = ANY(keys))";
    if tx.query_one(known, &[&name]).await?.try_get(0)? {
        return Ok(Some((name.to_string(), None)));
    }
    let key =
        "SELECT trace_id, idempotency_key FROM outbox_orders WHERE idempotency_key = $1 AND trace_id IS NOT NULL
               UNION ALL
               SELECT trace_id, idempotency_key FROM obs_exec_events WHERE idempotency_key = $1
               UNION ALL
               SELECT trace_id, target_key FROM order_commands WHERE target_key = $1
               UNION ALL
               SELECT coalesce(o.trace_id, c.trace_id), o.idempotency_key
                 FROM order_commands c LEFT JOIN outbox_orders o ON o.idempotency_key = c.target_key
                WHERE c.idempotency_key = $1
               LIMIT 1";
    let row = tx.query_opt(key, &[&name]).await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

fn time(row: &Row, at: &str) -> Result<Timestamp, Error> {
    row.try_get::<_, PgTime>(at).map(|t| t.0)
}

fn time_opt(row: &Row, at: &str) -> Result<Option<Timestamp>, Error> {
    row.try_get::<_, Option<PgTime>>(at).map(|t| t.map(|t| t.0))
}

async fn ledger(tx: &Transaction<'_>, trace: &str) -> Result<Vec<Order>, Error> {
    let rows =
        tx.query("SELECT * FROM outbox_orders WHERE trace_id = $1 ORDER BY id", &[&trace]).await?;
    let read = |row: &Row| {
        let ledger = Ledger {
            account: row.try_get("account")?,
            symbol: row.try_get("symbol")?,
            action: row.try_get("action")?,
            requested_qty: row.try_get("requested_qty")?,
            decided_qty: row.try_get("decided_qty")?,
            order_type: row.try_get("order_type")?,
            limit_price: row.try_get("limit_price")?,
            stop_price: row.try_get("stop_price")?,
            reference_price: row.try_get("reference_price")?,
            stop_loss: row.try_get("stop_loss")?,
            take_profit: row.try_get("take_profit")?,
            time_in_force: row.try_get("time_in_force")?,
            strategy: row.try_get("strategy")?,
            requested_at: time(row, "requested_at")?,
            valid_until: time_opt(row, "valid_until")?,
            decided_at: time(row, "decided_at")?,
            dispatch_by: time_opt(row, "dispatch_by")?,
            sent_at: time_opt(row, "sent_at")?,
            state: row.try_get("state")?,
            exec_seq: row.try_get("exec_seq")?,
            executed_qty: row.try_get("executed_qty")?,
            avg_price: row.try_get("avg_price")?,
            working_qty: row.try_get("working_qty")?,
            realised_pnl: row.try_get("realised_pnl")?,
            next_query_at: time_opt(row, "next_query_at")?,
            query_no: row.try_get("query_no")?,
            quarantined: row.try_get("quarantined")?,
            opening_qty: row.try_get("opening_qty")?,
            opening_notional: row.try_get("opening_notional")?,
            created_at: time(row, "created_at")?,
            source_at: time_opt(row, "source_at")?,
            traceparent: row.try_get("traceparent")?,
            tracestate: row.try_get("tracestate")?,
            broker_ref: row.try_get("broker_ref")?,
            source_partition: row.try_get("source_partition")?,
            source_offset: row.try_get("source_offset")?,
        };
        let (key, decision) = (row.try_get("idempotency_key")?, row.try_get("payload")?);
        Ok(Order { ledger: Some(ledger), ..Order::new(key, decision) })
    };
    rows.iter().map(read).collect()
}

impl Order {
    fn new(idempotency_key: String, decision: Value) -> Self {
        Self {
            idempotency_key,
            decision,
            ledger: None,
            decision_written: false,
            recorded: None,
            halts: Vec::new(),
            cancel: None,
            attempts: Vec::new(),
            fills: Vec::new(),
            commands: Vec::new(),
            steps: Vec::new(),
            metrics: None,
        }
    }
}

/// Marks the orders whose decision is written, and adds those that the ledger does not have.
async fn decisions(
    tx: &Transaction<'_>,
    trace: &str,
    orders: &mut Vec<Order>,
) -> Result<(), Error> {
    let rows = tx
        .query(
            "SELECT decision ->> 'idempotency_key', decision || features || jsonb_build_object('trace_id', trace_id,
                    'engine_version', engine_version, 'strategy_name', strategy_name, 'score', score::text,
                    'reason', reason, 'price', price::text)
               FROM obs_decisions WHERE trace_id = $1 ORDER BY made_at, event_id",
            &[&trace],
        )
        .await?;
    let places: HashMap<String, usize> =
        orders.iter().map(|order| order.idempotency_key.clone()).zip(0..).collect();
    for row in &rows {
        let key: String = row.try_get(0)?;
        match places.get(&key) {
            Some(place) => {
                let order = &mut orders[*place];
                (order.decision_written, order.recorded) = (true, Some(row.try_get(1)?));
            }
            None => {
                let order = Order::new(key, row.try_get(1)?);
                let recorded = Some(order.decision.clone());
                orders.push(Order { decision_written: true, recorded, ..order });
            }
        }
    }
    Ok(())
}

/// Attempts, fills, steps and metrics, each to its order.
async fn parts(tx: &Transaction<'_>, trace: &str, orders: &mut [Order]) -> Result<(), Error> {
    let keys: Vec<String> = orders.iter().map(|order| order.idempotency_key.clone()).collect();
    let places: HashMap<&str, usize> = keys.iter().map(String::as_str).zip(0..).collect();
    let of = |row: &Row| -> Result<Option<usize>, Error> {
        Ok(places.get(row.try_get::<_, &str>("idempotency_key")?).copied())
    };
    let sql = "SELECT * FROM send_attempts WHERE idempotency_key = ANY($1) ORDER BY attempt_no";
    for row in tx.query(sql, &[&keys]).await? {
        let Some(at) = of(&row)? else { continue };
        orders[at].attempts.push(Attempt {
            attempt_no: row.try_get("attempt_no")?,
            worker: row.try_get("worker")?,
            started_at: time(&row, "started_at")?,
            ended_at: time_opt(&row, "ended_at")?,
            outcome: row.try_get("outcome")?,
            detail: row.try_get("detail")?,
            client_order_id: row.try_get("client_order_id")?,
            capabilities: row.try_get("capabilities")?,
        });
    }
    let sql =
        "SELECT * FROM order_fills WHERE idempotency_key = ANY($1) ORDER BY filled_at, fill_id";
    for row in tx.query(sql, &[&keys]).await? {
        let Some(at) = of(&row)? else { continue };
        orders[at].fills.push(Fill {
            fill_id: row.try_get("fill_id")?,
            px: row.try_get("px")?,
            qty: row.try_get("qty")?,
            filled_at: time(&row, "filled_at")?,
        });
    }
    let sql = "SELECT * FROM order_commands WHERE target_key = ANY($1)
                ORDER BY decided_at, idempotency_key";
    for row in tx.query(sql, &[&keys]).await? {
        let Some(at) = places.get(row.try_get::<_, &str>("target_key")?) else { continue };
        orders[*at].commands.push(command(&row)?);
    }
    for (key, held) in held::halts(tx, &keys).await? {
        let Some(at) = places.get(key.as_str()) else { continue };
        orders[*at].halts.push(held);
    }
    for (key, cancel) in held::cancels(tx, &keys).await? {
        let Some(at) = places.get(key.as_str()) else { continue };
        orders[*at].cancel = Some(cancel);
    }
    let sql = "SELECT * FROM obs_exec_events WHERE trace_id = $1 ORDER BY exec_seq, event_id";
    for row in tx.query(sql, &[&trace]).await? {
        let Some(at) = of(&row)? else { continue };
        orders[at].steps.push(step(&row)?);
    }
    // By its first step: the table has no index by trace.
    let sql = "SELECT m.* FROM obs_exec_events e
                 JOIN obs_do_metrics m ON m.event_id = e.event_id AND m.first_at = e.sent_at
                WHERE e.trace_id = $1";
    for row in tx.query(sql, &[&trace]).await? {
        let Some(at) = of(&row)? else { continue };
        orders[at].metrics = Some(Metrics {
            retry_counts: row.try_get("retry_counts")?,
            partial_fills: row.try_get("partial_fills")?,
            slippage: row.try_get("slippage")?,
            queue_ms: row.try_get("queue_ms")?,
            broker_rtt_ms: row.try_get("broker_rtt_ms")?,
            total_ms: row.try_get("total_ms")?,
        });
    }
    Ok(())
}

fn command(row: &Row) -> Result<Command, Error> {
    Ok(Command {
        idempotency_key: row.try_get("idempotency_key")?,
        trace_id: row.try_get("trace_id")?,
        action: row.try_get("action")?,
        qty: row.try_get("qty")?,
        limit_price: row.try_get("limit_price")?,
        why: row.try_get("why")?,
        decided_at: time(row, "decided_at")?,
        status: row.try_get("status")?,
        code: row.try_get("code")?,
        reason: row.try_get("reason")?,
    })
}

fn step(row: &Row) -> Result<Step, Error> {
    Ok(Step {
        exec_seq: row.try_get("exec_seq")?,
        sent_at: time(row, "sent_at")?,
        ingested_at: time_opt(row, "ingested_at")?,
        status: row.try_get("status")?,
        provider: row.try_get("provider")?,
        order_id: row.try_get("order_id")?,
        executed_qty: row.try_get("executed_qty")?,
        avg_price: row.try_get("avg_price")?,
        reason_code: row.try_get("reason_code")?,
        queue_ms: row.try_get("queue_ms")?,
        broker_rtt_ms: row.try_get("broker_rtt_ms")?,
        total_ms: row.try_get("total_ms")?,
        response: row.try_get("response")?,
    })
}

async fn alerts(tx: &Transaction<'_>, trace: &str, key: Option<&str>) -> Result<Vec<Alert>, Error> {
    let rows = tx
        .query(
            "SELECT * FROM obs_alerts
              WHERE trace_id = $1 AND ($2::text IS NULL OR idempotency_key IS NOT DISTINCT FROM $2)
              ORDER BY created_at, event_id",
            &[&trace, &key],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Alert {
            idempotency_key: row.try_get("idempotency_key")?,
            policy_name: row.try_get("policy_name")?,
            severity: row.try_get("severity")?,
            reason: row.try_get("reason")?,
            details: row.try_get("details")?,
            created_at: time(row, "created_at")?,
            ingested_at: time_opt(row, "ingested_at")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn owed(tx: &Transaction<'_>, trace: &str) -> Result<Vec<Owed>, Error> {
    let rows = tx
        .query(
            "SELECT e.topic, count(*) AS events, min(o.created_at) AS oldest
               FROM owed_events o CROSS JOIN unnest(o.topics, o.keys) AS e (topic, key)
              WHERE e.key = convert_to($1, 'UTF8') GROUP BY e.topic ORDER BY e.topic",
            &[&trace],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Owed {
            topic: row.try_get("topic")?,
            events: row.try_get("events")?,
            oldest: time(row, "oldest")?,
        })
    };
    rows.iter().map(read).collect()
}
