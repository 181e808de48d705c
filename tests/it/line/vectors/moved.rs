//! A case of the vectors, and the same case moved to now, under an account, a symbol and a key of its own.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use noctus::domain::event::Quote;
use noctus::domain::policy::{InstrumentsPolicy, ProfilesPolicy, risk};
use noctus::domain::request::{OrderDraft, ProposalSetDraft};
use noctus::domain::text::Symbol;
use noctus::kafka::producer::Outgoing;
use noctus::ops::judge::case::Cases;
use noctus::wire::{self, Subject};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::super::Line;
use super::hours;

/// For so long after the facts were written a case holds; a group must be decided by then.
pub const WINDOW_S: i64 = 50;

/// Why a case does not go through the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// It holds for a moment only: neither for the window after its time nor for the one before.
    Moment,
    /// A proposal set with prices or a time in force, which it does not have on the wire.
    TermsOfASet,
}

/// A case as it stands in the file.
pub struct Case {
    pub name: String,
    pub is_set: bool,
    number: usize,
    now: Timestamp,
    request: Map<String, Value>,
    facts: Value,
    policies: Value,
    pub expect: Value,
    /// Whether it holds before its time and not after it.
    holds_before: bool,
}

/// A case that goes through the line.
pub struct Moved {
    pub name: String,
    pub is_set: bool,
    pub account: String,
    pub key: String,
    pub expect: Value,
    /// The facts, their times moved.
    pub facts: Value,
    /// When it was moved; it holds from then on.
    pub began: Timestamp,
    symbol: Symbol,
    /// What its price is in, a currency of its own unless the rate is 1.
    currency: String,
    request: Map<String, Value>,
    /// Limits, instrument and, if they are its own, limits of quality of its timeframe; what a set is decided by.
    limits: Value,
    instrument: Value,
    quality: Option<(String, Value)>,
    profiles: Option<Value>,
    policies: Value,
}

/// The cases that go through the line, and those that do not.
pub fn sorted() -> (Vec<Case>, Vec<(Case, LeftOut)>) {
    let files = [
        include_str!("../../../vectors/judge.jsonl"),
        include_str!("../../../vectors/judge-random.jsonl"),
    ];
    let mut judge = Cases::default();
    let (mut carried, mut left_out) = (Vec::new(), Vec::new());
    for (number, line) in files.iter().flat_map(|file| file.lines()).enumerate() {
        let mut case = Case::read(number, line);
        let mut holds = |sign| case.holds(line, sign, &mut judge);
        let (terms, after) = (case.has_terms(), holds(1));
        match (terms, after || holds(-1)) {
            (true, _) => left_out.push((case, LeftOut::TermsOfASet)),
            (false, false) => left_out.push((case, LeftOut::Moment)),
            (false, true) => {
                case.holds_before = !after;
                carried.push(case);
            }
        }
    }
    (carried, left_out)
}

impl Case {
    fn read(number: usize, line: &str) -> Self {
        let mut case: Map<String, Value> = serde_json::from_str(line).expect("a case");
        let mut take = |member: &str| case.remove(member).unwrap_or_default();
        let (request, set) = (take("request"), take("proposal_set"));
        let is_set = !set.is_null();
        let Value::Object(request) = (if is_set { set } else { request }) else {
            panic!("case {number} asks for nothing")
        };
        Self {
            number,
            name: take("name").as_str().expect("a name").to_string(),
            now: time(&take("now")),
            is_set,
            request,
            facts: take("facts"),
            policies: take("policies"),
            expect: take("expect"),
            holds_before: false,
        }
    }

    fn has_terms(&self) -> bool {
        let given = |name: &str| self.request.get(name).filter(|value| !value.is_null());
        let terms = ["limit_price", "stop_price"].iter().any(|name| given(name).is_some());
        self.is_set && (terms || given("time_in_force").is_some_and(|tif| tif != "GTC"))
    }

    /// Whether what it expects holds for the whole window after (or before) its time, as the clock moves.
    fn holds(&self, line: &str, sign: i64, judge: &mut Cases) -> bool {
        let steps = (0..=WINDOW_S / 5).map(|n| n * 5_000).chain([1, 1_000]);
        let mut case: Value = serde_json::from_str(line).expect("a case");
        steps.into_iter().all(|ms| {
            case["now"] = json!(self.now + SignedDuration::from_millis(sign * ms));
            judge.answer(&case.to_string()).differences().is_empty()
        })
    }

    /// What its profiles are, whatever their text.
    pub fn profiles_digest(&self) -> String {
        let given = &self.policies["profiles"];
        let text = if given.is_null() { "{}".into() } else { given.to_string() };
        digest(&ProfilesPolicy::parse("profiles", &text).expect("a good policy"))
    }

    /// The plan's profiles.
    pub fn plan_digest() -> String {
        digest(&ProfilesPolicy::default())
    }

    /// The same with its times moved so that it holds from this moment on.
    pub fn moved_to(self, began: Timestamp) -> Moved {
        let window = SignedDuration::from_secs(if self.holds_before { WINDOW_S } else { 0 });
        let now = began + window;
        let shift = now.duration_since(self.now);
        let old = Symbol::new(self.request["symbol"].as_str().expect("a symbol")).expect("one");
        let symbol = Symbol::new(&format!("V{:03}", self.number)).expect("a symbol");
        let (account, key) =
            (format!("vectors-{:03}", self.number), format!("vectors-{:03}", self.number));
        let letters = [self.number / 26 % 26, self.number % 26].map(|n| b'A' + n as u8);
        let of_its_own = format!("X{}", String::from_utf8_lossy(&letters));
        let currency = match self.facts["rate"].as_str() {
            Some("1") => "JPY".into(),
            _ => of_its_own,
        };
        let mut request = self.request;
        for field in ["requested_at", "valid_until", "as_of"] {
            if let Some(value) = request.get_mut(field) {
                *value = json!(time(value) + shift);
            }
        }
        for (field, value) in
            [("account", &*account), ("symbol", &*symbol), ("idempotency_key", &*key)]
        {
            request.insert(field.into(), json!(value));
        }
        if self.is_set {
            // GTC, which a set is on the wire without saying so.
            request.remove("time_in_force");
        }
        let mut facts = self.facts;
        if let Some(at) = facts["quote"].get_mut("at") {
            *at = json!(time(at) + shift);
        }
        let quality = (!self.policies["quality"].is_null()).then(|| {
            assert!(!request.contains_key("timeframe"), "{} has a timeframe", self.name);
            let timeframe = format!("q{:03}", self.number);
            request.insert("timeframe".into(), json!(timeframe));
            (timeframe, self.policies["quality"].clone())
        });
        let profiles =
            Some(self.policies["profiles"].clone()).filter(|p| self.is_set && !p.is_null());
        Moved {
            limits: limits(&self.policies["risk"], &old, &symbol, self.now, now),
            instrument: instrument(&self.policies["instruments"], &old, &currency),
            name: self.name,
            is_set: self.is_set,
            expect: self.expect,
            policies: Value::Null,
            account,
            key,
            facts,
            began,
            symbol,
            currency,
            request,
            quality,
            profiles,
        }
    }
}

fn digest(profiles: &ProfilesPolicy) -> String {
    use noctus::domain::policy::{Policies, QualityPolicy, RiskPolicy};
    let (quality, risk) = (QualityPolicy::default(), RiskPolicy::default());
    let all = Policies::new(quality, profiles.clone(), risk, InstrumentsPolicy::default());
    all.digests.profiles
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

/// A decimal of a case; 0 if it is not there.
pub fn number(value: &Value) -> Decimal {
    value.as_str().map_or(Decimal::ZERO, |text| text.parse().expect("a decimal"))
}

/// Everything that a risk policy says of a symbol, said of another one at another time.
fn limits(policy: &Value, old: &Symbol, symbol: &Symbol, was: Timestamp, now: Timestamp) -> Value {
    let plan: Value;
    let policy = match policy {
        Value::Null => {
            plan = serde_saphyr::from_str(risk::PLAN).expect("the plan's file is YAML");
            &plan
        }
        given => given,
    };
    let mut limits = policy["default"].as_object().cloned().unwrap_or_default();
    if let Some(over) = policy["overrides"].get(old.as_str()).and_then(Value::as_object) {
        limits.extend(over.clone());
    }
    let known = limits.keys().all(|key| !["trading_hours", "max_quote_age_s"].contains(&&**key));
    assert!(known, "a key that this test does not move: {limits:?}");
    if let Some(forbidden) = limits.get_mut("forbidden_symbols") {
        let is = forbidden.as_array().is_some_and(|all| all.iter().any(|s| *s == old.as_str()));
        *forbidden = if is { json!([symbol.as_str()]) } else { json!([]) };
    }
    if let Some(Value::Array(windows)) = limits.get_mut("trading_hours_utc") {
        for window in windows {
            *window = json!(hours::moved(window.as_str().expect("a window"), was, now));
        }
    }
    Value::Object(limits)
}

/// What is known of a symbol, said of another one whose price is in this currency.
fn instrument(policy: &Value, old: &Symbol, currency: &str) -> Value {
    let policy = match policy {
        Value::Null => InstrumentsPolicy::default(),
        given => {
            InstrumentsPolicy::parse("instruments", &given.to_string()).expect("a good policy")
        }
    };
    let known = policy.for_symbol(old);
    json!({"contract_size": known.contract_size, "qty_step": known.qty_step,
        "min_qty": known.min_qty, "quote_currency": currency})
}

/// The files under which a gate decides these cases, by kind.
pub fn policies(cases: &[Moved]) -> BTreeMap<&'static str, Value> {
    let limits: Map<String, Value> =
        cases.iter().map(|case| (case.symbol.to_string(), case.limits.clone())).collect();
    let instruments: Map<String, Value> =
        cases.iter().map(|case| (case.symbol.to_string(), case.instrument.clone())).collect();
    let timeframes: Map<String, Value> =
        cases.iter().filter_map(|case| case.quality.clone()).collect();
    let mut policies = BTreeMap::from([
        ("risk", json!({"default": {}, "overrides": limits})),
        ("instruments", Value::Object(instruments)),
        ("quality", json!({"timeframes": timeframes})),
    ]);
    if let Some(profiles) = cases.iter().find_map(|case| case.profiles.clone()) {
        policies.insert("profiles", profiles);
    }
    policies
}

impl Moved {
    /// The same, knowing the policies of its group.
    pub fn under(self, policies: &BTreeMap<&'static str, Value>) -> Self {
        Self { policies: json!(policies), ..self }
    }

    /// Its facts as rows.
    pub fn facts_sql(&self) -> String {
        let (account, symbol, facts) = (&self.account, &self.symbol, &self.facts);
        let text = |name: &str| facts[name].as_str().unwrap_or("0").to_string();
        let count = |name: &str| facts[name].as_u64().unwrap_or(0);
        let recent = vec![self.began.as_microsecond(); count("orders_last_minute") as usize];
        let trace = self.request["trace_id"].as_str().expect("a trace");
        let timeframe = self.request.get("timeframe").and_then(Value::as_str).unwrap_or("-");
        let memory = |metric: &str| facts["quality_state"][metric].as_str().unwrap_or("ok");
        // Of tomorrow, so that a test that runs over midnight does not begin a day without losses.
        let mut sql = format!(
            "INSERT INTO risk_accounts (account, pnl_day, daily_pnl)
             VALUES ('{account}', (now() AT TIME ZONE 'UTC')::date + 1, {});
             INSERT INTO risk_positions (account, symbol, position, avg_price, working_buy, working_sell,
                                         consecutive_losses, recent_orders)
             VALUES ('{account}', '{symbol}', {}, {}, {}, {}, {}, '{recent:?}');
             INSERT INTO risk_traces (account, trace_id, opening_notional) VALUES ('{account}', '{trace}', {});",
            text("daily_pnl"),
            text("position"),
            if number(&facts["position"]).is_zero() { "NULL" } else { "100" },
            text("working_buy"),
            text("working_sell"),
            count("consecutive_losses"),
            text("trace_notional"),
        );
        let (lag, missing) = (memory("lag"), memory("missing"));
        if (lag, missing) != ("ok", "ok") {
            sql += &format!(
                "INSERT INTO quality_memory (account, symbol, timeframe, lag, missing)
                 VALUES ('{account}', '{symbol}', '{timeframe}', '{lag}', '{missing}');"
            );
        }
        if let Some(mode) = facts["halt"].as_str() {
            sql += &format!(
                "INSERT INTO halts (mode, account, reason, by_whom) VALUES ('{mode}', '{account}', 'a case', 'test');"
            );
        }
        sql
    }

    /// Its quote, and one that gives the rate to the account's currency.
    pub fn quotes(&self) -> Vec<(Symbol, Quote)> {
        let mut quotes = Vec::new();
        if !self.facts["quote"].is_null() {
            let quote = serde_json::from_value(self.facts["quote"].clone()).expect("a quote");
            quotes.push((self.symbol.clone(), quote));
        }
        if self.currency != "JPY" && !self.facts["rate"].is_null() {
            let rate = number(&self.facts["rate"]);
            assert!(rate > Decimal::ZERO, "{}: no quote gives this rate", self.name);
            let pair = Symbol::new(&format!("{}JPY", self.currency)).expect("a symbol");
            quotes.push((pair, Quote { bid: rate, ask: rate, at: self.began }));
        }
        quotes
    }

    /// Its signed record.
    pub async fn record(&self, line: &Line) -> Outgoing {
        let request = Value::Object(self.request.clone());
        let (subject, body) = if self.is_set {
            let draft: ProposalSetDraft = serde_json::from_value(request).expect("a set");
            (Subject::ProposalSet, wire::proposal_set::encode(&draft))
        } else {
            let draft: OrderDraft = serde_json::from_value(request).expect("an order");
            (Subject::OrderRequest, wire::order_request::encode(&draft))
        };
        let body = body.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        line.signed(subject, &format!("{}|{}", self.account, self.symbol), &body).await
    }

    /// The case as `noctus judge` reads it, at this moment.
    pub fn line(&self, now: Timestamp) -> Value {
        let asks = if self.is_set { "proposal_set" } else { "request" };
        json!({"name": self.name, "now": now, asks: self.request, "facts": self.facts,
            "policies": self.policies})
    }
}
