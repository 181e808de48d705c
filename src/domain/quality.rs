//! Owns the quality gate (C-QUAL): from two measurements and a memory to OK, SCALE or FLAT.
//! Never looks at the order. Invariant: from the same memory, worse data never raises the multiplier.

use rust_decimal::Decimal;
use serde_json::json;

use super::event::{Quality, QualityVerdict, Severity};
use super::exact::Exact;
use super::judge::{Fired, LagMemory, MissingMemory, QualityMemory};
use super::money::{Overflow, plain};
use super::policy::quality::{OnUnknown, QualityLimits};
use super::request::QualityInput;

/// What the gate says about one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Verdict and multiplier.
    pub quality: Quality,
    /// The memory to store.
    pub next: QualityMemory,
    /// Alerts, in the contract's order.
    pub fired: Vec<Fired>,
    /// Verdict, multiplier and reason: `quality=SCALE(0.86) missing_ratio=0.12 > 0.05`.
    pub reason: String,
}

/// One metric as it is judged: what it is now, the limit it is beyond, and whether only memory holds it there.
struct Judged<M> {
    state: M,
    limit: Option<Exact>,
    held: bool,
}

/// Judges the measurements against the limits, remembering `memory`.
pub fn assess(
    input: Option<&QualityInput>,
    memory: QualityMemory,
    limits: &QualityLimits,
) -> Result<Assessment, Overflow> {
    let lag_min = input.and_then(|i| i.data_lag_min).and_then(shortest);
    let missing = input.and_then(|i| i.missing_ratio).and_then(shortest);
    let missing = missing.filter(|m| *m <= Decimal::ONE);
    let (lag, gap) = (
        lag_min.map(|min| judge_lag(min, memory.lag, limits)).transpose()?,
        missing.map(|ratio| judge_missing(ratio, memory.missing, limits)).transpose()?,
    );
    let next = QualityMemory {
        lag: lag.as_ref().map_or(memory.lag, |j| j.state),
        missing: gap.as_ref().map_or(memory.missing, |j| j.state),
    };
    let unknown = lag.is_none() || gap.is_none();
    let verdict = match (&lag, &gap) {
        _ if unknown && limits.on_unknown == OnUnknown::Flat => QualityVerdict::Flat,
        (Some(Judged { state: LagMemory::Flat, .. }), _) => QualityVerdict::Flat,
        (_, Some(Judged { state: MissingMemory::Flat, .. })) => QualityVerdict::Flat,
        (_, Some(Judged { state: MissingMemory::Scale, .. })) => QualityVerdict::Scale,
        _ => QualityVerdict::Ok,
    };
    let multiplier = match (verdict, missing) {
        (QualityVerdict::Flat, _) => Decimal::ZERO,
        (QualityVerdict::Scale, Some(ratio)) => scale(ratio, limits)?,
        _ => Decimal::ONE,
    };
    let mut fired = alerts(input, lag_min, missing, limits);
    if verdict == QualityVerdict::Flat && memory != QualityMemory::default() {
        let fresh = assess(input, QualityMemory::default(), limits)?.quality.verdict;
        if fresh != QualityVerdict::Flat {
            let lag_held = lag.as_ref().is_some_and(|j| j.held && j.state == LagMemory::Flat);
            fired.push(held(memory, lag_held, input));
        }
    }
    let reason = reason(
        verdict,
        multiplier,
        &[
            ("data_lag_min", lag_min, lag.map(|j| (j.limit, j.held))),
            ("missing_ratio", missing, gap.map(|j| (j.limit, j.held))),
        ],
    )?;
    Ok(Assessment { quality: Quality { verdict, multiplier }, next, fired, reason })
}

/// A double as its shortest decimal; none if it is NaN, infinite or negative. What is finer than 28
/// decimals is raised to them and what is larger than 28 digits is the largest: neither limit is near.
pub fn shortest(number: f64) -> Option<Decimal> {
    shortest_cut(number).map(|(kept, is_cut)| match is_cut {
        true => kept.saturating_add(Decimal::from_i128_with_scale(1, 28)),
        false => kept,
    })
}

/// The same, but cut to 28 decimals: for what speaks for an order, like a confidence.
pub fn shortest_down(number: f64) -> Option<Decimal> {
    shortest_cut(number).map(|(kept, _)| kept)
}

/// A double's shortest decimal, and whether digits beyond the 28th decimal were cut from it.
fn shortest_cut(number: f64) -> Option<(Decimal, bool)> {
    if !number.is_finite() || number < 0.0 {
        return None;
    }
    if let Some(short) = short(number) {
        return Some((short, false));
    }
    let text = number.abs().to_string();
    if let Ok(exact) = Decimal::from_str_exact(&text) {
        return Some((exact, false));
    }
    // What does not fit is below 1 and too fine, or too large; a double has 17 digits at most.
    let kept = text.get(.."0.".len() + 28).and_then(|kept| Decimal::from_str_exact(kept).ok());
    Some(match kept {
        Some(kept) if number < 1.0 => (kept, true),
        _ => (Decimal::MAX, false),
    })
}

/// The shortest decimal of a double that has one of at most 6 decimals and 15 digits, without writing it out:
/// no other decimal of 15 digits or less is read as the same double.
fn short(number: f64) -> Option<Decimal> {
    const SCALE: f64 = 1e6;
    if number >= 1e9 {
        return None;
    }
    let scaled = (number * SCALE).round();
    // Both are exact as doubles, so the quotient is the double nearest to the decimal.
    (scaled / SCALE == number).then(|| Decimal::new(scaled as i64, 6).normalize())
}

fn judge_lag(
    min: Decimal,
    before: LagMemory,
    limits: &QualityLimits,
) -> Result<Judged<LagMemory>, Overflow> {
    let min = Exact::from(min);
    let enter = Exact::from(limits.max_data_lag_min);
    let exit = enter.times_down(limits.exit_ratio.into())?;
    Ok(if min > enter {
        Judged { state: LagMemory::Flat, limit: Some(enter), held: false }
    } else if before == LagMemory::Flat && min > exit {
        Judged { state: LagMemory::Flat, limit: Some(exit), held: true }
    } else {
        Judged { state: LagMemory::Ok, limit: None, held: false }
    })
}

fn judge_missing(
    ratio: Decimal,
    before: MissingMemory,
    limits: &QualityLimits,
) -> Result<Judged<MissingMemory>, Overflow> {
    let ratio = Exact::from(ratio);
    let flat = Exact::from(limits.flat_missing_ratio);
    let scale = Exact::from(limits.max_missing_ratio);
    let flat_exit = flat.times_down(limits.exit_ratio.into())?;
    let scale_exit = scale.times_down(limits.exit_ratio.into())?;
    let (state, limit, held) = if ratio > flat {
        (MissingMemory::Flat, Some(flat), false)
    } else if before == MissingMemory::Flat && ratio > flat_exit {
        (MissingMemory::Flat, Some(flat_exit), true)
    } else if ratio > scale {
        (MissingMemory::Scale, Some(scale), false)
    } else if before != MissingMemory::Ok && ratio > scale_exit {
        (MissingMemory::Scale, Some(scale_exit), true)
    } else {
        (MissingMemory::Ok, None, false)
    };
    Ok(Judged { state, limit, held })
}

/// 1 − slope · max(0, missing − limit), not below the floor and not above 1.
fn scale(ratio: Decimal, limits: &QualityLimits) -> Result<Decimal, Overflow> {
    let excess = Exact::from(ratio).minus(limits.max_missing_ratio.into())?.max(Exact::ZERO);
    let lost = excess.times_up(limits.slope.into())?;
    let floor = Exact::from(limits.floor);
    if lost >= Exact::ONE {
        return floor.cut(28);
    }
    Exact::ONE.minus(lost)?.max(floor).min(Exact::ONE).cut(28)
}

fn alerts(
    input: Option<&QualityInput>,
    lag_min: Option<Decimal>,
    missing: Option<Decimal>,
    limits: &QualityLimits,
) -> Vec<Fired> {
    let mut fired = Vec::new();
    if lag_min.is_none() || missing.is_none() {
        let names = [("data_lag_min", lag_min.is_none()), ("missing_ratio", missing.is_none())];
        let unknown: Vec<&str> = names.iter().filter(|(_, u)| *u).map(|(n, _)| *n).collect();
        let reason = format!("{} unknown", unknown.join(" and "));
        fired.push(alert(
            "UNKNOWN",
            Severity::High,
            reason,
            json!({"unknown": unknown,
            "data_lag_min": input.and_then(|i| i.data_lag_min).map(|n| n.to_string()),
            "missing_ratio": input.and_then(|i| i.missing_ratio).map(|n| n.to_string())}),
        ));
    }
    let metrics = [
        ("DATA_LAG", Severity::High, "data_lag_min", lag_min, limits.max_data_lag_min),
        ("MISSING_RATIO", Severity::Medium, "missing_ratio", missing, limits.max_missing_ratio),
    ];
    for (name, severity, metric, value, limit) in metrics {
        if let Some(value) = value.filter(|v| *v > limit) {
            let reason = format!("{metric}={} > {}", plain(value), plain(limit));
            let details = json!({(metric): plain(value), "limit": plain(limit)});
            fired.push(alert(name, severity, reason, details));
        }
    }
    fired
}

fn held(memory: QualityMemory, lag_held: bool, input: Option<&QualityInput>) -> Fired {
    let what = if lag_held { "data_lag_min" } else { "missing_ratio" };
    let reason = format!("FLAT is held by memory: {what} has not come far enough below its limit");
    let details = json!({"memory": memory,
        "data_lag_min": input.and_then(|i| i.data_lag_min),
        "missing_ratio": input.and_then(|i| i.missing_ratio)});
    alert("HELD", Severity::Low, reason, details)
}

fn alert(name: &str, severity: Severity, reason: String, details: serde_json::Value) -> Fired {
    Fired { policy_name: format!("PLAN.QUALITY.{name}"), severity, reason, details }
}

/// A metric's name, its value if known, and the limit it is beyond with whether memory holds it there.
type Told = (&'static str, Option<Decimal>, Option<(Option<Exact>, bool)>);

fn reason(
    verdict: QualityVerdict,
    multiplier: Decimal,
    metrics: &[Told],
) -> Result<String, Overflow> {
    let mut text = match verdict {
        QualityVerdict::Scale => format!("quality=SCALE({})", plain(multiplier)),
        QualityVerdict::Ok => "quality=OK".to_string(),
        QualityVerdict::Flat => "quality=FLAT".to_string(),
    };
    let mut parts = Vec::new();
    for (name, value, judged) in metrics {
        match (value, judged) {
            (Some(value), Some((Some(limit), held))) => {
                let held = if *held { " (held)" } else { "" };
                parts.push(format!("{name}={} > {}{held}", plain(*value), plain(limit.cut(28)?)));
            }
            (None, _) => parts.push(format!("{name} unknown")),
            _ => {}
        }
    }
    if !parts.is_empty() {
        text.push(' ');
        text.push_str(&parts.join(", "));
    }
    Ok(text)
}
