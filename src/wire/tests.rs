//! Every subject: what is written is read again; hostile bytes are refused; old versions stay readable.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rust_decimal::Decimal;
use serde_json::json;

use super::*;
use super::{Subject, quote};
use crate::domain::command::{CommandAction, CommandDraft, CommandOutcome, CommandStatus};
use crate::domain::event::*;
use crate::domain::request::*;
use crate::domain::text::{Account, IdempotencyKey, Symbol, TraceId};

fn wire_decimal() -> impl Strategy<Value = Decimal> {
    let most = 10_i128.pow(28) - 1;
    (-most..=most).prop_map(|n| Decimal::from_i128_with_scale(n, 9).normalize())
}

fn micros() -> impl Strategy<Value = Timestamp> {
    (-300_000_000_000_000_000..253_000_000_000_000_000_i64)
        .prop_map(|us| Timestamp::from_microsecond(us).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    "[^\u{0}]{0,20}"
}

fn details() -> impl Strategy<Value = serde_json::Value> {
    btree_map(text(), (text(), any::<i32>()), 0..4).prop_map(|entries| {
        let fields = entries.into_iter().map(|(name, (a, n))| (name, json!({"b": n, "a": a})));
        serde_json::Value::Object(fields.collect())
    })
}

fn symbol() -> impl Strategy<Value = Symbol> {
    "[A-Z0-9._-]{1,20}".prop_map(|s| Symbol::new(&s).unwrap())
}

fn trace() -> impl Strategy<Value = TraceId> {
    "[A-Za-z0-9_:.-]{1,128}".prop_map(|s| TraceId::new(&s).unwrap())
}

fn account() -> impl Strategy<Value = Account> {
    "[A-Za-z0-9._-]{1,32}".prop_map(|s| Account::new(&s).unwrap())
}

fn key() -> impl Strategy<Value = IdempotencyKey> {
    "[A-Za-z0-9_-]{8,128}".prop_map(|s| IdempotencyKey::new(&s).unwrap())
}

fn event_id() -> impl Strategy<Value = EventId> {
    "[0-9a-f]{32}".prop_map(EventId)
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Buy, Side::Sell, Side::Flat])
}

fn order_type() -> impl Strategy<Value = OrderType> {
    select(vec![OrderType::Market, OrderType::Limit, OrderType::Stop, OrderType::StopLimit])
}

fn time_in_force() -> impl Strategy<Value = TimeInForce> {
    select(vec![TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok, TimeInForce::Day])
}

fn intent() -> impl Strategy<Value = Intent> {
    select(vec![Intent::Long, Intent::Short, Intent::Flat])
}

fn quality() -> impl Strategy<Value = QualityInput> {
    (option::of(-1e9..1e9f64), option::of(-1e9..1e9f64))
        .prop_map(|(missing_ratio, data_lag_min)| QualityInput { missing_ratio, data_lag_min })
}

prop_compose! {
    fn order_draft()(
        (trace_id, account, symbol) in (text(), text(), text()),
        (side, order_type, time_in_force) in (side(), order_type(), time_in_force()),
        (qty, limit_price, stop_price, reference_price, stop_loss, take_profit) in (
            wire_decimal(), option::of(wire_decimal()), option::of(wire_decimal()),
            option::of(wire_decimal()), option::of(wire_decimal()), option::of(wire_decimal()),
        ),
        (requested_at, valid_until) in (micros(), option::of(micros())),
        (decision_id, strategy, timeframe, idempotency_key) in
            (option::of(text()), option::of(text()), option::of(text()), option::of(text())),
        quality in option::of(quality()),
        meta in btree_map(text(), text(), 0..5),
        version in text(),
    ) -> OrderDraft {
        OrderDraft {
            schema_version: Some(version), trace_id, account, symbol, side, qty, order_type,
            limit_price, stop_price, time_in_force, requested_at, valid_until, decision_id,
            reference_price, stop_loss, take_profit, strategy, timeframe, quality, meta,
            idempotency_key,
        }
    }
}

prop_compose! {
    fn proposal()(
        strategy in text(), intent in intent(), qty_raw in wire_decimal(),
        confidence in -2.0..2.0f64, risk_score in -2.0..2.0f64,
        price_hint in option::of(wire_decimal()), reasons in vec(text(), 0..3),
    ) -> Proposal {
        Proposal { strategy, intent, qty_raw, confidence, risk_score, price_hint, reasons }
    }
}

prop_compose! {
    fn proposal_set_draft()(
        (trace_id, account, symbol) in (text(), text(), text()),
        timeframe in option::of(text()),
        (as_of, requested_at, valid_until) in (option::of(micros()), micros(), option::of(micros())),
        reference_price in option::of(wire_decimal()),
        order_type in order_type(), quality in option::of(quality()),
        idempotency_key in text(), meta in btree_map(text(), text(), 0..5),
        proposals in vec(proposal(), 0..5),
    ) -> ProposalSetDraft {
        ProposalSetDraft {
            schema_version: Some("1.0".into()), trace_id, account, symbol, timeframe, as_of,
            requested_at, valid_until, reference_price, order_type, quality,
            idempotency_key: Some(idempotency_key), meta, proposals,
        }
    }
}

prop_compose! {
    fn quote()(bid in wire_decimal(), ask in wire_decimal(), at in micros()) -> Quote {
        Quote { bid, ask, at }
    }
}

prop_compose! {
    fn candidate()(
        strategy in text(), intent in intent(), numbers in [
            wire_decimal(), wire_decimal(), wire_decimal(), wire_decimal(), wire_decimal(),
        ], confidence in -2.0..2.0f64, risk_score in -2.0..2.0f64,
    ) -> Candidate {
        let [qty_raw, score, confidence_term, risk_term, weight] = numbers;
        Candidate {
            strategy, intent, qty_raw, score, confidence_term, risk_term, weight, confidence,
            risk_score,
        }
    }
}

fn verdict() -> impl Strategy<Value = Quality> {
    (select(vec![QualityVerdict::Ok, QualityVerdict::Scale, QualityVerdict::Flat]), wire_decimal())
        .prop_map(|(verdict, multiplier)| Quality { verdict, multiplier })
}

fn step() -> impl Strategy<Value = Step> {
    (text(), wire_decimal(), wire_decimal(), text())
        .prop_map(|(rule, before, after, reason)| Step { rule, before, after, reason })
}

prop_compose! {
    fn decision()(
        (event_id, idempotency_key, trace_id, account, symbol) in
            (event_id(), key(), trace(), account(), symbol()),
        action in select(vec![Action::Buy, Action::Sell, Action::Flat, Action::Reject]),
        (requested_qty, decided_qty, score, price, unit_value) in (
            wire_decimal(), wire_decimal(), option::of(wire_decimal()), option::of(wire_decimal()),
            option::of(wire_decimal()),
        ),
        steps in vec(step(), 0..4), quality in option::of(verdict()),
        (decision_id, strategy_name, arm, reason, engine_version) in
            (text(), option::of(text()), option::of(text()), text(), text()),
        top_candidates in vec(candidate(), 0..6), policies in [text(), text(), text(), text()],
        quote in option::of(quote()),
        (order_type, time_in_force) in (order_type(), time_in_force()),
        (requested_at, decided_at) in (micros(), micros()),
        (request, facts) in (details(), details()),
        (opening_qty, opening_notional) in
            (option::of(wire_decimal()), option::of(wire_decimal())),
    ) -> Decision {
        let [q, p, r, i] = policies;
        Decision {
            event_id, decision_id, idempotency_key, trace_id, account, symbol, action,
            requested_qty, decided_qty, steps, quality, score, strategy_name, top_candidates, arm,
            reason, engine_version,
            policies: PolicyDigests { quality: q, profiles: p, risk: r, instruments: i },
            quote, price, unit_value, order_type, time_in_force, requested_at, decided_at, request,
            facts, opening_qty, opening_notional,
        }
    }
}

prop_compose! {
    fn alert()(
        event_id in event_id(), trace_id in option::of(trace()), idempotency_key in option::of(key()),
        policy_name in text(), reason in text(), details in details(), at in micros(),
        severity in select(vec![Severity::Low, Severity::Medium, Severity::High, Severity::Critical]),
    ) -> Alert {
        Alert { event_id, trace_id, idempotency_key, policy_name, severity, reason, details, at }
    }
}

fn fill() -> impl Strategy<Value = Fill> {
    (text(), wire_decimal(), wire_decimal(), micros()).prop_map(|(fill_id, px, qty, at)| Fill {
        fill_id,
        px,
        qty,
        at,
    })
}

prop_compose! {
    fn replaced()(
        limit_price in option::of(wire_decimal()),
        numbers in [wire_decimal(), wire_decimal(), wire_decimal()],
    ) -> Replaced {
        let [working_qty, opening_qty, opening_notional] = numbers;
        Replaced { limit_price, working_qty, opening_qty, opening_notional }
    }
}

prop_compose! {
    fn exec_event()(
        (event_id, idempotency_key, trace_id, account, symbol) in
            (event_id(), key(), trace(), account(), symbol()),
        exec_seq in any::<i32>(), order_id in text(), side in side(),
        status in select(OrderStatus::ALL.to_vec()), last_fill in option::of(fill()),
        (qty, executed_qty, avg_price) in
            (wire_decimal(), wire_decimal(), option::of(wire_decimal())),
        (name, order_ref, reason_code) in (text(), option::of(text()), option::of(text())),
        (queue, broker_rtt, total) in
            (option::of(any::<i64>()), option::of(any::<i64>()), option::of(any::<i64>())),
        at in micros(), lane_seq in option::of(any::<i64>()), replaced in option::of(replaced()),
    ) -> ExecEvent {
        ExecEvent {
            event_id, idempotency_key, exec_seq, trace_id, order_id, account, symbol, side, qty,
            status, last_fill, executed_qty, avg_price, broker: BrokerRef { name, order_ref },
            reason_code, latency_ms: LatencyMs { queue, broker_rtt, total }, at, lane_seq, replaced,
        }
    }
}

prop_compose! {
    fn plan_run()(
        event_id in event_id(), trace_id in trace(), status in text(),
        symbol in option::of(symbol()), timeframe in option::of(text()), started_at in micros(),
        finished_at in option::of(micros()), meta in details(),
    ) -> PlanRun {
        PlanRun { event_id, trace_id, status, symbol, timeframe, started_at, finished_at, meta }
    }
}

prop_compose! {
    fn infer_call()(
        event_id in event_id(), trace_id in trace(), model in text(), version in option::of(text()),
        called_at in micros(), duration_ms in option::of(any::<i64>()), status in text(),
        inputs in details(), outputs in details(),
    ) -> InferCall {
        InferCall {
            event_id, trace_id, model, version, called_at, duration_ms, status, inputs, outputs,
        }
    }
}

fn action() -> impl Strategy<Value = CommandAction> {
    select(vec![CommandAction::Cancel, CommandAction::Replace])
}

prop_compose! {
    fn command_draft()(
        (trace_id, account, symbol, target_key, idempotency_key) in
            (text(), text(), text(), text(), text()),
        action in action(), qty in option::of(wire_decimal()),
        limit_price in option::of(wire_decimal()),
        (requested_at, valid_until) in (micros(), option::of(micros())),
        reason in option::of(text()), meta in btree_map(text(), text(), 0..5), version in text(),
    ) -> CommandDraft {
        CommandDraft {
            schema_version: Some(version), trace_id, account, symbol, action, target_key, qty,
            limit_price, requested_at, valid_until, reason, meta, idempotency_key,
        }
    }
}

prop_compose! {
    fn command_outcome()(
        (event_id, idempotency_key, target_key, trace_id, account, symbol) in
            (event_id(), key(), key(), trace(), account(), symbol()),
        action in action(),
        status in select(vec![
            CommandStatus::Accepted, CommandStatus::Refused, CommandStatus::Done,
            CommandStatus::Failed,
        ]),
        (reason_code, reason, order_status) in (option::of(text()), text(), option::of(text())),
        (qty, limit_price) in (option::of(wire_decimal()), option::of(wire_decimal())),
        (requested_at, at) in (micros(), micros()),
    ) -> CommandOutcome {
        CommandOutcome {
            event_id, idempotency_key, target_key, trace_id, account, symbol, action, status,
            reason_code, reason, order_status, qty, limit_price, requested_at, at,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_again_and_written_the_same(
        order in order_draft(), set in proposal_set_draft(), (symbol, quote) in (symbol(), quote()),
        decision in decision(), alert in alert(), exec in exec_event(), run in plan_run(),
        call in infer_call(), command in command_draft(), outcome in command_outcome(),
    ) {
        macro_rules! again {
            ($module:ident, $subject:ident, $value:expr) => {{
                let body = $module::encode(&$value).unwrap();
                let back = $module::decode(&body, Subject::$subject.schema()).unwrap();
                prop_assert_eq!(&back, &$value);
                prop_assert_eq!($module::encode(&back).unwrap(), body);
            }};
        }
        again!(order_request, OrderRequest, order);
        again!(proposal_set, ProposalSet, set);
        again!(decision, Decision, decision);
        again!(alert, Alert, alert);
        again!(exec_event, ExecEvent, exec);
        again!(plan_run, PlanRun, run);
        again!(infer_call, InferCall, call);
        again!(order_command, OrderCommand, command);
        again!(command_outcome, CommandOutcome, outcome);
        let body = quote::encode(&symbol, &quote).unwrap();
        prop_assert_eq!(quote::decode(&body, Subject::Quote.schema()).unwrap(), (symbol, quote));
    }

    #[test]
    fn f02_a_body_cut_short_or_too_long_is_bad_avro(
        order in order_draft(), cut in any::<prop::sample::Index>(), tail in vec(any::<u8>(), 1..9),
    ) {
        let body = order_request::encode(&order).unwrap();
        let schema = Subject::OrderRequest.schema();
        let short = order_request::decode(&body[..cut.index(body.len())], schema).unwrap_err();
        prop_assert_eq!(short.reason(), "bad_avro");
        let long = order_request::decode(&[&body[..], &tail[..]].concat(), schema).unwrap_err();
        prop_assert_eq!(long.reason(), "bad_avro");
    }

    #[test]
    fn f02_hostile_bytes_are_refused_and_never_panic(
        bytes in vec(any::<u8>(), 0..300), decision in decision(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        set_limits();
        every_decoder(&bytes);
        let mut body = decision::encode(&decision).unwrap();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let _ = decision::decode(&body, Subject::Decision.schema());
        every_decoder(&body);
    }

    #[test]
    fn f01_only_the_wire_format_is_split(value in vec(any::<u8>(), 0..12)) {
        match split(&value) {
            Ok((id, body)) => prop_assert_eq!(frame(id, body), value),
            Err(error) => {
                prop_assert_eq!(error.reason(), "bad_wire");
                prop_assert!(value.len() < 5 || value[0] != 0);
            }
        }
    }
}

fn every_decoder(bytes: &[u8]) {
    let _ = order_request::decode(bytes, Subject::OrderRequest.schema());
    let _ = proposal_set::decode(bytes, Subject::ProposalSet.schema());
    let _ = quote::decode(bytes, Subject::Quote.schema());
    let _ = decision::decode(bytes, Subject::Decision.schema());
    let _ = alert::decode(bytes, Subject::Alert.schema());
    let _ = exec_event::decode(bytes, Subject::ExecEvent.schema());
    let _ = plan_run::decode(bytes, Subject::PlanRun.schema());
    let _ = infer_call::decode(bytes, Subject::InferCall.schema());
    let _ = order_command::decode(bytes, Subject::OrderCommand.schema());
    let _ = command_outcome::decode(bytes, Subject::CommandOutcome.schema());
}

/// A varint, as Avro writes longs.
fn long(n: i64) -> Vec<u8> {
    let mut zigzag = ((n << 1) ^ (n >> 63)) as u64;
    let mut out = Vec::new();
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
    out
}

#[test]
fn f02_hostile_lengths_and_counts_are_bad_avro() {
    set_limits();
    let schema = Subject::OrderRequest.schema();
    let body = order_request::encode(&sample()).unwrap();
    // The first field is a text: its length is the first varint.
    for length in [i64::MAX, i64::MIN, -1, 1 << 40, 2_000_000] {
        let hostile = [long(length), body[1..].to_vec()].concat();
        let error = order_request::decode(&hostile, schema).unwrap_err();
        assert_eq!(error.reason(), "bad_avro", "length {length}: {error}");
    }
    let meta = body.len() - 2;
    assert_eq!(&body[meta..], [0, 0], "an empty meta, and no key");
    for count in [i64::MAX, i64::MIN, 1 << 40, 2_000_000] {
        let hostile = [body[..meta].to_vec(), long(count), vec![0; 40]].concat();
        let error = order_request::decode(&hostile, schema).unwrap_err();
        assert_eq!(error.reason(), "bad_avro", "count {count}: {error}");
    }
    let endless = [vec![0xFF; 11], body[1..].to_vec()].concat();
    assert_eq!(order_request::decode(&endless, schema).unwrap_err().reason(), "bad_avro");
    let mut bad_utf8 = body.clone();
    bad_utf8[1] = 0xFF;
    assert_eq!(order_request::decode(&bad_utf8, schema).unwrap_err().reason(), "bad_avro");
    // A block may legally say its size in bytes behind a negative count.
    let entry = [vec![2, b'a', 2, b'b']].concat();
    let sized = [body[..meta].to_vec(), long(-1), long(4), entry, vec![0, 0]].concat();
    let read = order_request::decode(&sized, schema).unwrap();
    assert_eq!(read.meta, BTreeMap::from([("a".into(), "b".into())]));
}

fn sample() -> OrderDraft {
    serde_json::from_value(json!({
        "schema_version": "1.1", "trace_id": "t-1", "symbol": "USDJPY", "side": "BUY",
        "qty": "10000", "requested_at": "2025-08-23T11:00:30.123456Z",
    }))
    .unwrap()
}

#[test]
fn bytes_of_v1_0_and_of_v1_1_are_both_read() {
    let [old, new] = Subject::OrderRequest.versions() else { panic!("two versions") };
    let (old, new) = (Schema::parse_str(old).unwrap(), Schema::parse_str(new).unwrap());
    let draft = OrderDraft { idempotency_key: Some("a-key-of-mine".into()), ..sample() };
    let body = order_request::encode(&draft).unwrap();
    assert_eq!(order_request::decode(&body, &new).unwrap(), draft);

    // v1.0 is v1.1 without its last field; a union's index and a text of 13 bytes.
    let old_body = &body[..body.len() - 1 - 1 - 13];
    let read = order_request::decode(old_body, &old).unwrap();
    assert_eq!(read, OrderDraft { idempotency_key: None, ..draft.clone() });

    // Forward too: a reader that knows only v1.0 reads the new bytes.
    let mut bytes = &body[..];
    let value = apache_avro::reader::datum::GenericDatumReader::builder(&new)
        .reader_schema(&old)
        .build()
        .unwrap()
        .read_value(&mut bytes)
        .unwrap();
    let Value::Record(fields) = value else { panic!("a record") };
    assert!(fields.iter().all(|(name, _)| name != "idempotency_key"));
}

/// Without their last bytes, one for each union that is null, they are what a build before wrote.
#[test]
fn decisions_and_exec_events_of_v1_0_are_read_and_a_reader_of_v1_0_reads_those_of_today() {
    fn example<T: serde::de::DeserializeOwned>(name: &str) -> T {
        let path = format!("{}/schemas/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }
    fn old_and_new(subject: Subject) -> [Schema; 2] {
        let [old, .., new] = subject.versions() else { panic!("versions of {subject:?}") };
        [old, new].map(|text| Schema::parse_str(text).unwrap())
    }
    let forward = |body: &[u8], [old, new]: &[Schema; 2]| {
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(new);
        let mut bytes = body;
        reader.reader_schema(old).build().unwrap().read_value(&mut bytes).unwrap();
    };

    let schemas = old_and_new(Subject::ExecEvent);
    let event: ExecEvent = example("exec-events/filled");
    assert_eq!(event.lane_seq, Some(17), "the example tells it");
    forward(&exec_event::encode(&event).unwrap(), &schemas);
    let event = ExecEvent { lane_seq: None, ..event };
    let body = exec_event::encode(&event).unwrap();
    assert_eq!(exec_event::decode(&body[..body.len() - 2], &schemas[0]).unwrap(), event);

    let schemas = old_and_new(Subject::Decision);
    let decision: Decision = example("decisions/clamped");
    assert!(decision.opening_qty.is_some() && decision.opening_notional.is_some());
    forward(&decision::encode(&decision).unwrap(), &schemas);
    let decision = Decision { opening_qty: None, opening_notional: None, ..decision };
    let body = decision::encode(&decision).unwrap();
    assert_eq!(decision::decode(&body[..body.len() - 2], &schemas[0]).unwrap(), decision);
}

#[test]
fn one_draft_has_these_bytes() {
    let body = order_request::encode(&sample()).unwrap();
    let fields = [
        "06312e31",                  // schema_version 1.1
        "06742d31",                  // trace_id t-1
        "086d61696e",                // account main
        "0c5553444a5059",            // symbol USDJPY
        "00",                        // side BUY
        "0000000000000 9184e72a000", // qty 10000 = 10^13 · 10^-9, 12 bytes
        "000000",                    // MARKET, no limit price, no stop price
        "00",                        // GTC
        "80c7eeb0c7c19e06",          // requested_at, microseconds
        "0000000000000000",          // valid_until … quality: absent
        "00",                        // an empty meta
        "00",                        // no key
    ];
    assert_eq!(hex::encode(body), fields.concat().replace(' ', ""));
}

#[test]
fn f05_a_schema_that_means_something_else_is_a_mismatch() {
    let text = Subject::OrderRequest.versions()[1];
    let body = order_request::encode(&sample()).unwrap();
    let changed = [
        ("another scale", text.replace("\"scale\": 9", "\"scale\": 2")),
        ("another unit", text.replace("timestamp-micros", "timestamp-millis")),
        ("no unit", text.replace(r#""logicalType": "timestamp-micros""#, r#""x": "y""#)),
        ("a field renamed", text.replace("\"trace_id\"", "\"trace\"")),
        ("another record", text.replace("\"OrderRequest\"", "\"Another\"")),
    ];
    for (what, changed) in changed {
        assert_ne!(changed, text, "{what}");
        let schema = Schema::parse_str(&changed).unwrap();
        let error = order_request::decode(&body, &schema).unwrap_err();
        assert_eq!(error.reason(), "schema_mismatch", "{what}: {error}");
    }
    let endless = r#"{"type":"record","name":"OrderRequest","fields":[
        {"name":"next","type":["null","OrderRequest"]}]}"#;
    let schema = Schema::parse_str(endless).unwrap();
    let error = order_request::decode(&vec![2; 100_000], &schema).unwrap_err();
    assert_eq!(error.reason(), "schema_mismatch", "{error}");
}

#[test]
fn a_number_that_does_not_fit_is_never_rounded_for_a_producer() {
    for qty in ["0.0000000001", "10000000000000000000", "79228162514264337593543950335"] {
        let draft = OrderDraft { qty: qty.parse().unwrap(), ..sample() };
        assert!(order_request::encode(&draft).is_err(), "{qty}");
    }
}

#[test]
fn f08_a_nul_in_a_text_is_refused_before_it_reaches_a_table() {
    let draft = OrderDraft { decision_id: Some("a\0b".into()), ..sample() };
    let body = order_request::encode(&draft).unwrap();
    let error = order_request::decode(&body, Subject::OrderRequest.schema()).unwrap_err();
    assert_eq!(error.reason(), "invalid_decision_id");
}

#[test]
fn subjects_topics_and_names_agree() {
    for subject in Subject::ALL {
        let Schema::Record(record) = subject.schema() else { panic!("{subject:?} is a record") };
        assert_eq!(record.name.name(), subject.name());
        assert_eq!(Subject::of_topic(subject.topic()), Some(subject));
    }
}

/// Every example is a message that is written and read again as it stands.
#[test]
fn the_examples_of_every_subject_are_messages() {
    fn each(subject: Subject, again: impl Fn(serde_json::Value) -> serde_json::Value) {
        let folder = format!("{}/schemas/examples/{}", env!("CARGO_MANIFEST_DIR"), subject.topic());
        let files: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(!files.is_empty(), "{folder}");
        for file in files {
            let json: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let back = again(json.clone());
            for (name, value) in json.as_object().unwrap() {
                assert_eq!(&back[name], value, "{}: {name}", file.display());
            }
        }
    }
    macro_rules! each {
        ($module:ident, $subject:ident, $ty:ty) => {
            each(Subject::$subject, |json| {
                let value: $ty = serde_json::from_value(json).unwrap();
                let body = $module::encode(&value).unwrap();
                let back = $module::decode(&body, Subject::$subject.schema()).unwrap();
                serde_json::to_value(back).unwrap()
            })
        };
    }
    each!(order_request, OrderRequest, OrderDraft);
    each!(proposal_set, ProposalSet, ProposalSetDraft);
    each!(decision, Decision, Decision);
    each!(alert, Alert, Alert);
    each!(exec_event, ExecEvent, ExecEvent);
    each!(plan_run, PlanRun, PlanRun);
    each!(infer_call, InferCall, InferCall);
    each!(order_command, OrderCommand, CommandDraft);
    each!(command_outcome, CommandOutcome, CommandOutcome);
    each(Subject::Quote, |json| {
        let mut fields = json.as_object().unwrap().clone();
        let symbol: Symbol = serde_json::from_value(fields.remove("symbol").unwrap()).unwrap();
        let quote: Quote = serde_json::from_value(fields.into()).unwrap();
        let body = quote::encode(&symbol, &quote).unwrap();
        let (symbol, quote) = quote::decode(&body, Subject::Quote.schema()).unwrap();
        let mut back = serde_json::to_value(quote).unwrap();
        back["symbol"] = symbol.as_str().into();
        back
    });
}

/// fuzz/seeds/wire: the first byte chooses as in fuzz/fuzz_targets/wire.rs, the rest is a framed body.
#[test]
fn the_seeds_of_the_fuzzer_are_messages() {
    let folder = format!("{}/fuzz/seeds/wire", env!("CARGO_MANIFEST_DIR"));
    let mut seen = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let (choice, rest) = bytes.split_first().unwrap();
        if choice % 4 < 2 {
            continue;
        }
        let subject = Subject::ALL[usize::from(choice / 4) % Subject::ALL.len()];
        let (_, body) = split(rest).unwrap();
        macro_rules! read {
            ($module:ident) => {
                drop($module::decode(body, subject.schema()).unwrap())
            };
        }
        match subject {
            Subject::OrderRequest => read!(order_request),
            Subject::ProposalSet => read!(proposal_set),
            Subject::Quote => read!(quote),
            Subject::Decision => read!(decision),
            Subject::Alert => read!(alert),
            Subject::ExecEvent => read!(exec_event),
            Subject::PlanRun => read!(plan_run),
            Subject::InferCall => read!(infer_call),
            Subject::OrderCommand => read!(order_command),
            Subject::CommandOutcome => read!(command_outcome),
        }
        seen.insert(subject);
    }
    assert_eq!(seen.len(), Subject::ALL.len(), "{seen:?}");
}
