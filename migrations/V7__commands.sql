-- What producers want done with orders that they asked for before: topic order-commands (C-CMD).

-- One row per command ever decided, refused ones included. Never deleted: its key stays known.
CREATE TABLE order_commands (
    idempotency_key TEXT PRIMARY KEY,              -- the command's own
    digest          BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    target_key      TEXT NOT NULL,                 -- the order's; the ledger may not have it (yet)
    trace_id        TEXT NOT NULL,
    account         TEXT NOT NULL,
    symbol          TEXT NOT NULL,
    action          TEXT NOT NULL CHECK (action IN ('CANCEL','REPLACE')),
    qty             NUMERIC(28,9),                 -- as asked for
    limit_price     NUMERIC(28,9),
    why             TEXT,                          -- the producer's reason
    requested_at    TIMESTAMPTZ NOT NULL,
    valid_until     TIMESTAMPTZ,
    decided_at      TIMESTAMPTZ NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('ACCEPTED','REFUSED','DONE','FAILED')),
    code            TEXT,                          -- why, a stable code
    reason          TEXT NOT NULL,                 -- why, for a person
    tombstone       BOOLEAN NOT NULL DEFAULT FALSE, -- its order was not known: under that key nothing of the lane is sent
    -- of an accepted REPLACE
    terms           JSONB,                         -- what it makes of the order: qty, limit_price, opening_qty, opening_notional
    reserved        NUMERIC(28,9) NOT NULL DEFAULT 0, -- what the trace holds for it on top, until it is over
    asked           INT NOT NULL DEFAULT 0,        -- how often the broker was asked
    next_ask_at     TIMESTAMPTZ DEFAULT clock_timestamp(),
    source_topic_id TEXT NOT NULL,
    source_partition INT NOT NULL,
    source_offset   BIGINT NOT NULL
);
CREATE INDEX order_commands_target ON order_commands (target_key);
-- One replacement of an order at a time.
CREATE UNIQUE INDEX order_commands_open ON order_commands (target_key) WHERE action = 'REPLACE' AND status = 'ACCEPTED';

-- The terms in force, once they were replaced: terms, and at the broker order_id and at_broker_qty (the order there is
-- another one). What was decided stays in the columns of its own.
ALTER TABLE outbox_orders ADD COLUMN replaced JSONB;
CREATE INDEX outbox_orders_replaced ON outbox_orders ((replaced ->> 'order_id')) WHERE replaced IS NOT NULL;
-- Looked at for every order that is decided, and nearly always empty.
CREATE INDEX order_commands_tombstone ON order_commands (target_key, account, symbol) WHERE tombstone;

-- What dashboards see of it.
CREATE TABLE obs_command_outcomes (
    event_id        TEXT        NOT NULL,
    trace_id        TEXT        NOT NULL,
    decided_at      TIMESTAMPTZ NOT NULL,
    idempotency_key TEXT        NOT NULL,
    target_key      TEXT        NOT NULL,
    account         TEXT        NOT NULL,
    symbol          TEXT        NOT NULL,
    action          TEXT        NOT NULL,
    status          TEXT        NOT NULL,
    reason_code     TEXT,
    reason          TEXT        NOT NULL,
    order_status    TEXT,
    qty             NUMERIC(28,9),
    limit_price     NUMERIC(28,9),
    requested_at    TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (event_id, decided_at)
) PARTITION BY RANGE (decided_at);
CREATE INDEX obs_command_outcomes_trace ON obs_command_outcomes (trace_id);
CREATE INDEX obs_command_outcomes_target ON obs_command_outcomes (target_key);

-- As before, with one table more.
CREATE OR REPLACE FUNCTION obs_make_month(at TIMESTAMPTZ) RETURNS BOOLEAN
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    tables CONSTANT TEXT[] := ARRAY['obs_plan_runs','obs_infer_calls','obs_decisions','obs_exec_events','obs_alerts',
                                    'obs_do_metrics','obs_command_outcomes'];
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

CREATE OR REPLACE VIEW obs_trace_timeline AS
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
    SELECT trace_id, decided_at, 'COMMAND', action || ' ' || status,
           jsonb_strip_nulls(jsonb_build_object(
               'idempotency_key', idempotency_key, 'target_key', target_key, 'reason_code', reason_code, 'reason', reason,
               'order_status', order_status, 'qty', trim_scale(qty), 'limit_price', trim_scale(limit_price))),
           3, target_key, 0, event_id
      FROM obs_command_outcomes
    UNION ALL
    SELECT trace_id, sent_at, 'EXEC', status,
           jsonb_strip_nulls(jsonb_build_object(
               'idempotency_key', idempotency_key, 'exec_seq', exec_seq, 'symbol', symbol, 'side', side,
               'size', trim_scale(size), 'executed_qty', trim_scale(executed_qty), 'avg_price', trim_scale(avg_price),
               'provider', provider, 'order_id', order_id, 'reason_code', reason_code, 'response', response)),
           4, idempotency_key, exec_seq, event_id
      FROM obs_exec_events
    UNION ALL
    SELECT trace_id, created_at, 'ALERT', policy_name,
           jsonb_build_object('severity', severity, 'reason', reason, 'details', details),
           5, coalesce(idempotency_key, ''), 0, event_id
      FROM obs_alerts WHERE trace_id IS NOT NULL
  ) AS hops
 ORDER BY ts, stage, of_order COLLATE "C", step, event_id COLLATE "C";

COMMENT ON TABLE obs_command_outcomes IS 'One row per outcome of an order command: when it was decided, and of an accepted REPLACE when it was over. Source: topic command-outcomes.';
COMMENT ON COLUMN obs_command_outcomes.event_id IS 'The event''s id; the same event again has the same.';
COMMENT ON COLUMN obs_command_outcomes.trace_id IS 'What joins everything that one run of the loop caused: the command''s, not the order''s.';
COMMENT ON COLUMN obs_command_outcomes.decided_at IS 'When this was decided. Partitions go by it.';
COMMENT ON COLUMN obs_command_outcomes.idempotency_key IS 'The command.';
COMMENT ON COLUMN obs_command_outcomes.target_key IS 'The order.';
COMMENT ON COLUMN obs_command_outcomes.account IS 'The trading account.';
COMMENT ON COLUMN obs_command_outcomes.symbol IS 'The instrument.';
COMMENT ON COLUMN obs_command_outcomes.action IS 'CANCEL or REPLACE.';
COMMENT ON COLUMN obs_command_outcomes.status IS 'ACCEPTED, REFUSED, DONE or FAILED.';
COMMENT ON COLUMN obs_command_outcomes.reason_code IS 'Why, a stable code.';
COMMENT ON COLUMN obs_command_outcomes.reason IS 'Why, for a person.';
COMMENT ON COLUMN obs_command_outcomes.order_status IS 'Where the order was then; null if it was not known, or never to be sent.';
COMMENT ON COLUMN obs_command_outcomes.qty IS 'Of a REPLACE: the quantity asked for.';
COMMENT ON COLUMN obs_command_outcomes.limit_price IS 'Of a REPLACE: the limit price asked for.';
COMMENT ON COLUMN obs_command_outcomes.requested_at IS 'When the producer asked, by its own clock.';
COMMENT ON COLUMN obs_trace_timeline.kind IS 'PLAN: and the step, INFER, DECISION, COMMAND, EXEC or ALERT.';
COMMENT ON COLUMN obs_trace_timeline.action IS 'DECISION: BUY, SELL, FLAT or REJECT; COMMAND: its action and status; EXEC: the status; ALERT: the policy_name; INFER: the model; PLAN: null.';
COMMENT ON FUNCTION obs_make_month(TIMESTAMPTZ) IS 'Makes the partitions of the month that a time is in, of all seven obs tables; false if they were there.';
COMMENT ON COLUMN obs_exec_events.response IS 'What the broker said: order_ref (its own reference), last_fill (fill_id, px, qty, at); and lane_seq: of a step that moved the position or what is reserved, its number within account and symbol; of a step that put other terms in force, replaced (limit_price, working_qty, opening_qty, opening_notional). Decimals are strings.';
COMMENT ON COLUMN obs_exec_events.size IS 'Units the broker is asked for in all: as decided, or as replaced last.';
