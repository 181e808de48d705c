-- What lets the risk state be made again from the events alone and be compared with the tables.

-- Steps of orders that moved this row, so far: fills, and what let a reservation go. Each step's exec event
-- carries its number (lane_seq), since topics promise no order between orders.
ALTER TABLE risk_positions ADD COLUMN moves BIGINT NOT NULL DEFAULT 0;

-- The day is that of the exec events which realised something, not of whoever made the row.
ALTER TABLE risk_accounts ALTER COLUMN pnl_day SET DEFAULT '1970-01-01';
UPDATE risk_accounts SET pnl_day = '1970-01-01' WHERE daily_pnl = 0;

COMMENT ON COLUMN obs_decisions.decision IS 'What was decided: action (BUY, SELL, FLAT, REJECT), idempotency_key (one decision per key), requested_qty, decided_qty, opening_qty and opening_notional (what of it opens risk), steps (rule, before, after, reason), quality (verdict, multiplier), order_type, time_in_force, policies, ids and times. Decimals are strings.';
COMMENT ON COLUMN obs_exec_events.response IS 'What the broker said: order_ref (its own reference), last_fill (fill_id, px, qty, at); and lane_seq: of a step that moved the position or what is reserved, its number within account and symbol. Decimals are strings.';
