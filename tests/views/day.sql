-- One day of rows in the shape that the sink writes, by generate_series: traces :first to :last of that day, each with two
-- PLAN steps, a model call, a decision, an order of three steps, sometimes an alert. Called by tests/views/run.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SELECT obs_make_month(:'day'::date::timestamp AT TIME ZONE 'UTC') \g /dev/null
CREATE TEMP TABLE n AS
SELECT n, 'views-' || n AS trace, 'order-' || lpad(n::text, 10, '0') AS key, md5(n::text) AS id,
       :'day'::date::timestamp AT TIME ZONE 'UTC'
           + (n - :first) * (interval '1 day' / (:last - :first + 1)) AS at,
       (n * 7919 % 1000) AS dice, (n * 104729 % 997) AS other
  FROM generate_series(:first::bigint, :last::bigint) AS n;
INSERT INTO obs_plan_runs (event_id, trace_id, status, symbol, timeframe, started_at, finished_at, meta)
SELECT id || s, trace, (ARRAY['START','END'])[s], 'USDJPY', '1h', at + (s - 1) * interval '700 ms',
       at + s * interval '700 ms', '{"run": "hourly", "bars": 500, "features": 42, "host": "plan-1"}'
  FROM n CROSS JOIN generate_series(1, 2) AS s ORDER BY at;
INSERT INTO obs_infer_calls (event_id, trace_id, model, version, called_at, duration_ms, status, inputs, outputs)
SELECT id, trace, 'Prometheus', '3', at + interval '1500 ms', 200 + other, 'ok', '{"bars": 500}', '{"p_up": "0.61"}'
  FROM n ORDER BY at;
INSERT INTO obs_decisions (event_id, trace_id, made_at, engine_version, strategy_name, score, reason, price, features, decision)
SELECT id, trace, at + interval '2 s', 'noctus/0.1.0', 'Aurus', 0.71, 'risk.max_order_qty: 700 > 500', 147.252,
       jsonb_build_object('request', jsonb_build_object('symbol', 'USDJPY', 'side', 'BUY', 'qty', '700', 'account', 'main',
                              'requested_at', at, 'trace_id', trace, 'meta', jsonb_build_object('note', repeat(id, 4))),
                          'facts', jsonb_build_object('position', other, 'working_buy', '0', 'working_sell', '0', 'lots', '[]'),
                          'top_candidates', jsonb_build_array(jsonb_build_object('strategy', 'Aurus', 'score', 0.71, 'id', id))),
       jsonb_build_object('action', CASE WHEN dice % 2 = 0 THEN 'BUY' ELSE 'SELL' END, 'idempotency_key', key,
                          'requested_qty', '700', 'decided_qty', '500', 'account', 'main', 'symbol', 'USDJPY',
                          'steps', jsonb_build_array(jsonb_build_object('rule', 'risk.max_order_qty', 'before', '700', 'after', '500')),
                          'policies', jsonb_build_object('risk', repeat(id, 2), 'quality', repeat(id, 2)))
  FROM n ORDER BY at;
INSERT INTO obs_exec_events (event_id, trace_id, idempotency_key, exec_seq, sent_at, account, symbol, side, size, provider, status,
                             order_id, executed_qty, avg_price, reason_code, queue_ms, broker_rtt_ms, total_ms, response)
SELECT md5(id || s), trace, key, s, at + interval '2 s' + (s * 20 + dice * CASE WHEN dice > 990 THEN 20 ELSE 1 END) * interval '1 ms',
       'main', 'USDJPY', CASE WHEN dice % 2 = 0 THEN 'BUY' ELSE 'SELL' END, 500, 'paper',
       (ARRAY['SENT','ACCEPTED', CASE WHEN dice >= 997 THEN 'REJECTED' ELSE 'FILLED' END])[s], key,
       CASE s WHEN 3 THEN 500 ELSE 0 END, CASE s WHEN 3 THEN 147.26 END, CASE WHEN s = 3 AND dice >= 997 THEN 'no_margin' END,
       20 + dice, 20, 2000 + dice, jsonb_build_object('order_ref', 'p-' || n)
  FROM n CROSS JOIN generate_series(1, 3) AS s ORDER BY at, s;
INSERT INTO obs_do_metrics (event_id, trace_id, idempotency_key, symbol, child_orders, retry_counts, partial_fills, requested_qty,
                            filled_qty, slippage, queue_ms, broker_rtt_ms, total_ms, final_status, first_at)
SELECT md5(id || 1), trace, key, 'USDJPY', 1, 0, 0, 500, 500, 0.008, 20 + dice, 20, 2000 + dice,
       CASE WHEN dice >= 997 THEN 'REJECTED' ELSE 'FILLED' END,
       at + interval '2 s' + (20 + dice * CASE WHEN dice > 990 THEN 20 ELSE 1 END) * interval '1 ms'
  FROM n ORDER BY at;
INSERT INTO obs_alerts (event_id, trace_id, idempotency_key, policy_name, severity, reason, details, created_at)
SELECT id, trace, key, 'risk.max_order_qty', 'MEDIUM', '700 > 500', '{"before": "700", "after": "500"}', at + interval '2 s'
  FROM n WHERE dice % 20 = 0 ORDER BY at;
DROP TABLE n;
