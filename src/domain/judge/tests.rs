//! Single judgements: what comes too late or too early, and what memory holds.

use serde_json::{Value, json};

use super::*;
use crate::domain::policy::Policies;
use crate::domain::policy::quality::QualityLimits;
use crate::domain::request::{OrderDraft, QualityInput};

const NOW: &str = "2026-11-23T10:00:00Z";

fn limits_of(now: &str, requested_at: &str, kind: Value) -> Judgement {
    let mut draft = json!({"trace_id": "t", "symbol": "USDJPY", "side": "BUY", "qty": "1",
        "requested_at": requested_at, "quality": {"missing_ratio": 1.0, "data_lag_min": 99.0}});
    draft.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
    let draft: OrderDraft = serde_json::from_value(draft).unwrap();
    let intake = Intake::Order(draft.check().unwrap());
    judge(&intake, &Facts::default(), &Policies::default(), now.parse().unwrap())
}

#[test]
fn f11_what_comes_too_late_or_too_early_is_a_reject_with_one_alert_and_no_quality() {
    let limit = || json!({"order_type": "LIMIT", "limit_price": "1"});
    let ioc = || json!({"order_type": "LIMIT", "limit_price": "1", "time_in_force": "FOK"});
    let until = |t: &str| json!({"valid_until": t, "order_type": "LIMIT", "limit_price": "1"});
    for (requested_at, kind, code) in [
        ("2026-11-23T09:55:00Z", json!({}), None),
        ("2026-11-23T09:54:59.999999Z", json!({}), Some("expired")),
        ("2026-11-23T09:54:59.999999Z", ioc(), Some("expired")),
        ("2026-11-23T09:54:59.999999Z", limit(), None),
        ("2026-11-22T10:00:00Z", limit(), None),
        ("2026-11-22T09:59:59.999999Z", limit(), Some("expired")),
        ("2026-11-23T10:00:05Z", json!({}), None),
        ("2026-11-23T10:00:05.000001Z", json!({}), Some("from_the_future")),
        (NOW, until("2026-11-23T10:00:00Z"), None),
        (NOW, until("2026-11-23T09:59:59.999999Z"), Some("expired")),
    ] {
        let j = limits_of(NOW, requested_at, kind);
        let Some(code) = code else {
            assert_ne!(j.action, Action::Reject, "{requested_at}");
            continue;
        };
        assert_eq!(j.action, Action::Reject, "{requested_at}");
        assert!(j.reason.starts_with(code), "{}", j.reason);
        assert_eq!(j.alerts.len(), 1);
        assert_eq!(
            (j.alerts[0].policy_name.as_str(), j.alerts[0].severity),
            ("do.expired", Severity::Low)
        );
        assert_eq!((j.quality, j.decided_qty, j.score), (None, Decimal::ZERO, None));
        assert_eq!(j.next_quality_state, QualityMemory::default());
    }
}

#[test]
fn f16_an_order_that_was_cancelled_before_it_came_is_a_reject_whatever_else_holds() {
    let draft = json!({"trace_id": "t", "symbol": "USDJPY", "side": "BUY", "qty": "1",
        "requested_at": NOW, "quality": {"missing_ratio": 0.0, "data_lag_min": 1.0}});
    let draft: OrderDraft = serde_json::from_value(draft).unwrap();
    let intake = Intake::Order(draft.check().unwrap());
    let now = NOW.parse().unwrap();
    let facts = Facts { cancelled: true, ..Facts::default() };
    let j = judge(&intake, &facts, &Policies::default(), now);
    assert_eq!((j.action, j.decided_qty, j.quality), (Action::Reject, Decimal::ZERO, None));
    assert!(j.reason.starts_with("cancelled: "), "{}", j.reason);
    let fired: Vec<&str> = j.alerts.iter().map(|a| a.policy_name.as_str()).collect();
    assert_eq!(fired, ["do.cancelled_before"]);
    // The fact is recorded, so that judging again says the same; where it does not hold, it is not written.
    let recorded = serde_json::to_value(&facts).unwrap();
    assert_eq!(serde_json::from_value::<Facts>(recorded).unwrap(), facts);
    let plain = serde_json::to_value(Facts::default()).unwrap();
    assert!(plain.get("cancelled").is_none(), "{plain}");
}

#[test]
fn flat_is_held_by_memory_with_a_low_alert_only_if_memory_alone_holds_it() {
    let of = |lag: f64, memory: &str| {
        let input = QualityInput { missing_ratio: Some(0.0), data_lag_min: Some(lag) };
        let memory = serde_json::from_str(memory).unwrap();
        let got = quality::assess(Some(&input), memory, &QualityLimits::default()).unwrap();
        let names: Vec<String> = got.fired.into_iter().map(|f| f.policy_name).collect();
        (got.quality.verdict, names, got.reason)
    };
    let (verdict, fired, reason) = of(25.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired), (QualityVerdict::Flat, vec!["PLAN.QUALITY.HELD".to_string()]));
    assert_eq!(reason, "quality=FLAT data_lag_min=25 > 24 (held)");
    let input = QualityInput { missing_ratio: Some(0.35), data_lag_min: Some(0.0) };
    let both = serde_json::from_str(r#"{"lag": "flat", "missing": "flat"}"#).unwrap();
    let got = quality::assess(Some(&input), both, &QualityLimits::default()).unwrap();
    assert!(
        got.fired.iter().any(|f| f.policy_name == "PLAN.QUALITY.HELD"
            && f.reason.contains("missing_ratio has not come")),
        "{:?}",
        got.fired
    );
    let (verdict, fired, _) = of(31.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired), (QualityVerdict::Flat, vec!["PLAN.QUALITY.DATA_LAG".to_string()]));
    let (verdict, fired, reason) = of(24.0, r#"{"lag": "flat"}"#);
    assert_eq!((verdict, fired.len(), reason.as_str()), (QualityVerdict::Ok, 0, "quality=OK"));
}
