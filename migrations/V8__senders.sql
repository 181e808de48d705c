-- What a dispatch process says of itself beside the halts that it acts on.
ALTER TABLE sender_confirmations
    ADD COLUMN halted_here TEXT,                   -- why its host's own halt file keeps it from sending (C-OUT-7)
    ADD COLUMN safe        TEXT;                   -- since when and why the broker refuses it (F57)

-- Which lanes have something to send: what only rests at the broker is not looked at.
CREATE INDEX outbox_orders_moving ON outbox_orders (account, symbol)
    WHERE state IN ('NEW','SENT','UNKNOWN');
-- Orders that have ended and are still asked about, since fills may come late.
CREATE INDEX outbox_orders_late ON outbox_orders (account, symbol, next_query_at)
    WHERE state IN ('CANCELLED','EXPIRED') AND next_query_at IS NOT NULL;
