//! Codes of fields that are not what they may be: `invalid_<field>`.

use super::{Entry, Kind, refused};
use crate::domain::event::Severity;

macro_rules! field {
    ($name:literal, $en:literal, $ja:literal) => {
        refused!(
            concat!("invalid_", $name),
            concat!("ingest.invalid_", $name),
            Medium,
            (
                concat!("The field `", $name, "` is not what it may be: ", $en, "."),
                "Mend the producer and send it again, under the same key: it was not used up.",
            ),
            (
                concat!("フィールド `", $name, "` が許される値ではない: ", $ja, "。"),
                "送り手を直し、同じキーで送り直す。キーは消費されていない。",
            )
        )
    };
}

pub(super) const FIELDS: &[[Entry; 2]] = &[
    field!("schema_version", "a text", "文字列"),
    field!("trace_id", "[A-Za-z0-9_:.-]{1,128}", "[A-Za-z0-9_:.-]{1,128}"),
    field!("account", "[A-Za-z0-9._-]{1,32}", "[A-Za-z0-9._-]{1,32}"),
    field!("symbol", "[A-Z0-9._-]{1,20}", "[A-Z0-9._-]{1,20}"),
    field!("side", "BUY, SELL or FLAT", "BUY・SELL・FLAT のいずれか"),
    field!(
        "qty",
        "above 0 for BUY, SELL and REPLACE, 0 for FLAT, absent for CANCEL, at most 6 decimals and 28 digits",
        "BUY・SELL・REPLACE は 0 より大、FLAT は 0、CANCEL では不可、小数 6 桁・全体 28 桁まで"
    ),
    field!(
        "order_type",
        "MARKET, LIMIT, STOP or STOP_LIMIT",
        "MARKET・LIMIT・STOP・STOP_LIMIT のいずれか"
    ),
    field!(
        "limit_price",
        "above 0, given for LIMIT and STOP_LIMIT and for no other type; of a command, for REPLACE only",
        "0 より大。LIMIT と STOP_LIMIT には必須で、他の種別では不可。指令では REPLACE だけが使う"
    ),
    field!(
        "stop_price",
        "above 0, given for STOP and STOP_LIMIT and for no other type",
        "0 より大。STOP と STOP_LIMIT には必須で、他の種別では不可"
    ),
    field!("time_in_force", "GTC, IOC, FOK or DAY", "GTC・IOC・FOK・DAY のいずれか"),
    field!("requested_at", "a time in microseconds, UTC", "UTC のマイクロ秒の時刻"),
    field!("valid_until", "a time in microseconds, UTC", "UTC のマイクロ秒の時刻"),
    field!("as_of", "a time in microseconds, UTC", "UTC のマイクロ秒の時刻"),
    field!("decision_id", "a text", "文字列"),
    field!(
        "reference_price",
        "above 0, at most 9 decimals and 28 digits",
        "0 より大、小数 9 桁・全体 28 桁まで"
    ),
    field!(
        "stop_loss",
        "above 0, at most 9 decimals and 28 digits",
        "0 より大、小数 9 桁・全体 28 桁まで"
    ),
    field!(
        "take_profit",
        "above 0, at most 9 decimals and 28 digits",
        "0 より大、小数 9 桁・全体 28 桁まで"
    ),
    field!("strategy", "[A-Za-z0-9._-]{1,32}", "[A-Za-z0-9._-]{1,32}"),
    field!("timeframe", "[A-Za-z0-9._-]{1,32}", "[A-Za-z0-9._-]{1,32}"),
    field!(
        "quality",
        "missing_ratio and data_lag_min, each a number or absent",
        "missing_ratio と data_lag_min。それぞれ数値または無し"
    ),
    field!("meta", "texts by name", "名前ごとの文字列"),
    field!(
        "idempotency_key",
        "[A-Za-z0-9_-]{8,128}; a proposal set and a command must have one, a command not that of its order",
        "[A-Za-z0-9_-]{8,128}。提案セットと指令には必須で、指令は注文と別のキーを使う"
    ),
    field!("action", "CANCEL or REPLACE", "CANCEL・REPLACE のいずれか"),
    field!("target_key", "[A-Za-z0-9_-]{8,128}", "[A-Za-z0-9_-]{8,128}"),
    field!("reason", "a text of at most 200 characters", "200 文字までの文字列"),
    field!("proposals", "1 to 64 of them, each readable", "1〜64 件。それぞれ読めること"),
    field!(
        "price_hint",
        "above 0, at most 9 decimals and 28 digits, in every proposal",
        "0 より大、小数 9 桁・全体 28 桁まで (すべての提案で)"
    ),
    field!(
        "request",
        "something that can be read as one order request",
        "一つの注文要求として読めるもの"
    ),
];
