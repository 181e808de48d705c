//! Owns the JSON Schemas (draft 7) of the policy files, for editors: `configs/schema/*.json`.
//! Never decides: the strict reader does. A schema cannot tell duplicate keys, unknown zones or too many digits.
//! Invariant: its keys are the reader's keys (a test asks the reader).

mod slo;

use serde_json::{Map, Value, json};

pub use self::slo::slo;
use super::routes;
use crate::domain::notice::routes::Pace;
use crate::domain::text::{Account, StrategyName, Symbol, Timeframe};

/// How a number may be written as a text.
const NUMBER: &str = r"^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$";
const COUNT: &str = r"^\+?[0-9]+$";
/// A time of day up to 23:59, and one up to 24:00.
const FROM: &str = "([01][0-9]|2[0-3]):[0-5][0-9]";
const TO: &str = "(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)";

/// `configs/quality_policy.yml`.
pub fn quality() -> Value {
    let mut keys = quality_limits();
    let own = json!({"type": ["object", "null"], "additionalProperties": false,
        "properties": quality_limits()});
    keys.insert(
        "timeframes".into(),
        named("Limits of single timeframes, key by key over these.", Timeframe::ALLOWED, own),
    );
    file("Limits of the quality gate", keys)
}

fn quality_limits() -> Map<String, Value> {
    let share = Some(1);
    keys([
        ("max_data_lag_min", number("Minutes; older data is FLAT.", None, "30")),
        (
            "max_missing_ratio",
            number("A larger share of missing data scales the order.", share, "0.05"),
        ),
        (
            "slope",
            number("How much of an order goes per share missing above the limit.", None, "2"),
        ),
        ("floor", number("The least multiplier of SCALE.", share, "0.3")),
        ("flat_missing_ratio", number("A larger share of missing data is FLAT.", share, "0.4")),
        ("exit_ratio", number("A state is left at its limit times this.", share, "0.8")),
        (
            "on_unknown",
            word("What an absent, NaN, infinite or negative metric does.", &["flat", "ok"]),
        ),
    ])
}

/// `configs/profiles.yaml`.
pub fn profiles() -> Value {
    let mut keys = profile();
    let mut cohort = Map::new();
    cohort.insert(
        "percent".into(),
        needed(number("Share of traces, 0 to 100, at most 4 decimals.", Some(100), "")),
    );
    cohort.insert(
        "salt".into(),
        json!({"type": ["string", "number"], "minLength": 1, "maxLength": 64,
        "description": "Makes this draw independent of others."}),
    );
    cohort.insert("version".into(), count("A new version draws anew.", "1"));
    let challenger = section("Key by key over the rest of the file.", profile());
    cohort.insert("challenger".into(), challenger);
    let mut cohort = section("A share of the traces, decided by another profile.", cohort);
    cohort["required"] = json!(["percent", "salt", "challenger"]);
    keys.insert("cohort".into(), cohort);
    file("How proposals become one order", keys)
}

fn profile() -> Map<String, Value> {
    let inner = keys([
        ("rollout_percent", number("Share of the quantity that is traded.", Some(100), "30")),
        ("min_confidence", number("A proposal below it is dropped.", Some(1), "0.4")),
        ("combine", word("How candidates become one quantity.", &["weighted_sum", "best_one"])),
        ("alpha_risk", number("How much safety counts against confidence.", Some(1), "0.35")),
    ]);
    let weight = needed(number("The strategy's weight; 0 drops it.", None, ""));
    keys([
        ("default", section("How every trace is decided.", inner)),
        ("weights", named("All the strategies that are known.", StrategyName::ALLOWED, weight)),
    ])
}

/// `configs/risk_policy.yml`.
pub fn risk() -> Value {
    let limits = exclusive_hours(section("Limits; an absent one is off.", risk_limits()));
    let limit = || json!({"$ref": "#/definitions/limits"});
    let mut schema = file(
        "Limits of the risk gate",
        keys([
            ("default", limit()),
            ("overrides", named("Per symbol, key by key over default.", Symbol::ALLOWED, limit())),
        ]),
    );
    schema["definitions"] = json!({"limits": limits});
    schema
}

fn risk_limits() -> Map<String, Value> {
    let symbol = json!({"type": "string", "pattern": whole(Symbol::ALLOWED)});
    let window = json!({"type": "string", "description": "HH:MM-HH:MM, half-open, may cross midnight.",
        "pattern": format!(r"^(?!\s*(\d\d:\d\d)\s*-\s*\1\s*$)\s*{FROM}\s*-\s*{TO}\s*$")});
    keys([
        (
            "max_position_notional",
            number("What a position may reach, account currency.", None, "off"),
        ),
        ("max_order_qty", number("Units of one order.", None, "off")),
        (
            "max_trace_notional",
            number("What one trace may open in all, account currency.", None, "off"),
        ),
        (
            "max_daily_loss",
            number("Realised loss of the UTC day from which nothing opens.", None, "off"),
        ),
        (
            "price_collar_pct",
            number("How far a limit price may be from the quote's mid, percent.", Some(100), "off"),
        ),
        (
            "shrink_after_losses_pct",
            number("By how much openings shrink, percent: 30 keeps 70 %.", Some(100), "50"),
        ),
        (
            "max_consecutive_losses",
            count("From so many losses in a row on, openings shrink; 0 is off.", "0"),
        ),
        ("max_orders_per_minute", count("Orders of the (account, symbol) in 60 s.", "off")),
        ("max_quote_age_s", count("An older quote or reference price is not used, seconds.", "60")),
        (
            "notional_basis",
            word("qty: 1 unit = 1, no price and no contract size.", &["price", "qty"]),
        ),
        ("forbidden_symbols", list("Symbols that are not traded.", symbol)),
        (
            "trading_hours_utc",
            list("When orders may be decided, UTC; an empty list is always.", window),
        ),
        ("trading_hours", trading_hours()),
    ])
}

fn trading_hours() -> Value {
    let time = |last: &str| json!({"type": "string", "pattern": format!("^{last}$")});
    let days = json!({"type": "array",
        "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}});
    let mut session = section(
        "It belongs to the day on which it starts.",
        keys([("days", days), ("from", time(FROM)), ("to", time(TO))]),
    );
    session["type"] = json!("object");
    session["required"] = json!(["days", "from", "to"]);
    let day =
        json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "date"});
    let zone = json!({"type": "string", "minLength": 1, "description": "e.g. America/New_York"});
    let mut hours = section(
        "Sessions of a zone's week, in place of trading_hours_utc.",
        keys([
            ("zone", zone),
            ("sessions", list("When it is open; none is always.", session)),
            ("holidays", list("Days of the zone on which it is closed.", day)),
        ]),
    );
    hours["required"] = json!(["zone"]);
    hours
}

/// Both kinds of hours may stand there only if one of them is null.
fn exclusive_hours(mut limits: Value) -> Value {
    limits["not"] = json!({
        "type": "object",
        "required": ["trading_hours_utc", "trading_hours"],
        "properties": {"trading_hours_utc": {"type": "array"}, "trading_hours": {"type": "object"}},
    });
    limits
}

/// `configs/instruments.yml`.
pub fn instruments() -> Value {
    let currency =
        |what: &str| json!({"type": "string", "pattern": "^[A-Z]{3}$", "description": what});
    let mut positive = number("What one unit is worth in units of the base.", None, "1");
    positive["exclusiveMinimum"] = json!(0);
    let mut step = number("Quantities are multiples of it; at most 6 decimals.", None, "0.000001");
    step["exclusiveMinimum"] = json!(0);
    let inner = keys([
        ("contract_size", positive),
        ("qty_step", step),
        ("min_qty", number("The least quantity that may be sent; at most 6 decimals.", None, "0")),
        ("quote_currency", currency("Unless given, the last three letters of a symbol of six.")),
    ]);
    let instrument = section("What is known of a symbol.", inner);
    let known = ["account_currency", "accounts"];
    let mut schema = file(
        "What is known of instruments and accounts",
        keys([
            (known[0], currency("Of every account that is not under accounts.")),
            (known[1], named("Currencies of single accounts.", Account::ALLOWED, currency(""))),
        ]),
    );
    schema["additionalProperties"] = instrument;
    schema["propertyNames"] =
        json!({"anyOf": [{"enum": known}, {"pattern": whole(Symbol::ALLOWED)}]});
    schema
}

/// `configs/notify.yml`.
pub fn notify() -> Value {
    let receivers =
        |what: &str| list(what, json!({"type": "string", "pattern": whole(routes::NAME)}));
    let texts =
        |what: &str| list(what, json!({"type": "string", "minLength": 1, "maxLength": 100}));
    let words: Vec<&str> = routes::SEVERITIES.iter().map(|(word, _)| *word).collect();
    let mut receiver =
        section("Somebody who is told.", called().into_iter().chain(kind()).collect());
    receiver["required"] = json!(["kind"]);
    let mut route = section(
        "Holds if every part of it does; the first that holds decides.",
        keys([
            ("severity", list("These severities.", json!({"enum": words}))),
            ("policy_name", texts("These rules; * stands for anything.")),
            ("account", texts("These accounts.")),
            ("symbol", texts("These symbols.")),
            ("to", receivers("Who is told; [] is silence.")),
            ("continue", whether("The routes after this one are looked at, too.")),
        ]),
    );
    route["type"] = json!("object");
    route["required"] = json!(["to"]);
    let mut heartbeat = called();
    heartbeat.insert("every_s".into(), seconds("How often.", 5, 86_400, 60));
    let address = json!({"type": "string", "pattern": "^https?://"});
    heartbeat.insert("probes".into(), list("Addresses that must answer 200 before.", address));
    file_of(
        "Who is told of alerts and SLO violations",
        "docs/notify.md explains each key.",
        keys([
            ("receivers", named("Who can be told, by name.", routes::NAME, receiver)),
            ("routes", list("Looked at in this order.", route)),
            ("default", receivers("Who is told of what no route holds for.")),
            ("heartbeat", section("Told again and again that all is well.", heartbeat)),
            ("pace", section("How fast.", pace())),
        ]),
    )
}

fn kind() -> Map<String, Value> {
    keys([("kind", json!({"description": "How it is called.", "enum": ["slack", "webhook"]}))])
}

fn called() -> Map<String, Value> {
    let url = json!({"type": ["string", "null"], "pattern": "^https?://[^\\s@/?#]+([/?#]\\S*)?$",
        "description": "Its address, unless NOCTUS_NOTIFY_<NAME>_URL has it."});
    keys([
        ("url", url),
        ("allow_http", whether("Plain HTTP may be used.")),
        (
            "allow_private",
            whether("Addresses of this machine and of private networks may be called."),
        ),
    ])
}

fn pace() -> Map<String, Value> {
    let d = Pace::default();
    keys([
        ("flush_s", seconds("Changes are gathered for so long.", 1, 600, d.flush_s)),
        (
            "critical_flush_s",
            seconds("CRITICAL waits no longer after a quiet time.", 0, 60, d.critical_flush_s),
        ),
        ("retry_max_s", seconds("Longest pause between two attempts.", 1, 3_600, d.retry_max_s)),
        (
            "give_up_s",
            seconds("A message not delivered by then has failed.", 1, 604_800, d.give_up_s),
        ),
        (
            "resolve_after_s",
            seconds("Without another alert it is over.", 1, 604_800, d.resolve_after_s),
        ),
        ("slo_clear_s", seconds("A violation not shown is over.", 0, 86_400, d.slo_clear_s)),
        ("remind_after_s", seconds("What goes on is told again.", 1, 2_592_000, d.remind_after_s)),
        ("stale_after_s", seconds("An older alert opens nothing.", 60, 2_592_000, d.stale_after_s)),
    ])
}

fn whether(what: &str) -> Value {
    json!({"description": described(what, "false"), "enum": [true, false, "true", "false", null]})
}

fn seconds(what: &str, least: u32, most: u32, unless_given: u32) -> Value {
    let mut schema = count(what, &unless_given.to_string());
    (schema["minimum"], schema["maximum"]) = (json!(least), json!(most));
    schema["type"] = json!(["integer", "string"]);
    schema
}

fn file(title: &str, properties: Map<String, Value>) -> Value {
    file_of(title, "docs/policies.md explains each key.", properties)
}

fn file_of(title: &str, description: &str, properties: Map<String, Value>) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "description": description,
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn keys<const N: usize>(of: [(&str, Value); N]) -> Map<String, Value> {
    of.into_iter().map(|(key, schema)| (key.to_string(), schema)).collect()
}

/// A pattern for the whole text.
fn whole(allowed: &str) -> String {
    format!("^{allowed}$")
}

/// A section with these keys and no others; nothing in it is an empty one.
fn section(what: &str, properties: Map<String, Value>) -> Value {
    json!({"description": what, "type": ["object", "null"], "additionalProperties": false,
        "properties": properties})
}

/// A section whose keys are names.
fn named(what: &str, allowed: &str, each: Value) -> Value {
    json!({"description": what, "type": ["object", "null"],
        "propertyNames": {"pattern": whole(allowed)}, "additionalProperties": each})
}

fn list(what: &str, item: Value) -> Value {
    json!({"description": what, "type": ["array", "null"], "items": item})
}

/// A number of 0 or more, quoted or not; `unless_given` is what holds if it is absent.
fn number(what: &str, most: Option<u32>, unless_given: &str) -> Value {
    let mut schema = json!({"description": described(what, unless_given),
        "type": ["number", "string", "null"], "minimum": 0, "pattern": NUMBER});
    if let Some(most) = most {
        schema["maximum"] = json!(most);
    }
    schema
}

/// The same where nothing is no number.
fn needed(mut number: Value) -> Value {
    number["type"] = json!(["number", "string"]);
    number
}

fn count(what: &str, unless_given: &str) -> Value {
    json!({"description": described(what, unless_given), "type": ["integer", "string", "null"],
        "minimum": 0, "maximum": u32::MAX, "pattern": COUNT})
}

fn word(what: &str, words: &[&str]) -> Value {
    let mut all: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    all.push(Value::Null);
    json!({"description": described(what, words[0]), "enum": all})
}

fn described(what: &str, unless_given: &str) -> String {
    if unless_given.is_empty() {
        what.into()
    } else {
        format!("{what} Unless given: {unless_given}.")
    }
}
