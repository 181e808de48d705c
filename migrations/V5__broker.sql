-- What the broker says of itself and of positions, and under what each attempt was made.

-- Under which id the broker knows the order, and what the broker said it could when the attempt began.
ALTER TABLE send_attempts
    ADD COLUMN client_order_id TEXT,
    ADD COLUMN capabilities    TEXT;               -- digest, see broker_capabilities
-- Only where the id is not the key itself: a broker with a smaller alphabet.
CREATE INDEX send_attempts_other_id ON send_attempts (client_order_id) WHERE client_order_id <> idempotency_key;

-- Everything a broker has said it can; the one seen last is what it says now (C-OUT-8).
CREATE TABLE broker_capabilities (
    digest       TEXT PRIMARY KEY,                 -- SHA-256 of the canonical JSON, lower hex
    broker       TEXT NOT NULL,                    -- broker.name
    capabilities JSONB NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    seen_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- What one of all dispatch processes does for all of them: who does it now, and when it was done last.
CREATE TABLE dispatch_rounds (
    what    TEXT PRIMARY KEY,                      -- positions
    worker  TEXT NOT NULL,
    until   TIMESTAMPTZ NOT NULL,                  -- a lease; -infinity: nobody
    done_at TIMESTAMPTZ
);

-- The newest comparison of a position with the broker's (C-OUT-9).
CREATE TABLE position_checks (
    account     TEXT NOT NULL,
    symbol      TEXT NOT NULL,
    ours        NUMERIC(28,9) NOT NULL,
    theirs      NUMERIC NOT NULL,
    checked_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    halt_number BIGINT,                            -- declared for this difference; lifting it acknowledges the difference
    PRIMARY KEY (account, symbol)
);
