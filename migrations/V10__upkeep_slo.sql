-- Upkeep of the obs_* tables by the product itself, and service levels (C-OBS 3–5). docs/tables.md has what is promised.

-- ── Indexes ──
-- By time, for what looks at a day or less. BRIN: a few pages each, since rows come nearly in the order of their time.
CREATE INDEX obs_plan_runs_time ON obs_plan_runs USING brin (started_at) WITH (pages_per_range = 32);
CREATE INDEX obs_infer_calls_time ON obs_infer_calls USING brin (called_at) WITH (pages_per_range = 32);
CREATE INDEX obs_decisions_time ON obs_decisions USING brin (made_at) WITH (pages_per_range = 32);
CREATE INDEX obs_exec_events_time ON obs_exec_events USING brin (sent_at) WITH (pages_per_range = 32);
CREATE INDEX obs_alerts_time ON obs_alerts USING brin (created_at) WITH (pages_per_range = 32);
CREATE INDEX obs_do_metrics_time ON obs_do_metrics USING brin (first_at) WITH (pages_per_range = 32);
-- Nothing looks outcomes up by their order; the ledger is asked for that.
DROP INDEX obs_command_outcomes_target;

CREATE FUNCTION obs_api_version() RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '1.0' $$;

-- ── Upkeep ──
-- How far each task has come; one row a task.
CREATE TABLE obs_upkeep (
    task        TEXT PRIMARY KEY,
    started_at  TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    took_ms     BIGINT,
    by_whom     TEXT NOT NULL,
    failures    INT NOT NULL DEFAULT 0,
    error       TEXT,
    reached     TIMESTAMPTZ
);

-- Months that retention took, or is about to: the intent is committed before anything is detached.
CREATE TABLE retired_months (
    partition   TEXT PRIMARY KEY,
    of_table    TEXT NOT NULL,
    until       TIMESTAMPTZ NOT NULL,              -- the partition's upper bound
    noted_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    dropped_at  TIMESTAMPTZ
);

-- Days of which the sink has written rows after they may have been counted; noted with the rows. No key: whoever notes
-- must not wait for whoever counts.
CREATE TABLE sink_late_days (
    day      DATE NOT NULL,
    noted_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- ── Latency by day ──
-- Days that are over, counted once: what obs_latency_daily shows of them. Outlives the rows it was made from.
CREATE TABLE latency_days (
    day        DATE PRIMARY KEY,
    p50_ms     DOUBLE PRECISION,
    p90_ms     DOUBLE PRECISION,
    p95_ms     DOUBLE PRECISION,
    p99_ms     DOUBLE PRECISION,
    max_ms     DOUBLE PRECISION,
    traces     BIGINT NOT NULL,                    -- 0: nothing happened on that day
    executed   BIGINT NOT NULL,
    counted_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- Latencies of these days (UTC, both included; NULL: no limit) from the rows of the day before the first to the day
-- after the last, as obs_trace_latency has them. Of an order that was sent before these rows, later steps count nothing.
CREATE FUNCTION obs_latency_between(first DATE, last DATE)
RETURNS TABLE (day DATE, p50_ms DOUBLE PRECISION, p90_ms DOUBLE PRECISION, p95_ms DOUBLE PRECISION,
               p99_ms DOUBLE PRECISION, max_ms DOUBLE PRECISION, traces BIGINT, executed BIGINT)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT TIMESTAMPTZ := coalesce((first - 1)::timestamp AT TIME ZONE 'UTC', '-infinity');
    until CONSTANT TIMESTAMPTZ := coalesce((last + 2)::timestamp AT TIME ZONE 'UTC', 'infinity');
BEGIN
    IF first > last THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT t.day,
           percentile_cont(0.50) WITHIN GROUP (ORDER BY t.ms),
           percentile_cont(0.90) WITHIN GROUP (ORDER BY t.ms),
           percentile_cont(0.95) WITHIN GROUP (ORDER BY t.ms),
           percentile_cont(0.99) WITHIN GROUP (ORDER BY t.ms),
           max(t.ms), count(*), count(t.exec_ts)
      FROM (
        SELECT (coalesce(plan_start, infer_ts, decision_ts, exec_ts) AT TIME ZONE 'UTC')::date AS day, exec_ts,
               round(extract(epoch FROM exec_ts - plan_start) * 1000, 3)::float8 AS ms
          FROM (
            SELECT h.trace_id, min(plan_at) AS plan_start, min(infer_at) AS infer_ts, min(decision_at) AS decision_ts,
                   min(exec_at) AS exec_ts, min(step) AS first_step
              FROM (
                SELECT p.trace_id, p.started_at AS plan_at, NULL::timestamptz AS infer_at,
                       NULL::timestamptz AS decision_at, NULL::timestamptz AS exec_at, NULL::int AS step
                  FROM obs_plan_runs p WHERE p.started_at >= since AND p.started_at < until
                UNION ALL
                SELECT i.trace_id, NULL, i.called_at, NULL, NULL, NULL
                  FROM obs_infer_calls i WHERE i.called_at >= since AND i.called_at < until
                UNION ALL
                SELECT d.trace_id, NULL, NULL, d.made_at, NULL, NULL
                  FROM obs_decisions d WHERE d.made_at >= since AND d.made_at < until
                UNION ALL
                SELECT e.trace_id, NULL, NULL, NULL, e.sent_at, e.exec_seq
                  FROM obs_exec_events e
                 WHERE e.sent_at >= since AND e.sent_at < until
                   AND e.status NOT IN ('NEW','REJECTED','CANCELLED','EXPIRED')
              ) AS h
             GROUP BY h.trace_id
          ) AS of_trace
         WHERE coalesce(plan_start, infer_ts, decision_ts) IS NOT NULL OR first_step = 1
      ) AS t
     WHERE (first IS NULL OR t.day >= first) AND (last IS NULL OR t.day <= last)
     GROUP BY t.day;
END
$$;

DROP MATERIALIZED VIEW obs_latency_daily;
CREATE MATERIALIZED VIEW obs_latency_daily AS
SELECT day, p50_ms, p90_ms, p95_ms, p99_ms, max_ms, traces, executed FROM latency_days WHERE traces > 0
UNION ALL
SELECT day, p50_ms, p90_ms, p95_ms, p99_ms, max_ms, traces, executed
  FROM obs_latency_between((SELECT max(day) + 1 FROM latency_days), NULL);
CREATE UNIQUE INDEX obs_latency_daily_day ON obs_latency_daily (day);

-- ── Service levels ──
-- C-OBS 5.
CREATE FUNCTION obs_severity(word TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE lower(word)
             WHEN 'low' THEN 'LOW' WHEN 'info' THEN 'LOW'
             WHEN 'high' THEN 'HIGH' WHEN 'error' THEN 'HIGH'
             WHEN 'critical' THEN 'CRITICAL' WHEN 'page' THEN 'CRITICAL'
             ELSE 'MEDIUM'                         -- medium, warn, warning, and whatever else
           END
$$;

-- What is promised, as configs/slo.yml says it: the rows of every version that was ever in force.
CREATE TABLE obs_slo (
    digest      TEXT        NOT NULL,
    slo         TEXT        NOT NULL,
    indicator   TEXT        NOT NULL CHECK (indicator IN ('plan_to_exec_ms','decision_to_accept_ms','failed_share',
                                                          'availability','burn_rate')),
    percentile  NUMERIC,
    "window"    TEXT        NOT NULL,
    span        INTERVAL    NOT NULL,
    short_span  INTERVAL,
    goal        NUMERIC,
    is_floor    BOOLEAN     NOT NULL,
    low         NUMERIC,
    medium      NUMERIC,
    high        NUMERIC,
    critical    NUMERIC,
    min_samples BIGINT      NOT NULL CHECK (min_samples > 0),
    no_data     TEXT,
    about       TEXT        NOT NULL,
    in_force    BOOLEAN     NOT NULL,
    loaded_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (digest, slo)
);

-- Orders that reached SENT, by the hour in which they did: counted by upkeep, so that 30 days need not be read again
-- at every look. obs_upkeep says up to where (task slo_hours).
CREATE TABLE obs_slo_hours (
    hour            TIMESTAMPTZ PRIMARY KEY,
    final           BIGINT NOT NULL,
    failed          BIGINT NOT NULL,
    first_failed_at TIMESTAMPTZ,
    last_failed_at  TIMESTAMPTZ,
    last_failed_trace TEXT
);

-- Orders that reached SENT from `since` to `until` (not included), by hour: how many are over, and which failed.
CREATE FUNCTION obs_slo_count(since TIMESTAMPTZ, until TIMESTAMPTZ)
RETURNS TABLE (hour TIMESTAMPTZ, final BIGINT, failed BIGINT, first_failed_at TIMESTAMPTZ, last_failed_at TIMESTAMPTZ,
               last_failed_trace TEXT)
LANGUAGE plpgsql STABLE ROWS 50 SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT date_trunc('hour', m.first_at, 'UTC'), count(*), count(*) FILTER (WHERE bad),
           min(m.first_at) FILTER (WHERE bad), max(m.first_at) FILTER (WHERE bad),
           (array_agg(m.trace_id ORDER BY m.first_at DESC, m.trace_id) FILTER (WHERE bad))[1]
      FROM obs_do_metrics m
     CROSS JOIN LATERAL (SELECT m.final_status IN ('REJECTED','EXPIRED','PARKED') AS bad) AS b
     WHERE m.first_at >= since AND m.first_at < until
       AND m.queue_ms IS NOT NULL                  -- it was sent
       AND m.final_status IN ('FILLED','CANCELLED','REJECTED','EXPIRED','PARKED')
     GROUP BY 1;
END
$$;

-- The same in one row. Hours that were counted already are not counted again.
CREATE FUNCTION obs_slo_orders(since TIMESTAMPTZ, until TIMESTAMPTZ)
RETURNS TABLE (final BIGINT, failed BIGINT, first_failed_at TIMESTAMPTZ, last_failed_at TIMESTAMPTZ,
               last_failed_trace TEXT)
LANGUAGE plpgsql STABLE ROWS 1 SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    known TIMESTAMPTZ;                             -- hours before it are in the table
    whole TIMESTAMPTZ := since;                    -- from here on hours are whole
BEGIN
    IF until - since > interval '2 days' THEN
        SELECT u.reached INTO known FROM obs_upkeep u WHERE u.task = 'slo_hours';
        whole := date_trunc('hour', since, 'UTC');
    END IF;
    known := least(coalesce(known, '-infinity'), until);
    RETURN QUERY
    SELECT coalesce(sum(c.final), 0)::bigint, coalesce(sum(c.failed), 0)::bigint, min(c.first_failed_at),
           max(c.last_failed_at),
           (array_agg(c.last_failed_trace ORDER BY c.last_failed_at DESC) FILTER (WHERE c.last_failed_at IS NOT NULL))[1]
      FROM (
        SELECT h.final, h.failed, h.first_failed_at, h.last_failed_at, h.last_failed_trace
          FROM obs_slo_hours h WHERE h.hour >= whole AND h.hour < known
        UNION ALL
        SELECT l.final, l.failed, l.first_failed_at, l.last_failed_at, l.last_failed_trace
          FROM obs_slo_count(greatest(whole, known), until) l
      ) AS c;
END
$$;

-- What an indicator is right now. `worst` is the threshold that is passed first: samples beyond it give first_at and last_at.
CREATE FUNCTION obs_slo_measure(indicator TEXT, percentile NUMERIC, span INTERVAL, short_span INTERVAL, goal NUMERIC,
                                worst NUMERIC)
RETURNS TABLE (observed NUMERIC, samples BIGINT, first_at TIMESTAMPTZ, last_at TIMESTAMPTZ, worst_trace_id TEXT)
LANGUAGE plpgsql STABLE ROWS 1 SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan SET work_mem = '32MB' SET jit = off AS $$
#variable_conflict use_column
DECLARE
    until CONSTANT TIMESTAMPTZ := statement_timestamp();
    since CONSTANT TIMESTAMPTZ := until - span;
    share CONSTANT FLOAT8 := percentile / 100;
    wide  RECORD;
    short RECORD;
BEGIN
    IF indicator = 'plan_to_exec_ms' THEN
        RETURN QUERY
        WITH sent AS (                             -- the first step of an order that was sent
            SELECT e.trace_id, min(e.sent_at) AS at FROM obs_exec_events e
             WHERE e.sent_at >= since AND e.sent_at < until AND e.exec_seq = 1
               AND e.status NOT IN ('NEW','REJECTED','CANCELLED','EXPIRED')
             GROUP BY 1
        ), planned AS (
            SELECT p.trace_id, min(p.started_at) AS at FROM obs_plan_runs p
             WHERE p.started_at >= since - interval '1 day' AND p.started_at < until
             GROUP BY 1
        ), sample AS (
            SELECT s.trace_id, s.at, round(extract(epoch FROM s.at - p.at) * 1000, 3) AS ms
              FROM sent s JOIN planned p USING (trace_id)
        )
        SELECT round(percentile_cont(share) WITHIN GROUP (ORDER BY ms::float8)::numeric, 3), count(*),
               min(at) FILTER (WHERE ms > worst), max(at) FILTER (WHERE ms > worst),
               (array_agg(trace_id ORDER BY ms DESC, trace_id))[1]
          FROM sample;
    ELSIF indicator = 'decision_to_accept_ms' THEN
        RETURN QUERY
        WITH of_order AS (
            SELECT min(e.trace_id) AS trace_id, min(e.sent_at) FILTER (WHERE e.exec_seq = 1) AS sent,
                   min(e.queue_ms) FILTER (WHERE e.exec_seq = 1) AS queue_ms,
                   min(e.sent_at) FILTER (WHERE e.status IN ('ACCEPTED','PARTIALLY_FILLED','FILLED')) AS accepted
              FROM obs_exec_events e WHERE e.sent_at >= since AND e.sent_at < until
             GROUP BY e.idempotency_key
        ), sample AS (
            SELECT trace_id, accepted AS at, queue_ms + round(extract(epoch FROM accepted - sent) * 1000, 3) AS ms
              FROM of_order WHERE queue_ms + extract(epoch FROM accepted - sent) IS NOT NULL
        )
        SELECT round(percentile_cont(share) WITHIN GROUP (ORDER BY ms::float8)::numeric, 3), count(*),
               min(at) FILTER (WHERE ms > worst), max(at) FILTER (WHERE ms > worst),
               (array_agg(trace_id ORDER BY ms DESC, trace_id))[1]
          FROM sample;
    ELSE
        SELECT * INTO wide FROM obs_slo_orders(since, until);
        samples := wide.final;
        first_at := wide.first_failed_at;
        last_at := wide.last_failed_at;
        worst_trace_id := wide.last_failed_trace;
        IF wide.final > 0 THEN
            observed := wide.failed::numeric / wide.final;
            IF indicator = 'availability' THEN
                observed := 1 - observed;
            ELSIF indicator = 'burn_rate' THEN
                -- Both windows must burn: what is over already does not wake anybody.
                SELECT * INTO short FROM obs_slo_orders(until - short_span, until);
                observed := least(observed, coalesce(short.failed::numeric / nullif(short.final, 0), 0)) / (1 - goal);
            END IF;
            observed := round(observed, 6);
        END IF;
        RETURN NEXT;
    END IF;
END
$$;

CREATE VIEW obs_slo_status AS
SELECT o.slo, o."window",
       CASE WHEN m.samples < o.min_samples THEN 'no_data' WHEN b.severity IS NULL THEN 'holds' ELSE 'violated' END AS state,
       m.observed,
       CASE WHEN m.samples < o.min_samples THEN l.worst
            ELSE coalesce(CASE b.severity WHEN 'CRITICAL' THEN o.critical WHEN 'HIGH' THEN o.high WHEN 'MEDIUM' THEN o.medium
                                          WHEN 'LOW' THEN o.low END, l.worst) END AS threshold,
       CASE WHEN m.samples < o.min_samples THEN o.no_data ELSE b.severity END AS severity,
       m.samples, o.min_samples, m.first_at, m.last_at, m.worst_trace_id, o.indicator, o.is_floor, o.about, o.digest
  FROM obs_slo o
 CROSS JOIN LATERAL (SELECT CASE WHEN o.is_floor THEN greatest(o.low, o.medium, o.high, o.critical)
                                 ELSE least(o.low, o.medium, o.high, o.critical) END AS worst) AS l
 CROSS JOIN LATERAL obs_slo_measure(o.indicator, o.percentile, o.span, o.short_span, o.goal, l.worst) AS m
 CROSS JOIN LATERAL (
    SELECT CASE WHEN o.is_floor THEN
                  CASE WHEN m.observed < o.critical THEN 'CRITICAL' WHEN m.observed < o.high THEN 'HIGH'
                       WHEN m.observed < o.medium THEN 'MEDIUM' WHEN m.observed < o.low THEN 'LOW' END
                ELSE
                  CASE WHEN m.observed > o.critical THEN 'CRITICAL' WHEN m.observed > o.high THEN 'HIGH'
                       WHEN m.observed > o.medium THEN 'MEDIUM' WHEN m.observed > o.low THEN 'LOW' END
           END AS severity
 ) AS b
 WHERE o.in_force;

CREATE VIEW obs_slo_violations_24h AS
SELECT CASE state WHEN 'no_data' THEN slo || '.no_data' ELSE slo END AS slo, "window",
       CASE state WHEN 'no_data' THEN samples ELSE observed END AS observed,
       CASE state WHEN 'no_data' THEN min_samples ELSE threshold END AS threshold,
       severity, samples, first_at, last_at, worst_trace_id
  FROM obs_slo_status
 WHERE state <> 'holds' AND severity IS NOT NULL;

-- What configs/slo.yml says as it is shipped; upkeep puts what is configured in its place.
INSERT INTO obs_slo (digest, slo, indicator, percentile, "window", span, short_span, goal, is_floor, low, medium, high,
                     critical, min_samples, no_data, about, in_force)
VALUES
  ('plan', 'plan_to_exec_p95', 'plan_to_exec_ms', 95, '24h', '86400s', NULL, NULL, false, NULL, 10000, NULL, 15000, 20,
   'LOW', 'From the first PLAN step of a trace to its first send, milliseconds', true),
  ('plan', 'exec_failures', 'failed_share', NULL, '24h', '86400s', NULL, NULL, false, NULL, 0.01, NULL, 0.03, 100,
   'MEDIUM', 'Orders that were sent and are over: the share that was rejected, expired or is parked', true),
  ('plan', 'decision_to_accept_p95', 'decision_to_accept_ms', 95, '24h', '86400s', NULL, NULL, false, NULL, 300, NULL,
   NULL, 20, 'LOW', 'From the decision to the broker''s acceptance, milliseconds', true),
  ('plan', 'availability', 'availability', NULL, '30d', '2592000s', NULL, NULL, true, NULL, NULL, 0.995, NULL, 200,
   'LOW', 'Orders that were sent and are over: the share that did not fail', true),
  ('plan', 'availability.burn_1h', 'burn_rate', NULL, '1h/5m', '3600s', '300s', 0.995, false, NULL, NULL, NULL, 14.4, 20,
   NULL, 'How many times faster than availability allows orders fail', true),
  ('plan', 'availability.burn_6h', 'burn_rate', NULL, '6h/30m', '21600s', '1800s', 0.995, false, NULL, 6, NULL, NULL, 50,
   NULL, 'How many times faster than availability allows orders fail', true);

-- What the catalogue says; docs/tables.md is held to it by a test.

COMMENT ON FUNCTION obs_api_version() IS 'Version of the obs_* tables and views, major.minor; docs/tables.md says what changes it.';
COMMENT ON FUNCTION obs_severity(TEXT) IS 'LOW, MEDIUM, HIGH or CRITICAL of another system''s word: info, warn, warning, error, critical, page; MEDIUM of what is unknown.';
COMMENT ON FUNCTION obs_latency_between(DATE, DATE) IS 'The rows of obs_latency_daily of these days (UTC, both included), counted now.';
COMMENT ON FUNCTION obs_slo_count(TIMESTAMPTZ, TIMESTAMPTZ) IS 'Orders that reached SENT in this time, by hour: over, and failed.';
COMMENT ON FUNCTION obs_slo_orders(TIMESTAMPTZ, TIMESTAMPTZ) IS 'Orders that reached SENT in this time: over, and failed.';
COMMENT ON FUNCTION obs_slo_measure(TEXT, NUMERIC, INTERVAL, INTERVAL, NUMERIC, NUMERIC) IS 'What an indicator is right now.';

COMMENT ON TABLE obs_upkeep IS 'One row per task of upkeep: when it ran last, and what came of it.';
COMMENT ON COLUMN obs_upkeep.task IS 'months, late_days, latency_days, latency_daily, slo_load, slo_hours, summaries, or retention.';
COMMENT ON COLUMN obs_upkeep.started_at IS 'When it was begun last.';
COMMENT ON COLUMN obs_upkeep.finished_at IS 'When it last ended well; null if it never did.';
COMMENT ON COLUMN obs_upkeep.took_ms IS 'How long that took, milliseconds.';
COMMENT ON COLUMN obs_upkeep.by_whom IS 'The process that began it last.';
COMMENT ON COLUMN obs_upkeep.failures IS 'How often in a row it has failed since it last ended well.';
COMMENT ON COLUMN obs_upkeep.error IS 'Why it failed last; null if it ended well.';
COMMENT ON COLUMN obs_upkeep.reached IS 'How far it has come: months are made to here, days and hours before it are counted, the view is as of then.';

COMMENT ON TABLE obs_slo IS 'What is promised: the service levels of configs/slo.yml, of every version that was ever in force.';
COMMENT ON COLUMN obs_slo.digest IS 'Which version: SHA-256 of what the file means; plan is what a new database begins with.';
COMMENT ON COLUMN obs_slo.slo IS 'Its name.';
COMMENT ON COLUMN obs_slo.indicator IS 'What is measured: plan_to_exec_ms, decision_to_accept_ms, failed_share, availability or burn_rate.';
COMMENT ON COLUMN obs_slo.percentile IS 'Of an indicator in milliseconds: which percentile, e.g. 95.';
COMMENT ON COLUMN obs_slo."window" IS 'Over which time, e.g. 24h; of a burn rate both, e.g. 1h/5m. (In SQL the name needs quotes.)';
COMMENT ON COLUMN obs_slo.span IS 'The same as an interval.';
COMMENT ON COLUMN obs_slo.short_span IS 'Of a burn rate: its short window.';
COMMENT ON COLUMN obs_slo.goal IS 'Of a burn rate: the availability that is promised.';
COMMENT ON COLUMN obs_slo.is_floor IS 'Whether it is violated below its thresholds, and not above them.';
COMMENT ON COLUMN obs_slo.low IS 'Threshold of a violation of severity LOW; null if there is none.';
COMMENT ON COLUMN obs_slo.medium IS 'Threshold of MEDIUM.';
COMMENT ON COLUMN obs_slo.high IS 'Threshold of HIGH.';
COMMENT ON COLUMN obs_slo.critical IS 'Threshold of CRITICAL.';
COMMENT ON COLUMN obs_slo.min_samples IS 'With fewer samples there is no data.';
COMMENT ON COLUMN obs_slo.no_data IS 'Severity of having no data; null: no violation (burn rates, since their objective says it).';
COMMENT ON COLUMN obs_slo.about IS 'What it is about, for a person.';
COMMENT ON COLUMN obs_slo.in_force IS 'Whether it is measured.';
COMMENT ON COLUMN obs_slo.loaded_at IS 'When this version first came into force.';

COMMENT ON TABLE obs_slo_hours IS 'Orders that reached SENT, by hour (UTC): those that are over, and failures. For windows of more than two days; the newest hours are not in it.';
COMMENT ON COLUMN obs_slo_hours.hour IS 'The hour in which they were sent.';
COMMENT ON COLUMN obs_slo_hours.final IS 'FILLED, CANCELLED, REJECTED, EXPIRED or PARKED.';
COMMENT ON COLUMN obs_slo_hours.failed IS 'REJECTED, EXPIRED or PARKED.';
COMMENT ON COLUMN obs_slo_hours.first_failed_at IS 'When the first of those was sent.';
COMMENT ON COLUMN obs_slo_hours.last_failed_at IS 'When the last of them was sent.';
COMMENT ON COLUMN obs_slo_hours.last_failed_trace IS 'Its trace.';

COMMENT ON VIEW obs_slo_status IS 'Every service level in force, measured now: those that hold, too.';
COMMENT ON COLUMN obs_slo_status.slo IS 'Its name.';
COMMENT ON COLUMN obs_slo_status."window" IS 'Over which time, e.g. 24h, until now. (In SQL the name needs quotes.)';
COMMENT ON COLUMN obs_slo_status.state IS 'holds, violated, or no_data if there are fewer samples than min_samples.';
COMMENT ON COLUMN obs_slo_status.observed IS 'What was measured: milliseconds, a share, or a multiple; null without samples.';
COMMENT ON COLUMN obs_slo_status.threshold IS 'The threshold that is passed; if none is, the one that would be passed first.';
COMMENT ON COLUMN obs_slo_status.severity IS 'LOW, MEDIUM, HIGH or CRITICAL; null if it holds.';
COMMENT ON COLUMN obs_slo_status.samples IS 'Traces, or orders, that were measured.';
COMMENT ON COLUMN obs_slo_status.min_samples IS 'How many it takes.';
COMMENT ON COLUMN obs_slo_status.first_at IS 'The first sample in the window that is beyond a threshold, or the first order that failed.';
COMMENT ON COLUMN obs_slo_status.last_at IS 'The last of them.';
COMMENT ON COLUMN obs_slo_status.worst_trace_id IS 'The slowest trace, or that of the last order that failed.';
COMMENT ON COLUMN obs_slo_status.indicator IS 'What is measured.';
COMMENT ON COLUMN obs_slo_status.is_floor IS 'Whether it is violated below the threshold.';
COMMENT ON COLUMN obs_slo_status.about IS 'What it is about, for a person.';
COMMENT ON COLUMN obs_slo_status.digest IS 'Which version of the service levels it is of.';

COMMENT ON VIEW obs_slo_violations_24h IS 'Service levels that are violated now, and those that cannot be told for want of samples.';
COMMENT ON COLUMN obs_slo_violations_24h.slo IS 'Its name; <name>.no_data if there are too few samples.';
COMMENT ON COLUMN obs_slo_violations_24h."window" IS 'Over which time, e.g. 24h, until now. (In SQL the name needs quotes.)';
COMMENT ON COLUMN obs_slo_violations_24h.observed IS 'What was measured; of no_data how many samples there are.';
COMMENT ON COLUMN obs_slo_violations_24h.threshold IS 'The threshold that is passed; of no_data how many samples it takes.';
COMMENT ON COLUMN obs_slo_violations_24h.severity IS 'LOW, MEDIUM, HIGH or CRITICAL.';
COMMENT ON COLUMN obs_slo_violations_24h.samples IS 'Traces, or orders, that were measured.';
COMMENT ON COLUMN obs_slo_violations_24h.first_at IS 'The first sample in the window that is beyond a threshold, or the first order that failed.';
COMMENT ON COLUMN obs_slo_violations_24h.last_at IS 'The last of them.';
COMMENT ON COLUMN obs_slo_violations_24h.worst_trace_id IS 'The slowest trace, or that of the last order that failed.';

COMMENT ON MATERIALIZED VIEW obs_latency_daily IS 'ms_total of obs_trace_latency by day (UTC), as of the last REFRESH MATERIALIZED VIEW CONCURRENTLY.';
COMMENT ON COLUMN obs_latency_daily.day IS 'The day (UTC) of the trace''s earliest stage.';
COMMENT ON COLUMN obs_latency_daily.p50_ms IS 'Median of ms_total; null if no trace of the day has one. So are the other percentiles.';
COMMENT ON COLUMN obs_latency_daily.p90_ms IS '90th percentile.';
COMMENT ON COLUMN obs_latency_daily.p95_ms IS '95th percentile.';
COMMENT ON COLUMN obs_latency_daily.p99_ms IS '99th percentile.';
COMMENT ON COLUMN obs_latency_daily.max_ms IS 'The longest.';
COMMENT ON COLUMN obs_latency_daily.traces IS 'Traces of the day.';
COMMENT ON COLUMN obs_latency_daily.executed IS 'Those of them with an exec_ts.';
