//! What a change of each key does, as it is told.

use super::super::risk::utc_only;
use super::*;

fn told(changes: Vec<Change>) -> Vec<String> {
    let line = |c: Change| {
        format!("{} {}: {} -> {} {}", c.scope, c.key, c.before, c.after, c.direction.as_str())
    };
    changes.into_iter().map(line).collect()
}

fn risk_diff(before: &str, after: &str) -> Vec<String> {
    let read = |text| RiskPolicy::parse("f", text, &utc_only).unwrap_or_else(|bad| panic!("{bad}"));
    told(read(before).diff(&read(after)))
}

#[test]
fn a_change_is_told_for_every_symbol_in_whose_limits_it_shows() {
    assert_eq!(
        risk_diff(
            "default: {max_order_qty: 5, max_daily_loss: 100}\noverrides: {A: {max_order_qty: 3}, B: {}}",
            "default: {max_order_qty: 4, max_daily_loss: 100}\noverrides: {A: {max_order_qty: 3}, C: {max_daily_loss: ~}}",
        ),
        [
            "* max_order_qty: 5 -> 4 tightens",
            "B max_order_qty: 5 -> 4 tightens",
            "C max_order_qty: 5 -> 4 tightens",
            "C max_daily_loss: 100 -> off loosens",
        ]
    );
    assert_eq!(
        risk_diff("default: {max_order_qty: 1.0}", "default: {max_order_qty: '1'}"),
        [""; 0]
    );
}

#[test]
fn every_key_of_the_risk_file_has_a_direction() {
    for (key, before, after, direction) in [
        ("max_position_notional", "1", "2", "loosens"),
        ("max_position_notional", "~", "2", "tightens"),
        ("max_trace_notional", "2", "1", "tightens"),
        ("max_orders_per_minute", "2", "~", "loosens"),
        ("price_collar_pct", "2", "1.5", "tightens"),
        ("max_consecutive_losses", "0", "9", "tightens"),
        ("max_consecutive_losses", "9", "0", "loosens"),
        ("max_consecutive_losses", "3", "2", "tightens"),
        ("shrink_after_losses_pct", "30", "50", "tightens"),
        ("forbidden_symbols", "[A]", "[B, A]", "tightens"),
        ("forbidden_symbols", "[A]", "[]", "loosens"),
        ("forbidden_symbols", "[A]", "[B]", "neither"),
        ("max_quote_age_s", "60", "30", "neither"),
        ("notional_basis", "price", "qty", "neither"),
        ("trading_hours_utc", "['08:00-10:00']", "['08:00-09:00', '09:30-10:00']", "tightens"),
        ("trading_hours_utc", "['22:00-02:00']", "[]", "loosens"),
        ("trading_hours_utc", "['22:00-02:00']", "['21:00-01:00']", "neither"),
    ] {
        let text = |value: &str| format!("default: {{{key}: {value}}}");
        let got = risk_diff(&text(before), &text(after));
        assert_eq!(got.len(), 1, "{key}: {got:?}");
        assert!(got[0].ends_with(direction), "{key}: {got:?}");
    }
    let same = risk_diff(
        "default: {trading_hours_utc: ['08:00-10:00']}",
        "default: {trading_hours_utc: ['09:00-10:00', '08:00-09:00']}",
    );
    assert_eq!(same, [""; 0], "the same minutes in other words");
}

#[test]
fn sessions_are_compared_within_a_zone_and_a_holiday_tightens() {
    let calendar = |inner: &str| format!("default: {{trading_hours: {{zone: UTC, {inner}}}}}");
    let day = "sessions: [{days: [mon, tue], from: '09:00', to: '16:00'}]";
    let night = "sessions: [{days: [mon], from: '22:00', to: '02:00'}]";
    for (before, after, direction) in [
        (calendar(day), calendar(&format!("{day}, holidays: [2026-11-23]")), "tightens"),
        (calendar(&format!("{day}, holidays: [2026-11-23]")), calendar(day), "loosens"),
        (calendar(night), calendar("sessions: []"), "loosens"),
        (calendar(&format!("{night}, holidays: [2026-11-23]")), calendar(night), "loosens"),
        (calendar(day), calendar(night), "neither"),
        ("default: {trading_hours_utc: ['09:00-16:00']}".into(), calendar(day), "tightens"),
        ("{}".into(), calendar(day), "tightens"),
        (calendar(day), "{}".into(), "loosens"),
    ] {
        let got = risk_diff(&before, &after);
        assert!(got.len() == 1 && got[0].ends_with(direction), "{before} {after}: {got:?}");
    }
    let zones = |name: &str| utc_only(if name == "Etc/Other" { "UTC" } else { name });
    let read = |text: &str| RiskPolicy::parse("f", text, &zones).unwrap();
    let (a, b) = (calendar(day), calendar(day).replace("UTC", "Etc/Other"));
    let got = told(read(&a).diff(&read(&b)));
    assert_eq!(
        got,
        ["* trading_hours: UTC mon,tue 09:00-16:00 -> Etc/Other mon,tue 09:00-16:00 neither"]
    );
}

#[test]
fn quality_profiles_and_instruments_are_compared_too() {
    let quality = |text| QualityPolicy::parse("f", text).unwrap();
    assert_eq!(
        told(quality("slope: 2").diff(&quality(
            "slope: 3\non_unknown: ok\ntimeframes: {1d: {max_data_lag_min: 2880, slope: 2, on_unknown: flat}}"
        ))),
        [
            "* slope: 2 -> 3 tightens",
            "* on_unknown: flat -> ok loosens",
            "1d max_data_lag_min: 30 -> 2880 loosens",
        ]
    );
    let profiles = |text| ProfilesPolicy::parse("f", text).unwrap();
    let after = "default: {rollout_percent: 7, combine: best_one}\nweights: {Aurus: 0.8, New: 1}\n\
        cohort: {percent: 5, salt: s, challenger: {}}";
    let got = told(profiles("{}").diff(&profiles(after)));
    assert_eq!(got[0], "champion rollout_percent: 30 -> 7 tightens");
    assert_eq!(got[1], "champion combine: weighted_sum -> best_one neither");
    assert!(got.contains(&"champion weights.Levia: 0.7 -> absent neither".to_string()), "{got:?}");
    assert!(got.contains(&"champion weights.New: absent -> 1 neither".to_string()), "{got:?}");
    assert!(got.contains(&"cohort percent: absent -> 5 neither".to_string()), "{got:?}");
    fn instruments(text: &str) -> InstrumentsPolicy {
        InstrumentsPolicy::parse("f", text).unwrap()
    }
    let before =
        instruments("accounts: {us: USD}\nA: {qty_step: 0.5, min_qty: 1}\nB: {contract_size: 2}");
    let after = instruments(
        "account_currency: EUR\nA: {qty_step: 1, quote_currency: USD}\nB: {contract_size: 1}",
    );
    assert_eq!(
        told(before.diff(&after)),
        [
            "accounts account_currency: JPY -> EUR neither",
            "accounts accounts.us: USD -> absent neither",
            "A qty_step: 0.5 -> 1 tightens",
            "A min_qty: 1 -> 0 loosens",
            "A quote_currency: absent -> USD neither",
            "B contract_size: 2 -> 1 loosens",
        ]
    );
    let step = |a: &str, b: &str| {
        told(
            instruments(&format!("A: {{qty_step: {a}}}"))
                .diff(&instruments(&format!("A: {{qty_step: {b}}}"))),
        )
    };
    assert!(step("0.3", "0.5")[0].ends_with("neither"));
    assert!(step("1", "0.25")[0].ends_with("loosens"));
}
