-- Cancels that are wanted of orders, one per order, kept until it has ended or the broker has clearly refused (C-OUT-6).
CREATE TABLE order_cancels (
    idempotency_key TEXT PRIMARY KEY REFERENCES outbox_orders (idempotency_key),
    code        TEXT NOT NULL,                     -- halted, cancelled_by_hand: what the broker is told
    reason      TEXT NOT NULL,                     -- for a person
    by_whom     TEXT NOT NULL,
    halt_number BIGINT,                            -- the halt that wants it
    at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    asked       INT NOT NULL DEFAULT 0,            -- how often the broker was asked
    next_ask_at TIMESTAMPTZ DEFAULT clock_timestamp(), -- NULL: it is not asked any more
    answer      TEXT                               -- what ended it: the order's state, or the broker's refusal
);
CREATE INDEX order_cancels_open ON order_cancels (next_ask_at) WHERE next_ask_at IS NOT NULL;
