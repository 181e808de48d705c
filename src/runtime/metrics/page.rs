//! The page of metrics, made from the list: docs/metrics.md.

use std::fmt::Write as _;

use super::{Described, Guarantee, LIST};

const HEAD: &str = "\
# Metrics

Made by `noctus docs metrics`; do not edit. Every role answers `/metrics` on `http.listen`, with all of these names: what a
role never does stays 0, or has no series. Besides them there are `process_*` of the process itself.

- *Units* are Prometheus' base units: `_seconds`, `_records`; a counter ends in `_total`. A histogram `X` has `X_bucket`,
  `X_sum` and `X_count`.
- *Labels* have few values: no account, no symbol, no trace and no key is one. `topic` is a topic's actual name.
- *State* that is in Postgres (open orders, halts, what is owed) is told by every process that looks: take `max`, not `sum`.
- A counter begins at 0 with its process. Series with labels begin with the first count; those of
  `noctus_guarantee_broken_total` stand at 0 from the start.

Rules and alerts over them: [configs/prometheus/rules.yml](../configs/prometheus/rules.yml); what to do when one fires:
[operations](operations.md#alerts-of-prometheus). Panels: [dashboards](dashboards.md).
";

const GUARANTEES: &str = "
## Guarantees

`noctus_guarantee_broken_total{guarantee=\"…\"}` must stay 0, all of them; one alert, `NoctusGuaranteeBroken`, watches them. The
second column is the invariant of [ARCHITECTURE.md](../ARCHITECTURE.md#why-it-is-correct), or the rule of [the
contract](contract.md). What no process can notice of itself is not here: I1 and I8 are seen by comparing afterwards
(`noctus verify`) and by the tests that ARCHITECTURE.md names, I10 by the compiler.

| guarantee | of | counted when |
|---|---|---|
";

/// Groups in the order of the flow: what a name begins with, and the title.
const GROUPS: &[(&[&str], &str)] = &[
    (&["noctus_gate_", "noctus_clock_", "noctus_registry_"], "Gate"),
    (&["noctus_quotes_"], "Quotes"),
    (
        &["noctus_alerts_", "noctus_dead_", "noctus_owed_"],
        "What is told: alerts, dead letters, emission",
    ),
    (&["noctus_dispatch_", "noctus_halts", "noctus_cancels_", "noctus_position_"], "Dispatch"),
    (&["noctus_broker_"], "The broker"),
    (&["noctus_sink_"], "Sink"),
    (&["noctus_upkeep_"], "Upkeep"),
    (&["noctus_notify_"], "Notify"),
    (&["noctus_lag_", "noctus_paused_"], "Reading"),
    (&["noctus_transaction_", "noctus_batch_", "noctus_pool_"], "Postgres"),
    (&[], "The rest"),
];

/// The page.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    let mut left: Vec<&Described> = LIST.iter().collect();
    for (starts, title) in GROUPS {
        let (ours, others): (Vec<&Described>, Vec<&Described>) = left.into_iter().partition(|m| {
            starts.is_empty() || starts.iter().any(|start| m.name.starts_with(start))
        });
        left = others;
        if !ours.is_empty() {
            let _ = write!(out, "\n## {title}\n\n| metric | | labels | |\n|---|---|---|---|\n");
        }
        for m in ours {
            let labels: Vec<String> = m.labels.iter().map(|l| format!("`{l}`")).collect();
            let (help, labels) = (m.help.trim().replace('|', "\\|"), labels.join(", "));
            let _ = writeln!(out, "| `{}` | {} | {labels} | {help} |", m.name, m.kind);
        }
    }
    out.push_str(GUARANTEES);
    for g in Guarantee::ALL {
        let _ = writeln!(out, "| `{}` | {} | {} |", g.as_str(), g.invariant(), g.what().trim());
    }
    out
}
