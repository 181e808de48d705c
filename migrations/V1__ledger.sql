-- The ledger, the fence, the risk facts and the owed events.
-- Lock order, everywhere: input_positions → dispatch_lanes → halts (share) → risk_accounts → risk_positions → risk_traces → outbox_orders.

-- The fence (I3): the next offset of every input partition, and the epoch of who may move it.
CREATE TABLE input_positions (
    reader      TEXT   NOT NULL,               -- the role that reads: gate, sink
    topic_id    TEXT   NOT NULL,               -- Kafka's id: a recreated topic is a new input
    topic       TEXT   NOT NULL,
    partition   INT    NOT NULL,
    epoch       BIGINT NOT NULL DEFAULT 0,     -- grows with every owner
    next_offset BIGINT NOT NULL DEFAULT 0,
    owner       TEXT   NOT NULL DEFAULT '',
    moved_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, topic_id, partition)
);

-- One row per key ever decided, FLAT and REJECT included. Never deleted, only archived.
CREATE TABLE outbox_orders (
    id              BIGSERIAL PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    trace_id        TEXT,
    payload         JSONB NOT NULL,            -- the decision
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    sent_at         TIMESTAMPTZ,               -- first attempt's start
    broker_response JSONB,                     -- the broker's newest answer
    -- beyond the plan
    digest          BYTEA NOT NULL CHECK (octet_length(digest) = 32),
    account         TEXT NOT NULL,
    symbol          TEXT NOT NULL,
    action          TEXT NOT NULL CHECK (action IN ('BUY','SELL','FLAT','REJECT')),
    requested_qty   NUMERIC(28,9) NOT NULL,
    decided_qty     NUMERIC(28,9) NOT NULL CHECK (decided_qty >= 0),
    order_type      TEXT NOT NULL,
    limit_price     NUMERIC(28,9),
    stop_price      NUMERIC(28,9),
    reference_price NUMERIC(28,9),
    stop_loss       NUMERIC(28,9),
    take_profit     NUMERIC(28,9),
    time_in_force   TEXT NOT NULL,
    strategy        TEXT,
    requested_at    TIMESTAMPTZ NOT NULL,
    valid_until     TIMESTAMPTZ,
    decided_at      TIMESTAMPTZ NOT NULL,
    dispatch_by     TIMESTAMPTZ,               -- too old after this: EXPIRED, never sent (C-KEY-6); NULL = never sent at all
    -- NOT_SENT: decided FLAT or REJECT
    state           TEXT NOT NULL CHECK (state IN ('NOT_SENT','NEW','SENT','ACCEPTED','PARTIALLY_FILLED','FILLED',
                                                   'REJECTED','CANCELLED','EXPIRED','UNKNOWN','PARKED')),
    exec_seq        INT NOT NULL DEFAULT 0,    -- of the newest exec event
    executed_qty    NUMERIC(28,9) NOT NULL DEFAULT 0,
    avg_price       NUMERIC(28,9),
    attempt_no      INT NOT NULL DEFAULT 0,
    next_query_at   TIMESTAMPTZ,               -- when the broker is asked about it next; UNKNOWN and NULL: to be sent again
    query_no        INT NOT NULL DEFAULT 0,    -- questions asked since the newest attempt became UNKNOWN
    quarantined     TEXT[] NOT NULL DEFAULT '{}', -- what the broker said that cannot be; each is alerted once
    broker_ref      TEXT,
    -- the reservation (C-RISK-8): what is still held, and at which price
    opening_qty     NUMERIC(28,9) NOT NULL DEFAULT 0,
    opening_notional NUMERIC(28,9) NOT NULL DEFAULT 0,   -- as decided
    risk_price      NUMERIC(28,9),
    working_qty     NUMERIC(28,9) NOT NULL DEFAULT 0,    -- still counted as working
    realised_pnl    NUMERIC(28,9) NOT NULL DEFAULT 0,    -- realised by this order's fills, account currency
    unit_value      NUMERIC(28,9) NOT NULL DEFAULT 1,    -- account currency per unit and price step of 1: contract size × rate, as decided
    arm             TEXT,                                -- which profile of an experiment decided, if there is one
    source_topic_id TEXT NOT NULL,
    source_partition INT NOT NULL,
    source_offset   BIGINT NOT NULL
);
-- What dispatch still has to do; stays small however long the ledger grows.
CREATE INDEX outbox_orders_open ON outbox_orders (account, symbol, id)
    WHERE state IN ('NEW','SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED');
-- What the broker has or may have; not the backlog, so asking about a lane costs the same behind a long one.
CREATE INDEX outbox_orders_at_broker ON outbox_orders (account, symbol, next_query_at)
    WHERE state IN ('SENT','ACCEPTED','PARTIALLY_FILLED','UNKNOWN','PARKED');
CREATE INDEX outbox_orders_trace ON outbox_orders (trace_id);

-- One row per send that was begun; committed before the socket is written (C-OUT-3).
CREATE TABLE send_attempts (
    idempotency_key TEXT NOT NULL REFERENCES outbox_orders (idempotency_key),
    attempt_no      INT  NOT NULL,
    worker          TEXT NOT NULL,
    lane_epoch      BIGINT NOT NULL,
    started_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    ended_at        TIMESTAMPTZ,
    outcome         TEXT CHECK (outcome IN ('accepted','rejected','not_sent','unknown')),
    detail          JSONB,
    PRIMARY KEY (idempotency_key, attempt_no)
);

-- Fills already applied, by the broker's fill id.
CREATE TABLE order_fills (
    idempotency_key TEXT NOT NULL REFERENCES outbox_orders (idempotency_key),
    fill_id         TEXT NOT NULL,
    px              NUMERIC(28,9) NOT NULL,
    qty             NUMERIC(28,9) NOT NULL,
    filled_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (idempotency_key, fill_id)
);

-- Who may send for an (account, symbol): a lease with an epoch, by the database's clock.
CREATE TABLE dispatch_lanes (
    account     TEXT NOT NULL,
    symbol      TEXT NOT NULL,
    owner       TEXT NOT NULL DEFAULT '',
    epoch       BIGINT NOT NULL DEFAULT 0,
    lease_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (account, symbol)
);

CREATE TABLE risk_accounts (
    account   TEXT PRIMARY KEY,
    pnl_day   DATE NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    daily_pnl NUMERIC(28,9) NOT NULL DEFAULT 0     -- realised on pnl_day, account currency
);

CREATE TABLE risk_positions (
    account            TEXT NOT NULL,
    symbol             TEXT NOT NULL,
    position           NUMERIC(28,9) NOT NULL DEFAULT 0,   -- long > 0, short < 0
    avg_price          NUMERIC(28,9),                      -- of the open position
    working_buy        NUMERIC(28,9) NOT NULL DEFAULT 0,
    working_sell       NUMERIC(28,9) NOT NULL DEFAULT 0,
    realised_pnl       NUMERIC(28,9) NOT NULL DEFAULT 0,
    consecutive_losses INT NOT NULL DEFAULT 0,
    lots               JSONB NOT NULL DEFAULT '[]',        -- who opened it, oldest first: [{arm, qty}]
    recent_orders      JSONB NOT NULL DEFAULT '[]',        -- decided_at of the last minute's orders, Unix microseconds, oldest first
    PRIMARY KEY (account, symbol)
) WITH (fillfactor = 70);

CREATE TABLE risk_traces (
    account          TEXT NOT NULL,
    trace_id         TEXT NOT NULL,
    opening_notional NUMERIC(28,9) NOT NULL DEFAULT 0,
    PRIMARY KEY (account, trace_id)
);

-- The quality gate's memory; covered by the lock on its risk_positions row.
CREATE TABLE quality_memory (
    account   TEXT NOT NULL,
    symbol    TEXT NOT NULL,
    timeframe TEXT NOT NULL,                               -- '-' if the request names none
    lag       TEXT NOT NULL CHECK (lag IN ('ok','flat')),
    missing   TEXT NOT NULL CHECK (missing IN ('ok','scale','flat')),
    PRIMARY KEY (account, symbol, timeframe)
) WITH (fillfactor = 70);

-- Halts are numbered rows; the newest row of a scope is in force (C-OUT-7). A NULL scope part covers all.
CREATE TABLE halts (
    number     BIGSERIAL PRIMARY KEY,
    mode       TEXT NOT NULL CHECK (mode IN ('halted','reduce_only','resumed')),
    account    TEXT,
    symbol     TEXT,
    strategy   TEXT,
    reason     TEXT NOT NULL,
    by_whom    TEXT NOT NULL,
    approved_by TEXT,
    at         TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- The newest halt that a dispatch process has read and acts on: no write on older knowledge is under way (C-OUT-7).
CREATE TABLE sender_confirmations (
    worker      TEXT PRIMARY KEY,
    halt_number BIGINT NOT NULL,
    at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

-- What one person proposes and another one must approve: to lift a halt, to end a PARKED order.
CREATE TABLE proposals (
    number      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('resume','resolve')),
    subject     JSONB NOT NULL,                -- what is proposed, and the state it was proposed for
    reason      TEXT NOT NULL,
    by_whom     TEXT NOT NULL,
    at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    approved_by TEXT CHECK (approved_by <> by_whom),
    approved_at TIMESTAMPTZ
);

-- Dead letters that were sent again, by where they lie: each once.
CREATE TABLE redrives (
    topic_id    TEXT   NOT NULL,
    partition   INT    NOT NULL,
    letter_offset BIGINT NOT NULL,
    by_whom     TEXT   NOT NULL,
    at          TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic_id, partition, letter_offset)
);

-- Events committed and not yet acknowledged by Kafka (I5): one row per batch, exact bytes, so a repeat is identical.
CREATE TABLE owed_events (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    topics     TEXT[]  NOT NULL,               -- logical names
    keys       BYTEA[] NOT NULL,
    payloads   BYTEA[] NOT NULL,
    headers    JSONB[] NOT NULL                -- [[name, hex or null], …]; NULL = none
);
CREATE INDEX owed_events_age ON owed_events (created_at);
