//! Topic `exec-events`: one step of one order at the broker.

use apache_avro::Schema;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::{BrokerRef, ExecEvent, Fill, LatencyMs, Replaced};

record!(ExecEvent {
    event_id,
    idempotency_key,
    exec_seq,
    trace_id,
    order_id,
    account,
    symbol,
    side,
    qty,
    status,
    last_fill,
    executed_qty,
    avg_price,
    broker,
    reason_code,
    latency_ms,
    at,
    lane_seq,
    replaced,
});
record!(Fill { fill_id, px, qty, at });
record!(BrokerRef { name, order_ref });
record!(LatencyMs { queue, broker_rtt, total });
record!(Replaced { limit_price, working_qty, opening_qty, opening_notional });

/// The Avro body. The average price, which a division made, is rounded to 9 decimals; every other
/// number must fit them.
pub fn encode(value: &ExecEvent) -> Result<Vec<u8>, EncodeError> {
    let avg_price = value.avg_price.map(avro::informative);
    avro::encode(Subject::ExecEvent, &ExecEvent { avg_price, ..value.clone() })
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<ExecEvent, DecodeError> {
    avro::decode(Subject::ExecEvent, body, writer)
}
