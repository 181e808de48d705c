//! Policy files: what they mean, what is refused and how it is told (C-RISK-6, F43).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::hours::{Hours, Window};
use super::instruments::{self, Currency};
use super::profiles::{Combine, Profile};
use super::quality::OnUnknown;
use super::risk::{self, NotionalBasis, RiskPolicy, utc_only};
use super::*;
use crate::domain::text::{StrategyName, Symbol, Timeframe};

fn zones(name: &str) -> Option<TimeZone> {
    match name {
        // New York, as the rules of 2007 have it.
        "America/New_York" => TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").ok(),
        other => utc_only(other),
    }
}

fn risk(text: &str) -> Result<RiskPolicy, BadPolicy> {
    RiskPolicy::parse("risk.yml", text, &zones)
}

fn good(text: &str) -> RiskPolicy {
    risk(text).unwrap_or_else(|bad| panic!("{bad}"))
}

/// Whether a text is taken as a policy of a kind.
fn read(kind: &str, text: &str) -> Result<(), BadPolicy> {
    match kind {
        "quality" => QualityPolicy::parse("f", text).map(drop),
        "profiles" => ProfilesPolicy::parse("f", text).map(drop),
        "risk" => risk(text).map(drop),
        "instruments" => InstrumentsPolicy::parse("f", text).map(drop),
        other => unreachable!("{other} is no kind"),
    }
}

#[test]
fn what_the_corpus_calls_good_is_read() {
    for (kind, text) in corpus::TAKEN {
        assert!(read(kind, text).is_ok(), "{kind}: {text} {:?}", read(kind, text));
    }
}

/// The violations of a text: `line:column path: what`.
fn wrong(bad: Result<impl std::fmt::Debug, BadPolicy>) -> Vec<String> {
    let told = |v: Violation| format!("{}:{} {}: {}", v.place.line, v.place.column, v.path, v.what);
    bad.expect_err("it is refused").0.into_iter().map(told).collect()
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap()
}

#[test]
fn the_plans_risk_file_works_as_it_is_printed() {
    let policy = good(risk::PLAN);
    assert_eq!(policy.limits.max_position_notional, Some(dec("100000")));
    assert_eq!(policy.limits.max_order_qty, Some(dec("20000")));
    assert_eq!(policy.limits.hours, Hours::Utc(vec![Window::parse("00:00-22:00").unwrap()]));
    assert_eq!(policy.limits.max_consecutive_losses, 3);
    assert_eq!(policy.limits.shrink_after_losses_pct, dec("50"));
    assert!(policy.limits.forbidden_symbols.is_empty());
    assert_eq!(policy.limits.notional_basis, NotionalBasis::Price);
    let usdjpy = policy.for_symbol(&symbol("USDJPY"));
    assert_eq!(usdjpy.max_position_notional, Some(dec("150000")));
    assert_eq!(usdjpy.max_order_qty, Some(dec("20000")), "the rest is as for all");
    assert_eq!(RiskPolicy::default(), policy);
}

#[test]
fn the_plans_profiles_work_as_they_are_printed() {
    let text = include_str!("../../../configs/profiles.yaml");
    let policy = ProfilesPolicy::parse("profiles.yaml", text).unwrap();
    assert_eq!(policy, ProfilesPolicy::default());
    let Profile { rollout_percent, min_confidence, combine, alpha_risk, weights } = policy.champion;
    assert_eq!((rollout_percent, min_confidence), (dec("30"), dec("0.4")));
    assert_eq!((combine, alpha_risk), (Combine::WeightedSum, dec("0.35")));
    assert_eq!(weights[&StrategyName::new("Prometheus").unwrap()], dec("0.9"));
    assert_eq!(weights.len(), 4);
}

#[test]
fn the_shipped_files_say_what_is_the_default() {
    let text = include_str!("../../../configs/quality_policy.yml");
    assert_eq!(QualityPolicy::parse("q", text).unwrap(), QualityPolicy::default());
    let policy = InstrumentsPolicy::parse("i", instruments::PLAN).unwrap();
    assert_eq!(policy, InstrumentsPolicy::default());
    let usdjpy = policy.for_symbol(&symbol("USDJPY"));
    assert_eq!((usdjpy.qty_step, usdjpy.min_qty), (dec("1"), dec("1")));
    let eurusd = policy.for_symbol(&symbol("EURUSD"));
    assert_eq!((eurusd.qty_step, eurusd.min_qty), (dec("0.01"), dec("0.01")));
    let other = policy.for_symbol(&symbol("GBPJPY"));
    assert_eq!((other.qty_step, other.min_qty), (dec("0.000001"), dec("0")));
    assert_eq!(policy.quote_currency(&symbol("GBPJPY")), Currency::new("JPY"));
    assert_eq!(policy.quote_currency(&symbol("BTC-PERP")), None);
}

#[test]
fn f43_every_violation_is_told_at_once_with_its_place() {
    let text = "\
default:
  max_position_notional: -1
  max_order_qty: .nan
  trading_hours_utc: [\"22:00-22:00\", \"0:00-9:00\", \"09:00-24:01\"]
  shrink_after_losses_pct: 150
  max_consecutive_losses: 2.5
  notional_basis: lots
  max_ordr_qty: 3
overrides:
  usdjpy: {}
  EURUSD:
    forbidden_symbols: USDJPY
    max_order_qty: 5
    max_order_qty: 6
";
    assert_eq!(
        wrong(risk(text)),
        [
            "2:26 default.max_position_notional: must be a number, 0 or more, found \"-1\"",
            "3:18 default.max_order_qty: must be a number, 0 or more, found \".nan\"",
            "4:23 default.trading_hours_utc[0]: start and end are the same: that is no time or all of it, found \"22:00-22:00\"",
            "4:38 default.trading_hours_utc[1]: \"0:00\" is not 00:00 to 23:59, found \"0:00-9:00\"",
            "4:51 default.trading_hours_utc[2]: \"24:01\" is not 00:00 to 24:00, found \"09:00-24:01\"",
            "5:28 default.shrink_after_losses_pct: must be a number from 0 to 100, found \"150\"",
            "6:27 default.max_consecutive_losses: must be a whole number, 0 or more, found \"2.5\"",
            "7:19 default.notional_basis: must be one of price, qty, found \"lots\"",
            "8:3 default.max_ordr_qty: unknown key; known are max_position_notional, max_order_qty, max_trace_notional, max_daily_loss, price_collar_pct, shrink_after_losses_pct, max_consecutive_losses, max_orders_per_minute, max_quote_age_s, notional_basis, forbidden_symbols, trading_hours_utc, trading_hours",
            "10:3 overrides.usdjpy: symbol must be [A-Z0-9._-]{1,20}",
            "12:24 overrides.EURUSD.forbidden_symbols: must be a list, found \"USDJPY\"",
            "14:5 max_order_qty: this key is given twice",
        ]
    );
}

#[test]
fn f43_what_is_wrong_in_a_section_given_twice_is_told_at_once() {
    let text =
        "overrides:\n  A: {max_order_qty: -1}\n  A:\n    max_daily_loss: x\n    max_order_qty: 1\n";
    assert_eq!(
        wrong(risk(text)),
        [
            "2:22 overrides.A.max_order_qty: must be a number, 0 or more, found \"-1\"",
            "3:3 A: this key is given twice",
            "4:21 overrides.A.max_daily_loss: must be a number, 0 or more, found \"x\"",
        ]
    );
}

#[test]
fn f43_a_violation_is_shown_under_its_line_with_a_caret() {
    let bad = risk("default:\n  max_order_qty: 9999x\n").unwrap_err();
    assert_eq!(
        bad.to_string(),
        "the policy has 1 violation(s)\n\
         risk.yml:2:18: default.max_order_qty: must be a number, 0 or more, found \"9999x\"\n  |\n\
         2 |   max_order_qty: 9999x\n  |                  ^^^^^"
    );
}

#[test]
fn f43_what_is_no_policy_or_may_be_read_in_two_ways_is_refused() {
    for (kind, text, _) in corpus::REFUSED {
        assert!(read(kind, text).is_err(), "{kind}: {text}");
    }
    let deep = format!("default: {}{}", "[".repeat(40), "]".repeat(40));
    assert!(risk(&deep).is_err());
}

#[test]
fn what_a_risk_file_does_not_say_is_off_and_null_switches_off() {
    let off = good("{}");
    assert_eq!(off, good("default:\noverrides: {}"));
    assert_eq!(off.limits.max_position_notional, None);
    assert_eq!(off.limits.shrink_after_losses_pct, dec("50"));
    assert_eq!(off.limits.max_quote_age_s, 60);
    let policy = good(
        "default: {max_order_qty: 5, max_daily_loss: ~}\noverrides: {A: {max_order_qty: null}}",
    );
    assert_eq!(policy.limits.max_order_qty, Some(dec("5")));
    assert_eq!(policy.limits.max_daily_loss, None);
    assert_eq!(policy.for_symbol(&symbol("A")).max_order_qty, None);
}

#[test]
fn an_override_replaces_key_by_key_and_a_list_whole() {
    let policy = good(
        "default: {forbidden_symbols: [A, B], max_order_qty: 1, trading_hours_utc: ['00:00-01:00']}\n\
         overrides:\n  C: {forbidden_symbols: [D]}\n  E: {trading_hours: {zone: UTC}}",
    );
    let c = policy.for_symbol(&symbol("C"));
    assert_eq!(c.forbidden_symbols, [symbol("D")]);
    assert_eq!(c.max_order_qty, Some(dec("1")));
    let e = policy.for_symbol(&symbol("E"));
    assert!(matches!(e.hours, Hours::Calendar(_)), "one kind of hours replaces the other");
}

#[test]
fn a_number_is_read_exactly_and_never_through_a_float() {
    for (text, value) in [
        ("0.1", "0.1"),
        ("\"0.30\"", "0.3"),
        ("9007199254740993.000001", "9007199254740993.000001"),
        ("1e3", "1000"),
        ("15E-1", "1.5"),
        ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
    ] {
        let policy = good(&format!("default: {{max_order_qty: {text}}}"));
        assert_eq!(policy.limits.max_order_qty, Some(dec(value)), "{text}");
    }
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = r#"{"default":{"max_order_qty":20000,"trading_hours_utc":["00:00-22:00"],
        "forbidden_symbols":["A"],"max_daily_loss":null},"overrides":{"USDJPY":{"max_order_qty":"1.50"}}}"#;
    let yaml = "default:\n  max_order_qty: 20000\n  trading_hours_utc: [ 00:00-22:00 ]\n  \
        forbidden_symbols:\n  - A\noverrides:\n  USDJPY: {max_order_qty: 1.5}\n";
    assert_eq!(good(json), good(yaml));
}

#[test]
fn a_timeframe_has_the_limits_of_all_but_for_its_own_keys() {
    let text = "on_unknown: ok\nslope: 5\ntimeframes:\n  1d: {max_data_lag_min: 2880}\n";
    let policy = QualityPolicy::parse("q", text).unwrap();
    let daily = policy.for_timeframe(Some(&Timeframe::new("1d").unwrap()));
    assert_eq!(daily.max_data_lag_min, dec("2880"));
    assert_eq!((daily.slope, daily.on_unknown), (dec("5"), OnUnknown::Ok));
    assert_eq!(policy.for_timeframe(None).max_data_lag_min, dec("30"));
    assert_eq!(policy.for_timeframe(None).floor, dec("0.3"));
    assert_eq!(
        wrong(QualityPolicy::parse("q", "floor: 1.1\nslopes: 2\ntimeframes: {'a b': {}}")),
        [
            "1:8 floor: must be a number from 0 to 1, found \"1.1\"",
            "2:1 slopes: unknown key; known are max_data_lag_min, max_missing_ratio, slope, floor, flat_missing_ratio, exit_ratio, on_unknown, timeframes",
            "3:14 timeframes.a b: timeframe must be [A-Za-z0-9._-]{1,32}",
        ]
    );
}

#[test]
fn profiles_and_instruments_list_their_violations_too() {
    let text = "default: {rollout_percent: 101, combine: vote}\nweights: {A|B: 1, C: -1}\ncohort: {percent: 0.00001}";
    assert_eq!(
        wrong(ProfilesPolicy::parse("p", text)),
        [
            "1:28 default.rollout_percent: must be a number from 0 to 100, found \"101\"",
            "1:42 default.combine: must be one of weighted_sum, best_one, found \"vote\"",
            "2:11 weights.A|B: strategy must be [A-Za-z0-9._-]{1,32}",
            "2:22 weights.C: must be a number, 0 or more, found \"-1\"",
            "3:9 cohort.salt: is needed in a cohort",
            "3:9 cohort.challenger: is needed in a cohort",
            "3:9 cohort.percent: has at most 4 decimals",
        ]
    );
    let text = "accounts: {main: yen}\nUSDJPY: {qty_step: 0, min_qty: 0.0000001}\nusdjpy: {}";
    assert_eq!(
        wrong(InstrumentsPolicy::parse("i", text)),
        [
            "1:18 accounts.main: must be a currency of three upper-case letters, found \"yen\"",
            "2:9 USDJPY.qty_step: must be above 0",
            "2:9 USDJPY.min_qty: has at most 6 decimals",
            "3:1 usdjpy: must be account_currency, accounts or a symbol [A-Z0-9._-]{1,20}",
        ]
    );
}

#[test]
fn a_set_lists_the_violations_of_every_text() {
    let source = |text| Some(Source { file: "f", text });
    let sources = Sources { quality: source("a: 1"), risk: source("b: 1"), ..Sources::default() };
    assert_eq!(wrong(Policies::parse(sources, &utc_only)).len(), 2);
}

#[test]
fn a_digest_is_of_what_a_policy_means_and_not_of_how_it_is_written() {
    let digest = |text| {
        let sources = Sources { risk: Some(Source { file: "f", text }), ..Sources::default() };
        Policies::parse(sources, &utc_only).unwrap().digests.risk
    };
    assert_eq!(digest(risk::PLAN), Policies::default().digests.risk);
    assert_eq!(
        digest("default: {max_order_qty: 1.0}"),
        digest("# x\n\"default\":\n  max_order_qty: '1'\n")
    );
    assert_ne!(digest("default: {max_order_qty: 1.0}"), digest("default: {max_order_qty: 1.1}"));
    let all = Policies::default().digests;
    let parts = [&all.quality, &all.profiles, &all.risk, &all.instruments];
    assert!(parts.iter().all(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn f43_a_null_in_an_override_turns_off_the_hours_that_it_names_and_no_others() {
    let windows = "trading_hours_utc: ['00:00-01:00']";
    let calendar =
        "trading_hours: {zone: UTC, sessions: [{days: [mon], from: '00:00', to: '01:00'}]}";
    for (default, replaced, is_always_open) in [
        (windows, "trading_hours_utc: ~", true),
        (windows, "trading_hours_utc: []", true),
        (windows, "trading_hours: ~", false),
        (calendar, "trading_hours: ~", true),
        (calendar, "trading_hours_utc: ~", false),
        (calendar, "trading_hours_utc: []", true),
        (windows, "trading_hours_utc: ~, trading_hours: ~", true),
        (calendar, "trading_hours_utc: ~, trading_hours: ~", true),
        (windows, "max_order_qty: 1", false),
    ] {
        let text = format!("default: {{{default}}}\noverrides: {{USDJPY: {{{replaced}}}}}\n");
        let policy = risk(&text).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
        let hours = &policy.for_symbol(&symbol("USDJPY")).hours;
        assert_eq!(open(hours, "2026-11-23T12:00:00Z"), is_always_open, "{text}");
        assert!(open(hours, "2026-11-23T00:30:00Z"), "{text}");
    }
}

fn open(hours: &Hours, at: &str) -> bool {
    hours.are_open(at.parse::<Timestamp>().unwrap())
}

#[test]
fn f46_hours_are_half_open_and_may_cross_midnight() {
    let cases = [
        ("00:00-22:00", "21:59:59.999999", true),
        ("00:00-22:00", "22:00:00", false),
        ("22:00-06:00", "23:59:59", true),
        ("22:00-06:00", "00:00:00", true),
        ("22:00-06:00", "05:59:59", true),
        ("22:00-06:00", "06:00:00", false),
        ("00:00-24:00", "23:59:59.999999", true),
        ("12:00-24:00", "00:00:00", false),
        ("23:59-00:00", "23:59:30", true),
        ("23:59-00:00", "00:00:00", false),
    ];
    for (window, time, expected) in cases {
        let hours = Hours::Utc(vec![Window::parse(window).unwrap()]);
        assert_eq!(open(&hours, &format!("2026-11-23T{time}Z")), expected, "{window} at {time}");
    }
    assert!(open(&Hours::ALWAYS, "2026-11-23T23:00:00Z"));
    for bad in
        ["24:00-01:00", "10:60-11:00", "+1:00-02:00", "1000-1100", "", "10:00", "10:00-10:00"]
    {
        assert!(Window::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn f46_sessions_follow_a_zones_daylight_saving_and_holidays() {
    let policy = good(
        "default:\n  trading_hours:\n    zone: America/New_York\n    sessions:\n    \
         - {days: [mon, tue, wed, thu, fri], from: \"09:30\", to: \"16:00\"}\n    \
         - {days: [sun, wed], from: \"22:00\", to: \"02:00\"}\n    \
         holidays: [2026-11-26]\n",
    );
    let hours = &policy.limits.hours;
    for (at, expected, why) in [
        ("2026-11-23T14:29:59Z", false, "a Monday in winter, before the opening"),
        ("2026-11-23T14:30:00Z", true, "09:30 in New York is 14:30 UTC in winter"),
        ("2026-07-06T13:30:00Z", true, "and 13:30 UTC in summer"),
        ("2026-07-06T20:00:00Z", false, "half-open at the close"),
        ("2026-11-21T15:00:00Z", false, "a Saturday"),
        ("2026-11-23T03:30:00Z", true, "Sunday 22:30 in New York"),
        ("2026-11-23T06:59:00Z", true, "Monday 01:59 belongs to Sunday's session"),
        ("2026-11-23T07:00:00Z", false, "which ends at 02:00"),
        ("2026-11-26T15:00:00Z", false, "a holiday"),
        ("2026-11-26T06:00:00Z", false, "Wednesday's session ends where the holiday begins"),
        ("2026-11-27T15:00:00Z", true, "the day after"),
        ("2026-03-08T06:30:00Z", false, "no session starts on Saturday"),
    ] {
        assert_eq!(open(hours, at), expected, "{at}: {why}");
    }
}

proptest! {
    #![proptest_config(crate::domain::laws::cases())]

    #[test]
    fn no_text_makes_reading_panic(text in "[-a-z0-9:{}\\[\\],\"'#&*!|> .\n\u{3b1}]{0,80}") {
        let _ = risk(&text);
        let _ = QualityPolicy::parse("q", &text);
        let _ = ProfilesPolicy::parse("p", &text);
        let _ = InstrumentsPolicy::parse("i", &text);
        let _ = risk(&format!("default:\n  trading_hours_utc: [\"{}\"]\n  max_order_qty: {text}", text.replace('"', "")))
            .map_err(|bad| bad.to_string());
    }
}
