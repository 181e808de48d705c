//! Topic `quotes` (compacted): the newest price of one symbol.

use apache_avro::Schema;
use jiff::Timestamp;
use rust_decimal::Decimal;

use super::avro::{self, record};
use super::{DecodeError, EncodeError, Subject};
use crate::domain::event::Quote;
use crate::domain::text::Symbol;

struct Quoted {
    symbol: Symbol,
    bid: Decimal,
    ask: Decimal,
    at: Timestamp,
}

record!(Quoted { symbol, bid, ask, at });

/// The Avro body.
pub fn encode(symbol: &Symbol, quote: &Quote) -> Result<Vec<u8>, EncodeError> {
    let Quote { bid, ask, at } = *quote;
    avro::encode(Subject::Quote, &Quoted { symbol: symbol.clone(), bid, ask, at })
}

/// The value of an Avro body that was written by `writer`.
pub fn decode(body: &[u8], writer: &Schema) -> Result<(Symbol, Quote), DecodeError> {
    let Quoted { symbol, bid, ask, at } = avro::decode(Subject::Quote, body, writer)?;
    Ok((symbol, Quote { bid, ask, at }))
}
