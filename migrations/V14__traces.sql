-- Where in a trace an order or a command is asked for, and when rows were written: what `noctus explain` tells of every hop.

-- The W3C trace context of the record that asked for it, as far as it could be believed; null if there was none. What is
-- told of an order carries it on: the ledger is where those who did not read the record find it.
ALTER TABLE outbox_orders ADD COLUMN traceparent TEXT, ADD COLUMN tracestate TEXT;
ALTER TABLE order_commands ADD COLUMN traceparent TEXT, ADD COLUMN tracestate TEXT;
-- The record's own time, by Kafka.
ALTER TABLE outbox_orders ADD COLUMN source_at TIMESTAMPTZ;

-- When the sink wrote the row. No part of what the event says: a rebuild from the topics writes it anew, so nothing may
-- compare it. The default comes after the column, so that rows of before say null, and not the time of this migration.
ALTER TABLE obs_plan_runs ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_infer_calls ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_decisions ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_exec_events ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_alerts ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_command_outcomes ADD COLUMN ingested_at TIMESTAMPTZ;
ALTER TABLE obs_plan_runs ALTER COLUMN ingested_at SET DEFAULT now();
ALTER TABLE obs_infer_calls ALTER COLUMN ingested_at SET DEFAULT now();
ALTER TABLE obs_decisions ALTER COLUMN ingested_at SET DEFAULT now();
ALTER TABLE obs_exec_events ALTER COLUMN ingested_at SET DEFAULT now();
ALTER TABLE obs_alerts ALTER COLUMN ingested_at SET DEFAULT now();
ALTER TABLE obs_command_outcomes ALTER COLUMN ingested_at SET DEFAULT now();

COMMENT ON COLUMN obs_plan_runs.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
COMMENT ON COLUMN obs_infer_calls.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
COMMENT ON COLUMN obs_decisions.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
COMMENT ON COLUMN obs_exec_events.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
COMMENT ON COLUMN obs_alerts.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
COMMENT ON COLUMN obs_command_outcomes.ingested_at IS 'When the sink wrote this row; not part of the event, and another after a rebuild.';
