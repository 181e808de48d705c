-- What dashboards read (C-OBS 1–3). The sink is the only writer; docs/tables.md says what is promised.
-- Each table is partitioned by its event's own time, one month (UTC) a partition, made by obs_make_month. There is no
-- DEFAULT partition: attaching a month beside one scans it.

CREATE TABLE obs_plan_runs (
    event_id    TEXT        NOT NULL,
    trace_id    TEXT        NOT NULL,
    status      TEXT        NOT NULL,
    symbol      TEXT,
    timeframe   TEXT,
    started_at  TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    meta        JSONB       NOT NULL,
    PRIMARY KEY (event_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE INDEX obs_plan_runs_trace ON obs_plan_runs (trace_id);

CREATE TABLE obs_infer_calls (
    event_id    TEXT        NOT NULL,
    trace_id    TEXT        NOT NULL,
    model       TEXT        NOT NULL,
    version     TEXT,
    called_at   TIMESTAMPTZ NOT NULL,
    duration_ms BIGINT,
    status      TEXT        NOT NULL,
    inputs      JSONB       NOT NULL,
    outputs     JSONB       NOT NULL,
    PRIMARY KEY (event_id, called_at)
) PARTITION BY RANGE (called_at);
CREATE INDEX obs_infer_calls_trace ON obs_infer_calls (trace_id);

CREATE TABLE obs_decisions (
    event_id       TEXT        NOT NULL,
    trace_id       TEXT        NOT NULL,
    made_at        TIMESTAMPTZ NOT NULL,
    engine_version TEXT        NOT NULL,
    strategy_name  TEXT,
    score          NUMERIC(28,9),
    reason         TEXT        NOT NULL,
    price          NUMERIC(28,9),
    features       JSONB       NOT NULL,
    decision       JSONB       NOT NULL CHECK ((decision ->> 'action' IN ('BUY','SELL','FLAT','REJECT')) IS TRUE),
    PRIMARY KEY (event_id, made_at)
) PARTITION BY RANGE (made_at);
-- The key is in it for the sink, which looks up an order's price by both.
CREATE INDEX obs_decisions_trace ON obs_decisions (trace_id, (decision ->> 'idempotency_key'));

CREATE TABLE obs_exec_events (
    event_id        TEXT        NOT NULL,
    trace_id        TEXT        NOT NULL,
    idempotency_key TEXT        NOT NULL,
    exec_seq        INT         NOT NULL,
    sent_at         TIMESTAMPTZ NOT NULL,
    account         TEXT        NOT NULL,
    symbol          TEXT        NOT NULL,
    side            TEXT        NOT NULL,
    size            NUMERIC(28,9) NOT NULL,
    provider        TEXT        NOT NULL,
    status          TEXT        NOT NULL,
    order_id        TEXT        NOT NULL,
    executed_qty    NUMERIC(28,9) NOT NULL,
    avg_price       NUMERIC(28,9),
    reason_code     TEXT,
    queue_ms        BIGINT,
    broker_rtt_ms   BIGINT,
    total_ms        BIGINT,
    response        JSONB       NOT NULL,
    PRIMARY KEY (event_id, sent_at),
    UNIQUE (idempotency_key, exec_seq, sent_at)
) PARTITION BY RANGE (sent_at);
CREATE INDEX obs_exec_events_trace ON obs_exec_events (trace_id);

CREATE TABLE obs_alerts (
    event_id        TEXT        NOT NULL,
    trace_id        TEXT,
    idempotency_key TEXT,
    policy_name     TEXT        NOT NULL,
    policy          TEXT        GENERATED ALWAYS AS (policy_name) STORED,
    severity        TEXT        NOT NULL CHECK (severity IN ('LOW','MEDIUM','HIGH','CRITICAL')),
    reason          TEXT        NOT NULL,
    details         JSONB       NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX obs_alerts_trace ON obs_alerts (trace_id) WHERE trace_id IS NOT NULL;

CREATE TABLE obs_do_metrics (
    event_id        TEXT        NOT NULL,
    trace_id        TEXT        NOT NULL,
    idempotency_key TEXT        NOT NULL,
    symbol          TEXT        NOT NULL,
    child_orders    INT         NOT NULL,
    retry_counts    INT         NOT NULL,
    partial_fills   INT         NOT NULL,
    requested_qty   NUMERIC(28,9) NOT NULL,
    filled_qty      NUMERIC(28,9) NOT NULL,
    slippage        NUMERIC(28,9),
    queue_ms        BIGINT,
    broker_rtt_ms   BIGINT,
    total_ms        BIGINT,
    final_status    TEXT        NOT NULL,
    first_at        TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (event_id, first_at)
) PARTITION BY RANGE (first_at);

-- Makes the partitions of the month that `at` is in, of all six tables; false if they were all there. Any number of
-- sessions may call it at once. A partition is made empty and then attached, which keeps nobody from reading or writing
-- the table; call it in a transaction of its own, for its locks are held until the end.
CREATE FUNCTION obs_make_month(at TIMESTAMPTZ) RETURNS BOOLEAN
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    tables CONSTANT TEXT[] := ARRAY['obs_plan_runs','obs_infer_calls','obs_decisions','obs_exec_events','obs_alerts',
                                    'obs_do_metrics'];
    month  CONSTANT TIMESTAMP := date_trunc('month', at AT TIME ZONE 'UTC');
    suffix CONSTANT TEXT := to_char(month, '"_"YYYY"_"MM');
    missing TEXT[];
    name TEXT;
BEGIN
    FOR turn IN 1..2 LOOP
        -- By name, not by to_regclass: that one remembers what was not there before the lock was waited for.
        SELECT array_agg(t) INTO missing FROM unnest(tables) AS t
         WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                            WHERE i.inhparent = t::regclass AND c.relname = t || suffix);
        IF missing IS NULL THEN
            RETURN FALSE;
        END IF;
        -- Whoever had to wait looks again.
        PERFORM pg_advisory_xact_lock(hashtextextended('noctus.obs_make_month', 0));
    END LOOP;
    FOREACH name IN ARRAY missing LOOP
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)', name || suffix, name);
        IF name = 'obs_do_metrics' THEN
            -- Its rows are rewritten until the order is over: room for that on the same page.
            EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', name || suffix);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, name || suffix,
                       month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    END LOOP;
    RETURN TRUE;
END
$$;

-- The view is sorted, and by more than ts, so that the plan's ORDER BY ts finds its order already there and leaves rows of
-- one ts as they are: PLAN, INFER, DECISION, EXEC by order and exec_seq, ALERT.
CREATE VIEW obs_trace_timeline AS
SELECT trace_id, ts, kind, action, payload
  FROM (
    SELECT trace_id, started_at AS ts, 'PLAN:' || status AS kind, NULL::text AS action,
           jsonb_strip_nulls(jsonb_build_object('symbol', symbol, 'timeframe', timeframe,
                                                'finished_at', finished_at)) || jsonb_build_object('meta', meta) AS payload,
           0 AS stage, ''::text AS of_order, 0 AS step, event_id
      FROM obs_plan_runs
    UNION ALL
    SELECT trace_id, called_at, 'INFER', model,
           jsonb_strip_nulls(jsonb_build_object('version', version, 'duration_ms', duration_ms, 'status', status))
               || jsonb_build_object('inputs', inputs, 'outputs', outputs),
           1, '', 0, event_id
      FROM obs_infer_calls
    UNION ALL
    SELECT trace_id, made_at, 'DECISION', decision ->> 'action',
           decision || jsonb_build_object('reason', reason, 'strategy_name', strategy_name, 'score', trim_scale(score)),
           2, decision ->> 'idempotency_key', 0, event_id
      FROM obs_decisions
    UNION ALL
    SELECT trace_id, sent_at, 'EXEC', status,
           jsonb_strip_nulls(jsonb_build_object(
               'idempotency_key', idempotency_key, 'exec_seq', exec_seq, 'symbol', symbol, 'side', side,
               'size', trim_scale(size), 'executed_qty', trim_scale(executed_qty), 'avg_price', trim_scale(avg_price),
               'provider', provider, 'order_id', order_id, 'reason_code', reason_code, 'response', response)),
           3, idempotency_key, exec_seq, event_id
      FROM obs_exec_events
    UNION ALL
    SELECT trace_id, created_at, 'ALERT', policy_name,
           jsonb_build_object('severity', severity, 'reason', reason, 'details', details),
           4, coalesce(idempotency_key, ''), 0, event_id
      FROM obs_alerts WHERE trace_id IS NOT NULL
  ) AS hops
 ORDER BY ts, stage, of_order COLLATE "C", step, event_id COLLATE "C";

CREATE VIEW obs_trace_latency AS
SELECT trace_id, plan_start, infer_ts, decision_ts, exec_ts,
       round(extract(epoch FROM infer_ts - plan_start) * 1000, 3)     AS ms_plan_to_infer,
       round(extract(epoch FROM decision_ts - infer_ts) * 1000, 3)    AS ms_infer_to_decision,
       round(extract(epoch FROM exec_ts - decision_ts) * 1000, 3)     AS ms_decision_to_exec,
       round(extract(epoch FROM exec_ts - plan_start) * 1000, 3)      AS ms_total
  FROM (
    SELECT trace_id, min(plan_at) AS plan_start, min(infer_at) AS infer_ts, min(decision_at) AS decision_ts,
           min(exec_at) AS exec_ts
      FROM (
        SELECT trace_id, started_at AS plan_at, NULL::timestamptz AS infer_at, NULL::timestamptz AS decision_at,
               NULL::timestamptz AS exec_at FROM obs_plan_runs
        UNION ALL
        SELECT trace_id, NULL, called_at, NULL, NULL FROM obs_infer_calls
        UNION ALL
        SELECT trace_id, NULL, NULL, made_at, NULL FROM obs_decisions
        UNION ALL
        -- What was refused or ran out before it was sent has no exec_ts: it was not executed.
        SELECT trace_id, NULL, NULL, NULL, sent_at FROM obs_exec_events
         WHERE status NOT IN ('NEW','REJECTED','CANCELLED','EXPIRED')
      ) AS hops
     GROUP BY trace_id
  ) AS traces;

CREATE MATERIALIZED VIEW obs_latency_daily AS
SELECT (coalesce(plan_start, infer_ts, decision_ts, exec_ts) AT TIME ZONE 'UTC')::date AS day,
       percentile_cont(0.50) WITHIN GROUP (ORDER BY ms_total::float8) AS p50_ms,
       percentile_cont(0.90) WITHIN GROUP (ORDER BY ms_total::float8) AS p90_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY ms_total::float8) AS p95_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY ms_total::float8) AS p99_ms,
       max(ms_total::float8) AS max_ms,
       count(*)       AS traces,
       count(exec_ts) AS executed
  FROM obs_trace_latency
 GROUP BY 1;
-- REFRESH MATERIALIZED VIEW CONCURRENTLY needs it.
CREATE UNIQUE INDEX obs_latency_daily_day ON obs_latency_daily (day);

-- What the catalogue says; docs/tables.md is held to it by a test.

COMMENT ON TABLE obs_plan_runs IS 'One row per step of a PLAN run. Source: topic plan-runs.';
COMMENT ON COLUMN obs_plan_runs.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_plan_runs.trace_id IS 'What joins everything that one run of the loop caused.';
COMMENT ON COLUMN obs_plan_runs.status IS 'Which step, e.g. START, FEATURES, END; the timeline shows it after PLAN:.';
COMMENT ON COLUMN obs_plan_runs.symbol IS 'The instrument, if it is about one.';
COMMENT ON COLUMN obs_plan_runs.timeframe IS 'Bar size, e.g. 1h.';
COMMENT ON COLUMN obs_plan_runs.started_at IS 'When the step began. Partitions go by it.';
COMMENT ON COLUMN obs_plan_runs.finished_at IS 'When it ended, if that was told.';
COMMENT ON COLUMN obs_plan_runs.meta IS 'Whatever else the step told.';

COMMENT ON TABLE obs_infer_calls IS 'One row per call of a model. Source: topic infer-calls.';
COMMENT ON COLUMN obs_infer_calls.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_infer_calls.trace_id IS 'What joins everything that one run of the loop caused.';
COMMENT ON COLUMN obs_infer_calls.model IS 'The model''s name.';
COMMENT ON COLUMN obs_infer_calls.version IS 'The model''s version.';
COMMENT ON COLUMN obs_infer_calls.called_at IS 'When it was called. Partitions go by it.';
COMMENT ON COLUMN obs_infer_calls.duration_ms IS 'How long it took, milliseconds.';
COMMENT ON COLUMN obs_infer_calls.status IS 'How it ended, e.g. ok, error, timeout.';
COMMENT ON COLUMN obs_infer_calls.inputs IS 'What went in.';
COMMENT ON COLUMN obs_infer_calls.outputs IS 'What came out.';

COMMENT ON TABLE obs_decisions IS 'One row per decision: what was decided about one order request, and why. Source: topic decisions.';
COMMENT ON COLUMN obs_decisions.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_decisions.trace_id IS 'What joins everything that one run of the loop caused.';
COMMENT ON COLUMN obs_decisions.made_at IS 'When it was decided. Partitions go by it.';
COMMENT ON COLUMN obs_decisions.engine_version IS 'The build that decided.';
COMMENT ON COLUMN obs_decisions.strategy_name IS 'Strategy of the best candidate on the winning side.';
COMMENT ON COLUMN obs_decisions.score IS 'That candidate''s score.';
COMMENT ON COLUMN obs_decisions.reason IS 'One line: why it was decided so, with the quality gate''s multiplier if it scaled.';
COMMENT ON COLUMN obs_decisions.price IS 'The price that limits in money used; null if none did.';
COMMENT ON COLUMN obs_decisions.features IS 'What it was made from: request (what was asked), facts (what was known), top_candidates (at most 5), quote (null if none was usable), unit_value, arm.';
COMMENT ON COLUMN obs_decisions.decision IS 'What was decided: action (BUY, SELL, FLAT, REJECT), idempotency_key (one decision per key), requested_qty, decided_qty, steps (rule, before, after, reason), quality (verdict, multiplier), order_type, time_in_force, policies, ids and times. Decimals are strings.';

COMMENT ON TABLE obs_exec_events IS 'One row per step of an order at the broker. Source: topic exec-events.';
COMMENT ON COLUMN obs_exec_events.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_exec_events.trace_id IS 'What joins everything that one run of the loop caused.';
COMMENT ON COLUMN obs_exec_events.idempotency_key IS 'The order.';
COMMENT ON COLUMN obs_exec_events.exec_seq IS '1, 2, 3 and so on per order: the steps of an order are ordered by it.';
COMMENT ON COLUMN obs_exec_events.sent_at IS 'When this step happened (the plan''s name for it). Partitions go by it.';
COMMENT ON COLUMN obs_exec_events.account IS 'The trading account.';
COMMENT ON COLUMN obs_exec_events.symbol IS 'The instrument.';
COMMENT ON COLUMN obs_exec_events.side IS 'BUY or SELL.';
COMMENT ON COLUMN obs_exec_events.size IS 'Units decided: what the broker was asked for.';
COMMENT ON COLUMN obs_exec_events.provider IS 'The broker''s name.';
COMMENT ON COLUMN obs_exec_events.status IS 'Where the order is after this step: NEW, SENT, ACCEPTED, PARTIALLY_FILLED, FILLED, REJECTED, CANCELLED, EXPIRED, UNKNOWN, PARKED.';
COMMENT ON COLUMN obs_exec_events.order_id IS 'The client order id by which the broker knows it.';
COMMENT ON COLUMN obs_exec_events.executed_qty IS 'Units filled so far.';
COMMENT ON COLUMN obs_exec_events.avg_price IS 'Average price of what is filled.';
COMMENT ON COLUMN obs_exec_events.reason_code IS 'Why it was rejected, cancelled, expired or parked.';
COMMENT ON COLUMN obs_exec_events.queue_ms IS 'From the decision to the first send, milliseconds.';
COMMENT ON COLUMN obs_exec_events.broker_rtt_ms IS 'From the send to the broker''s answer, milliseconds.';
COMMENT ON COLUMN obs_exec_events.total_ms IS 'From the producer''s requested_at to this step, milliseconds.';
COMMENT ON COLUMN obs_exec_events.response IS 'What the broker said: order_ref (its own reference), last_fill (fill_id, px, qty, at). Decimals are strings.';

COMMENT ON TABLE obs_alerts IS 'One row per fired rule. Source: topic alerts.';
COMMENT ON COLUMN obs_alerts.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_alerts.trace_id IS 'What joins everything that one run of the loop caused; null if it belongs to no trace.';
COMMENT ON COLUMN obs_alerts.idempotency_key IS 'The order it is about, if it is about one.';
COMMENT ON COLUMN obs_alerts.policy_name IS 'The rule that fired, e.g. risk.max_order_qty.';
COMMENT ON COLUMN obs_alerts.policy IS 'The same as policy_name, by the plan''s word.';
COMMENT ON COLUMN obs_alerts.severity IS 'LOW, MEDIUM, HIGH or CRITICAL.';
COMMENT ON COLUMN obs_alerts.reason IS 'Why it fired, for a person.';
COMMENT ON COLUMN obs_alerts.details IS 'The numbers that made it fire; of a refused input its topic, partition and offset.';
COMMENT ON COLUMN obs_alerts.created_at IS 'When it fired. Partitions go by it.';

COMMENT ON TABLE obs_do_metrics IS 'One row per order that has steps in obs_exec_events, rewritten as its steps and its decision arrive: what it cost to carry it out.';
COMMENT ON COLUMN obs_do_metrics.event_id IS 'The event_id of the order''s first step that is known.';
COMMENT ON COLUMN obs_do_metrics.trace_id IS 'What joins everything that one run of the loop caused.';
COMMENT ON COLUMN obs_do_metrics.idempotency_key IS 'The order.';
COMMENT ON COLUMN obs_do_metrics.symbol IS 'The instrument.';
COMMENT ON COLUMN obs_do_metrics.child_orders IS 'Orders it was cut into; always 1.';
COMMENT ON COLUMN obs_do_metrics.retry_counts IS 'Sends after the first.';
COMMENT ON COLUMN obs_do_metrics.partial_fills IS 'Steps that left it partially filled.';
COMMENT ON COLUMN obs_do_metrics.requested_qty IS 'Units the broker was asked for: the decided quantity.';
COMMENT ON COLUMN obs_do_metrics.filled_qty IS 'Units filled so far.';
COMMENT ON COLUMN obs_do_metrics.slippage IS 'What a unit cost more than the decision''s price: BUY avg_price - price, SELL price - avg_price; null while nothing is filled, and without a price.';
COMMENT ON COLUMN obs_do_metrics.queue_ms IS 'From the decision to the first send, milliseconds.';
COMMENT ON COLUMN obs_do_metrics.broker_rtt_ms IS 'From the send to the broker''s first answer, milliseconds.';
COMMENT ON COLUMN obs_do_metrics.total_ms IS 'From the producer''s requested_at to the newest step, milliseconds.';
COMMENT ON COLUMN obs_do_metrics.final_status IS 'Status of the newest step; final once it is FILLED, REJECTED, CANCELLED or EXPIRED.';
COMMENT ON COLUMN obs_do_metrics.first_at IS 'When the order''s first step that is known happened. Partitions go by it.';

COMMENT ON VIEW obs_trace_timeline IS 'Everything that happened under a trace. Rows of one ts come in a meaningful order when sorted by ts.';
COMMENT ON COLUMN obs_trace_timeline.trace_id IS 'The trace.';
COMMENT ON COLUMN obs_trace_timeline.ts IS 'When it happened.';
COMMENT ON COLUMN obs_trace_timeline.kind IS 'PLAN: and the step, INFER, DECISION, EXEC or ALERT.';
COMMENT ON COLUMN obs_trace_timeline.action IS 'DECISION: BUY, SELL, FLAT or REJECT; EXEC: the status; ALERT: the policy_name; INFER: the model; PLAN: null.';
COMMENT ON COLUMN obs_trace_timeline.payload IS 'The rest of the row it was made from.';

COMMENT ON VIEW obs_trace_latency IS 'One row per trace: when it came by each stage first, and how long it took between them.';
COMMENT ON COLUMN obs_trace_latency.trace_id IS 'The trace.';
COMMENT ON COLUMN obs_trace_latency.plan_start IS 'Its earliest PLAN step.';
COMMENT ON COLUMN obs_trace_latency.infer_ts IS 'Its earliest model call.';
COMMENT ON COLUMN obs_trace_latency.decision_ts IS 'Its earliest decision.';
COMMENT ON COLUMN obs_trace_latency.exec_ts IS 'The earliest step of an order that was sent; null if none was.';
COMMENT ON COLUMN obs_trace_latency.ms_plan_to_infer IS 'infer_ts - plan_start, milliseconds; null if either is missing, negative if the clocks say so. So are all four.';
COMMENT ON COLUMN obs_trace_latency.ms_infer_to_decision IS 'decision_ts - infer_ts, milliseconds.';
COMMENT ON COLUMN obs_trace_latency.ms_decision_to_exec IS 'exec_ts - decision_ts, milliseconds.';
COMMENT ON COLUMN obs_trace_latency.ms_total IS 'exec_ts - plan_start, milliseconds.';

COMMENT ON MATERIALIZED VIEW obs_latency_daily IS 'ms_total of obs_trace_latency by day (UTC), as of the last REFRESH MATERIALIZED VIEW CONCURRENTLY.';
COMMENT ON COLUMN obs_latency_daily.day IS 'The day (UTC) of the trace''s earliest stage.';
COMMENT ON COLUMN obs_latency_daily.p50_ms IS 'Median of ms_total; null if no trace of the day has one. So are the other percentiles.';
COMMENT ON COLUMN obs_latency_daily.p90_ms IS '90th percentile.';
COMMENT ON COLUMN obs_latency_daily.p95_ms IS '95th percentile.';
COMMENT ON COLUMN obs_latency_daily.p99_ms IS '99th percentile.';
COMMENT ON COLUMN obs_latency_daily.max_ms IS 'The longest.';
COMMENT ON COLUMN obs_latency_daily.traces IS 'Traces of the day.';
COMMENT ON COLUMN obs_latency_daily.executed IS 'Those of them with an exec_ts.';

COMMENT ON FUNCTION obs_make_month(TIMESTAMPTZ) IS 'Makes the partitions of the month that a time is in, of all six obs tables; false if they were there.';
