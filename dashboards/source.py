"""What the dashboards show. `dashboards/make.py` writes them as JSON; docs/dashboards.md says how they are used."""

from grafana import ZERO, bars, dashboard, graph, limit, prom, sql, stat, steps, table

RATE = "$__rate_interval"


def p95(metric, by=""):
    """The 95th percentile of a histogram over the panel's interval."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.95, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"


def ms(since, until):
    """Milliseconds between two moments."""
    return f"(extract(epoch FROM {until} - {since}) * 1000)"


# The same as obs_trace_latency, of the time shown only: that view is over all months.
STAGES = """
    (SELECT trace_id, min(made_at) AS decided FROM obs_decisions WHERE $__timeFilter(made_at) GROUP BY 1) AS d
    LEFT JOIN (SELECT trace_id, min(started_at) AS planned FROM obs_plan_runs
                WHERE $__timeFilter(started_at) GROUP BY 1) AS p USING (trace_id)
    LEFT JOIN (SELECT trace_id, min(called_at) AS asked FROM obs_infer_calls
                WHERE $__timeFilter(called_at) GROUP BY 1) AS i USING (trace_id)
    LEFT JOIN (SELECT trace_id, min(sent_at) AS sent FROM obs_exec_events
                WHERE $__timeFilter(sent_at) AND status NOT IN ('NEW','REJECTED','CANCELLED','EXPIRED')
                GROUP BY 1) AS e USING (trace_id)
"""
EACH = [("plan to model", ms("planned", "asked")), ("model to decision", ms("asked", "decided")),
        ("decision to send", ms("decided", "sent")), ("in all", ms("planned", "sent"))]
P95_EACH = ",\n".join(f'percentile_cont(0.95) WITHIN GROUP (ORDER BY {value}) AS "{name}"' for name, value in EACH)

PIPELINE = dashboard(
    "noctus-pipeline",
    "Noctus: pipeline",
    "From request to row: what comes in, what is decided, how long it takes, what is refused, what is owed.",
    [
        stat("Guarantees broken", "Must stay 0: see noctus_guarantee_broken_total in docs/metrics.md.",
             prom("sum(noctus_guarantee_broken_total)", instant=True), thresholds=ZERO),
        stat("Ready", "The worst part of all processes: 1 if every part of each is ready.",
             prom("min(noctus_ready)", instant=True), thresholds=steps(("red", None), ("green", 1))),
        stat("Oldest request", "For how long the oldest request that is not decided has waited.",
             prom('max(noctus_lag_seconds{role="gate"})', instant=True), unit="s", thresholds=limit(5, 30)),
        stat("Events owed", "Age of the oldest event that is committed and not acknowledged by Kafka.",
             prom("max(noctus_owed_oldest_seconds)", instant=True), unit="s", thresholds=limit(10, 60)),
        stat("Halts", "Scopes that are halted or may only reduce.",
             prom("sum(max by (mode) (noctus_halts))", instant=True), thresholds=limit(1)),
        stat("Newest quote", "How old the newest quote of any symbol is.",
             prom("time() - max(noctus_quotes_newest_timestamp_seconds > 0)", instant=True), unit="s",
             thresholds=limit(60, 300)),
        graph("Requests and decisions", "Requests read by the gate, and decisions by action, per second.",
              [prom(f"sum(rate(noctus_gate_requests_total[{RATE}]))", "requests"),
               prom(f"sum by (action) (rate(noctus_gate_decisions_total[{RATE}]))", "{{action}}")],
              unit="reqps", width=12),
        graph("Known requests, conflicts, repeats", "Replays change nothing; a conflict is a key used for two orders; "
              "a few repeated transactions are normal with many gates.",
              [prom(f"sum(rate(noctus_gate_replays_total[{RATE}]))", "replays"),
               prom(f"sum(rate(noctus_gate_conflicts_total[{RATE}]))", "conflicts"),
               prom(f"sum(rate(noctus_gate_batch_repeats_total[{RATE}]))", "repeated transactions")],
              unit="reqps", width=12),
        graph("Transactions, p95", "How long committed transactions take: admit (gate), claim and settle (dispatch), "
              "write (sink).", prom(p95("noctus_transaction_seconds", "transaction"), "{{transaction}}"), unit="s",
              thresholds=limit(1)),
        graph("Batch size, p95", "Records, orders or findings in one transaction.",
              prom(p95("noctus_batch_records", "transaction"), "{{transaction}}")),
        graph("Acknowledgement by Kafka, p95", "From a batch's commit to Kafka's acknowledgement of its events.",
              prom(p95("noctus_owed_emit_seconds"), "emit"), unit="s", thresholds=limit(1)),
        graph("Dead letters", "Refused inputs by reason, since the processes began. Should be none.",
              prom("sum by (reason) (noctus_dead_letters_total)", "{{reason}}"), width=8, stacked=True),
        graph("Waiting for Postgres, p95", "How long it takes to get a connection from the pool.",
              prom(p95("noctus_pool_wait_seconds", "instance"), "{{instance}}"), unit="s", thresholds=limit(0.5)),
        graph("Connections in use", "Of the pool of each process; at its maximum it waits.",
              [prom('sum by (instance) (noctus_pool_connections{state="in_use"})', "{{instance}}"),
               prom('min(noctus_pool_connections{state="max"})', "maximum")]),
        graph("Decisions by action", "As the tables have them.",
              sql("""
                  SELECT $__timeGroupAlias(made_at, $__interval), decision ->> 'action' AS metric, count(*) AS decisions
                    FROM obs_decisions WHERE $__timeFilter(made_at) GROUP BY 1, 2 ORDER BY 1
                  """, series=True), stacked=True, width=12),
        graph("Rows written", "By the sink, per second and table.",
              prom(f"sum by (table) (rate(noctus_sink_rows_total[{RATE}]))", "{{table}}"), width=12, stacked=True),
        table("Newest decisions", "A click on a trace shows everything about it.",
              sql("""
                  SELECT made_at, trace_id, decision ->> 'account' AS account,
                         decision ->> 'symbol' AS symbol, decision ->> 'action' AS action,
                         (decision ->> 'requested_qty')::numeric AS requested, (decision ->> 'decided_qty')::numeric AS decided,
                         strategy_name AS strategy, reason
                    FROM obs_decisions WHERE $__timeFilter(made_at) ORDER BY made_at DESC LIMIT 50
                  """), traces=["trace_id"]),
    ],
)

RISK = dashboard(
    "noctus-risk",
    "Noctus: risk",
    "What the gates blocked and clamped, by which rule, and what is halted.",
    [
        stat("Decided", "Decisions in the time shown.",
             sql("SELECT count(*) AS decided FROM obs_decisions WHERE $__timeFilter(made_at)")),
        stat("Blocked", "Share of requests to buy or sell that were decided FLAT or REJECT.",
             sql("""
                 SELECT avg((decision ->> 'action' IN ('FLAT','REJECT'))::int) AS blocked
                   FROM obs_decisions WHERE $__timeFilter(made_at) AND (decision ->> 'requested_qty')::numeric > 0
                 """), unit="percentunit", decimals=1, thresholds=limit(0.2, 0.5)),
        stat("Clamped", "Share of decisions to buy or sell with less than was asked for.",
             sql("""
                 SELECT avg(((decision ->> 'decided_qty')::numeric < (decision ->> 'requested_qty')::numeric)::int) AS clamped
                   FROM obs_decisions WHERE $__timeFilter(made_at) AND decision ->> 'action' IN ('BUY','SELL')
                 """), unit="percentunit", decimals=1, thresholds=limit(0.5)),
        stat("Units taken away", "Sum of what quality and risk rules took away, in units.",
             sql("""
                 SELECT coalesce(sum((decision ->> 'requested_qty')::numeric - (decision ->> 'decided_qty')::numeric), 0) AS units
                   FROM obs_decisions WHERE $__timeFilter(made_at)
                 """)),
        stat("Halts in force", "Scopes that are halted or may only reduce.",
             prom("sum(max by (mode) (noctus_halts))", instant=True), thresholds=limit(1)),
        stat("Critical alerts", "Alerts of severity CRITICAL in the time shown.",
             sql("SELECT count(*) AS critical FROM obs_alerts WHERE $__timeFilter(created_at) AND severity = 'CRITICAL'"),
             thresholds=ZERO),
        bars("Changed by rule", "How many decisions each rule changed.",
             sql("""
                 SELECT step ->> 'rule' AS rule, count(*) AS decisions
                   FROM obs_decisions CROSS JOIN LATERAL jsonb_array_elements(decision -> 'steps') AS step
                  WHERE $__timeFilter(made_at) GROUP BY 1 ORDER BY 2 DESC
                 """)),
        bars("Units taken away by rule", "What each rule took away, in units.",
             sql("""
                 SELECT step ->> 'rule' AS rule, sum((step ->> 'before')::numeric - (step ->> 'after')::numeric) AS units
                   FROM obs_decisions CROSS JOIN LATERAL jsonb_array_elements(decision -> 'steps') AS step
                  WHERE $__timeFilter(made_at) GROUP BY 1 ORDER BY 2 DESC
                 """)),
        bars("Blocked by rule", "Rules that left nothing of an order.",
             sql("""
                 SELECT step ->> 'rule' AS rule, count(*) AS blocked
                   FROM obs_decisions CROSS JOIN LATERAL jsonb_array_elements(decision -> 'steps') AS step
                  WHERE $__timeFilter(made_at) AND (step ->> 'after')::numeric = 0 GROUP BY 1 ORDER BY 2 DESC
                 """)),
        graph("Blocked and clamped", "Decisions that were blocked, clamped, or let through whole.",
              sql("""
                  SELECT $__timeGroupAlias(made_at, $__interval),
                         count(*) FILTER (WHERE decision ->> 'action' IN ('FLAT','REJECT')) AS blocked,
                         count(*) FILTER (WHERE decision ->> 'action' IN ('BUY','SELL')
                           AND (decision ->> 'decided_qty')::numeric < (decision ->> 'requested_qty')::numeric) AS clamped,
                         count(*) FILTER (WHERE decision ->> 'action' IN ('BUY','SELL')
                           AND decision ->> 'decided_qty' = decision ->> 'requested_qty') AS whole
                    FROM obs_decisions WHERE $__timeFilter(made_at) GROUP BY 1 ORDER BY 1
                  """, series=True), stacked=True, width=12),
        graph("Rules that fire", "Alerts by rule, since the processes began.",
              prom("sum by (policy_name) (noctus_alerts_total)", "{{policy_name}}"), width=12, stacked=True),
        graph("Quality verdicts", "Of decisions that were judged by quality.",
              sql("""
                  SELECT $__timeGroupAlias(made_at, $__interval), decision -> 'quality' ->> 'verdict' AS metric,
                         count(*) AS decisions
                    FROM obs_decisions WHERE $__timeFilter(made_at) AND decision -> 'quality' ->> 'verdict' IS NOT NULL
                   GROUP BY 1, 2 ORDER BY 1
                  """, series=True), stacked=True, width=12),
        graph("Positions compared", "Comparisons with the broker by result, since the processes began.",
              prom("sum by (result) (noctus_position_checks_total)", "{{result}}"), width=12),
        table("Newest clamps and blocks", "What was asked for, what was left, and which rules took the rest.",
              sql("""
                  SELECT made_at, trace_id, decision ->> 'symbol' AS symbol, decision ->> 'action' AS action,
                         (decision ->> 'requested_qty')::numeric AS requested, (decision ->> 'decided_qty')::numeric AS decided,
                         (SELECT string_agg(step ->> 'rule', ', ') FROM jsonb_array_elements(decision -> 'steps') AS step) AS rules,
                         reason
                    FROM obs_decisions
                   WHERE $__timeFilter(made_at) AND (decision ->> 'decided_qty')::numeric < (decision ->> 'requested_qty')::numeric
                   ORDER BY made_at DESC LIMIT 50
                  """), traces=["trace_id"]),
        table("Newest alerts", "Every rule that fired.",
              sql("""
                  SELECT created_at, severity, policy_name, trace_id, reason
                    FROM obs_alerts WHERE $__timeFilter(created_at) ORDER BY created_at DESC LIMIT 50
                  """), traces=["trace_id"]),
    ],
)

EXECUTION = dashboard(
    "noctus-execution",
    "Noctus: execution",
    "What was sent, how the broker answered, what is open, and what orders cost.",
    [
        stat("Acceptance, p95", "From the decision to the broker's acceptance; what is promised is 0.3 s.",
             prom("histogram_quantile(0.95, sum by (le) (noctus_dispatch_accept_seconds_bucket))", instant=True), unit="s",
             decimals=3, thresholds=limit(0.3, 1)),
        stat("Unknown", "Orders of which nobody knows yet whether the broker has them.",
             prom('max(noctus_dispatch_open_orders{state="UNKNOWN"})', instant=True), thresholds=limit(1)),
        stat("Parked", "Orders that two people have to end.",
             prom('max(noctus_dispatch_open_orders{state="PARKED"})', instant=True), thresholds=ZERO),
        stat("Refused by the broker", "1: a dispatch is SAFE and sends nothing.",
             prom("max(noctus_dispatch_safe)", instant=True), thresholds=ZERO),
        stat("Left in peace", "1: the broker has asked for peace.",
             prom("max(noctus_broker_paused)", instant=True), thresholds=limit(1)),
        stat("Cancels wanted", "Cancels that the broker has not answered clearly.",
             prom("max(noctus_cancels_wanted)", instant=True), thresholds=limit(1)),
        graph("Outcomes of sends", "Per second; not_sent goes back to NEW, unknown is asked about.",
              prom(f"sum by (outcome) (rate(noctus_dispatch_outcomes_total[{RATE}]))", "{{outcome}}"), unit="reqps",
              stacked=True),
        graph("The broker's answers, p95", "By call and outcome, without the wait for its limits.",
              prom(p95("noctus_broker_call_seconds", "call, outcome"), "{{call}} {{outcome}}"), unit="s",
              thresholds=limit(0.3)),
        graph("From decision to acceptance", "p50, p95 and p99.",
              [prom(f"histogram_quantile({q}, sum by (le) (rate(noctus_dispatch_accept_seconds_bucket[{RATE}])))", f"p{n}")
               for q, n in ((0.5, 50), (0.95, 95), (0.99, 99))], unit="s", thresholds=limit(0.3)),
        graph("Open orders", "By state, as the ledger has them.",
              prom("max by (state) (noctus_dispatch_open_orders)", "{{state}}"), stacked=True),
        graph("Oldest order", "That is NEW, and whose outcome is not known.",
              [prom("max(noctus_dispatch_oldest_new_seconds)", "NEW"),
               prom("max(noctus_dispatch_oldest_unclear_seconds)", "not known")], unit="s", thresholds=limit(60)),
        graph("Waiting for the broker's limits, p95", "0 if nothing waits.",
              [prom(f"({p95('noctus_broker_wait_seconds')} >= 0) or vector(0)", "wait"),
               prom(f"sum(rate(noctus_broker_pauses_total[{RATE}])) or vector(0)", "pauses a second")], unit="s"),
        graph("Steps of orders", "Exec events by status.",
              sql("""
                  SELECT $__timeGroupAlias(sent_at, $__interval), status AS metric, count(*) AS steps
                    FROM obs_exec_events WHERE $__timeFilter(sent_at) GROUP BY 1, 2 ORDER BY 1
                  """, series=True), stacked=True, width=12),
        graph("Time in each part, p95", "Waiting for the first send, the broker's answer, and in all.",
              sql("""
                  SELECT $__timeGroupAlias(first_at, $__interval),
                         percentile_cont(0.95) WITHIN GROUP (ORDER BY queue_ms) AS queue,
                         percentile_cont(0.95) WITHIN GROUP (ORDER BY broker_rtt_ms) AS broker,
                         percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms) AS total
                    FROM obs_do_metrics WHERE $__timeFilter(first_at) GROUP BY 1 ORDER BY 1
                  """, series=True), unit="ms", width=12),
        table("What orders cost, by symbol", "Slippage is per unit against the decision's price; above 0 it cost more.",
              sql("""
                  SELECT symbol, count(*) AS orders, sum(filled_qty) AS units,
                         sum(slippage * filled_qty) / nullif(sum(filled_qty) FILTER (WHERE slippage IS NOT NULL), 0) AS slippage,
                         sum(partial_fills) AS partial_fills, sum(retry_counts) AS resends,
                         percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms) AS p95_ms
                    FROM obs_do_metrics WHERE $__timeFilter(first_at) GROUP BY 1 ORDER BY 2 DESC LIMIT 50
                  """), width=12),
        bars("How orders ended", "Orders by their newest status.",
             sql("""
                 SELECT final_status AS status, count(*) AS orders
                   FROM obs_do_metrics WHERE $__timeFilter(first_at) GROUP BY 1 ORDER BY 2 DESC
                 """), width=12),
        table("Newest orders", "Those that were sent, the newest first.",
              sql("""
                  SELECT first_at, trace_id, idempotency_key AS key, symbol, final_status AS status, requested_qty AS requested,
                         filled_qty AS filled, slippage, queue_ms, broker_rtt_ms, total_ms
                    FROM obs_do_metrics WHERE $__timeFilter(first_at) ORDER BY first_at DESC LIMIT 50
                  """), traces=["trace_id"]),
    ],
)

LATENCY = dashboard(
    "noctus-latency",
    "Noctus: latency",
    "The KPI of the CHECK layer: P95 by day and by stage, from the first PLAN step to the first send.",
    [
        stat("P95 by stage", "Of the time shown, milliseconds. In all: from the first PLAN step to the first send; above 10 s is a "
             "warning, above 15 s critical.",
             sql(f"SELECT {P95_EACH} FROM {STAGES}"), unit="ms", width=24, thresholds=limit(10_000, 15_000)),
        graph("P95 by day and stage", "The KPI: each stage and the whole, by day (UTC).",
              sql(f"""
                  SELECT $__timeGroupAlias(decided, '1d'),
                         {P95_EACH}
                    FROM {STAGES} GROUP BY 1 ORDER BY 1
                  """, series=True), unit="ms", width=24, height=10, thresholds=limit(10_000, 15_000)),
        table("By day", "Of all traces of a day, as of the last refresh of obs_latency_daily.",
              sql("""
                  SELECT day, p50_ms, p90_ms, p95_ms, p99_ms, max_ms, traces, executed
                    FROM obs_latency_daily WHERE $__timeFilter(day::timestamp AT TIME ZONE 'UTC') ORDER BY day DESC
                  """), unit="short"),
        table("Slowest traces", "The twenty slowest of the time shown, milliseconds.",
              sql(f"""
                  SELECT trace_id, planned, {", ".join(f'{value} AS "{name}"' for name, value in EACH)}
                    FROM {STAGES} WHERE sent - planned IS NOT NULL ORDER BY sent - planned DESC LIMIT 20
                  """), unit="ms", traces=["trace_id"]),
    ],
    since="now-14d",
)

SLO = dashboard(
    "noctus-slo",
    "Noctus: service levels",
    "What is promised, what is measured, and what is violated now.",
    [
        stat("Violations", "Service levels that are violated now, or cannot be told for want of samples.",
             sql("SELECT count(*) AS violations FROM obs_slo_violations_24h"), thresholds=limit(1)),
        stat("Critical", "Those of severity CRITICAL.",
             sql("SELECT count(*) AS critical FROM obs_slo_violations_24h WHERE severity = 'CRITICAL'"), thresholds=ZERO),
        stat("Failed orders", "Of the orders that were sent and are over, the share that was rejected, expired or is parked.",
             sql("""
                 SELECT avg((final_status IN ('REJECTED','EXPIRED','PARKED'))::int) AS failed
                   FROM obs_do_metrics WHERE $__timeFilter(first_at) AND queue_ms IS NOT NULL
                    AND final_status IN ('FILLED','CANCELLED','REJECTED','EXPIRED','PARKED')
                 """), unit="percentunit", decimals=2, thresholds=limit(0.01, 0.03)),
        stat("Availability", "1 - failed orders.",
             sql("""
                 SELECT avg((final_status NOT IN ('REJECTED','EXPIRED','PARKED'))::int) AS available
                   FROM obs_do_metrics WHERE $__timeFilter(first_at) AND queue_ms IS NOT NULL
                    AND final_status IN ('FILLED','CANCELLED','REJECTED','EXPIRED','PARKED')
                 """), unit="percentunit", decimals=2, thresholds=steps(("red", None), ("green", 0.995))),
        stat("P95 plan to send", "From the first PLAN step to the first send.",
             sql("SELECT observed FROM obs_slo_status WHERE slo = 'plan_to_exec_p95' AND observed IS NOT NULL"),
             unit="ms", thresholds=limit(10_000, 15_000)),
        stat("P95 decision to acceptance", "As dispatch measures it.",
             prom("histogram_quantile(0.95, sum by (le) (noctus_dispatch_accept_seconds_bucket))", instant=True), unit="s",
             decimals=3, thresholds=limit(0.3)),
        table("Every service level", "Measured now, those that hold too.",
              sql("""
                  SELECT slo, "window", state, observed, threshold, severity, samples, min_samples, worst_trace_id, about
                    FROM obs_slo_status ORDER BY state DESC, slo
                  """), traces=["worst_trace_id"]),
        table("Violated now", "Also what cannot be told: <name>.no_data.",
              sql("""
                  SELECT slo, "window", observed, threshold, severity, samples, first_at, last_at, worst_trace_id
                    FROM obs_slo_violations_24h ORDER BY severity, slo
                  """), traces=["worst_trace_id"]),
        graph("Orders that are over, by hour", "Failed, and all; of hours that upkeep has counted, and those since.",
              sql("""
                  SELECT $__timeGroupAlias(first_at, '1h'),
                         count(*) FILTER (WHERE final_status IN ('REJECTED','EXPIRED','PARKED')) AS failed, count(*) AS "all"
                    FROM obs_do_metrics WHERE $__timeFilter(first_at) AND queue_ms IS NOT NULL
                     AND final_status IN ('FILLED','CANCELLED','REJECTED','EXPIRED','PARKED')
                   GROUP BY 1 ORDER BY 1
                  """, series=True), width=12),
        graph("Acceptance within 0.3 s", "Share of the broker's acceptances within what is promised.",
              prom(f"""sum(rate(noctus_dispatch_accept_seconds_bucket{{le="0.3"}}[{RATE}]))
                       / sum(rate(noctus_dispatch_accept_seconds_count[{RATE}]))""", "within 0.3 s"),
              unit="percentunit", width=12, thresholds=steps(("red", None), ("green", 0.95))),
    ],
    since="now-24h",
)

CONSUMERS = dashboard(
    "noctus-consumers",
    "Noctus: consumer groups",
    "How far each role is behind in each partition that it owns, and what keeps it.",
    [
        stat("Gate behind", "Age of the oldest request that is not decided.",
             prom('max(noctus_lag_seconds{role="gate"})', instant=True), unit="s", thresholds=limit(5, 30)),
        stat("Sink behind", "Age of the oldest event that is not in the tables.",
             prom('max(noctus_lag_seconds{role="sink"})', instant=True), unit="s", thresholds=limit(30, 300)),
        stat("Gate partitions", "Partitions that some gate owns.",
             prom('count(noctus_lag_records{role="gate"})', instant=True)),
        stat("Sink partitions", "Partitions that some sink owns.",
             prom('count(noctus_lag_records{role="sink"})', instant=True)),
        stat("Paused", "Partitions that wait because something they need is away.",
             prom("sum(noctus_paused_partitions) or vector(0)", instant=True), thresholds=limit(1)),
        stat("Flooded", "Partitions of which far more is refused than should be.",
             prom("sum(noctus_gate_flooded_partitions)", instant=True), thresholds=ZERO),
        graph("Records behind", "By role and topic; stands still while a role waits for something that is away.",
              prom("sum by (role, topic) (noctus_lag_records)", "{{role}} {{topic}}"), width=12),
        graph("Seconds behind", "By role and topic; goes on while a role waits.",
              prom("max by (role, topic) (noctus_lag_seconds)", "{{role}} {{topic}}"), unit="s", width=12,
              thresholds=limit(30)),
        graph("Partitions owned", "By process: they should be shared evenly.",
              prom("count by (role, instance) (noctus_lag_records)", "{{role}} {{instance}}"), width=8),
        graph("Dropped batches", "Batches of a partition that another worker owns; a few at a rebalance are normal.",
              prom(f"sum(rate(noctus_gate_fenced_total[{RATE}]))", "fenced"), width=8),
        graph("Orphans", "Batches of events that were found and emitted after a crash or an outage.",
              prom(f"sum(rate(noctus_owed_orphan_batches_total[{RATE}]))", "orphans"), width=8),
        table("Partitions", "Each partition that is owned, and by whom.",
              prom("sort_desc(noctus_lag_records)", instant=True)),
    ],
    since="now-1h",
)

TRACE = dashboard(
    "noctus-trace",
    "Noctus: one trace",
    "Everything that happened under one trace; links of other dashboards lead here.",
    [
        table("Timeline", "Every hop, in order.",
              sql("""
                  SELECT ts, kind, action, payload
                    FROM obs_trace_timeline WHERE trace_id = ${trace:sqlstring} ORDER BY ts
                  """), height=14),
        table("Latency", "When it came by each stage first, and how long it took between them.",
              sql("SELECT * FROM obs_trace_latency WHERE trace_id = ${trace:sqlstring}"), height=5),
        table("What rules did", "Every step that changed the quantity.",
              sql("""
                  SELECT made_at, decision ->> 'idempotency_key' AS key, step ->> 'rule' AS rule,
                         (step ->> 'before')::numeric AS before, (step ->> 'after')::numeric AS after, step ->> 'reason' AS why
                    FROM obs_decisions CROSS JOIN LATERAL jsonb_array_elements(decision -> 'steps') AS step
                   WHERE trace_id = ${trace:sqlstring} ORDER BY made_at
                  """)),
    ],
    since="now-30d",
    trace=True,
)

DASHBOARDS = [PIPELINE, RISK, EXECUTION, LATENCY, SLO, CONSUMERS, TRACE]
