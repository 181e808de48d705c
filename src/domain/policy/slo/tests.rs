//! What the file may say, and everything that is wrong with a bad one.

use super::*;

fn refused(text: &str) -> Vec<String> {
    let bad = Slos::parse("slo.yml", text).expect_err(text);
    bad.0
        .iter()
        .map(|v| format!("{}:{} {}: {}", v.place.line, v.place.column, v.path, v.what))
        .collect()
}

#[test]
fn the_shipped_file_promises_what_the_plan_asks_for() {
    let shipped = Slos::default();
    let told: Vec<String> = shipped
        .objectives
        .iter()
        .map(|o| {
            let levels: Vec<String> = o
                .levels
                .set()
                .map(|(severity, level)| format!("{} {level}", severity.as_str()))
                .collect();
            let side = if o.is_floor { "<" } else { ">" };
            format!(
                "{} {} {side} {} of {}",
                o.slo,
                o.shown_window(),
                levels.join(" "),
                o.min_samples
            )
        })
        .collect();
    let wanted = [
        "plan_to_exec_p95 24h > MEDIUM 10000 CRITICAL 15000 of 20",
        "exec_failures 24h > MEDIUM 0.01 CRITICAL 0.03 of 100",
        "decision_to_accept_p95 24h > MEDIUM 300 of 20",
        "availability 30d < HIGH 0.995 of 200",
        "availability.burn_1h 1h/5m > CRITICAL 14.4 of 20",
        "availability.burn_6h 6h/30m > MEDIUM 6 of 50",
    ];
    assert_eq!(told, wanted);
    assert_eq!(shipped.objectives[4].goal, Some(Decimal::new(995, 3)));
    assert_eq!(shipped.objectives[0].no_data, Some(Severity::Low));
    assert_eq!(shipped.objectives[5].no_data, None);
}

#[test]
fn a_digest_is_of_what_it_means_and_not_of_how_it_is_written() {
    let of = |text: &str| Slos::parse("f", text).expect("it is good").digest();
    let short = "slos: {a: {indicator: failed_share, window: 1h, above: {page: 0.1}}}";
    let long = "slos:\n  a: # again\n    above: {critical: 1e-1}\n    window: 1h\n    indicator: failed_share\n    no_data: warning";
    assert_eq!(of(short), of(long));
    assert_ne!(of(short), of(&short.replace("0.1", "0.2")));
    assert_eq!(of("slos: {}").len(), 64);
}

#[test]
fn words_of_other_systems_are_severities_and_an_unknown_one_is_medium() {
    let text = "slos: {a: {indicator: failed_share, window: 1h, above: {info: 0.1, whatever: 0.2, error: 0.3, page: 0.4}}}";
    let slos = Slos::parse("f", text).expect("it is good");
    let set: Vec<Severity> =
        slos.objectives[0].levels.set().map(|(severity, _)| severity).collect();
    assert_eq!(set, [Severity::Low, Severity::Medium, Severity::High, Severity::Critical]);
}

#[test]
fn f43_everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "\
slos:
  Bad-Name: {indicator: failed_share, window: 1h, above: {warn: 0.1}}
  one: {indicator: latency, window: 1y}
  two: {indicator: plan_to_exec_ms, window: 24h, above: {warn: 10, warning: 20}}
  three: {indicator: availability, window: 32d, above: {warn: 1}, below: {warn: 0.9, error: 0.95}}
  four: {indicator: failed_share, percentile: 95, window: 0h, above: {warn: 2}, min_samples: 0, no_data: [], x: 1}
  five: {indicator: availability, window: 30d, below: {error: 0.9}, burn: [{long: 5m, short: 1h, factor: 1}, 7]}
  six: {indicator: failed_share, window: 1h, above: {warn: 0.1}, burn: []}
  seven: ~
more: 1
";
    let found = refused(text);
    let at = |line: usize| found.iter().filter(|f| f.starts_with(&format!("{line}:"))).count();
    let counts: Vec<usize> = (1..=10).map(at).collect();
    assert_eq!(counts, [0, 1, 2, 2, 3, 6, 6, 1, 2, 1], "{}", found.join("\n"));
    for what in [
        "slos.Bad-Name: must be called",
        "slos.one.indicator: must be one of plan_to_exec_ms,",
        "slos.two.percentile: is missing",
        "slos.three.below: what is worse must need more",
        "slos.four.min_samples: must be a whole number, 1 or more",
        "slos.five.burn[0]: the short window must be shorter",
        "slos.six.burn: only an availability burns",
        "more: unknown key; known are slos",
    ] {
        assert!(found.iter().any(|f| f.contains(what)), "{what}\n{}", found.join("\n"));
    }
}

#[test]
fn f43_a_file_that_was_cut_short_promises_nothing_by_mistake() {
    for text in ["", "# nothing\n", "slos", "slos: [", "{}"] {
        assert!(!refused(text).is_empty(), "{text:?}");
    }
    assert_eq!(Slos::parse("f", "slos: {}"), Ok(Slos { objectives: vec![] }));
}

#[test]
fn a_span_is_minutes_hours_or_days_up_to_31_days() {
    let of = |text: &str| Span::read(text).map(|span| span.seconds);
    assert_eq!(of("5m"), Some(300));
    assert_eq!(of("24h"), Some(86_400));
    assert_eq!(of("31d"), Some(31 * 86_400));
    for bad in ["", "m", "0m", "05m", "32d", "1s", "-1h", "1.5h", "１h", "99999999999d", "1hm"] {
        assert_eq!(of(bad), None, "{bad}");
    }
}
