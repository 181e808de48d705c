use std::collections::BTreeSet;

use super::*;

/// What has any number of values is no label.
const NO_LABELS: &[&str] = &[
    "account",
    "address",
    "event_id",
    "fingerprint",
    "idempotency_key",
    "key",
    "order_id",
    "reference",
    "strategy",
    "subject",
    "symbol",
    "trace",
    "trace_id",
    "url",
    "worker",
];

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut seen = BTreeSet::new();
    for m in LIST {
        assert!(seen.insert(m.name), "{} is there twice", m.name);
        assert!(m.name.starts_with("noctus_"), "{}", m.name);
        assert_eq!(m.kind == "counter", m.name.ends_with("_total"), "{}", m.name);
        for unit in ["_ms", "_millis", "_us", "_minutes", "_kb", "_percent"] {
            assert!(!m.name.ends_with(unit) && !m.name.contains(&format!("{unit}_")), "{}", m.name);
        }
        if m.kind == "histogram" {
            assert!(m.name.ends_with("_seconds") || m.name.ends_with("_records"), "{}", m.name);
        }
        for reserved in ["_count", "_sum", "_bucket"] {
            assert!(!m.name.ends_with(reserved), "{} is a histogram's own", m.name);
        }
        assert!(m.help.trim().ends_with('.'), "{}: its help is a sentence", m.name);
        for label in m.labels {
            assert!(
                !NO_LABELS.contains(label),
                "{}: {label} may have any number of values",
                m.name
            );
        }
    }
}

#[test]
fn a_fresh_process_tells_all_that_has_no_label_and_every_guarantee_at_0() {
    let text = Metrics::default().text();
    for m in LIST.iter().filter(|m| m.labels.is_empty()) {
        assert!(text.contains(&format!("# TYPE {} {}\n", m.name, m.kind)), "{}", m.name);
    }
    for guarantee in Guarantee::ALL {
        let line =
            format!("noctus_guarantee_broken_total{{guarantee=\"{}\"}} 0\n", guarantee.as_str());
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn a_broken_guarantee_is_counted_under_its_name() {
    let metrics = Metrics::default();
    metrics.broken(Guarantee::NoOverFill, "an example");
    let text = metrics.text();
    assert!(
        text.contains("noctus_guarantee_broken_total{guarantee=\"no_over_fill\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("noctus_guarantee_broken_total{guarantee=\"caps_hold\"} 0\n"), "{text}");
}

#[test]
fn what_is_read_off_is_read_at_each_scrape() {
    let metrics = Metrics::default();
    let looks = std::sync::atomic::AtomicI64::new(0);
    metrics.before_scrapes(move |m| {
        let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        m.pool_waiting.set(look);
    });
    assert!(metrics.text().contains("noctus_pool_waiting 1\n"));
    assert!(metrics.text().contains("noctus_pool_waiting 2\n"));
}

#[test]
fn every_metric_has_a_line_on_the_page() {
    let page = page::page();
    for m in LIST {
        assert_eq!(page.matches(&format!("| `{}` |", m.name)).count(), 1, "{}", m.name);
    }
    for guarantee in Guarantee::ALL {
        assert!(page.contains(&format!(
            "| `{}` | {} |",
            guarantee.as_str(),
            guarantee.invariant()
        )));
    }
}
